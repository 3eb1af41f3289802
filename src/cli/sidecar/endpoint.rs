//! The endpoint of a sidecar: /live, /ready and /metrics on one port.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use super::super::Failure;
use crate::admin::{self, Health};
use crate::http_server;

/// The endpoint, bound but not served yet.
pub(super) struct Endpoint(TcpListener);

impl Endpoint {
    /// Binds the address.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = http_server::bind(address)
            .with_context(|| format!("cannot listen at {address}"))
            .map_err(|error| Failure::external(error).with_hint("choose another address with --listen"))?;
        if let Ok(address) = listener.local_addr() {
            info!(%address, "listening");
        }
        Ok(Self(listener))
    }

    /// Serves until the process stops.
    pub(super) async fn serve(self, health: Health, mut stopped: watch::Receiver<bool>) {
        let shutdown = async move {
            // A sender that is gone means the same.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        admin::serve_all(self.0, health, shutdown).await;
    }
}
