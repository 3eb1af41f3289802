//! Sockets at the addresses of flags, and the end of their servers.

use std::net::SocketAddr;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Failure;
use crate::http_server;

/// Binds the address of a flag.
pub(super) fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    http_server::bind(address)
        .with_context(|| format!("cannot listen at {address}"))
        .map_err(|error| Failure::external(error).with_hint(format!("choose another address with {flag}")))
}

/// Waits until the stop signal is sent or its sender is dropped.
pub(super) async fn stopped(mut stop_signal: watch::Receiver<bool>) {
    let _ = stop_signal.wait_for(|stop| *stop).await;
}
