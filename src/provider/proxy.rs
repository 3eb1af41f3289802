//! The proxy between regcred and a store, for the messages about connections through it.
//!
//! The clients of the stores find the proxy themselves, by the same rules: those of hyper-util.

use std::error::Error as StdError;

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;

use crate::proxy_failure::{ProxiedServer, ProxyFailure};

/// The address of a proxy, without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreProxy(String);

impl StoreProxy {
    /// Returns the proxy that the environment names for a store; `None` where there is none.
    pub(crate) fn from_environment(store: &str) -> Option<Self> {
        Self::new(&Matcher::from_env(), store)
    }

    fn new(matcher: &Matcher, store: &str) -> Option<Self> {
        let uri = matcher.intercept(&store.parse::<Uri>().ok()?)?.uri().clone();
        let server = uri.authority()?.as_str();
        let server = server.rsplit_once('@').map_or(server, |(_, server)| server);
        Some(Self(format!("{}://{server}", uri.scheme_str().unwrap_or("http"))))
    }

    /// Describes the error of a connection through the proxy; `None` for an error of another kind. `describe` returns
    /// the words for an error that no server can influence.
    pub(super) fn describe(
        &self,
        error: &(dyn StdError + 'static),
        describe: fn(&(dyn StdError + 'static)) -> String,
    ) -> Option<String> {
        let settings = "HTTPS_PROXY, HTTP_PROXY and NO_PROXY";
        let store = ProxiedServer { name: "the store", settings, describe };
        let ProxyFailure { cause, fix } = ProxyFailure::from_error(error, &self.0, store)?;
        Some(match fix {
            Some(fix) => format!("{cause}. {fix}"),
            None => cause,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_of_a_store_is_named_without_its_user() {
        let matcher =
            Matcher::builder().https("http://robot:hunter2@proxy:3128").no("vault.vault,.svc").build();
        for (store, expect) in [
            ("https://vault.example.com:8200/a", Some("http://proxy:3128")),
            ("http://vault.example.com:8200", None),
            ("https://vault.vault:8200", None),
            ("no address", None),
        ] {
            let proxy = StoreProxy::new(&matcher, store);
            assert_eq!(proxy.map(|StoreProxy(address)| address).as_deref(), expect, "{store}");
        }
        let all = Matcher::builder().all("proxy:1").build();
        assert_eq!(StoreProxy::new(&all, "http://v"), Some(StoreProxy("http://proxy:1".to_owned())));
    }
}
