//! The HTTP servers for the kubelet and for Prometheus, each on a port of its own.
//!
//! `/live` reports whether the sync loop ticks, `/ready` whether the caches are synced, `/metrics` the metrics.
//! They read shared state and change none of it, call neither a store nor the cluster, and their cost is bounded
//! however slowly or often clients connect.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tower::Service as _;

pub use self::heartbeat::Heartbeat;
pub use self::readiness::Readiness;
use self::scrape::Scrapes;
use crate::http_server::{self, ConnectionState, Limits};
use crate::metrics::{self, Metrics};

mod heartbeat;
mod readiness;
mod scrape;

/// Limits of the port of the metrics. The timeout is shorter than the grace period of a terminating process.
const METRICS: Limits = Limits {
    port: "metrics port",
    connections: 64,
    timeout: Duration::from_secs(5),
    grace_period: Duration::from_millis(50),
};

/// Limits of the port of the probes: a full queue of the kernel is served well within the timeout of a probe.
const PROBES: Limits = Limits {
    port: "probe port",
    connections: 256,
    timeout: Duration::from_secs(5),
    grace_period: Duration::from_millis(20),
};

// With 256 of a webhook, all ports take little more than half of the usual limit of open files, 1024; the rest is
// for the API server and the stores.
const _: () = assert!(METRICS.connections + PROBES.connections + 256 <= 600);

/// The state that the servers report.
#[derive(Clone, Debug)]
pub struct Health {
    /// Beaten by the sync loop.
    pub heartbeat: Heartbeat,
    /// Set by the controller when its caches are synced.
    pub readiness: Readiness,
    /// Recorded by every part of the process.
    pub metrics: Arc<Metrics>,
}

/// Serves `/metrics` until `shutdown`, then finishes the requests in flight, for at most five seconds.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, shutdown: impl Future<Output = ()>) {
    serve(listener, METRICS, metrics_router(metrics), shutdown).await;
}

/// Serves `/live` and `/ready`, in the same way.
pub async fn serve_probes(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()>) {
    serve(listener, PROBES, probe_router(health), shutdown).await;
}

/// Serves all three on one port, for a process that nothing else listens in.
pub async fn serve_all(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()>) {
    let router = metrics_router(Arc::clone(&health.metrics)).merge(probe_router(health));
    serve(listener, PROBES, router, shutdown).await;
}

async fn serve(listener: TcpListener, limits: Limits, router: Router, shutdown: impl Future<Output = ()>) {
    let handler = |stream, _, state| serve_connection(stream, router.clone(), state);
    http_server::serve(listener, limits, handler, shutdown).await;
}

async fn serve_connection(stream: TcpStream, router: Router, state: ConnectionState) {
    let service = service_fn(|request: http::Request<Incoming>| {
        // There is no body to wait for.
        state.set_active();
        router.clone().call(request)
    });
    http_server::serve_connection(stream, service, state.clone()).await;
}

fn metrics_router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(Scrapes::new(metrics))
}

fn probe_router(health: Health) -> Router {
    Router::new().route("/live", get(live)).route("/ready", get(ready)).with_state(health)
}

async fn live(State(health): State<Health>) -> Response {
    let elapsed = health.heartbeat.elapsed();
    if elapsed <= heartbeat::LIVENESS_TIMEOUT {
        return line(StatusCode::OK, "alive");
    }
    line(
        StatusCode::SERVICE_UNAVAILABLE,
        &format!("sync loop stalled: last tick {} s ago", elapsed.as_secs()),
    )
}

async fn ready(State(health): State<Health>) -> Response {
    match health.readiness.reason() {
        None => line(StatusCode::OK, "ready"),
        Some(reason) => line(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

async fn scrape(State(scrapes): State<Scrapes>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], scrapes.text()).into_response()
}

fn line(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
