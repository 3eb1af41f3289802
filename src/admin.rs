//! The HTTP server for the kubelet and for Prometheus.
//!
//! `/live` says whether the sync loop ticks, `/ready` whether the caches are primed, `/metrics` what
//! happened. It reads what others share and changes nothing, asks neither a store nor the cluster, and
//! whoever talks to it slowly, or often, costs it a bounded amount.

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
use crate::http_server::{self, Bounds};
use crate::metrics::{self, Metrics};

mod heartbeat;
mod readiness;

/// How much the port takes on. The life of a connection is less than a process has that was told to end.
const BOUNDS: Bounds = Bounds {
    port: "admin port",
    connections: 32,
    life: Duration::from_secs(5),
    crowded_life: Duration::from_secs(5),
};

/// What the server tells of.
#[derive(Clone, Debug)]
pub struct Health {
    /// Beaten by the sync loop.
    pub heartbeat: Heartbeat,
    /// Set by whoever primes the caches.
    pub readiness: Readiness,
    /// Counted by everybody.
    pub metrics: Arc<Metrics>,
}

/// Answers on `listener` until `shutdown`, then finishes what is under way, for at most five seconds.
pub async fn serve(listener: TcpListener, health: Health, shutdown: impl Future<Output = ()>) {
    let router = router(health);
    let answer = |stream, _, _| http_server::answer(stream, TowerToHyperService::new(router.clone()));
    http_server::serve(listener, BOUNDS, answer, shutdown).await;
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .with_state(health)
}

async fn live(State(health): State<Health>) -> Response {
    let silence = health.heartbeat.silence();
    if silence <= heartbeat::PATIENCE {
        return line(StatusCode::OK, "alive");
    }
    line(StatusCode::SERVICE_UNAVAILABLE, &format!("the sync loop last ticked {} s ago", silence.as_secs()))
}

async fn ready(State(health): State<Health>) -> Response {
    match health.readiness.awaited() {
        None => line(StatusCode::OK, "ready"),
        Some(what) => line(StatusCode::SERVICE_UNAVAILABLE, &format!("waiting for {what}")),
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
