//! Redirects of a Vault: a standby sends clients to its active node.
//!
//! In go the hosts of the store and a redirect, out comes permission or the reason for none. A request holds
//! the token or a login in it, so it follows only to hosts that the Config names, and never from https to http.

use reqwest::redirect::Policy;
use url::{Host, Url};

use crate::manifest::config::{RedirectHost, VaultSettings, is_loopback};
use crate::manifest::names::dns_subdomain;

/// The most redirects that one request follows.
const MOST: usize = 3;

/// The reason why a redirect is not followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedirectRefused {
    /// The other host is none of this store.
    #[error(
        "the Vault redirects to {0}, which is no host of this store, and nothing was sent there. \
         If it is a node of this Vault, add it to `redirectHosts`"
    )]
    OtherHost(String),
    /// The other address is not encrypted, unlike the first one.
    #[error(
        "the Vault redirects from https to http, and nothing was sent there. Correct `api_addr` of its nodes"
    )]
    Unencrypted,
    /// The other address is not encrypted, and nothing permits that.
    #[error(
        "the Vault redirects to http://{0}, and nothing was sent there. Correct `api_addr` of its nodes, \
         or set `allowHttp: true`"
    )]
    PlainHttp(String),
    /// The redirects do not end.
    #[error("the Vault redirects more than {MOST} times. Correct `api_addr` of its nodes")]
    TooMany,
}

/// Returns the policy of the client of one Vault.
pub(super) fn policy(settings: &VaultSettings) -> Policy {
    let hosts = Hosts::new(settings);
    Policy::custom(move |attempt| match hosts.permit(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(refused) => attempt.error(refused),
    })
}

/// The hosts of one store.
struct Hosts {
    own: Option<Host>,
    others: Vec<RedirectHost>,
    allow_http: bool,
}

impl Hosts {
    fn new(settings: &VaultSettings) -> Self {
        let own = settings.address.host().map(|host| host.to_owned());
        Self { own, others: settings.redirect_hosts.clone(), allow_http: settings.allow_http }
    }

    fn permit(&self, previous: &[Url], next: &Url) -> Result<(), RedirectRefused> {
        if next.scheme() != "https" && previous.iter().any(|url| url.scheme() == "https") {
            return Err(RedirectRefused::Unencrypted);
        }
        if !self.include(next) {
            return Err(RedirectRefused::OtherHost(display_name(next)));
        }
        if next.scheme() != "https" && !self.allow_http && !is_loopback(next) {
            return Err(RedirectRefused::PlainHttp(display_name(next)));
        }
        if MOST < previous.len() { Err(RedirectRefused::TooMany) } else { Ok(()) }
    }

    fn include(&self, url: &Url) -> bool {
        let Some(host) = url.host().map(|host| host.to_owned()) else { return false };
        let port = url.port_or_known_default();
        self.own.as_ref() == Some(&host)
            || self.others.iter().any(|it| it.host == host && (it.port.is_none() || it.port == port))
    }
}

/// Returns the host of a redirect as an entry of `redirectHosts`. The Vault chose it, so a host that is no name
/// of DNS is not shown.
fn display_name(url: &Url) -> String {
    let host = match url.host() {
        Some(Host::Domain(name)) if dns_subdomain(name).is_ok() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => format!("[{address}]"),
        _ => return "another host".to_owned(),
    };
    url.port().map_or(host.clone(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::RedirectRefused::{OtherHost, PlainHttp, TooMany, Unencrypted};
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    fn permit(next: &str, previous: &[&str]) -> Result<(), RedirectRefused> {
        let other = |host: &str, port| RedirectHost { host: Host::parse(host).expect("a host"), port };
        let others = vec![other("node-1.example.com", None), other("node-2.example.com", Some(8200))];
        let own = url(previous[0]).host().map(|it| it.to_owned());
        let hosts = Hosts { own, others, allow_http: false };
        hosts.permit(&previous.iter().map(|text| url(text)).collect::<Vec<_>>(), &url(next))
    }

    #[test]
    fn redirect_is_followed_to_hosts_of_the_store_only() {
        let other = |host: &str| Err(OtherHost(host.to_owned()));
        for (next, expect) in [
            ("https://vault.example.com/v1/x", Ok(())),
            ("https://vault.example.com:8200/v1/x", Ok(())),
            ("https://VAULT.example.com/v1/x", Ok(())),
            ("https://node-1.example.com:8300/v1/x", Ok(())),
            ("https://node-2.example.com:8200/v1/x", Ok(())),
            ("https://node-2.example.com/v1/x", other("node-2.example.com")),
            ("https://node-2.example.com:8300/v1/x", other("node-2.example.com:8300")),
            ("https://vault.example.com@evil.example.com/v1/x", other("evil.example.com")),
            ("https://evil.vault.example.com/v1/x", other("evil.vault.example.com")),
            ("https://192.0.2.1/v1/x", other("192.0.2.1")),
            ("https://[2001:db8::1]:8200/v1/x", other("[2001:db8::1]:8200")),
            ("https://a_b/v1/x", other("another host")),
        ] {
            assert_eq!(permit(next, &["https://vault.example.com/v1/x"]), expect, "{next}");
        }
    }

    #[test]
    fn redirect_from_https_to_http_is_refused() {
        let next = "http://vault.example.com/v1/x";
        assert_eq!(permit(next, &["https://vault.example.com/v1/x"]), Err(Unencrypted));
        assert_eq!(
            permit(next, &["https://vault.example.com/v1/x", "http://vault.example.com"]),
            Err(Unencrypted)
        );
    }

    #[test]
    fn redirect_to_http_of_another_machine_must_be_permitted() {
        let (agent, node) = ("http://127.0.0.1:8200/v1/x", "http://node-1.example.com:8200/v1/x");
        assert_eq!(permit(node, &[agent]), Err(PlainHttp("node-1.example.com:8200".to_owned())));
        assert_eq!(permit("http://127.0.0.1:8201/v1/x", &[agent]), Ok(()));
        let others =
            vec![RedirectHost { host: Host::parse("node-1.example.com").expect("a host"), port: None }];
        let hosts = Hosts { own: None, others, allow_http: true };
        assert_eq!(hosts.permit(&[url(agent)], &url(node)), Ok(()));
    }

    #[test]
    fn redirects_without_end_are_refused() {
        let address = "https://vault.example.com/v1/x";
        assert_eq!(permit(address, &[address; MOST]), Ok(()));
        assert_eq!(permit(address, &[address; MOST + 1]), Err(TooMany));
    }
}
