//! What is rung for, and what is not.

use std::path::PathBuf;
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
use crate::trigger::TriggerScope;
use crate::trigger::channel::{self, NotHandedOver, TriggerReceiver};

mod port;
mod stranger;
mod tls;

const TOKEN: &str = "t0ken-of-CI-0123456789";
const KEY: &str = "key-of-vault-0123456789";
/// By the clock of these tests it is always then.
const NOW: i64 = 1_732_441_811;

fn wall_clock() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

/// A webhook with files of its own, and a controller that may be played.
struct Scene {
    directory: TempDir,
    metrics: Arc<Metrics>,
    webhook: Webhook,
    triggers: TriggerSender,
}

impl Scene {
    /// Ten requests a second of the token [`TOKEN`] and the key [`KEY`].
    fn new() -> (Self, TriggerReceiver) {
        let directory = TempDir::new().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            Some(path)
        };
        let webhook = Webhook {
            listen: "127.0.0.1:0".parse().unwrap(),
            token_file: file("tokens", TOKEN),
            hmac_key_file: file("keys", KEY),
            tls: None,
            requests_per_second: 10,
        };
        let (triggers, trigger_receiver) = channel::channel();
        (Self { directory, metrics: Arc::default(), webhook, triggers }, trigger_receiver)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn settings(&self) -> Settings {
        Settings::open(&self.webhook, Arc::clone(&self.metrics), wall_clock).await.unwrap()
    }

    /// What keeps the webhook from starting, without the directory.
    async fn unusable(&self) -> String {
        let outcome = Settings::open(&self.webhook, Arc::clone(&self.metrics), wall_clock).await;
        let directory = format!("{}/", self.directory.path().display());
        outcome.expect_err("it cannot be used").to_string().replace(&directory, "")
    }

    async fn desk(&self, wall_clock: fn() -> Timestamp) -> App {
        let Settings { door, metrics, .. } = self.settings().await;
        App { door, triggers: self.triggers.clone(), metrics, wall_clock, strangers: Mutex::default() }
    }

    async fn router(&self) -> Router {
        let peer = Peer { address: [192, 0, 2, 7].into(), welcome: Authenticated::default() };
        router(self.desk(wall_clock).await).layer(Extension(peer))
    }

    /// How many requests of the webhook had this outcome.
    fn counted(&self, outcome: &str) -> Option<u64> {
        let series = format!("regcred_triggers_total{{trigger=\"webhook\",outcome=\"{outcome}\"}} ");
        self.metrics.encode().lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
    }
}

/// A controller that wakes `images` whatever it is asked, and remembers what that was.
fn play(mut trigger_receiver: TriggerReceiver) -> Arc<Mutex<Vec<TriggerScope>>> {
    let looks = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&looks);
    tokio::spawn(async move {
        while let Some(wake) = trigger_receiver.recv().await {
            assert_eq!((wake.trigger, wake.at), (Trigger::Webhook, wall_clock()));
            remembered.lock().unwrap().extend(wake.looks);
            wake.answer.expect("it wants to know").send(Ok(vec!["images".to_owned()])).unwrap();
        }
    });
    looks
}

fn with_token(body: impl Into<Body>) -> Request {
    Request::post(PATH).header(AUTHORIZATION, format!("Bearer {TOKEN}")).body(body.into()).unwrap()
}

fn signed(key: &str, at: i64, body: &str) -> Request {
    let signature = Signature::by(key, at, body.as_bytes());
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

#[tokio::test]
async fn who_has_a_token_wakes_what_the_body_names() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    let woken = (202, r#"{"pullSecrets":["images"]}"#.to_owned());
    let event = include_str!("../../../tests/fuzz/seeds/event/label-updated.json");
    for body in ["", r#"{"store": "vault", "key": "ci/ghcr"}"#, r#"{"pullSecret": "images"}"#, event] {
        assert_eq!(answer_to(&router, with_token(body.to_owned())).await, woken, "{body}");
    }
    let looks = looks.lock().unwrap();
    let place = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
    let known =
        [TriggerScope::Everything, TriggerScope::Key(place, None), TriggerScope::Object("images".to_owned())];
    assert_eq!(looks[..3], known);
    assert!(matches!(&looks[3..], [TriggerScope::Secret(_)]), "{looks:?}");
}

#[tokio::test]
async fn who_signs_a_request_wakes_as_well() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    assert_eq!(status_of(&router, signed(KEY, NOW, r#"{"pullSecret": "images"}"#)).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    assert_eq!(*looks.lock().unwrap(), [TriggerScope::Object("images".to_owned()), TriggerScope::Everything]);
}

#[tokio::test]
async fn a_wrong_key_a_replay_and_a_wrong_time_ring_for_nothing() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    let bare = Request::post(PATH).body(Body::empty()).unwrap();
    let wrong_token = Request::post(PATH).header(AUTHORIZATION, "Bearer token").body(Body::empty()).unwrap();
    let key_as_token =
        Request::post(PATH).header(AUTHORIZATION, format!("Bearer {KEY}")).body(Body::empty()).unwrap();
    let mut forged = signed(KEY, NOW - 1, "");
    *forged.body_mut() = Body::from(r#"{"pullSecret": "images"}"#);
    let refused = [
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
    let count = refused.len() as u64;
    for (what, request) in refused {
        assert_eq!(answer_to(&router, request).await, (401, "unauthorized\n".to_owned()), "{what}");
    }
    assert_eq!(*looks.lock().unwrap(), [TriggerScope::Everything]);
    assert_eq!(scene.counted("rejected"), Some(count));
    for at in [NOW - 300, NOW + 300] {
        assert_eq!(status_of(&router, signed(KEY, at, "")).await, 202, "{at}");
    }
}

#[tokio::test]
async fn a_body_that_comes_late_makes_no_signature_younger() {
    static CLOCK: AtomicI64 = AtomicI64::new(NOW);
    let wall_clock = || Timestamp::from_second(CLOCK.load(Ordering::Relaxed)).unwrap();
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let desk = scene.desk(wall_clock).await;
    let admit = async |at| desk.door.admit_signed(&Signature::by(KEY, at, b""), b"", wall_clock).await;
    assert_eq!(admit(NOW - 300).await, Ok(()));
    // The same again, whose body waits until the first is forgotten.
    let (forgotten, waits) = oneshot::channel();
    let mut replay = signed(KEY, NOW - 300, "");
    *replay.body_mut() = Body::from_stream(stream::once(async { waits.await.map(|()| Bytes::new()) }));
    let meanwhile = async {
        CLOCK.store(NOW + 1, Ordering::Relaxed);
        assert_eq!(admit(NOW).await, Ok(()));
        forgotten.send(()).unwrap();
    };
    let welcome = Authenticated::default();
    let (outcome, ()) = tokio::join!(desk.take(replay, &welcome), meanwhile);
    assert_eq!(outcome, Err(Refusal::Unauthorized(AuthError::WrongTime)));
    assert_eq!(*looks.lock().unwrap(), []);
}

#[tokio::test]
async fn where_no_file_has_tokens_no_token_is_taken() {
    let (mut scene, trigger_receiver) = Scene::new();
    let _looks = play(trigger_receiver);
    scene.webhook.token_file = None;
    let router = scene.router().await;
    assert_eq!(status_of(&router, with_token("")).await, 401);
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
}

#[tokio::test]
async fn a_body_that_says_nothing_is_told_so_to_who_may_ask() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    let (status, text) = answer_to(&router, with_token(r#"{"pullSecret": "images", "hunter2": 1}"#)).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        "the body must be an event of AWS, {\"store\", \"key\"}, {\"pullSecret\"}, or empty for all\n"
    );
    assert_eq!(status_of(&router, signed(KEY, NOW, "hunter2")).await, 400);
    assert_eq!(scene.counted("invalid"), Some(2));
    assert_eq!(*looks.lock().unwrap(), []);
}

#[tokio::test]
async fn a_body_may_be_64_kibibytes_and_no_more() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    let body = |length: usize| {
        let frame = r#"{"pullSecret": "images"}"#;
        frame.to_owned() + &" ".repeat(length - frame.len())
    };
    assert_eq!(status_of(&router, with_token(body(MAX_BODY))).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW, &body(MAX_BODY))).await, 202);
    assert_eq!(status_of(&router, with_token(body(MAX_BODY + 1))).await, 413);
    assert_eq!(status_of(&router, signed(KEY, NOW, &body(MAX_BODY + 1))).await, 413);
    assert_eq!(looks.lock().unwrap().len(), 2);
    assert_eq!(scene.counted("rejected"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_key_may_ask_so_often_a_second() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let router = scene.router().await;
    for _ in 0..10 {
        assert_eq!(status_of(&router, with_token("")).await, 202);
    }
    let response = router.clone().oneshot(with_token("")).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()[RETRY_AFTER]),
        (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap())
    );
    // Another key has an allowance of its own, and what is too many is not a replay when it is sent again.
    for at in 0..10 {
        assert_eq!(status_of(&router, signed(KEY, NOW - at, "")).await, 202);
    }
    assert_eq!(status_of(&router, signed(KEY, NOW - 10, "")).await, 429);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(status_of(&router, with_token("")).await, 202);
    assert_eq!(status_of(&router, signed(KEY, NOW - 10, "")).await, 202);
    assert_eq!(looks.lock().unwrap().len(), 22);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_rotated_is_taken_beside_the_old_one_until_that_goes() {
    let (scene, trigger_receiver) = Scene::new();
    let _looks = play(trigger_receiver);
    let router = scene.router().await;
    let ask = async |key: &str, at: i64| {
        tokio::time::advance(Duration::from_secs(1)).await;
        status_of(&router, signed(key, NOW + at, "")).await
    };
    let new = "new-key-0123456789";
    std::fs::write(scene.path("keys"), format!("{KEY}\n{new}\n")).unwrap();
    assert_eq!((ask(KEY, 1).await, ask(new, 2).await), (202, 202));
    std::fs::write(scene.path("keys"), format!("{new}\n")).unwrap();
    assert_eq!((ask(KEY, 3).await, ask(new, 4).await), (401, 202));
    std::fs::remove_file(scene.path("keys")).unwrap();
    assert_eq!((ask(KEY, 5).await, ask(new, 6).await), (401, 401));
}

#[tokio::test(start_paused = true)]
async fn who_asks_before_the_controller_hears_is_asked_to_come_again() {
    let (scene, trigger_receiver) = Scene::new();
    let router = scene.router().await;
    let begin = Instant::now();
    let response = router.clone().oneshot(with_token("")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[RETRY_AFTER], "5");
    assert_eq!(begin.elapsed(), PATIENCE);
    // One that has ended hears nothing more, which is known at once.
    drop(trigger_receiver);
    assert_eq!(status_of(&router, with_token("")).await, 503);
    assert_eq!(begin.elapsed(), PATIENCE);
}

#[tokio::test]
async fn what_could_not_be_handed_over_is_not_said_to_be_woken() {
    let (scene, mut trigger_receiver) = Scene::new();
    let router = scene.router().await;
    tokio::spawn(async move {
        let wake = trigger_receiver.recv().await.unwrap();
        let lost = NotHandedOver { cluster_pull_secrets: vec!["images".to_owned()] };
        wake.answer.unwrap().send(Err(lost)).unwrap();
    });
    assert_eq!(answer_to(&router, with_token("")).await, (503, "not ready: try again\n".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_was_signed_and_not_carried_out_may_come_again() {
    let (scene, mut trigger_receiver) = Scene::new();
    let router = scene.router().await;
    let request = || signed(KEY, NOW, "");
    assert_eq!(status_of(&router, request()).await, 503);
    // Whoever sent it no longer waits.
    drop(trigger_receiver.recv().await);
    let looks = play(trigger_receiver);
    assert_eq!(status_of(&router, request()).await, 202);
    assert_eq!(status_of(&router, request()).await, 401, "once it is carried out it is used");
    assert_eq!(*looks.lock().unwrap(), [TriggerScope::Everything]);
}

#[tokio::test]
async fn ten_thousand_bad_requests_leave_nothing_behind() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let desk = scene.desk(wall_clock).await;
    let take = async |request| desk.take(request, &Authenticated::default()).await;
    let wrong = |n: i64| match n % 4 {
        0 => Request::post(PATH).body(Body::from(vec![b'x'; 1000])).unwrap(),
        1 => Request::post(PATH).header(AUTHORIZATION, format!("Bearer {n}")).body(Body::empty()).unwrap(),
        2 => signed("another-key", NOW - n % 300, ""),
        _ => signed(KEY, NOW + 301 + n, ""),
    };
    let strangers =
        [AuthError::ShowsNothing, AuthError::WrongToken, AuthError::WrongSignature, AuthError::WrongTime];
    for (n, stranger) in (0..10_000).zip(strangers.into_iter().cycle()) {
        assert_eq!(take(wrong(n)).await, Err(Refusal::Unauthorized(stranger)));
        if n % 2000 == 0 {
            assert_eq!(take(with_token("")).await, Ok(vec!["images".to_owned()]));
        }
    }
    assert_eq!(looks.lock().unwrap().len(), 5, "those that were good");
    assert_eq!(desk.door.remembered(), (1, 0), "one token, and no signature");
}

#[tokio::test]
async fn there_is_one_path_and_one_method() {
    let (scene, _wakes) = Scene::new();
    let router = scene.router().await;
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
async fn a_key_that_can_be_guessed_keeps_the_webhook_from_starting() {
    for name in ["tokens", "keys"] {
        let (scene, _wakes) = Scene::new();
        std::fs::write(scene.path(name), "hunter2").unwrap();
        let unusable = scene.unusable().await;
        assert!(
            unusable.starts_with(&format!(
                "the key on line 1 of {name} is not taken: it has fewer than 16 bytes"
            )),
            "{unusable}"
        );
    }
}

#[tokio::test]
async fn nothing_of_a_webhook_shows_its_keys() {
    let (scene, _wakes) = Scene::new();
    let shown = format!("{:?}", scene.settings().await);
    assert!(shown.contains("KeyFile") && !shown.contains(TOKEN) && !shown.contains(KEY), "{shown}");
}
