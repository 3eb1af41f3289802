//! The proxy between regcred and the API server.
//!
//! In go `proxy-url` of a cluster, or the variables of the environment and the address of the server; out comes the
//! proxy to use. The rules are those of client-go: `proxy-url` applies to every server, the environment to all but
//! loopback addresses and what `NO_PROXY` lists. kube has rules of its own, and compares `NO_PROXY` with the proxy.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use url::Url;

use super::no_proxy;

/// A proxy that regcred can use.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    /// The address with user and password, if there are any.
    uri: Uri,
    /// The address without them.
    address: String,
}

/// The reason why an address of a proxy cannot be used. The address itself may hold a password, and is not quoted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
pub(super) struct ProxyError {
    origin: &'static str,
    reason: ProxyErrorReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ProxyErrorReason {
    #[error("not the address of a proxy, such as http://proxy.example.com:3128")]
    Malformed,
    #[error("the address must begin with http://, https:// or socks5://")]
    Scheme,
    #[error("a user and a password for a SOCKS5 proxy are not supported")]
    SocksCredentials,
}

/// The variables of the environment that name proxies.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyEnvironment {
    https: Option<(&'static str, String)>,
    http: Option<(&'static str, String)>,
    no_proxy: String,
}

impl ProxyEnvironment {
    /// Picks the variables. As in Go, an empty variable is none. Where both spellings are set, the upper case counts:
    /// so it is in every kubectl up to Go 1.26; later versions of Go's library prefer the lower case.
    pub(super) fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let [https, http, no_proxy] =
            [["HTTPS_PROXY", "https_proxy"], ["HTTP_PROXY", "http_proxy"], ["NO_PROXY", "no_proxy"]].map(
                |names| {
                    let values =
                        names.map(|name| Some((name, variable(name).filter(|value| !value.is_empty())?)));
                    values.into_iter().flatten().next()
                },
            );
        Self { https, http, no_proxy: no_proxy.map(|(_, list)| list).unwrap_or_default() }
    }

    /// An environment of these variables.
    #[cfg(test)]
    pub(super) fn example(variables: &[(&str, &str)]) -> Self {
        Self::new(|name| Some(variables.iter().find(|it| it.0 == name)?.1.to_owned()))
    }

    /// Returns the proxy for requests to a server.
    pub(super) fn proxy_for(&self, server: &Uri) -> Result<Option<Proxy>, ProxyError> {
        let (variable, default_port) = match server.scheme_str() {
            Some("https") => (&self.https, 443),
            _ => (&self.http, 80),
        };
        let Some((name, value)) = variable else { return Ok(None) };
        let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = server.port_u16().unwrap_or(default_port);
        if is_loopback(host) || no_proxy::lists(&self.no_proxy, host, port) {
            return Ok(None);
        }
        // Without a scheme, a variable holds the host and port of an HTTP proxy.
        let url = if value.contains("://") { value.clone() } else { format!("http://{value}") };
        Proxy::new(&url, name).map(Some)
    }
}

/// Returns true for `localhost` and addresses of this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl Proxy {
    /// Reads `proxy-url` of a cluster.
    pub(super) fn from_proxy_url(url: &str) -> Result<Self, ProxyError> {
        Self::new(url, "proxy-url")
    }

    fn new(url: &str, origin: &'static str) -> Result<Self, ProxyError> {
        parse(url).map_err(|reason| ProxyError { origin, reason })
    }

    /// Returns the address with user and password.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the address without user and password.
    pub(super) fn address(&self) -> &str {
        &self.address
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// Parses an address, and adds the port that Go would take.
fn parse(text: &str) -> Result<Proxy, ProxyErrorReason> {
    let url = Url::parse(text).map_err(|_| ProxyErrorReason::Malformed)?;
    let (scheme, default_port) = match url.scheme() {
        "http" => ("http", 80),
        "https" => ("https", 443),
        "socks5" | "socks5h" => ("socks5", 1080),
        _ => return Err(ProxyErrorReason::Scheme),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(ProxyErrorReason::Malformed)?;
    let server = format!("{host}:{}", url.port().unwrap_or(default_port));
    let user = match (url.username(), url.password()) {
        ("", None) => String::new(),
        _ if scheme == "socks5" => return Err(ProxyErrorReason::SocksCredentials),
        (user, password) => format!("{user}:{}@", password.unwrap_or_default()),
    };
    let uri = format!("{scheme}://{user}{server}/").parse().map_err(|_| ProxyErrorReason::Malformed)?;
    Ok(Proxy { uri, address: format!("{scheme}://{server}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The address of the proxy for a server, with these variables.
    fn address(variables: &[(&str, &str)], server: &str) -> Result<Option<String>, String> {
        let environment = ProxyEnvironment::example(variables);
        let proxy = environment.proxy_for(&server.parse().expect("an address"));
        proxy.map(|it| it.map(|it| it.address)).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(variables: &[(&str, &str)], server: &str, expect: Option<&str>) {
        assert_eq!(address(variables, server), Ok(expect.map(str::to_owned)), "{variables:?} {server}");
    }

    const P: (&str, &str) = ("HTTPS_PROXY", "http://proxy:3128");

    #[test]
    fn variable_of_the_scheme_names_the_proxy() {
        check(&[P], "https://api.example.com", Some("http://proxy:3128"));
        check(&[P], "http://api.example.com", None);
        check(&[("http_proxy", "proxy")], "http://api.example.com", Some("http://proxy:80"));
        check(&[("ALL_PROXY", "http://proxy")], "https://api.example.com", None);
    }

    #[test]
    fn upper_case_variable_precedes_unless_empty() {
        check(&[("https_proxy", "lower:1"), P], "https://api.example.com", Some("http://proxy:3128"));
        let empty = [("https_proxy", "lower:1"), ("HTTPS_PROXY", "")];
        check(&empty, "https://api.example.com", Some("http://lower:1"));
        let lists = [P, ("no_proxy", "*"), ("NO_PROXY", "other")];
        check(&lists, "https://api.example.com", Some("http://proxy:3128"));
    }

    #[test]
    fn no_proxy_is_compared_with_the_server_not_the_proxy() {
        check(&[P, ("NO_PROXY", "api.example.com")], "https://api.example.com:6443", None);
        check(&[P, ("NO_PROXY", "proxy")], "https://api.example.com", Some("http://proxy:3128"));
        check(&[P, ("NO_PROXY", "example.com:443")], "https://api.example.com", None);
        check(&[P, ("NO_PROXY", "10.0.0.0/8,fd00::/8")], "https://[fd00::1]:6443", None);
        check(&[P, ("NO_PROXY", ",,10.0.0.0/8,")], "https://10.96.0.1", None);
    }

    #[test]
    fn loopback_server_needs_no_proxy() {
        for server in
            ["localhost", "localhost:6443", "127.0.0.1:6443", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]:1"]
        {
            check(&[P], &format!("https://{server}"), None);
        }
        // Go compares the name with its case.
        check(&[P], "https://LOCALHOST:6443", Some("http://proxy:3128"));
    }

    #[test]
    fn proxy_has_the_default_port_of_its_scheme() {
        for (url, expect) in [
            ("http://p", "http://p:80"),
            ("https://p", "https://p:443"),
            ("socks5://p", "socks5://p:1080"),
            ("socks5h://p:1", "socks5://p:1"),
            ("http://[fd00::1]:3128/path?query", "http://[fd00::1]:3128"),
        ] {
            assert_eq!(Proxy::from_proxy_url(url).expect("a proxy").address(), expect);
        }
    }

    #[test]
    fn user_and_password_are_sent_and_never_shown() {
        let proxy = Proxy::from_proxy_url("http://us%40er:pa%3Ass@p:1").expect("a proxy");
        assert_eq!(proxy.uri(), "http://us%40er:pa%3Ass@p:1/");
        assert_eq!((proxy.address(), format!("{proxy:?}")), ("http://p:1", "http://p:1".to_owned()));
        assert_eq!(Proxy::from_proxy_url("http://user@p").expect("a proxy").uri(), "http://user:@p:80/");
    }

    #[test]
    fn unusable_address_is_named_by_its_origin() {
        for (url, reason) in [
            ("proxy:3128", "the address must begin with http://, https:// or socks5://"),
            ("ftp://u:hunter2@p", "the address must begin with http://, https:// or socks5://"),
            ("http://", "not the address of a proxy, such as http://proxy.example.com:3128"),
            ("proxy", "not the address of a proxy, such as http://proxy.example.com:3128"),
            ("socks5://u:hunter2@p", "a user and a password for a SOCKS5 proxy are not supported"),
        ] {
            let error = Proxy::from_proxy_url(url).expect_err(url);
            assert_eq!(error.to_string(), format!("proxy-url: {reason}"));
        }
        let variable = [("https_proxy", "http://u:hunter2@a b")];
        assert_eq!(
            address(&variable, "https://api.example.com"),
            Err("https_proxy: not the address of a proxy, such as http://proxy.example.com:3128".to_owned())
        );
    }
}
