//! A port that costs a bounded amount, whoever talks to it, however slowly or often.
//!
//! In goes a listener and what answers a connection. So many connections are under way at once, each
//! for a while and for one request; the others wait in the kernel's queue, and where they do, whoever
//! dawdles makes room.

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

/// How much of a request is kept in memory, its body apart; a probe's has a few hundred bytes.
pub(crate) const MAX_HEAD: usize = 16 * 1024;

/// How much of a request is passed over that is answered already, and for how long: a connection closed
/// on what was not read takes the answer with it.
const MAX_REST: u64 = 1024 * 1024;
const REST: Duration = Duration::from_millis(500);

/// How long to wait when none can be accepted, which is where there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How many connections may wait in the kernel's queue; those beyond it are not answered, and try again
/// by themselves after a second and more.
const BACKLOG: u32 = 1024;

/// How much a port takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// What the port is called.
    pub(crate) port: &'static str,
    /// How many connections may be under way at once.
    pub(crate) connections: usize,
    /// How long a connection may last, from its first byte to the last of its answer.
    pub(crate) life: Duration,
    /// The same for one that is not welcome yet, where others wait for its place, or where the port closes.
    pub(crate) crowded_life: Duration,
}

/// Whether the caller of a connection has said all that it has to, and may: who waits is the caller then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authenticated(Arc<AtomicBool>);

impl Authenticated {
    /// The connection makes room for nobody any more.
    pub(crate) fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_given(&self) -> bool {
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

/// Has `answer` answer on `listener` until `shutdown`, then finishes what is under way.
pub(crate) async fn serve<Answer>(
    listener: TcpListener,
    bounds: Bounds,
    answer: impl Fn(TcpStream, SocketAddr, Authenticated) -> Answer,
    shutdown: impl Future<Output = ()>,
) where
    Answer: Future<Output = ()> + Send + 'static,
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
                // One whose client left before it was answered to.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept a connection to the {}", bounds.port);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        if connections.len() < bounds.connections
            && let Some((stream, peer)) = waiting.take()
        {
            let welcome = Authenticated::default();
            let answer = answer(stream, peer, welcome.clone());
            connections.spawn(for_a_while(answer, bounds, welcome, crowded.clone()));
        }
        crowd.send_if_modified(|crowd| std::mem::replace(crowd, waiting.is_some()) != waiting.is_some());
    }
    drop((listener, waiting));
    crowd.send_replace(true);
    while connections.join_next().await.is_some() {}
}

/// A connection that breaks or dawdles is the business of its other end.
async fn for_a_while(
    connection: impl Future<Output = ()>,
    bounds: Bounds,
    welcome: Authenticated,
    mut crowded: watch::Receiver<bool>,
) {
    let is_in_the_way = async {
        sleep(bounds.crowded_life).await;
        if crowded.wait_for(|crowded| *crowded).await.is_err() || welcome.is_given() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = connection => {}
        () = sleep(bounds.life) => {}
        () = is_in_the_way => {}
    }
}

/// Answers the one request of a connection.
pub(crate) async fn answer<Requests, Body>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    requests: Requests,
) where
    Requests: Service<Request<Incoming>, Response = Response<Body>>,
    Requests::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Body: hyper::body::Body + 'static,
    Body::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), requests);
    let Ok(parts) = connection.without_shutdown().await else { return };
    let mut stream = parts.io.into_inner();
    if stream.shutdown().await.is_ok() {
        // Whatever comes is passed over.
        let _ = timeout(REST, tokio::io::copy(&mut stream.take(MAX_REST), &mut sink())).await;
    }
}
