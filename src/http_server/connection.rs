//! One connection: a request, its answer, and the state that its listener sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, sink};
use tokio::time::timeout;

use super::{HEAD_TIMEOUT, MAX_HEAD};

/// The most bytes and the longest time that the rest of an answered request is drained: a connection closed
/// with unread bytes loses the answer.
const MAX_DRAIN: u64 = 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The state of a connection, shared with its listener: active while the client waits for an answer to a request
/// that deserves one, idle before and after.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionState(Arc<AtomicBool>);

impl ConnectionState {
    /// Marks the connection as active: it keeps its slot until its answer is written.
    pub(crate) fn set_active(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn set_idle(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_active(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves the one request of a connection.
pub(crate) async fn serve_connection<Handler, Answer>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Handler,
    state: ConnectionState,
) where
    Handler: Service<Request<Incoming>, Response = Response<Answer>>,
    Handler::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Answer: Body + 'static,
    Answer::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        // A client may close its direction once its request is sent.
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let Ok(parts) = connection.without_shutdown().await else { return };
    state.set_idle();
    let mut stream = parts.io.into_inner();
    if stream.shutdown().await.is_ok() {
        // Drained bytes are discarded.
        let _ = timeout(DRAIN_TIMEOUT, tokio::io::copy(&mut stream.take(MAX_DRAIN), &mut sink())).await;
    }
}
