//! Unauthorised requests: the cause is in the log, and not in the answer.

use strum::VariantArray as _;

use super::*;
use crate::provider::without_tracing::tests::Log;

/// The headers of every answer to an unauthorised request.
const UNAUTHORIZED: &str =
    r#"{"content-type": "text/plain; charset=utf-8", "www-authenticate": "Bearer", "content-length": "13"}"#;

/// A cause, a router with that configuration, and a request that it rejects for that cause.
type Case<'a> = (AuthError, &'a Router, fn() -> Request);

fn bare() -> Request {
    Request::post(PATH).body(Body::from("hunter2")).unwrap()
}

fn authorized_by(authorization: &str) -> Request {
    Request::post(PATH).header(AUTHORIZATION, authorization).body(Body::from("hunter2")).unwrap()
}

#[tokio::test]
async fn rejection_is_explained_in_the_log_but_in_no_answer() {
    let (log, _guard) = Log::capture();
    let (webhook, receiver) = TestWebhook::new();
    let _scopes = accept_all(receiver);
    let router = webhook.router().await;
    let (mut webhook, _receiver) = TestWebhook::new();
    let tokens = std::mem::take(&mut webhook.config.token_file);
    let without_tokens = webhook.router().await;
    (webhook.config.token_file, webhook.config.hmac_key_file) = (tokens, None);
    let without_keys = webhook.router().await;

    assert_eq!(status_of(&router, signed(KEY, NOW, "")).await, 202);
    let rejected: [Case; 8] = [
        (AuthError::Missing, &router, bare),
        (AuthError::Malformed, &router, || authorized_by("Basic hunter2")),
        (AuthError::NoTokenFile, &without_tokens, || with_token("hunter2")),
        (AuthError::UnknownToken, &router, || authorized_by("Bearer hunter2")),
        (AuthError::NoKeyFile, &without_keys, || signed(KEY, NOW, "hunter2")),
        (AuthError::InvalidSignature, &router, || signed("hunter2", NOW, "hunter2")),
        (AuthError::TimestampOutOfWindow, &router, || signed(KEY, NOW - 301, "hunter2")),
        (AuthError::Replayed, &router, || signed(KEY, NOW, "")),
    ];
    assert_eq!(rejected.len(), AuthError::VARIANTS.len());
    for (error, router, request) in rejected {
        for _ in 0..2 {
            let response = router.clone().oneshot(request()).await.unwrap();
            assert_eq!(format!("{:?}", response.headers()), UNAUTHORIZED, "{error:?}");
        }
        let message = format!("webhook request rejected: {error} requests=1 last_peer=192.0.2.7\n");
        assert_eq!(log.text().matches(&message).count(), 1, "{error:?}: {}", log.text());
    }
    assert_eq!(log.text().matches(" WARN ").count(), rejected.len());
    let signature = Signature::sign(KEY, NOW, b"").to_string();
    for part in ["hunter2", TOKEN, KEY, &NOW.to_string(), &(NOW - 301).to_string(), &signature] {
        assert!(!log.text().contains(part), "{part}: {}", log.text());
    }
}

/// A request with an invalid signature may claim any timestamp.
#[tokio::test]
async fn timestamp_is_judged_only_after_the_signature() {
    let (webhook, _receiver) = TestWebhook::new();
    let app = webhook.app(wall_clock).await;
    let outcome = app.handle(signed("another-key", NOW - 301, ""), &ConnectionState::default()).await;
    assert_eq!(outcome, Err(Rejection::Unauthorized(AuthError::InvalidSignature)));
}
