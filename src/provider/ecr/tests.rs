//! A mock ECR, for responses that neither AWS nor an emulator can be made to send.

mod role;

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_ecr::config::{Credentials, SharedCredentialsProvider};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use wiremock::matchers::{body_json, header};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::credential::{Expiry, Life};
use crate::provider::without_tracing::tests::Log;

const PASSWORD: &str = "hunter2";
const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjE";
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const ID: &str = "123456789012";
const OTHER: &str = "999999999999";
/// The time of the tests, and the end of the tokens: 12 hours and some milliseconds later.
const NOW: i64 = 1_800_000_000;
const EXPIRES: f64 = 1_800_043_200.123;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a time")
}

fn open(address: &str) -> Ecr {
    open_with(address, RetryPolicy::SHORT_BACKOFF)
}

fn open_with(address: &str, retry_policy: RetryPolicy) -> Ecr {
    let shared = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials()))
        .build();
    let settings = EcrStore {
        region: "eu-west-1".to_owned(),
        registry_ids: vec![ID.to_owned(), OTHER.to_owned()],
        endpoint_url: Some(address.to_owned()),
        role_arn: None,
    };
    let pause = Duration::from_millis(1);
    let retries = retries().with_initial_backoff(pause);
    let opened = Ecr::with_retry_policy("ecr".into(), &settings, &shared, retries, retry_policy);
    Ecr { wall_clock: WallClock(now), ..opened }
}

fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret-access-key", Some(SESSION_TOKEN.to_owned()), None, "test")
}

fn error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"__type": code, "message": PASSWORD}))
}

fn auth() -> String {
    BASE64_STANDARD.encode(format!("AWS:{PASSWORD}"))
}

fn data() -> Value {
    let endpoint = format!("https://{ID}.dkr.ecr.eu-west-1.amazonaws.com");
    json!({"authorizationToken": auth(), "expiresAt": EXPIRES, "proxyEndpoint": endpoint})
}

fn issued(data: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"authorizationData": [data]}))
}

async fn server(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    // No registry id is sent: the field is deprecated.
    Mock::given(header("X-Amz-Target", TARGET))
        .and(body_json(json!({})))
        .respond_with(response)
        .mount(&server)
        .await;
    server
}

async fn count(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

fn keys(keys: &[&str]) -> Vec<Key> {
    keys.iter().map(|key| Key::from(*key)).collect()
}

fn config(value: &StoredValue) -> Value {
    serde_json::from_slice(value.bytes.expose_secret()).unwrap()
}

async fn check(response: ResponseTemplate, reason: &str, message: &str, n_requests: usize) {
    let server = server(response).await;
    let error = open(&server.uri()).read(&keys(&[ID])).await.remove(0).unwrap_err();
    let message = message.replace("{store}", &format!("the store at {}", server.uri()));
    assert_eq!(error.to_string(), format!("store ecr, key {ID}: {message}"));
    assert_eq!((<&str>::from(error.reason()), count(&server).await), (reason, n_requests), "{error}");
}

#[tokio::test]
async fn token_is_a_docker_config_with_its_end() {
    let server = server(issued(data())).await;
    let value = open(&server.uri()).read(&keys(&[ID])).await.remove(0).unwrap();
    let host = format!("{ID}.dkr.ecr.eu-west-1.amazonaws.com");
    assert_eq!(config(&value), json!({"auths": {host: {"auth": auth()}}}));
    let expires = Timestamp::from_millisecond(NOW * 1000 + 43_200_123).unwrap();
    assert_eq!(value.version, Version::Issued { expires });
    assert_eq!(value.expiry, Some(Expiry::Issued(Life { issued: now(), expires })));
    assert_eq!(value.account, None);
}

#[tokio::test]
async fn one_request_serves_every_registry() {
    let server = server(issued(data())).await;
    let values = open(&server.uri()).read(&keys(&[OTHER, "nothing", ID])).await;
    let hosts = values.iter().map(|value| match value {
        Ok(value) => config(value)["auths"].as_object().unwrap().keys().next().unwrap().clone(),
        Err(error) => <&str>::from(error.reason()).to_owned(),
    });
    let expect = [
        format!("{OTHER}.dkr.ecr.eu-west-1.amazonaws.com"),
        "Misconfigured".to_owned(),
        format!("{ID}.dkr.ecr.eu-west-1.amazonaws.com"),
    ];
    assert_eq!(hosts.collect::<Vec<_>>(), expect);
    assert_eq!(count(&server).await, 1);
}

#[tokio::test]
async fn key_of_another_registry_sends_no_request() {
    let server = server(issued(data())).await;
    let id = "the key is no registry id: give the 12 digits of the AWS account of the registry";
    for (key, expect) in [
        ("", id),
        ("12345678901", id),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", id),
        (
            "000000000000",
            "`registryIds` of the store does not have this registry. Add it there, or correct the key",
        ),
        (
            "public.ecr.aws",
            "the public gallery has tokens of another API, which regcred does not request. Its images can be pulled without a credential",
        ),
    ] {
        let error = open(&server.uri()).read(&keys(&[key])).await.remove(0).unwrap_err();
        assert_eq!(error.to_string(), format!("store ecr, key {key}: {expect}"));
        assert_eq!(<&str>::from(error.reason()), "Misconfigured");
    }
    assert!(open(&server.uri()).read(&[]).await.is_empty());
    assert_eq!(count(&server).await, 0);
}

#[tokio::test]
async fn version_is_never_looked_up() {
    let server = server(issued(data())).await;
    let ecr = open(&server.uri());
    let versions = ecr.versions(&keys(&[ID, "nothing"])).await;
    assert!(versions.iter().all(|version| version.as_ref().is_ok_and(Version::is_unversioned)));
    assert_eq!((versions.len(), count(&server).await), (2, 0));
    assert!(!ecr.can_lag());
}

#[tokio::test]
async fn every_error_code_is_classified() {
    let denied = "access denied: no policy grants `ecr:GetAuthorizationToken`, which needs the resource `*`";
    check(error(400, "AccessDeniedException"), "Denied", denied, 1).await;
    let request = "ECR does not accept the request; check `region` and `endpointUrl`";
    check(error(400, "InvalidParameterException"), "Misconfigured", request, 1).await;
    check(error(400, "ValidationException"), "Misconfigured", request, 1).await;
    let key = "access denied: AWS does not accept the credentials: check the key and this machine's clock";
    check(error(400, "UnrecognizedClientException"), "Denied", key, 1).await;
    check(
        error(400, "ExpiredTokenException"),
        "Denied",
        "access denied: the AWS credentials have expired",
        1,
    )
    .await;
    let unknown = "status 418 without a known error code; check `endpointUrl`";
    check(error(418, "Hunter2Exception"), "Misconfigured", unknown, 1).await;
}

#[tokio::test]
async fn retryable_failure_is_tried_three_times_by_the_sdk() {
    check(error(400, "ThrottlingException"), "Throttled", "the store is throttling requests", 3).await;
    let broken = "{store} is unavailable: internal error of AWS";
    check(error(500, "ServerException"), "Unavailable", broken, 3).await;
    let down = "{store} is unavailable: status 503";
    check(ResponseTemplate::new(503).set_body_string("<html>hunter2</html>"), "Unavailable", down, 3).await;
}

#[tokio::test]
async fn incomplete_response_is_malformed() {
    for field in ["authorizationToken", "expiresAt", "proxyEndpoint"] {
        let mut data = data();
        data.as_object_mut().unwrap().remove(field);
        check(issued(data), "Malformed", &format!("the response has no `{field}`"), 1).await;
    }
    let empty = ResponseTemplate::new(200).set_body_json(json!({"authorizationData": []}));
    check(empty, "Malformed", "the response has no `authorizationData`", 1).await;
    let garbled = ResponseTemplate::new(200).set_body_string("{\"authorizationData\": [hunter2");
    check(garbled, "Unavailable", "{store} is unavailable: the response cannot be read", 1).await;
}

#[tokio::test]
async fn host_outside_ecr_is_refused() {
    let what = "the response names no registry of ECR; check `endpointUrl`";
    for endpoint in ["https://localhost:4510", "https://hunter2.example.com", ""] {
        let mut data = data();
        data["proxyEndpoint"] = endpoint.into();
        check(issued(data), "Misconfigured", what, 1).await;
    }
}

#[tokio::test]
async fn expired_token_is_refused() {
    let mut data = data();
    data["expiresAt"] = json!(NOW);
    let what = "ECR issued a token that expired at 2027-01-15T08:00:00Z. Compare its clock with that of this machine";
    check(issued(data), "Expired", what, 1).await;
}

#[tokio::test]
async fn missing_response_times_out() {
    let server = server(issued(data()).set_delay(Duration::from_mins(1))).await;
    let ecr = open_with(&server.uri(), RetryPolicy::SHORT_TIMEOUT);
    let error = ecr.read(&keys(&[ID])).await.remove(0).unwrap_err();
    let start = format!("store ecr, key {ID}: no answer from the store at {} within ", server.uri());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[tokio::test]
async fn token_is_neither_shown_nor_logged() {
    let (log, _guard) = Log::capture();
    let server = server(issued(data())).await;
    let ecr = open(&server.uri());
    let values = ecr.read(&keys(&[ID])).await;
    let shown = format!("{ecr:?} {values:?}");
    for text in [shown, log.text()] {
        for secret in [PASSWORD, SESSION_TOKEN, &auth()] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(log.text().contains(&format!("read store=ecr key={ID} version=expires@2")), "{}", log.text());
}
