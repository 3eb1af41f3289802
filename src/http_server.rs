//! HTTP ports of bounded cost, however slowly or often clients connect.
//!
//! In go a listener and the handler of a connection. The number of connections is limited, each to one request
//! and its timeouts. At the limit a new connection takes the slot of the one that has been idle longest; one that
//! is being answered keeps its slot.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};
use tracing::warn;

pub(crate) use self::connection::{ConnectionState, serve_connection};
use self::connections::Connections;
use crate::log_throttle::LogThrottle;

mod connection;
mod connections;

/// The most that is kept in memory of a request, its body apart; a probe's has a few hundred bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// The timeout of a request's head, and of a TLS handshake before it.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause after a failed accept, which happens when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections that may wait in the kernel's queue, at most as many as `net.core.somaxconn`. Those beyond
/// it get no answer, and the client's kernel retries after a second and more.
const BACKLOG: u32 = 4096;

/// The limits of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The name of the port in the log.
    pub(crate) port: &'static str,
    /// The most connections at once.
    pub(crate) connections: usize,
    /// The timeout of a connection, from its accept to the last byte of its answer.
    pub(crate) timeout: Duration,
    /// The time that an idle connection keeps its slot while others wait for it, or while the port closes: enough
    /// for a request that is on its way. It also bounds the cost of a flood, to `connections` in that time.
    pub(crate) grace_period: Duration,
}

/// Listens at an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `listener` by `handler` until `shutdown`, then finishes the requests in flight.
pub(crate) async fn serve<Connection>(
    listener: TcpListener,
    limits: Limits,
    handler: impl Fn(TcpStream, SocketAddr, ConnectionState) -> Connection,
    shutdown: impl Future<Output = ()>,
) where
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let mut connections = Connections::new(limits);
    let mut failures = LogThrottle::default();
    loop {
        let (stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            () = connections.ended() => continue,
            accepted = accept(&listener, limits.port, &mut failures) => accepted,
        };
        tokio::select! {
            () = &mut shutdown => break,
            () = connections.free_slot() => {}
        }
        let state = ConnectionState::default();
        connections.spawn(handler(stream, peer, state.clone()), state);
    }
    drop(listener);
    connections.finish().await;
}

/// Accepts the next connection, whatever fails before.
async fn accept(
    listener: &TcpListener,
    port: &'static str,
    failures: &mut LogThrottle,
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client left before the connection was accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(failures) = failures.count(Instant::now()) {
                    warn!(%error, failures, "cannot accept a connection to the {port}");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
