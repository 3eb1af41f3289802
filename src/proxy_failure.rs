//! The failure of a connection that leads through a proxy, to the API server or to a store.
//!
//! Pure. In go the client's error and the address of the proxy, out comes a message that names the proxy. The types of
//! these errors are private to hyper-util, so they are told apart by their texts, which tests hold.

use std::error::Error as StdError;

use hyper_util::client::legacy;

use crate::error_chain::causes;

/// The server behind a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProxiedServer {
    /// The server in messages.
    pub(crate) name: &'static str,
    /// The settings that name the proxy.
    pub(crate) settings: &'static str,
    /// Describes an error in words that no server can influence.
    pub(crate) describe: fn(&(dyn StdError + 'static)) -> String,
}

/// The message about a connection that failed at a proxy, or behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyFailure {
    pub(crate) cause: String,
    /// The fix, a sentence without its full stop.
    pub(crate) fix: Option<String>,
}

impl ProxyFailure {
    /// Reads the error of a client; `None` for an error of another kind. `proxy` must hold neither user nor password.
    pub(crate) fn from_error(
        error: &(dyn StdError + 'static),
        proxy: &str,
        server: ProxiedServer,
    ) -> Option<Self> {
        let is_connect =
            causes(error).any(|it| it.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect));
        if !is_connect {
            return None;
        }
        let describe = server.describe;
        let failure = causes(error).map(ToString::to_string).find_map(|text| {
            text.strip_prefix("tunnel error: ")
                .map(|what| tunnel_failure(what, proxy, server, error))
                .or_else(|| text.strip_prefix("SOCKS error: ").map(|what| socks_failure(what, proxy, server)))
        });
        Some(failure.unwrap_or_else(|| Self {
            cause: format!("{} (through the proxy {proxy})", describe(error)),
            fix: None,
        }))
    }

    fn unreachable(proxy: &str, server: ProxiedServer, cause: Option<String>) -> Self {
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        Self {
            cause: format!("cannot connect to the proxy {proxy}{cause}"),
            fix: Some(format!("Check the address of the proxy: {}", server.settings)),
        }
    }

    fn refused(proxy: &str, server: ProxiedServer, what: &str) -> Self {
        Self {
            cause: format!("the proxy {proxy} refused the request: {what}"),
            fix: Some(format!(
                "Check that the proxy may connect to {}; servers in NO_PROXY need no proxy of the environment",
                server.name
            )),
        }
    }
}

/// Describes an HTTP proxy that opened no tunnel.
fn tunnel_failure(
    what: &str,
    proxy: &str,
    server: ProxiedServer,
    error: &(dyn StdError + 'static),
) -> ProxyFailure {
    let describe = server.describe;
    match what {
        "failed to create underlying connection" => {
            ProxyFailure::unreachable(proxy, server, Some(describe(error)))
        }
        "proxy authorization required" => ProxyFailure {
            cause: format!("the proxy {proxy} requires a user and a password (407)"),
            fix: Some("Put them into the address of the proxy: http://USER:PASSWORD@HOST:PORT".to_owned()),
        },
        "unsuccessful" => {
            ProxyFailure::refused(proxy, server, &format!("it does not connect to {}", server.name))
        }
        "unexpected end of file" => ProxyFailure::refused(proxy, server, "it closed the connection"),
        "io error establishing tunnel" => ProxyFailure::refused(proxy, server, &describe(error)),
        _ => ProxyFailure::refused(proxy, server, "its answer cannot be read"),
    }
}

/// Describes a SOCKS5 proxy that opened no connection; its errors are fixed texts.
fn socks_failure(what: &str, proxy: &str, server: ProxiedServer) -> ProxyFailure {
    match what {
        "failed to create underlying connection" => ProxyFailure::unreachable(proxy, server, None),
        "io error during SOCKS handshake" => ProxyFailure::refused(proxy, server, "it closed the connection"),
        what => ProxyFailure::refused(proxy, server, what),
    }
}
