//! Requests to the webhook: accepted and rejected ones, and their triggers.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::{Body, to_bytes};
use futures::stream;
use http::header::{ALLOW, AUTHORIZATION, RETRY_AFTER};
use tempfile::TempDir;
use tower::ServiceExt;

use super::auth::error::AuthError;
use super::auth::signature::Signature;
use super::*;
use crate::credential::StoreKey;
use crate::manifest::config::triggers::Webhook;
use crate::trigger::channel::{self, ForwardError, TriggerReceiver};
use crate::trigger::{AckOutcome, TriggerScope};

mod rejection_log;
mod socket;
mod tls;

const TOKEN: &str = "t0ken-of-CI-0123456789";
const KEY: &str = "key-of-vault-0123456789";
/// The fixed time of the clock of these tests.
const NOW: i64 = 1_732_441_811;

fn wall_clock() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A webhook with its own files; the test plays the controller.
struct TestWebhook {
    directory: TempDir,
    metrics: Arc<Metrics>,
    config: Webhook,
    triggers: TriggerSender,
}

impl TestWebhook {
    /// Allows ten requests a second of the token [`TOKEN`] and of the key [`KEY`].
    fn new() -> (Self, TriggerReceiver) {
        let directory = TempDir::new().unwrap();
        let config = Webhook {
            listen: "127.0.0.1:0".parse().unwrap(),
            token_file: Some(write(directory.path(), "tokens", TOKEN)),
            hmac_key_file: Some(write(directory.path(), "keys", KEY)),
            tls: None,
            requests_per_second: 10,
        };
        let (triggers, receiver) = channel::channel();
        (Self { directory, metrics: Arc::default(), config, triggers }, receiver)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn settings(&self) -> WebhookSettings {
        WebhookSettings::open(&self.config, Arc::clone(&self.metrics), wall_clock).await.unwrap()
    }

    /// The error that prevents the start, without the directory.
    async fn start_error(&self) -> String {
        let outcome = WebhookSettings::open(&self.config, Arc::clone(&self.metrics), wall_clock).await;
        let directory = format!("{}/", self.directory.path().display());
        outcome.expect_err("it cannot start").to_string().replace(&directory, "")
    }

    async fn app(&self, wall_clock: fn() -> Timestamp) -> App {
        let WebhookSettings { authenticator, metrics, .. } = self.settings().await;
        App::new(authenticator, self.triggers.clone(), metrics, wall_clock)
    }

    async fn router(&self) -> Router {
        let peer = Peer { address: [192, 0, 2, 7].into(), connection: ConnectionState::default() };
        router(self.app(wall_clock).await).layer(Extension(peer))
    }

    /// The number of requests with this outcome.
    fn counted(&self, outcome: &str) -> Option<u64> {
        let series = format!("regcred_triggers_total{{trigger=\"webhook\",outcome=\"{outcome}\"}} ");
        self.metrics.encode().lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }
}

fn write(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Plays a controller that answers every trigger with `images`, and records the scopes.
fn accept_all(mut receiver: TriggerReceiver) -> Arc<Mutex<Vec<TriggerScope>>> {
    let scopes = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&scopes);
    tokio::spawn(async move {
        while let Some(event) = receiver.recv().await {
            assert_eq!((event.trigger, event.at), (Trigger::Webhook, wall_clock()));
            recorded.lock().unwrap().extend(event.scopes);
            event.reply.expect("an answer is awaited").send(Ok(vec!["images".to_owned()])).unwrap();
        }
    });
    scopes
}

fn with_token(body: impl Into<Body>) -> Request {
    Request::post(PATH).header(AUTHORIZATION, format!("Bearer {TOKEN}")).body(body.into()).unwrap()
}

fn signed(key: &str, at: i64, body: &str) -> Request {
    let signature = Signature::sign(key, at, body.as_bytes());
    Request::post(PATH)
        .header("x-regcred-timestamp", at.to_string())
        .header("x-regcred-signature", signature.to_string())
        .body(body.to_owned().into())
        .unwrap()
}

/// The status, and the body.
async fn answer_to(router: &Router, request: Request) -> (u16, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn status_of(router: &Router, request: Request) -> u16 {
    answer_to(router, request).await.0
}

/// The status of a request that this key signs, a second later.
async fn status_later(router: &Router, key: &str, at: i64) -> u16 {
    tokio::time::advance(Duration::from_secs(1)).await;
    status_of(router, signed(key, NOW + at, "")).await
}

#[tokio::test]
async fn request_with_a_token_triggers_the_scope_of_its_body() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    let accepted = (202, r#"{"clusterPullSecrets":["images"],"result":"Accepted"}"#.to_owned());
    let event = include_str!("../../../tests/fuzz/seeds/event/label-updated.json");
    for body in ["", r#"{"store": "vault", "key": "ci/ghcr"}"#, r#"{"clusterPullSecret": "images"}"#, event] {
        assert_eq!(answer_to(&router, with_token(body.to_owned())).await, accepted, "{body}");
    }
    let scopes = scopes.lock().unwrap();
    let key = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
    let expect = [TriggerScope::All, TriggerScope::Key(key, None), TriggerScope::Object("images".to_owned())];
    assert_eq!(scopes[..3], expect);
    assert!(matches!(&scopes[3..], [TriggerScope::Secret(_)]), "{scopes:?}");
}

#[tokio::test]
async fn signed_request_triggers_the_scope_of_its_body() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    assert_eq!(status_of(&router, signed(KEY, NOW, r#"{"clusterPullSecret": "images"}"#)).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    assert_eq!(*scopes.lock().unwrap(), [TriggerScope::Object("images".to_owned()), TriggerScope::All]);
}

#[tokio::test]
async fn wrong_key_replay_or_timestamp_triggers_nothing() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    let bare = Request::post(PATH).body(Body::empty()).unwrap();
    let wrong_token = Request::post(PATH).header(AUTHORIZATION, "Bearer token").body(Body::empty()).unwrap();
    let key_as_token =
        Request::post(PATH).header(AUTHORIZATION, format!("Bearer {KEY}")).body(Body::empty()).unwrap();
    let mut forged = signed(KEY, NOW - 1, "");
    *forged.body_mut() = Body::from(r#"{"clusterPullSecret": "images"}"#);
    let rejected = [
        ("nothing", bare),
        ("a wrong token", wrong_token),
        ("the key of signatures as a token", key_as_token),
        ("a wrong key", signed("key-of-voult", NOW, "")),
        ("the token as the key of a signature", signed(TOKEN, NOW, "")),
        ("a replay", signed(KEY, NOW, "")),
        ("another body", forged),
        ("a late timestamp", signed(KEY, NOW - 301, "")),
        ("a future timestamp", signed(KEY, NOW + 301, "")),
    ];
    let count = rejected.len() as u64;
    for (what, request) in rejected {
        assert_eq!(answer_to(&router, request).await, (401, "unauthorized\n".to_owned()), "{what}");
    }
    assert_eq!(*scopes.lock().unwrap(), [TriggerScope::All]);
    assert_eq!(webhook.counted("rejected"), Some(count));
    for at in [NOW - 300, NOW + 300] {
        assert_eq!(status_of(&router, signed(KEY, at, "")).await, 202, "{at}");
    }
}

/// A clock that a single test moves.
static CLOCK: AtomicI64 = AtomicI64::new(NOW);

fn moving_clock() -> Timestamp {
    Timestamp::from_second(CLOCK.load(Ordering::Relaxed)).unwrap()
}

async fn authenticate(app: &App, at: i64) -> Result<(), Rejection> {
    app.authenticator.authenticate_signature(&Signature::sign(KEY, at, b""), b"", moving_clock).await
}

#[tokio::test]
async fn slow_body_does_not_extend_the_signature_window() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let app = webhook.app(moving_clock).await;
    assert_eq!(authenticate(&app, NOW - 300).await, Ok(()));
    // The body of a replay is held back until the first signature is forgotten.
    let (forgotten, waits) = oneshot::channel();
    let mut replay = signed(KEY, NOW - 300, "");
    *replay.body_mut() = Body::from_stream(stream::once(async { waits.await.map(|()| Bytes::new()) }));
    let forget = async {
        CLOCK.store(NOW + 1, Ordering::Relaxed);
        assert_eq!(authenticate(&app, NOW).await, Ok(()));
        forgotten.send(()).unwrap();
    };
    let connection = ConnectionState::default();
    let (outcome, ()) = tokio::join!(app.handle(replay, &connection), forget);
    assert_eq!(outcome, Err(Rejection::Unauthorized(AuthError::TimestampOutOfWindow)));
    assert_eq!(*scopes.lock().unwrap(), []);
}

#[tokio::test]
async fn token_is_rejected_without_a_token_file() {
    let (mut webhook, receiver) = TestWebhook::new();
    let _scopes = accept_all(receiver);
    webhook.config.token_file = None;
    let router = webhook.router().await;
    assert_eq!(status_of(&router, with_token("")).await, 401);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
}

#[tokio::test]
async fn invalid_body_is_explained_to_an_authenticated_sender() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    let (status, text) =
        answer_to(&router, with_token(r#"{"clusterPullSecret": "images", "hunter2": 1}"#)).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        "invalid body: it must be an AWS event, {\"store\", \"key\"}, {\"clusterPullSecret\"}, or empty for all\n"
    );
    assert_eq!(status_of(&router, signed(KEY, NOW, "hunter2")).await, 400);
    assert_eq!(webhook.counted("invalid"), Some(2));
    assert_eq!(*scopes.lock().unwrap(), []);
}

/// A valid body of that length.
fn padded(length: usize) -> String {
    let frame = r#"{"clusterPullSecret": "images"}"#;
    frame.to_owned() + &" ".repeat(length - frame.len())
}

#[tokio::test]
async fn body_over_64_kibibytes_is_rejected() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    assert_eq!(status_of(&router, with_token(padded(MAX_BODY))).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW, &padded(MAX_BODY))).await, 202);
    assert_eq!(status_of(&router, with_token(padded(MAX_BODY + 1))).await, 413);
    assert_eq!(status_of(&router, signed(KEY, NOW, &padded(MAX_BODY + 1))).await, 413);
    assert_eq!(scopes.lock().unwrap().len(), 2);
    assert_eq!(webhook.counted("rejected"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn key_over_its_rate_limit_is_rejected_for_a_second() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let router = webhook.router().await;
    for _ in 0..10 {
        assert_eq!(status_of(&router, with_token("")).await, 202);
    }
    let response = router.clone().oneshot(with_token("")).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()[RETRY_AFTER]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
    // Another key has its own limit, and a request over the limit is no replay when it is sent again.
    for at in 0..10 {
        assert_eq!(status_of(&router, signed(KEY, NOW - at, "")).await, 202);
    }
    assert_eq!(status_of(&router, signed(KEY, NOW - 10, "")).await, 429);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status_of(&router, with_token("")).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW - 10, "")).await, 202);
    assert_eq!(scopes.lock().unwrap().len(), 22);
}

#[tokio::test(start_paused = true)]
async fn rotated_key_is_accepted_until_it_is_removed() {
    let (webhook, receiver) = TestWebhook::new();
    let _scopes = accept_all(receiver);
    let router = webhook.router().await;
    let new = "new-key-0123456789";
    std::fs::write(webhook.path("keys"), format!("{KEY}\n{new}\n")).unwrap();
    assert_eq!((status_later(&router, KEY, 1).await, status_later(&router, new, 2).await), (202, 202));
    std::fs::write(webhook.path("keys"), format!("{new}\n")).unwrap();
    assert_eq!((status_later(&router, KEY, 3).await, status_later(&router, new, 4).await), (401, 202));
    std::fs::remove_file(webhook.path("keys")).unwrap();
    assert_eq!((status_later(&router, KEY, 5).await, status_later(&router, new, 6).await), (401, 401));
}

#[tokio::test(start_paused = true)]
async fn unresponsive_controller_is_answered_with_retry_after() {
    let (webhook, receiver) = TestWebhook::new();
    let router = webhook.router().await;
    let begin = Instant::now();
    let response = router.clone().oneshot(with_token("")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "5");
    assert_eq!(begin.elapsed(), TRIGGER_TIMEOUT);
    // A controller that has ended is noticed at once.
    drop(receiver);
    assert_eq!(status_of(&router, with_token("")).await, 503);
    assert_eq!(begin.elapsed(), TRIGGER_TIMEOUT);
}

/// Plays a controller that accepts a request and acks it after a while; returns the result in the answer, and the time
/// it took.
async fn result_of(outcome: AckOutcome, after: Duration) -> (String, Duration) {
    let (webhook, mut receiver) = TestWebhook::new();
    let router = webhook.router().await;
    tokio::spawn(async move {
        let event = receiver.recv().await.unwrap();
        event.reply.unwrap().send(Ok(vec!["images".to_owned()])).unwrap();
        tokio::time::sleep(after).await;
        event.ack.unwrap().ack(outcome);
    });
    let begin = Instant::now();
    let (status, body) = answer_to(&router, with_token("")).await;
    assert_eq!(status, 202);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    (body["result"].as_str().unwrap().to_owned(), begin.elapsed())
}

#[tokio::test(start_paused = true)]
async fn answer_waits_for_the_result_within_its_timeout() {
    let soon = Duration::from_secs(3);
    assert_eq!(result_of(AckOutcome::Done, soon).await, ("Done".to_owned(), soon));
    assert_eq!(result_of(AckOutcome::NoNewerVersion, soon).await, ("NoNewerVersion".to_owned(), soon));
    let late = result_of(AckOutcome::Done, Duration::from_secs(9)).await;
    assert_eq!(late, ("Accepted".to_owned(), ANSWER_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn request_beyond_the_waiting_ones_is_answered_at_once() {
    let (webhook, mut receiver) = TestWebhook::new();
    let app = Arc::new(webhook.app(wall_clock).await);
    let mut events = Vec::new();
    let mut answers = tokio::task::JoinSet::new();
    for n in 0..=MAX_WAITING {
        let app = Arc::clone(&app);
        answers.spawn(async move { app.trigger(b"", (Instant::now(), wall_clock())).await });
        let mut event = receiver.recv().await.unwrap();
        event.reply.take().unwrap().send(Ok(vec!["images".to_owned()])).unwrap();
        assert_eq!(event.ack.is_some(), n < MAX_WAITING);
        events.push(event);
    }
    let accepted = Ok(Accepted::new(vec!["images".to_owned()], None));
    assert_eq!(answers.join_next().await.unwrap().unwrap(), accepted);
    assert!(answers.try_join_next().is_none(), "the others wait");
    for ack in events.into_iter().filter_map(|event| event.ack) {
        ack.ack(AckOutcome::Done);
    }
    let done = Ok(Accepted::new(vec!["images".to_owned()], Some(AckOutcome::Done)));
    assert!(answers.join_all().await.into_iter().all(|answer| answer == done));
}

#[tokio::test]
async fn request_that_cannot_be_forwarded_is_not_accepted() {
    let (webhook, mut receiver) = TestWebhook::new();
    let router = webhook.router().await;
    tokio::spawn(async move {
        let event = receiver.recv().await.unwrap();
        let lost = ForwardError { cluster_pull_secrets: vec!["images".to_owned()] };
        event.reply.unwrap().send(Err(lost)).unwrap();
    });
    assert_eq!(answer_to(&router, with_token("")).await, (503, "not ready: try again\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn signature_of_an_unanswered_request_may_be_retried() {
    let (webhook, mut receiver) = TestWebhook::new();
    let router = webhook.router().await;
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 503);
    // The sender of the first request no longer waits.
    drop(receiver.recv().await);
    let scopes = accept_all(receiver);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 401, "used once it is accepted");
    assert_eq!(*scopes.lock().unwrap(), [TriggerScope::All]);
}

/// One of four kinds of rejected requests.
fn unauthorized(n: i64) -> Request {
    match n % 4 {
        0 => Request::post(PATH).body(Body::from(vec![b'x'; 1000])).unwrap(),
        1 => Request::post(PATH).header(AUTHORIZATION, format!("Bearer {n}")).body(Body::empty()).unwrap(),
        2 => signed("another-key", NOW - n % 300, ""),
        _ => signed(KEY, NOW + 301 + n, ""),
    }
}

#[tokio::test]
async fn ten_thousand_rejected_requests_use_no_memory() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let app = webhook.app(wall_clock).await;
    let connection = ConnectionState::default();
    let errors = [
        AuthError::Missing,
        AuthError::UnknownToken,
        AuthError::InvalidSignature,
        AuthError::TimestampOutOfWindow,
    ];
    for (n, error) in (0..10_000).zip(errors.into_iter().cycle()) {
        assert_eq!(app.handle(unauthorized(n), &connection).await, Err(Rejection::Unauthorized(error)));
        if n % 2000 == 0 {
            let accepted = Accepted::new(vec!["images".to_owned()], None);
            assert_eq!(app.handle(with_token(""), &connection).await, Ok(accepted));
        }
    }
    assert_eq!(scopes.lock().unwrap().len(), 5, "the valid ones");
    assert_eq!(app.authenticator.remembered(), (1, 0), "one token, and no signature");
}

#[tokio::test]
async fn other_paths_and_methods_are_rejected() {
    let (webhook, _receiver) = TestWebhook::new();
    let router = webhook.router().await;
    for path in ["/", "/v1", "/v1/rotate/", "/v1/rotate/images", "/v2/rotate", "/metrics", "//v1/rotate"] {
        let mut request = with_token("");
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(answer_to(&router, request).await, (404, String::new()), "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
        let mut request = with_token("");
        *request.method_mut() = method.parse().unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()[ALLOW]),
            (405, &"POST".parse().unwrap()),
            "{method}"
        );
    }
}

#[tokio::test]
async fn weak_key_prevents_the_start() {
    for (name, noun) in [("tokens", "token"), ("keys", "key")] {
        let (webhook, _receiver) = TestWebhook::new();
        std::fs::write(webhook.path(name), "hunter2").unwrap();
        let error = webhook.start_error().await;
        assert!(
            error.starts_with(&format!("line 1 of {name} has fewer than 16 bytes: generate a {noun} with")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn debug_output_shows_no_key() {
    let (webhook, _receiver) = TestWebhook::new();
    let shown = format!("{:?}", webhook.settings().await);
    assert!(shown.contains("KeyFile") && !shown.contains(TOKEN) && !shown.contains(KEY), "{shown}");
}
