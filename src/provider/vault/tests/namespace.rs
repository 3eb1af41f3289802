//! Namespaces: those that are missing, sealed or locked, and a Vault that has none.

use tempfile::TempDir;

use super::*;
use crate::manifest::config::AppRoleAuth;

fn in_namespace(address: &str, auth: VaultAuth) -> VaultSettings {
    VaultSettings { namespace: Some("team-b".to_owned()), ..settings(address, auth) }
}

/// A server that sends `health`, and `response` to everything else.
async fn server_with_health(health: ResponseTemplate, response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/v1/sys/health")).respond_with(health).with_priority(1).mount(&server).await;
    Mock::given(any()).respond_with(response).mount(&server).await;
    server
}

async fn message(settings: &VaultSettings) -> String {
    open(settings).read(&keys(1)).await.remove(0).unwrap_err().to_string()
}

const NOT_FOUND: &str = "store vault, key ci/0: the namespace team-b is not found in the Vault. Correct `namespace`, \
                         or create it";

#[tokio::test]
async fn missing_namespace_is_named_by_reads_and_logins() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("id");
    std::fs::write(&file, "id").unwrap();
    let (role_id_file, secret_id_file) = (file.clone(), file);
    let app_role =
        VaultAuth::AppRole(AppRoleAuth { role_id_file, secret_id_file, mount: "approle".to_owned() });
    let server = server_with_health(refused(404), error_body(404, "namespace not found")).await;
    for auth in [VaultAuth::Environment, app_role] {
        assert_eq!(message(&in_namespace(&server.uri(), auth)).await, NOT_FOUND);
    }
    // The token is good, and the namespace is gone when it reads.
    let server = super::server(error_body(404, "namespace not found")).await;
    assert_eq!(message(&in_namespace(&server.uri(), VaultAuth::Environment)).await, NOT_FOUND);
}

#[tokio::test]
async fn sealed_or_locked_namespace_is_named() {
    for (text, expect) in [
        ("namespace is sealed", "the namespace team-b is sealed"),
        (
            "API access to this namespace has been locked by an administrator - \"team-b/\" must be unlocked",
            "the namespace team-b is locked by an administrator. Unlock it with `namespace unlock`",
        ),
        ("Vault is sealed", "the Vault is sealed"),
    ] {
        let server = super::server(error_body(503, text)).await;
        let error = open(&in_namespace(&server.uri(), VaultAuth::Environment)).read(&keys(1)).await.remove(0);
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), format!("store vault, key ci/0: {expect}"));
        assert_eq!(<&str>::from(error.reason()), "Sealed");
    }
}

/// A health as this server sends it.
fn health(status: u16, body: serde_json::Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

#[tokio::test]
async fn vault_without_namespaces_is_refused_before_the_login() {
    // A standby has a status of its own.
    for status in [200, 429] {
        let server = server_with_health(health(status, json!({"enterprise": false})), secret(1)).await;
        let message = message(&in_namespace(&server.uri(), VaultAuth::Environment)).await;
        assert_eq!(
            message,
            "store vault, key ci/0: this Vault has no namespaces and would answer from its root, because it is \
             not Vault Enterprise. Remove `namespace: team-b`, or correct `address`"
        );
        let requests = server.received_requests().await.unwrap();
        assert!(requests.iter().all(|it| it.url.path() == "/v1/sys/health"));
        assert!(requests.iter().all(|it| !it.headers.contains_key("X-Vault-Token")));
    }
}

#[tokio::test]
async fn other_health_is_no_reason_to_refuse() {
    for health in [
        health(200, json!({"enterprise": true})),
        health(200, json!({"version": "2.7.2"})),
        health(200, json!(["enterprise"])),
        ResponseTemplate::new(404).set_body_string("<html>"),
        ResponseTemplate::new(200).set_delay(Duration::from_mins(1)),
    ] {
        let server = super::server(secret(1)).await;
        Mock::given(path("/v1/sys/health")).respond_with(health).with_priority(1).mount(&server).await;
        let vault = open(&in_namespace(&server.uri(), VaultAuth::Environment));
        assert!(vault.read(&keys(1)).await[0].is_ok());
    }
}

#[tokio::test]
async fn health_is_not_asked_for_without_a_namespace() {
    let server = super::server(secret(1)).await;
    assert!(open(&settings(&server.uri(), VaultAuth::Environment)).read(&keys(1)).await[0].is_ok());
    let requests = server.received_requests().await.unwrap();
    assert!(requests.iter().all(|it| it.url.path() != "/v1/sys/health"));
}
