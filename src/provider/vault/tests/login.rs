//! The auth methods, and the errors of a failed login.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::{any, body_json, header, method, path, path_regex};
use wiremock::{Mock, MockBuilder, MockServer, ResponseTemplate};

use super::super::*;
use super::{error_body, keys, open, refused, secret, settings};
use crate::manifest::config::{KubernetesAuth, VaultAuth};

/// Kubernetes auth with a token file in a temporary directory.
fn kubernetes(directory: &Path) -> VaultAuth {
    let token_file = directory.join("token");
    std::fs::write(&token_file, "jwt\n").unwrap();
    VaultAuth::Kubernetes(KubernetesAuth {
        role: "regcred".to_owned(),
        mount: "kubernetes".to_owned(),
        token_file,
    })
}

/// Reads of values with this token.
fn reads_with(token: &str) -> MockBuilder {
    Mock::given(path_regex("^/v1/secret/data/")).and(header("X-Vault-Token", token))
}

fn granted(token: &str) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({"auth": {"client_token": token, "lease_duration": 3600, "renewable": true}}))
}

#[tokio::test]
async fn forty_reads_share_one_login() {
    let directory = TempDir::new().unwrap();
    let server = MockServer::start().await;
    Mock::given(path("/v1/auth/kubernetes/login"))
        .and(body_json(json!({"role": "regcred", "jwt": "jwt"})))
        .respond_with(granted("hvs.a"))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(header("X-Vault-Token", "hvs.a"))
        .respond_with(secret(1))
        .expect(40)
        .mount(&server)
        .await;
    let values = open(&settings(&server.uri(), kubernetes(directory.path()))).read(&keys(40)).await;
    assert_eq!(values.len(), 40);
    assert!(values.iter().all(Result::is_ok));
}

#[tokio::test]
async fn failed_login_is_not_repeated_for_every_key() {
    let directory = TempDir::new().unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(refused(503)).expect(3).mount(&server).await;
    let values = open(&settings(&server.uri(), kubernetes(directory.path()))).read(&keys(40)).await;
    assert!(values.iter().all(|value| matches!(value, Err(Error { kind: ErrorKind::Unavailable(_), .. }))));
}

#[tokio::test]
async fn rejected_token_is_replaced_once_for_all_reads() {
    let directory = TempDir::new().unwrap();
    let server = MockServer::start().await;
    let login = path("/v1/auth/kubernetes/login");
    Mock::given(path("/v1/auth/kubernetes/login"))
        .respond_with(granted("hvs.a"))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(login).respond_with(granted("hvs.b")).expect(1).mount(&server).await;
    Mock::given(path("/v1/auth/token/revoke-self"))
        .and(header("X-Vault-Token", "hvs.a"))
        .respond_with(refused(403))
        .expect(1)
        .mount(&server)
        .await;
    reads_with("hvs.a").respond_with(secret(1)).up_to_n_times(1).mount(&server).await;
    reads_with("hvs.a").respond_with(refused(403)).mount(&server).await;
    reads_with("hvs.b").respond_with(secret(2)).expect(20).mount(&server).await;
    let vault = open(&settings(&server.uri(), kubernetes(directory.path())));
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.to_string(), "1");
    for value in vault.read(&keys(20)).await {
        assert_eq!(value.unwrap().version.to_string(), "2");
    }
}

#[tokio::test]
async fn refused_login_names_what_to_check() {
    let directory = TempDir::new().unwrap();
    let auth = kubernetes(directory.path());
    for (response, expect) in [
        (
            refused(403),
            "the login at auth/kubernetes was refused: check role regcred, the ServiceAccounts it is bound to \
             and its audience",
        ),
        (error_body(404, "no handler for route"), "no auth method is mounted at auth/kubernetes"),
        (granted("with space"), "the login at auth/kubernetes returned no token"),
    ] {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(response).expect(1).mount(&server).await;
        let error = open(&settings(&server.uri(), auth.clone())).read(&keys(1)).await.remove(0).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault, key ci/0: access denied: {expect}"));
    }
}

#[tokio::test]
async fn missing_or_empty_login_file_is_named() {
    for (file, expect) in [
        ("/nowhere/token", "cannot be read: No such file or directory (os error 2)"),
        ("/dev/null", "is empty"),
    ] {
        let vault = open(&settings("http://127.0.0.1:1", VaultAuth::TokenFile(file.into())));
        let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("store vault, key ci/0: access denied: `auth.tokenFile` {file} {expect}")
        );
    }
}

#[tokio::test]
async fn rejected_token_is_read_from_its_file_again() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    let server = MockServer::start().await;
    reads_with("hvs.a").respond_with(secret(1)).up_to_n_times(1).mount(&server).await;
    reads_with("hvs.a").respond_with(refused(403)).mount(&server).await;
    reads_with("hvs.b").respond_with(secret(2)).mount(&server).await;
    Mock::given(any()).respond_with(refused(403)).with_priority(200).mount(&server).await;
    let vault = open(&settings(&server.uri(), VaultAuth::TokenFile(file.clone())));
    std::fs::write(&file, "hvs.a\n").unwrap();
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.to_string(), "1");
    let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "store vault, key ci/0: access denied: the token is expired or revoked, or no policy grants \
         `read` on secret/data/ci/0"
    );
    std::fs::write(&file, "hvs.b\n").unwrap();
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.to_string(), "2");
}

#[test]
fn store_without_a_token_does_not_open() {
    let settings = settings("http://127.0.0.1:1", VaultAuth::Environment);
    for (vault_token, expect) in [
        (None, "no auth method: set `auth`, or VAULT_TOKEN in the environment"),
        (Some("\n"), "VAULT_TOKEN is empty or not a valid token"),
        (Some("hvs\nhunter2"), "VAULT_TOKEN is empty or not a valid token"),
    ] {
        let environment = Environment { vault_token: vault_token.map(Into::into) };
        let error = Vault::open("vault".into(), &settings, &environment).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault: {expect}"));
    }
}
