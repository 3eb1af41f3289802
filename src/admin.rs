//! The HTTP server for the kubelet and for Prometheus.
//!
//! `/live` says whether the sync loop ticks, `/ready` whether the caches are primed, `/metrics` what
//! happened. It reads what others share and changes nothing, asks neither a store nor the cluster, and
//! whoever talks to it slowly, or often, costs it a bounded amount.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::warn;

pub use self::heartbeat::Heartbeat;
pub use self::readiness::Readiness;
use crate::metrics::{self, Metrics};

mod heartbeat;
mod readiness;

/// How many connections may be under way at once; the others wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// How long a connection may last, from its first byte to the last of its answer. Each carries one
/// request. It is less than a process has that was told to end.
const CONNECTION_LIFE: Duration = Duration::from_secs(5);

/// How much of a request is kept in memory; a probe's has a few hundred bytes.
const MAX_HEAD: usize = 16 * 1024;

/// How long to wait when none can be accepted, which is where there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the server tells of.
#[derive(Clone, Debug)]
pub struct Vitals {
    /// Beaten by the sync loop.
    pub heartbeat: Heartbeat,
    /// Set by whoever primes the caches.
    pub readiness: Readiness,
    /// Counted by everybody.
    pub metrics: Arc<Metrics>,
}

/// Answers on `listener` until `shutdown`, then finishes what is under way, for at most five seconds.
pub async fn serve(listener: TcpListener, vitals: Vitals, shutdown: impl Future<Output = ()>) {
    let router = router(vitals);
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(answer(stream, router.clone()))),
                // One whose client left before it was answered to.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    warn!(%error, "cannot accept a connection to the admin port");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
    drop(listener);
    connections.join_all().await;
}

async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A connection that breaks or dawdles is the business of its other end.
    let _ = timeout(CONNECTION_LIFE, connection).await;
}

fn router(vitals: Vitals) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(vitals)
}

async fn live(State(vitals): State<Vitals>) -> Response {
    let silence = vitals.heartbeat.silence();
    if silence <= heartbeat::PATIENCE {
        return line(StatusCode::OK, "alive");
    }
    line(StatusCode::SERVICE_UNAVAILABLE, &format!("the sync loop last ticked {} s ago", silence.as_secs()))
}

async fn ready(State(vitals): State<Vitals>) -> Response {
    match vitals.readiness.awaited() {
        None => line(StatusCode::OK, "ready"),
        Some(what) => line(StatusCode::SERVICE_UNAVAILABLE, &format!("waiting for {what}")),
    }
}

async fn scrape(State(vitals): State<Vitals>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], vitals.metrics.encode()).into_response()
}

fn line(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
