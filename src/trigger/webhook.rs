//! The webhook: others tell of a change by `POST /v1/rotate`.
//!
//! Every replica serves it, whoever leads. In come requests, out go [`TriggerEvent`]s for the controller, and
//! the names it woke for whoever asked. Who asks is told apart before what they ask is read, and nothing
//! of a request is ever told to anybody: not its headers, not its query, not its body.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use jiff::Timestamp;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tower::Service as _;
use tracing::{debug, info, warn};

use self::auth::Authenticator;
use self::auth::error::RejectionLog;
use self::auth::header::AuthHeader;
use self::error::Refusal;
use self::tls::Certificate;
use super::{Trigger, TriggerEvent, TriggerSender};
use crate::http_server::{self, Authenticated, Bounds};
use crate::manifest::config::triggers;
use crate::metrics::Metrics;

mod auth;
mod body;
mod error;
mod reload;
mod tls;

/// Where requests go.
const PATH: &str = "/v1/rotate";

/// How much the port takes on. A request that comes in one piece takes a few round trips.
const BOUNDS: Bounds = Bounds {
    port: "webhook",
    connections: 256,
    life: Duration::from_secs(8),
    crowded_life: Duration::from_millis(500),
};

/// The largest body. An event of AWS has a few thousand bytes, and none more than this.
const MAX_BODY: usize = 64 * 1024;

/// How long the controller may take to say whom a request concerns. It says nothing before its caches
/// are primed.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the webhook needs, its files read for the first time.
#[derive(Debug)]
pub struct Settings {
    bounds: Bounds,
    door: Authenticator,
    certificate: Option<Certificate>,
    metrics: Arc<Metrics>,
    wall_clock: fn() -> Timestamp,
}

/// Why the webhook cannot start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unusable {
    /// Its certificate cannot be served.
    #[error(transparent)]
    Certificate(#[from] tls::Unusable),
    /// One of its keys can be guessed.
    #[error(transparent)]
    Key(#[from] auth::keys::Weak),
}

/// What requests are answered with.
#[derive(Debug)]
struct App {
    door: Authenticator,
    triggers: TriggerSender,
    metrics: Arc<Metrics>,
    wall_clock: fn() -> Timestamp,
    strangers: Mutex<RejectionLog>,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
struct Peer {
    address: IpAddr,
    welcome: Authenticated,
}

impl Settings {
    /// Reads the files. Keys may come later, and until then nobody may ask, but none may be weak; a certificate
    /// has to be there.
    pub async fn open(
        webhook: &triggers::Webhook,
        metrics: Arc<Metrics>,
        wall_clock: fn() -> Timestamp,
    ) -> Result<Self, Unusable> {
        let certificate = match &webhook.tls {
            Some(tls) => Some(Certificate::open(tls).await?),
            None => None,
        };
        let door = Authenticator::open(webhook).await?;
        Ok(Self { bounds: BOUNDS, door, certificate, metrics, wall_clock })
    }
}

/// Answers on `listener` until `stop`, and rings for what is asked.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    triggers: TriggerSender,
    stop: impl Future<Output = ()>,
) {
    let Settings { bounds, door, certificate, metrics, wall_clock } = settings;
    let (certificate, strangers) = (certificate.map(Arc::new), Mutex::default());
    info!(
        listening = listener.local_addr().ok().map(tracing::field::display),
        tls = certificate.is_some(),
        "the webhook listens"
    );
    let router = router(App { door, triggers, metrics, wall_clock, strangers });
    let answer = |stream, peer: SocketAddr, welcome| {
        let (router, certificate) = (router.clone(), certificate.clone());
        async move {
            let peer = Peer { address: peer.ip(), welcome };
            match certificate {
                None => answer(stream, router, peer).await,
                Some(certificate) => match certificate.acceptor().await.accept(stream).await {
                    Ok(stream) => answer(stream, router, peer).await,
                    Err(error) => debug!(peer = %peer.address, %error, "no TLS with a client of the webhook"),
                },
            }
        }
    };
    http_server::serve(listener, bounds, answer, stop).await;
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, peer: Peer) {
    let requests = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    http_server::answer(stream, requests).await;
}

fn router(desk: App) -> Router {
    Router::new().route(PATH, post(rotate)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(Arc::new(desk))
}

async fn rotate(
    State(desk): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    match desk.take(request, &peer.welcome).await {
        Ok(woken) => {
            debug!(?woken, "the webhook woke");
            let body = json!({ "pullSecrets": woken }).to_string();
            (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(refusal) => {
            desk.note(refusal, peer.address);
            refusal.into_response()
        }
    }
}

impl App {
    /// Takes a request to where it is carried out: whom it woke.
    async fn take(&self, request: Request, welcome: &Authenticated) -> Result<Vec<String>, Refusal> {
        let now = (Instant::now(), (self.wall_clock)());
        match AuthHeader::of(request.headers())? {
            AuthHeader::Token(token) => {
                self.door.admit(token).await?;
                let body = whole(request).await?;
                welcome.give();
                self.wake(&body, now).await
            }
            AuthHeader::Signature(signature) => {
                // What it says of its time is believed when it is known whose it is, which takes the body.
                let body = whole(request).await?;
                self.door.admit_signed(&signature, &body, self.wall_clock).await?;
                welcome.give();
                let woken = self.wake(&body, now).await;
                if woken == Err(Refusal::Unanswered) {
                    // Who is asked to send the same again is not refused when they do.
                    self.door.forget(&signature);
                }
                woken
            }
        }
    }

    async fn wake(&self, body: &[u8], now: (Instant, Timestamp)) -> Result<Vec<String>, Refusal> {
        let looks = body::read(body)?;
        let (answer, answered) = oneshot::channel();
        let wake = TriggerEvent {
            reply: Some(answer),
            ..TriggerEvent::new(Trigger::Webhook, looks, Duration::ZERO, now)
        };
        let woken = async {
            self.triggers.send(wake).await.ok()?;
            // The controller logs what it cannot hand over.
            answered.await.ok()?.ok()
        };
        timeout(PATIENCE, woken).await.ok().flatten().ok_or(Refusal::Unanswered)
    }

    fn note(&self, refusal: Refusal, peer: IpAddr) {
        debug!(%peer, ?refusal, "the webhook refused a request");
        if let Some(outcome) = refusal.outcome() {
            self.metrics.triggered(Trigger::Webhook, outcome);
        }
        if let Refusal::Unauthorized(stranger) = refusal {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(requests) = strangers.count(stranger, Instant::now()) {
                warn!(requests, last_peer = %peer, "the webhook refused {stranger}");
            }
        }
    }
}

/// The whole body, where it is not too long.
async fn whole(request: Request) -> Result<Bytes, Refusal> {
    // One that says so is not even waited for.
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Unreadable,
    })
}

#[cfg(test)]
mod tests;
