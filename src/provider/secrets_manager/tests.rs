//! A mock Secrets Manager, for responses that neither AWS nor an emulator can be made to send.

mod batch;
mod describe;

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_secretsmanager::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::provider::without_tracing::tests::Log;

const PASSWORD: &str = "hunter2";
const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjE";
const ARN: &str = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:";
const GET: &str = "secretsmanager.GetSecretValue";
const BATCH_GET: &str = "secretsmanager.BatchGetSecretValue";

fn open(address: &str, credentials: impl ProvideCredentials + 'static) -> SecretsManager {
    open_with(address, credentials, RetryPolicy::SHORT_BACKOFF)
}

fn open_with(
    address: &str,
    credentials: impl ProvideCredentials + 'static,
    retry_policy: RetryPolicy,
) -> SecretsManager {
    let shared = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let (region, endpoint_url) = ("eu-west-1".to_owned(), Some(address.to_owned()));
    let settings = SecretsManagerStore { region, endpoint_url, role_arn: None };
    let pause = Duration::from_millis(1);
    let retries = retries().with_initial_backoff(pause);
    SecretsManager::with_retry_policy("aws".into(), &settings, &shared, retries, retry_policy)
}

fn credentials() -> Credentials {
    Credentials::new("AKIDEXAMPLE", "secret-access-key", Some(SESSION_TOKEN.to_owned()), None, "test")
}

fn error(status: u16, code: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"__type": code, "Message": message}))
}

fn secret(name: &str) -> Value {
    json!({"ARN": format!("{ARN}{name}-a1B2c3"), "Name": name, "VersionId": "v1", "SecretString": PASSWORD})
}

async fn server(target: &str, response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", target)).respond_with(response).mount(&server).await;
    server
}

/// The number of requests to `target`.
async fn count(server: &MockServer, target: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|request| request.headers["x-amz-target"] == target).count()
}

fn keys(keys: &[&str]) -> Vec<Key> {
    keys.iter().map(|key| Key::from(*key)).collect()
}

/// The password of each key, or the reason of its error.
fn outcomes(values: &[Result<StoredValue, Error>]) -> Vec<&str> {
    values
        .iter()
        .map(|value| match value {
            Ok(value) => std::str::from_utf8(value.bytes.expose_secret()).unwrap(),
            Err(error) => error.reason().into(),
        })
        .collect()
}

async fn check(response: ResponseTemplate, reason: &str, message: &str, n_requests: usize) {
    let server = server(GET, response).await;
    let error = open(&server.uri(), credentials()).read(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err();
    let message = message.replace("{store}", &format!("the store at {}", server.uri()));
    assert_eq!(error.to_string(), format!("store aws, key ci/ghcr: {message}"));
    assert_eq!((<&str>::from(error.reason()), count(&server, GET).await), (reason, n_requests), "{error}");
}

#[tokio::test]
async fn every_error_code_is_classified() {
    let not_found = "not found in eu-west-1";
    check(error(400, "ResourceNotFoundException", PASSWORD), "NotFound", not_found, 1).await;
    let label = "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT";
    check(error(400, "ResourceNotFoundException", label), "NotFound", not_found, 1).await;
    let deleted = "You can't perform this operation on the secret because it was marked for deletion.";
    check(error(400, "InvalidRequestException", deleted), "Deleted", "the current version is deleted", 1)
        .await;
    let state = "AWS does not allow reads in the present state of the secret";
    check(error(400, "InvalidRequestException", PASSWORD), "Misconfigured", state, 1).await;
    let name = "AWS does not accept the key as the name or the ARN of a secret";
    check(error(400, "ValidationException", PASSWORD), "Misconfigured", name, 1).await;
    check(error(400, "InvalidParameterException", PASSWORD), "Misconfigured", name, 1).await;
    let unknown = "status 418 without a known error code; check `endpointUrl`";
    check(error(418, "Hunter2Exception", PASSWORD), "Misconfigured", unknown, 1).await;
}

#[tokio::test]
async fn access_denied_names_the_missing_permission() {
    let policy = "access denied: no policy grants `secretsmanager:GetSecretValue` on the secret";
    check(error(400, "AccessDeniedException", PASSWORD), "Denied", policy, 1).await;
    let kms =
        "access denied: no policy grants `kms:Decrypt` on the key of the secret, or the key is disabled";
    check(error(400, "AccessDeniedException", "Access to KMS is not allowed"), "Denied", kms, 1).await;
    check(error(400, "DecryptionFailure", PASSWORD), "Denied", kms, 1).await;
    check(error(400, "KMSDisabledException", PASSWORD), "Denied", kms, 1).await;
    let key = "access denied: AWS does not accept the credentials: check the key and this machine's clock";
    check(error(400, "UnrecognizedClientException", PASSWORD), "Denied", key, 1).await;
    let expired = "access denied: the AWS credentials have expired";
    check(error(400, "ExpiredTokenException", PASSWORD), "Denied", expired, 1).await;
}

#[tokio::test]
async fn retryable_failure_is_tried_three_times_by_the_sdk() {
    let throttled = "the store is throttling requests";
    check(error(400, "ThrottlingException", PASSWORD), "Throttled", throttled, 3).await;
    check(ResponseTemplate::new(429), "Throttled", throttled, 1).await;
    let broken = "{store} is unavailable: internal error of AWS";
    check(error(500, "InternalServiceError", PASSWORD), "Unavailable", broken, 3).await;
    let down = "{store} is unavailable: status 503";
    check(ResponseTemplate::new(503).set_body_string("<html>hunter2</html>"), "Unavailable", down, 3).await;
}

#[tokio::test]
async fn store_that_is_down_takes_no_retries_from_another() {
    let down = server(GET, error(500, "InternalServiceError", PASSWORD)).await;
    let store = open(&down.uri(), credentials());
    for _ in 0..60 {
        store.read(&keys(&["ci/ghcr"])).await.remove(0).expect_err("it is down");
    }
    let other = MockServer::start().await;
    let once = error(500, "InternalServiceError", PASSWORD);
    let get = || Mock::given(header("X-Amz-Target", GET));
    get().respond_with(once).up_to_n_times(1).mount(&other).await;
    get().respond_with(ResponseTemplate::new(200).set_body_json(secret("ci/ghcr"))).mount(&other).await;
    let store = open(&other.uri(), credentials());
    assert_eq!(outcomes(&store.read(&keys(&["ci/ghcr"])).await), [PASSWORD]);
    assert_eq!(count(&other, GET).await, 2);
}

#[tokio::test]
async fn missing_response_times_out() {
    let late = ResponseTemplate::new(200).set_body_json(secret("ci/ghcr")).set_delay(Duration::from_mins(1));
    let server = server(GET, late).await;
    let aws = open_with(&server.uri(), credentials(), RetryPolicy::SHORT_TIMEOUT);
    let error = aws.read(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err();
    let message = error.to_string();
    let start = format!("store aws, key ci/ghcr: no answer from the store at {} within ", server.uri());
    assert!(message.starts_with(&start), "{message}");
}

#[tokio::test]
async fn response_without_a_value_is_malformed() {
    let neither = "the response has neither `SecretString` nor `SecretBinary`";
    for (field, message) in [("SecretString", neither), ("VersionId", "the response has no `VersionId`")] {
        let mut body = secret("ci/ghcr");
        body.as_object_mut().unwrap().remove(field);
        check(ResponseTemplate::new(200).set_body_json(body), "Malformed", message, 1).await;
    }
    let garbled = ResponseTemplate::new(200).set_body_string("{\"SecretString\": \"hunter2");
    check(garbled, "Unavailable", "{store} is unavailable: the response cannot be read", 1).await;
}

#[tokio::test]
async fn closed_port_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = open(&address, credentials()).read(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("store aws, key ci/ghcr: the store at {address} is unavailable: connection refused")
    );
}

/// A default chain with a fixed outcome.
#[derive(Clone, Copy, Debug)]
struct Chain(fn() -> CredentialsError);

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err((self.0)()))
    }
}

#[tokio::test]
async fn missing_credentials_are_named_without_a_request() {
    let server = MockServer::start().await;
    let chains = [
        (Chain(|| CredentialsError::not_loaded(PASSWORD)), "no AWS credentials"),
        (
            Chain(|| CredentialsError::invalid_configuration(PASSWORD)),
            "the configuration of the AWS credentials is invalid",
        ),
        (
            Chain(|| CredentialsError::provider_timed_out(Duration::from_secs(5))),
            "timeout while loading the AWS credentials",
        ),
        (Chain(|| CredentialsError::provider_error(PASSWORD)), "the AWS credentials cannot be loaded"),
    ];
    for (chain, expect) in chains {
        for (profile, named) in [(None, "the default profile"), (Some("ci"), "profile \"ci\" (AWS_PROFILE)")]
        {
            let profile = profile.map(str::to_owned);
            let mut aws = open(&server.uri(), chain);
            aws.store.context.profile = profile;
            let error = aws.read(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "store aws, key ci/ghcr: access denied: {expect}: looked for AWS_ACCESS_KEY_ID and \
                     AWS_SECRET_ACCESS_KEY in the environment, {named}, a web identity (IRSA), container \
                     credentials (EKS Pod Identity) and an instance role (IMDS)"
                )
            );
        }
    }
    assert!(server.received_requests().await.unwrap().is_empty());
}

/// The keys in a batch request.
fn ids(request: &Request) -> Vec<String> {
    serde_json::from_slice::<Value>(&request.body).unwrap()["SecretIdList"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}

fn respond_to_all(request: &Request) -> ResponseTemplate {
    let values: Vec<_> = ids(request).iter().map(|id| secret(id)).collect();
    ResponseTemplate::new(200).set_body_json(json!({"SecretValues": values, "Errors": []}))
}

#[tokio::test]
async fn invalid_key_is_rejected_without_a_request() {
    let server = server(GET, ResponseTemplate::new(200).set_body_json(secret("a"))).await;
    let other_region = "arn:aws:secretsmanager:us-east-1:123456789012:secret:a-a1B2c3";
    let values = open(&server.uri(), credentials()).read(&keys(&["", other_region, "a"])).await;
    assert_eq!(outcomes(&values), ["Misconfigured", "Misconfigured", PASSWORD]);
    assert_eq!(
        values[1].as_ref().unwrap_err().to_string(),
        format!("store aws, key {other_region}: the ARN is in region us-east-1, the store reads eu-west-1")
    );
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn empty_list_of_keys_sends_no_request() {
    let server = MockServer::start().await;
    assert!(open(&server.uri(), credentials()).read(&[]).await.is_empty());
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn secrets_are_neither_shown_nor_logged() {
    let (log, _guard) = Log::capture();
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", BATCH_GET)).respond_with(respond_to_all).mount(&server).await;
    Mock::given(header("X-Amz-Target", GET))
        .respond_with(error(400, "Hunter2", PASSWORD))
        .mount(&server)
        .await;
    let aws = open(&server.uri(), credentials());
    let values = aws.read(&keys(&["a", "b"])).await;
    let refused = aws.read(&keys(&["c"])).await;
    let shown = format!("{aws:?} {values:?} {refused:?}");
    for text in [shown, log.text()] {
        assert!(!text.contains(PASSWORD) && !text.contains(SESSION_TOKEN), "{text}");
    }
    assert!(log.text().contains("read store=aws key=b version=v1 elapsed="), "{}", log.text());
}
