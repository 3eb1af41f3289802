//! Several keys in one request.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde_json::json;
use wiremock::matchers::{body_json, header};
use wiremock::{Match, Mock, MockServer, Request, ResponseTemplate};

use super::super::*;
use super::{ARN, BATCH_GET, GET, PASSWORD};
use super::{count, credentials, error, ids, keys, open, outcomes, respond_to_all, secret, server};

struct RequestsKeys(&'static [&'static str]);

impl Match for RequestsKeys {
    fn matches(&self, request: &Request) -> bool {
        ids(request) == self.0
    }
}

#[tokio::test]
async fn values_and_errors_of_a_batch_match_their_keys() {
    let partial = format!("{ARN}partial");
    let body = json!({
        "SecretValues": [secret("b"), {
            "ARN": format!("{ARN}binary-a1B2c3"), "Name": "binary", "VersionId": "v2",
            "SecretBinary": BASE64_STANDARD.encode([0, 255]),
        }, secret("partial"), secret("a")],
        "Errors": [
            {"SecretId": "gone", "ErrorCode": "ResourceNotFoundException", "Message": PASSWORD},
            {"SecretId": format!("{ARN}denied-a1B2c3"), "ErrorCode": "AccessDeniedException", "Message": PASSWORD},
        ],
    });
    let server = server(BATCH_GET, ResponseTemplate::new(200).set_body_json(body)).await;
    let aws = open(&server.uri(), credentials());
    let mut values = aws.read(&keys(&["a", "binary", "denied", &partial, "gone", "b"])).await;
    let binary = values.remove(1).unwrap();
    assert_eq!((binary.version.to_string().as_str(), binary.bytes.expose_secret()), ("v2", &[0, 255][..]));
    assert_eq!(outcomes(&values), [PASSWORD, "Denied", PASSWORD, "NotFound", PASSWORD]);
    assert_eq!((count(&server, BATCH_GET).await, count(&server, GET).await), (1, 0));
}

#[tokio::test]
async fn forty_five_keys_are_three_batches() {
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", BATCH_GET)).respond_with(respond_to_all).mount(&server).await;
    let keys: Vec<Key> = (0..45).map(|i| Key(format!("ci/{i}"))).collect();
    let values = open(&server.uri(), credentials()).read(&keys).await;
    assert!(outcomes(&values).iter().all(|outcome| *outcome == PASSWORD));
    let requests = server.received_requests().await.unwrap();
    let mut sizes: Vec<_> = requests.iter().map(|request| ids(request).len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20, 20]);
}

#[tokio::test]
async fn key_beyond_full_batch_is_read_singly() {
    let server = server(GET, ResponseTemplate::new(200).set_body_json(secret("a"))).await;
    Mock::given(header("X-Amz-Target", BATCH_GET)).respond_with(respond_to_all).mount(&server).await;
    let keys: Vec<Key> = (0..21).map(|i| Key(format!("ci/{i}"))).collect();
    open(&server.uri(), credentials()).read(&keys).await;
    assert_eq!((count(&server, BATCH_GET).await, count(&server, GET).await), (1, 1));
}

#[tokio::test]
async fn throttled_part_of_a_batch_is_retried() {
    let throttled = json!({
        "SecretValues": [secret("a")],
        "Errors": [{"SecretId": "b", "ErrorCode": "ThrottlingException", "Message": PASSWORD}],
    });
    let server = MockServer::start().await;
    Mock::given(RequestsKeys(&["a", "b"]))
        .respond_with(ResponseTemplate::new(200).set_body_json(throttled))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(RequestsKeys(&["b"])).respond_with(respond_to_all).expect(1).mount(&server).await;
    let values = open(&server.uri(), credentials()).read(&keys(&["a", "b"])).await;
    assert_eq!(outcomes(&values), [PASSWORD, PASSWORD]);
}

#[tokio::test]
async fn part_that_stays_throttled_fails_after_three_attempts() {
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", BATCH_GET))
        .respond_with(move |request: &Request| {
            let throttled = json!({"ErrorCode": "ThrottlingException", "Message": PASSWORD});
            let errors = ids(request).into_iter().map(|id| {
                let mut error = throttled.clone();
                error["SecretId"] = id.into();
                error
            });
            let errors: Vec<_> = errors.collect();
            ResponseTemplate::new(200).set_body_json(json!({"SecretValues": [], "Errors": errors}))
        })
        .expect(3)
        .mount(&server)
        .await;
    let values = open(&server.uri(), credentials()).read(&keys(&["a", "b"])).await;
    assert_eq!(outcomes(&values), ["Throttled", "Throttled"]);
}

#[tokio::test]
async fn rejected_or_incomplete_batch_is_read_one_by_one() {
    let nothing = ResponseTemplate::new(200).set_body_json(json!({"SecretValues": [], "Errors": []}));
    let refusals = [
        error(400, "AccessDeniedException", "not authorized to perform: secretsmanager:BatchGetSecretValue"),
        error(400, "ValidationException", "Value at 'secretIdList' failed to satisfy constraint"),
        error(501, "InternalFailure", "not yet implemented"),
        nothing,
    ];
    for (i, refusal) in refusals.into_iter().enumerate() {
        let server = server(BATCH_GET, refusal).await;
        let single =
            |id: &str| Mock::given(header("X-Amz-Target", GET)).and(body_json(json!({"SecretId": id})));
        single("a").respond_with(ResponseTemplate::new(200).set_body_json(secret("a"))).mount(&server).await;
        single("b").respond_with(error(400, "ResourceNotFoundException", "")).mount(&server).await;
        let values = open(&server.uri(), credentials()).read(&keys(&["a", "b"])).await;
        assert_eq!(outcomes(&values), [PASSWORD, "NotFound"], "{i}");
    }
}

#[tokio::test]
async fn batch_that_fails_for_all_keys_is_not_read_one_by_one() {
    for (refusal, reason) in [
        (error(400, "ExpiredTokenException", ""), "Denied"),
        (error(500, "InternalServiceError", ""), "Unavailable"),
        (error(400, "ThrottlingException", ""), "Throttled"),
    ] {
        let server = server(BATCH_GET, refusal).await;
        let values = open(&server.uri(), credentials()).read(&keys(&["a", "b"])).await;
        assert_eq!(outcomes(&values), [reason, reason]);
        assert_eq!(count(&server, GET).await, 0);
    }
}

#[tokio::test]
async fn error_belongs_to_the_key_it_repeats() {
    let partial = format!("{ARN}ghcr-backup");
    let body = json!({"SecretValues": [], "Errors": [
        {"SecretId": &partial, "ErrorCode": "AccessDeniedException", "Message": PASSWORD},
        {"SecretId": "ghcr", "ErrorCode": "ResourceNotFoundException", "Message": PASSWORD},
    ]});
    let server = server(BATCH_GET, ResponseTemplate::new(200).set_body_json(body)).await;
    let values = open(&server.uri(), credentials()).read(&keys(&["ghcr", &partial])).await;
    assert_eq!(outcomes(&values), ["NotFound", "Denied"]);
}
