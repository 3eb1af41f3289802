//! Who is refused: the log tells why, and the answer does not.

use strum::VariantArray as _;

use super::*;
use crate::provider::without_tracing::tests::Log;

/// The headers of every refusal of a stranger.
const UNAUTHORIZED: &str =
    r#"{"content-type": "text/plain; charset=utf-8", "www-authenticate": "Bearer", "content-length": "13"}"#;

#[tokio::test]
async fn why_somebody_is_refused_is_in_the_log_and_in_no_answer() {
    let (log, _guard) = Log::capture();
    let (scene, trigger_receiver) = Scene::new();
    let _looks = play(trigger_receiver);
    let router = scene.router().await;
    let (mut scene, _wakes) = Scene::new();
    let tokens = std::mem::take(&mut scene.webhook.token_file);
    let without_tokens = scene.router().await;
    (scene.webhook.token_file, scene.webhook.hmac_key_file) = (tokens, None);
    let without_keys = scene.router().await;

    let token =
        |token: &str| Request::post(PATH).header(AUTHORIZATION, token).body(Body::from("hunter2")).unwrap();
    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    let bare = || Request::post(PATH).body(Body::from("hunter2")).unwrap();
    let refused: [(AuthError, &Router, &dyn Fn() -> Request); 8] = [
        (AuthError::ShowsNothing, &router, &bare),
        (AuthError::Garbled, &router, &|| token("Basic hunter2")),
        (AuthError::NoTokenFile, &without_tokens, &|| with_token("hunter2")),
        (AuthError::WrongToken, &router, &|| token("Bearer hunter2")),
        (AuthError::NoKeyFile, &without_keys, &|| signed(KEY, NOW, "hunter2")),
        (AuthError::WrongSignature, &router, &|| signed("hunter2", NOW, "hunter2")),
        (AuthError::WrongTime, &router, &|| signed(KEY, NOW - 301, "hunter2")),
        (AuthError::Repeated, &router, &|| signed(KEY, NOW, "")),
    ];
    assert_eq!(refused.len(), AuthError::VARIANTS.len());
    for (stranger, router, request) in refused {
        for _ in 0..2 {
            let response = router.clone().oneshot(request()).await.unwrap();
            assert_eq!(format!("{:?}", response.headers()), UNAUTHORIZED, "{stranger:?}");
        }
        let told = format!("the webhook refused {stranger} requests=1 last_peer=192.0.2.7\n");
        assert_eq!(log.text().matches(&told).count(), 1, "{stranger:?}: {}", log.text());
    }
    assert_eq!(log.text().matches(" WARN ").count(), refused.len());
    let signature = Signature::by(KEY, NOW, b"").to_string();
    for part in ["hunter2", TOKEN, KEY, &NOW.to_string(), &(NOW - 301).to_string(), &signature] {
        assert!(!log.text().contains(part), "{part}: {}", log.text());
    }
}

/// Whose signature nobody vouches for may say any time.
#[tokio::test]
async fn a_time_is_believed_when_the_signature_is_right() {
    let (scene, _wakes) = Scene::new();
    let desk = scene.desk(wall_clock).await;
    let outcome = desk.take(signed("another-key", NOW - 301, ""), &Authenticated::default()).await;
    assert_eq!(outcome, Err(Refusal::Unauthorized(AuthError::WrongSignature)));
}
