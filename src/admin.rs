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
use crate::listener::{self, Bounds};
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
    let answer = |stream, _, _| listener::answer(stream, TowerToHyperService::new(router.clone()));
    listener::serve(listener, BOUNDS, answer, shutdown).await;
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
