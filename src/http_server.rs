//! An HTTP port of bounded cost, however slowly or often clients connect.
//!
//! In go a listener and the handler of a connection. The number of connections in flight is limited, each to
//! one request and a timeout; further ones wait in the kernel's queue, and while any wait, slow clients are cut
//! off sooner.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, sink};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// The most that is kept in memory of a request, its body apart; a probe's has a few hundred bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// The most bytes and the longest time that the rest of an answered request is drained: a connection closed
/// with unread bytes loses the answer.
const MAX_DRAIN: u64 = 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The pause after a failed accept, which happens when no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The connections that may wait in the kernel's queue; those beyond it get no answer, and the client's
/// kernel retries after a second and more.
const BACKLOG: u32 = 1024;

/// The limits of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The name of the port in the log.
    pub(crate) port: &'static str,
    /// The most connections in flight at once.
    pub(crate) connections: usize,
    /// The timeout of a connection, from its first byte to the last of its answer.
    pub(crate) timeout: Duration,
    /// The timeout of an unauthenticated connection while others wait for its slot, or while the port closes.
    pub(crate) crowded_timeout: Duration,
}

/// A flag of a connection, set once its request is complete and authenticated: from then on the client waits
/// for the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authenticated(Arc<AtomicBool>);

impl Authenticated {
    /// Exempts the connection from [`Limits::crowded_timeout`].
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Listens at an address.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `listener` by `handler` until `shutdown`, then finishes the connections in flight.
pub(crate) async fn serve<Connection>(
    listener: TcpListener,
    limits: Limits,
    handler: impl Fn(TcpStream, SocketAddr, Authenticated) -> Connection,
    shutdown: impl Future<Output = ()>,
) where
    Connection: Future<Output = ()> + Send + 'static,
{
    let mut shutdown = pin!(shutdown);
    let (crowd, crowded) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut waiting: Option<(TcpStream, SocketAddr)> = None;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok(connection) => waiting = Some(connection),
                // The client left before the connection was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept a connection to the {}", limits.port);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if connections.len() < limits.connections
            && let Some((stream, peer)) = waiting.take()
        {
            let authenticated = Authenticated::default();
            let connection = handler(stream, peer, authenticated.clone());
            connections.spawn(with_timeout(connection, limits, authenticated, crowded.clone()));
        }
        crowd.send_if_modified(|crowd| std::mem::replace(crowd, waiting.is_some()) != waiting.is_some());
    }
    drop((listener, waiting));
    crowd.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// Runs a connection within its limits. A broken or slow connection is no error of this server.
async fn with_timeout(
    connection: impl Future<Output = ()>,
    limits: Limits,
    authenticated: Authenticated,
    mut crowded: watch::Receiver<bool>,
) {
    let crowded_out = async {
        sleep(limits.crowded_timeout).await;
        if crowded.wait_for(|crowded| *crowded).await.is_err() || authenticated.is_set() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = connection => {}
        () = sleep(limits.timeout) => {}
        () = crowded_out => {}
    }
}

/// Serves the one request of a connection.
pub(crate) async fn serve_connection<Handler, Body>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Handler,
) where
    Handler: Service<Request<Incoming>, Response = Response<Body>>,
    Handler::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Body: hyper::body::Body + 'static,
    Body::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let Ok(parts) = connection.without_shutdown().await else { return };
    let mut stream = parts.io.into_inner();
    if stream.shutdown().await.is_ok() {
        // Drained bytes are discarded.
        let _ = timeout(DRAIN_TIMEOUT, tokio::io::copy(&mut stream.take(MAX_DRAIN), &mut sink())).await;
    }
}
