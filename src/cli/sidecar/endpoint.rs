//! The endpoint of a sidecar: /live, /ready and /metrics on one port.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;

use super::super::Failure;
use super::super::listening::{bind, stopped};
use crate::admin::{self, Health};

/// The endpoint, bound but not served yet.
pub(super) struct Endpoint(TcpListener);

impl Endpoint {
    /// Binds the address.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, Failure> {
        let listener = bind(address, "--listen")?;
        if let Ok(address) = listener.local_addr() {
            info!(%address, "listening");
        }
        Ok(Self(listener))
    }

    /// Serves until the process stops.
    pub(super) async fn serve(self, health: Health, stop_signal: watch::Receiver<bool>) {
        admin::serve_all(self.0, health, stopped(stop_signal)).await;
    }
}
