//! The error of a connection that leads through a proxy.
//!
//! In go the client's error and the address of the proxy, out comes a message that names the proxy. The types of these
//! errors are private to hyper-util, so they are told apart by their texts, which tests hold.

use std::error::Error as StdError;

use hyper_util::client::legacy;

use super::connection::{chain, describe};
use super::{Detail, Error};

/// Returns the error of a connection that failed at a proxy, or behind it; `None` for an error of another kind.
/// `proxy` must hold neither user nor password.
#[must_use]
pub fn proxy_failure(error: &(dyn StdError + 'static), proxy: &str) -> Option<Error> {
    let is_connect =
        chain(error).any(|it| it.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect));
    if !is_connect {
        return None;
    }
    let failure = chain(error).map(ToString::to_string).find_map(|text| {
        text.strip_prefix("tunnel error: ")
            .map(|what| tunnel_failure(what, proxy, error))
            .or_else(|| text.strip_prefix("SOCKS error: ").map(|what| socks_failure(what, proxy)))
    });
    Some(Error::Unavailable(failure.unwrap_or_else(|| {
        Detail::from_own_words(format!("{} (through the proxy {proxy})", describe(error)))
    })))
}

/// Describes an HTTP proxy that opened no tunnel.
fn tunnel_failure(what: &str, proxy: &str, error: &(dyn StdError + 'static)) -> Detail {
    match what {
        "failed to create underlying connection" => unreachable_proxy(proxy, Some(&describe(error))),
        "proxy authorization required" => {
            Detail::from_own_words(format!("the proxy {proxy} requires a user and a password (407)"))
                .with_fix("Put them into the address of the proxy: http://USER:PASSWORD@HOST:PORT")
        }
        "unsuccessful" => refused(proxy, "it does not connect to the API server"),
        "unexpected end of file" => refused(proxy, "it closed the connection"),
        "io error establishing tunnel" => refused(proxy, &describe(error)),
        _ => refused(proxy, "its answer cannot be read"),
    }
}

/// Describes a SOCKS5 proxy that opened no connection; its errors are fixed texts.
fn socks_failure(what: &str, proxy: &str) -> Detail {
    match what {
        "failed to create underlying connection" => unreachable_proxy(proxy, None),
        "io error during SOCKS handshake" => refused(proxy, "it closed the connection"),
        what => refused(proxy, what),
    }
}

fn unreachable_proxy(proxy: &str, cause: Option<&str>) -> Detail {
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    Detail::from_own_words(format!("cannot connect to the proxy {proxy}{cause}")).with_fix(
        "Check the address of the proxy: `proxy-url` of the kubeconfig, or HTTPS_PROXY and NO_PROXY",
    )
}

fn refused(proxy: &str, what: &str) -> Detail {
    Detail::from_own_words(format!("the proxy {proxy} refused the request: {what}"))
        .with_fix("Check that the proxy may connect to the API server; servers in NO_PROXY need no proxy of the environment")
}
