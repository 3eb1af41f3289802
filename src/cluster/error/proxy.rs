//! The error of a connection to the API server that leads through a proxy.
//!
//! In go the client's error and the address of the proxy, out comes a message that names the proxy.

use std::error::Error as StdError;

use super::connection::describe;
use super::{Detail, Error};
use crate::proxy_failure::{ProxiedServer, ProxyFailure};

const API_SERVER: ProxiedServer = ProxiedServer {
    name: "the API server",
    settings: "`proxy-url` of the kubeconfig, or HTTPS_PROXY and NO_PROXY",
    describe,
};

/// Returns the error of a connection that failed at a proxy, or behind it; `None` for an error of another kind.
/// `proxy` must hold neither user nor password.
#[must_use]
pub fn proxy_failure(error: &(dyn StdError + 'static), proxy: &str) -> Option<Error> {
    let ProxyFailure { cause, fix } = ProxyFailure::from_error(error, proxy, API_SERVER)?;
    let detail = Detail::from_own_words(cause);
    Some(Error::Unavailable(match fix {
        Some(fix) => detail.with_fix(fix),
        None => detail,
    }))
}
