//! The HTTP server for the kubelet and for Prometheus.
//!
//! `/live` reports whether the sync loop ticks, `/ready` whether the caches are synced, `/metrics` the metrics.
//! It reads shared state and changes none of it, calls neither a store nor the cluster, and its cost is
//! bounded however slowly or often clients connect.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

pub use self::heartbeat::Heartbeat;
pub use self::readiness::Readiness;
use crate::http_server::{self, Limits};
use crate::metrics::{self, Metrics};

mod heartbeat;
mod readiness;

/// Limits of the port. The timeout is shorter than the grace period of a terminating process.
const LIMITS: Limits = Limits {
    port: "admin port",
    connections: 32,
    timeout: Duration::from_secs(5),
    crowded_timeout: Duration::from_secs(5),
};

/// The state that the server reports.
#[derive(Clone, Debug)]
pub struct Health {
    /// Beaten by the sync loop.
    pub heartbeat: Heartbeat,
    /// Set by the controller when its caches are synced.
    pub readiness: Readiness,
    /// Recorded by every part of the process.
    pub metrics: Arc<Metrics>,
}

/// Serves `listener` until `shutdown`, then finishes the requests in flight, for at most five seconds.
pub async fn serve(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()>) {
    let router = router(health);
    http_server::serve(
        listener,
        LIMITS,
        |stream, _, _| http_server::serve_connection(stream, TowerToHyperService::new(router.clone())),
        shutdown,
    )
    .await;
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(health)
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

async fn scrape(State(health): State<Health>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], health.metrics.encode()).into_response()
}

fn line(status: StatusCode, text: &str) -> Response {
    (status, format!("{text}\n")).into_response()
}

#[cfg(test)]
mod tests;
