//! A mock Vault, for responses that a real one cannot be made to send.

mod consistency;
mod dynamic;
mod login;
mod metadata;
mod namespace;
mod redirect;

use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::json;
use wiremock::matchers::{any, header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::manifest::config::VaultAuth;
use crate::provider::MAX_VALUE_BYTES;
use crate::provider::without_tracing::tests::Log;

const PASSWORD: &str = "hunter2";

/// The settings of a store at an address.
pub(crate) fn settings(address: &str, auth: VaultAuth) -> VaultSettings {
    VaultSettings {
        address: address.parse().unwrap(),
        mount: "secret".to_owned(),
        kv: KvVersion::V2,
        namespace: None,
        ca_file: None,
        redirect_hosts: Vec::new(),
        allow_http: false,
        auth,
    }
}

fn open(settings: &VaultSettings) -> Vault {
    let environment = Environment { vault_token: Some("hvs.token".into()), ..Environment::default() };
    Vault::with_retry_policy("vault".into(), settings, &environment, RetryPolicy::SHORT_BACKOFF).unwrap()
}

fn keys(n: usize) -> Vec<Key> {
    (0..n).map(|i| Key(format!("ci/{i}"))).collect()
}

fn secret(version: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "data": {"data": {"password": PASSWORD}, "metadata": {"version": version}},
    }))
}

fn refused(status: u16) -> ResponseTemplate {
    error_body(status, PASSWORD)
}

fn error_body(status: u16, text: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"errors": [text]}))
}

/// A server that accepts the token and sends `response` to every read.
async fn server(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/v1/auth/token/lookup-self"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": {"ttl": 0}})))
        .with_priority(1)
        .mount(&server)
        .await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

/// Returns the error of a read of `ci/ghcr`, its number of requests and the address of the server.
async fn error_for(kv: KvVersion, response: ResponseTemplate) -> (Error, usize, String) {
    let server = server(response).await;
    let vault = open(&VaultSettings { kv, ..settings(&server.uri(), VaultAuth::Environment) });
    let error = vault.read(&["ci/ghcr".into()]).await.remove(0).unwrap_err();
    let requests = server.received_requests().await.unwrap();
    (error, requests.iter().filter(|request| request.url.path().contains("ci/ghcr")).count(), server.uri())
}

async fn check(response: ResponseTemplate, reason: &str, message: &str, n_requests: usize) {
    let (error, requests, address) = error_for(KvVersion::V2, response).await;
    let message = message.replace("{store}", &format!("the store at {address}"));
    assert_eq!(error.to_string(), format!("store vault, key ci/ghcr: {message}"));
    assert_eq!((<&str>::from(error.reason()), requests), (reason, n_requests), "{error}");
}

#[tokio::test]
async fn every_status_is_classified() {
    check(refused(404), "NotFound", "not found at secret/data/ci/ghcr (mount secret, KV version 2)", 1).await;
    let policy = "access denied: no policy grants `read` on secret/data/ci/ghcr";
    check(refused(403), "Denied", policy, 1).await;
    check(refused(429), "Throttled", "the store is throttling requests", 3).await;
    check(refused(500), "Unavailable", "{store} is unavailable: status 500", 3).await;
    check(refused(503), "Unavailable", "{store} is unavailable: status 503", 3).await;
    check(refused(412), "Unavailable", "{store} is unavailable: status 412", 3).await;
    let odd = "status 400; the response is not one of a KV engine of version 2; \
               check `address`, `mount` and `kvVersion`";
    check(refused(400), "Misconfigured", odd, 1).await;
}

/// A response with a password of this length.
fn value(length: usize) -> ResponseTemplate {
    let data = json!({"password": "x".repeat(length)});
    let body = json!({"data": {"data": data, "metadata": {"version": 1}}});
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn value_over_one_mebibyte_is_malformed() {
    check(value(MAX_VALUE_BYTES), "Malformed", "the value is larger than 1 MiB", 1).await;
    check(value(2 * MAX_VALUE_BYTES), "Malformed", "the response is larger than 2 MiB", 1).await;
    let server = server(value(MAX_VALUE_BYTES - r#"{"password":""}"#.len())).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    let read = vault.read(&["ci/ghcr".into()]).await.remove(0).expect("a value");
    assert_eq!(read.bytes.expose_secret().len(), MAX_VALUE_BYTES);
}

#[tokio::test]
async fn error_body_refines_the_status() {
    check(error_body(503, "Vault is sealed"), "Sealed", "the Vault is sealed", 1).await;
    let no_mount = r#"no handler for route "secret/data/ci/ghcr". route entry not found."#;
    check(error_body(404, no_mount), "Misconfigured", "no engine is mounted at secret; check `mount`", 1)
        .await;
    let page = ResponseTemplate::new(404).set_body_string("<html>hunter2</html>");
    check(page, "Misconfigured", "status 404, but not from a Vault; check `address`", 1).await;
    let status = ResponseTemplate::new(403).set_body_json(json!({"kind": "Status", "message": PASSWORD}));
    check(status, "Misconfigured", "status 403, but not from a Vault; check `address`", 1).await;
    let page = ResponseTemplate::new(502).set_body_string("<html>hunter2</html>");
    check(page, "Unavailable", "{store} is unavailable: status 502", 3).await;
}

#[tokio::test]
async fn engine_being_upgraded_is_unavailable_and_retried() {
    for text in [
        "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period \
         and will resume service shortly.",
        "Waiting for the primary to upgrade from non-versioned to versioned data. This backend will be \
         unavailable for a brief period and will resume service when the primary is finished.",
    ] {
        let upgraded = "{store} is unavailable: the engine is being upgraded to version 2";
        check(error_body(400, text), "Unavailable", upgraded, 3).await;
    }
}

#[tokio::test]
async fn address_may_have_a_path() {
    let server = MockServer::start().await;
    let prefix = "/gateway/vault/v1";
    Mock::given(path(format!("{prefix}/auth/token/lookup-self")))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"data": {"ttl": 0}})))
        .mount(&server)
        .await;
    Mock::given(path(format!("{prefix}/secret/data/ci/0"))).respond_with(secret(7)).mount(&server).await;
    for slashes in ["", "/", "//"] {
        let address = format!("{}/gateway/vault{slashes}", server.uri());
        let values = open(&settings(&address, VaultAuth::Environment)).read(&keys(1)).await;
        assert_eq!(values[0].as_ref().unwrap().version.to_string(), "7", "{address}");
    }
}

#[tokio::test]
async fn deleted_version_is_not_a_missing_key() {
    let metadata = json!({"version": 3, "deletion_time": "2026-01-01T00:00:00Z", "destroyed": false});
    let body = json!({"request_id": "x", "data": {"data": null, "metadata": metadata}});
    let deleted = "the current version is deleted";
    check(ResponseTemplate::new(404).set_body_json(&body), "Deleted", deleted, 1).await;
    check(ResponseTemplate::new(200).set_body_json(&body), "Deleted", deleted, 1).await;
}

async fn expires_at(kv: KvVersion, metadata: serde_json::Value) -> Option<String> {
    let data = json!({"data": {"password": PASSWORD}, "metadata": metadata});
    let server = server(ResponseTemplate::new(200).set_body_json(json!({"data": data}))).await;
    let vault = open(&VaultSettings { kv, ..settings(&server.uri(), VaultAuth::Environment) });
    vault.read(&keys(1)).await.remove(0).unwrap().expiry.map(|expiry| expiry.at().to_string())
}

fn deleted_at(time: &str) -> serde_json::Value {
    json!({"version": 3, "deletion_time": time, "destroyed": false})
}

#[tokio::test]
async fn version_with_a_deletion_time_expires_then() {
    let time = "2999-01-01T00:00:00.123456789Z";
    assert_eq!(expires_at(KvVersion::V2, deleted_at(time)).await.as_deref(), Some(time));
    assert_eq!(expires_at(KvVersion::V2, deleted_at("")).await, None);
    assert_eq!(expires_at(KvVersion::V2, json!({"version": 3})).await, None);
    // The fields of a KV v1 value are the owner's choice.
    assert_eq!(expires_at(KvVersion::V1, deleted_at(time)).await, None);
}

#[tokio::test]
async fn response_of_another_engine_is_misconfigured() {
    let message =
        "the response is not one of a KV engine of version 2; check `address`, `mount` and `kvVersion`";
    let v1 = json!({"data": {"password": PASSWORD}});
    check(ResponseTemplate::new(200).set_body_json(v1), "Misconfigured", message, 1).await;
    check(ResponseTemplate::new(200).set_body_string(PASSWORD), "Misconfigured", message, 1).await;
    check(ResponseTemplate::new(204), "Misconfigured", message, 1).await;
}

#[tokio::test]
async fn version_1_read_at_a_version_2_engine_is_named() {
    let body =
        json!({"errors": [], "warnings": ["Invalid path for a versioned K/V secrets engine. hunter2"]});
    let (error, ..) = error_for(KvVersion::V1, ResponseTemplate::new(404).set_body_json(body)).await;
    assert_eq!(error.to_string(), "store vault, key ci/ghcr: the engine is KV version 2, `kvVersion` says 1");
}

#[tokio::test]
async fn missing_response_times_out() {
    let server = server(secret(1).set_delay(Duration::from_mins(1))).await;
    let settings = settings(&server.uri(), VaultAuth::Environment);
    let environment = Environment { vault_token: Some("hvs.token".into()), ..Environment::default() };
    let vault = Vault::with_retry_policy("vault".into(), &settings, &environment, RetryPolicy::SHORT_TIMEOUT)
        .unwrap();
    let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
    let message = error.to_string();
    let start = format!("store vault, key ci/0: no answer from the store at {} within ", server.uri());
    assert!(message.starts_with(&start) && message.ends_with(" ms, 3 attempts"), "{message}");
}

#[tokio::test]
async fn closed_port_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = open(&settings(&address, VaultAuth::Environment)).read(&keys(1)).await.remove(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("store vault, key ci/0: the store at {address} is unavailable: connection refused")
    );
}

#[tokio::test]
async fn port_without_tls_is_named() {
    let server = server(secret(1)).await;
    let address = server.uri().replace("http:", "https:");
    let error = open(&settings(&address, VaultAuth::Environment)).read(&keys(1)).await.remove(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("store vault, key ci/0: the store at {address} is unavailable: the port does not speak TLS")
    );
}

#[tokio::test]
async fn not_found_shows_the_requested_path() {
    let server = server(refused(404)).await;
    for (kv, key, path) in [
        (KvVersion::V2, "secret/ci/ghcr", "secret/data/secret/ci/ghcr"),
        (KvVersion::V2, "secret/data/ci/ghcr", "secret/data/secret/data/ci/ghcr"),
        (KvVersion::V1, "ci/ghcr", "secret/ci/ghcr"),
    ] {
        let vault = open(&VaultSettings { kv, ..settings(&server.uri(), VaultAuth::Environment) });
        let error = vault.read(&[key.into()]).await.remove(0).unwrap_err();
        let version = error::version_number(kv);
        assert_eq!(
            error.to_string(),
            format!("store vault, key {key}: not found at {path} (mount secret, KV version {version})")
        );
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn key_that_a_url_would_change_is_rejected_without_a_request() {
    let server = server(secret(1)).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    for key in ["", "/ci", "ci/", "ci//ghcr", "ci/./ghcr", "../sys/mounts"] {
        let error = vault.read(&[key.into()]).await.remove(0).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Misconfigured(_)), "{key:?}: {error}");
    }
    let requests = server.received_requests().await.unwrap();
    assert!(requests.iter().all(|request| request.url.path() == "/v1/auth/token/lookup-self"));
}

#[tokio::test]
async fn mount_key_namespace_and_token_are_sent_unchanged() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/team/a/kv/data/ci/a%20b%3Fc%25"))
        .and(header("X-Vault-Token", "hvs.token"))
        .and(header("X-Vault-Namespace", "ns1/ns2"))
        .respond_with(secret(7))
        .expect(1)
        .mount(&server)
        .await;
    // A token without permission to look itself up still reads.
    Mock::given(any()).respond_with(refused(403)).with_priority(200).mount(&server).await;
    let vault = open(&VaultSettings {
        mount: "team/a/kv".to_owned(),
        namespace: Some("ns1/ns2".to_owned()),
        ..settings(&server.uri(), VaultAuth::Environment)
    });
    let value = vault.read(&["ci/a b?c%".into()]).await.remove(0);
    assert_eq!(value.unwrap().version.to_string(), "7");
}

#[tokio::test]
async fn empty_list_of_keys_sends_no_request() {
    let server = server(secret(1)).await;
    assert!(open(&settings(&server.uri(), VaultAuth::Environment)).read(&[]).await.is_empty());
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn secrets_are_neither_shown_nor_logged() {
    let (log, _guard) = Log::capture();
    let server = server(secret(1)).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    let shown = format!("{vault:?} {:?}", vault.read(&keys(2)).await);
    let refused = error_for(KvVersion::V2, refused(500)).await;
    for text in [shown, format!("{refused:?}"), log.text()] {
        assert!(!text.contains(PASSWORD) && !text.contains("hvs.token"), "{text}");
    }
    assert!(log.text().contains("read store=vault key=ci/1 version=1 elapsed="), "{}", log.text());
}
