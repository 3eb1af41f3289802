//! The webhook: senders report a change by `POST /v1/rotate`.
//!
//! Every replica serves it, leader or not. In come requests, out go [`TriggerEvent`]s for the controller, and
//! the names of the triggered ClusterPullSecrets for the sender, with the result if it is known in time. A request is
//! authenticated before its body is interpreted, and nothing of a request is ever logged or sent back: not its
//! headers, query or body.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tower::Service as _;
use tracing::{debug, info, warn};

use self::accepted::Accepted;
use self::auth::Authenticator;
use self::auth::error::RejectionLog;
use self::auth::header::AuthHeader;
use self::error::Rejection;
use self::tls::Certificate;
use super::{Ack, Trigger, TriggerEvent, TriggerSender};
use crate::http_server::{self, ConnectionState, HEAD_TIMEOUT, Limits};
use crate::manifest::config::triggers;
use crate::metrics::Metrics;

mod accepted;
mod auth;
mod body;
mod error;
mod reload;
mod tls;

/// The path of the one endpoint.
const PATH: &str = "/v1/rotate";

/// Limits of the port. A request that comes in one piece takes a few round trips.
const LIMITS: Limits = Limits {
    port: "webhook",
    connections: 256,
    timeout: Duration::from_secs(8),
    grace_period: Duration::from_millis(500),
};

/// The largest body. An AWS event has a few thousand bytes, and none more than this.
const MAX_BODY: usize = 64 * 1024;

/// Time the controller may take to name the triggered objects. It does not answer before its caches are
/// synced.
const TRIGGER_TIMEOUT: Duration = Duration::from_secs(3);

/// The time from a request to its answer, with whatever is known by then. API destinations of EventBridge wait for
/// five seconds, and the further reads for an event that brought nothing new take three.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(4500);

/// The requests that may wait for their result. Those beyond it are answered at once, so that a flood of requests
/// about unchanged keys holds no connections.
const MAX_WAITING: usize = 64;

/// The settings of the webhook, its files loaded for the first time.
#[derive(Debug)]
pub struct WebhookSettings {
    limits: Limits,
    authenticator: Authenticator,
    certificate: Option<Certificate>,
    metrics: Arc<Metrics>,
    wall_clock: fn() -> Timestamp,
}

/// The reason why the webhook cannot start.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum StartError {
    /// The certificate cannot be served.
    #[error(transparent)]
    Certificate(#[from] tls::CertificateError),
    /// A key can be guessed.
    #[error(transparent)]
    Key(#[from] auth::keys::WeakKey),
}

/// The state of the axum router.
#[derive(Debug)]
struct App {
    authenticator: Authenticator,
    triggers: TriggerSender,
    metrics: Arc<Metrics>,
    wall_clock: fn() -> Timestamp,
    rejection_log: Mutex<RejectionLog>,
    /// A permit for each request that may wait for its result.
    waiting: Semaphore,
}

/// The client of a connection.
#[derive(Clone)]
struct Peer {
    address: IpAddr,
    connection: ConnectionState,
}

impl WebhookSettings {
    /// Loads the files. A key file may be added later, its requests are rejected until then, but no key in it
    /// may be weak; a certificate has to exist.
    pub async fn open(
        webhook: &triggers::Webhook,
        metrics: Arc<Metrics>,
        wall_clock: fn() -> Timestamp,
    ) -> Result<Self, StartError> {
        let certificate = match &webhook.tls {
            Some(tls) => Some(Certificate::open(tls).await?),
            None => None,
        };
        let authenticator = Authenticator::open(webhook).await?;
        Ok(Self { limits: LIMITS, authenticator, certificate, metrics, wall_clock })
    }
}

/// Serves `listener` until `stop` and sends a trigger for each accepted request.
pub async fn serve(
    listener: TcpListener,
    settings: WebhookSettings,
    triggers: TriggerSender,
    stop: impl Future<Output = ()>,
) {
    let WebhookSettings { limits, authenticator, certificate, metrics, wall_clock } = settings;
    let certificate = certificate.map(Arc::new);
    info!(
        listening = listener.local_addr().ok().map(tracing::field::display),
        tls = certificate.is_some(),
        "webhook listening"
    );
    let router = router(App::new(authenticator, triggers, metrics, wall_clock));
    http_server::serve(
        listener,
        limits,
        |stream, peer: SocketAddr, connection| {
            let peer = Peer { address: peer.ip(), connection };
            serve_connection(stream, certificate.clone(), router.clone(), peer)
        },
        stop,
    )
    .await;
}

async fn serve_connection(
    stream: TcpStream,
    certificate: Option<Arc<Certificate>>,
    router: Router,
    peer: Peer,
) {
    match certificate {
        None => serve_request(stream, router, peer).await,
        Some(certificate) => {
            let handshake = certificate.acceptor().await.accept(stream);
            match timeout(HEAD_TIMEOUT, handshake).await.unwrap_or_else(|elapsed| Err(elapsed.into())) {
                Ok(stream) => serve_request(stream, router, peer).await,
                Err(error) => {
                    debug!(peer = %peer.address, %error, "TLS handshake of a webhook client failed");
                }
            }
        }
    }
}

async fn serve_request(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, peer: Peer) {
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    http_server::serve_connection(stream, service, peer.connection.clone()).await;
}

fn router(app: App) -> Router {
    Router::new().route(PATH, post(rotate)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(Arc::new(app))
}

async fn rotate(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    match app.handle(request, &peer.connection).await {
        Ok(accepted) => {
            debug!(?accepted, "webhook request accepted");
            accepted.into_response()
        }
        Err(rejection) => {
            app.record(rejection, peer.address);
            rejection.into_response()
        }
    }
}

impl App {
    fn new(
        authenticator: Authenticator,
        triggers: TriggerSender,
        metrics: Arc<Metrics>,
        wall_clock: fn() -> Timestamp,
    ) -> Self {
        let (rejection_log, waiting) = (Mutex::default(), Semaphore::new(MAX_WAITING));
        Self { authenticator, triggers, metrics, wall_clock, rejection_log, waiting }
    }

    /// Authenticates a request and triggers what it names.
    async fn handle(&self, request: Request, connection: &ConnectionState) -> Result<Accepted, Rejection> {
        let now = (Instant::now(), (self.wall_clock)());
        match AuthHeader::parse(request.headers())? {
            AuthHeader::Token(token) => {
                self.authenticator.authenticate_token(token).await?;
                let body = read_body(request).await?;
                connection.set_active();
                self.trigger(&body, now).await
            }
            AuthHeader::Signature(signature) => {
                // The timestamp is trusted once the signature is verified, which takes the body.
                let body = read_body(request).await?;
                self.authenticator.authenticate_signature(&signature, &body, self.wall_clock).await?;
                connection.set_active();
                let triggered = self.trigger(&body, now).await;
                if triggered.as_ref().is_err_and(|rejection| *rejection == Rejection::NotReady) {
                    // The sender is asked to retry: the same signature is then no replay.
                    self.authenticator.forget(&signature);
                }
                triggered
            }
        }
    }

    /// Triggers what a body names, and waits for the result.
    async fn trigger(&self, body: &[u8], now: (Instant, Timestamp)) -> Result<Accepted, Rejection> {
        let scopes = body::parse(body)?;
        let permit = self.waiting.try_acquire().ok();
        let (answer, answered) = oneshot::channel();
        let (ack, outcome) = Ack::new();
        let event = TriggerEvent {
            ack: permit.is_some().then_some(ack),
            reply: Some(answer),
            ..TriggerEvent::new(Trigger::Webhook, scopes, Duration::ZERO, now)
        };
        let triggered = async {
            self.triggers.send(event).await.ok()?;
            // The controller logs a request that it cannot forward.
            answered.await.ok()?.ok()
        };
        let triggered =
            timeout(TRIGGER_TIMEOUT, triggered).await.ok().flatten().ok_or(Rejection::NotReady)?;
        if triggered.is_empty() {
            return Ok(Accepted::nothing());
        }
        // Another replica carries the request out, a part of it failed and is retried, or it takes longer.
        let outcome = timeout_at(now.0 + ANSWER_TIMEOUT, outcome).await.ok().and_then(Result::ok);
        Ok(Accepted::new(triggered, outcome))
    }

    /// Counts a rejection and logs it, a cause at most once a minute.
    fn record(&self, rejection: Rejection, peer: IpAddr) {
        debug!(%peer, ?rejection, "webhook request rejected");
        if let Some(outcome) = rejection.outcome() {
            self.metrics.triggered(Trigger::Webhook, outcome);
        }
        if let Rejection::Unauthorized(error) = rejection {
            let mut rejection_log = self.rejection_log.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(requests) = rejection_log.count(error, Instant::now()) {
                warn!(requests, last_peer = %peer, "webhook request rejected: {error}");
            }
        }
    }
}

/// Reads the whole body, up to [`MAX_BODY`].
async fn read_body(request: Request) -> Result<Bytes, Rejection> {
    // A body that is declared too large is not even read.
    if request.body().size_hint().lower() > MAX_BODY as u64 {
        return Err(Rejection::TooLarge);
    }
    Bytes::from_request(request, &()).await.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Rejection::TooLarge,
        _ => Rejection::InvalidBody,
    })
}

#[cfg(test)]
mod tests;
