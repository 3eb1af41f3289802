//! Ways to log in, and what a login that fails says.

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::{any, body_json, header, method, path, path_regex};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::super::*;
use super::{keys, open, refused, secret, settings};
use crate::manifest::config::{KubernetesAuth, VaultAuth};

/// Kubernetes auth with a token in a directory that lives as long as the test.
fn kubernetes(directory: &Path) -> VaultAuth {
    let token_file = directory.join("token");
    std::fs::write(&token_file, "jwt\n").unwrap();
    VaultAuth::Kubernetes(KubernetesAuth {
        role: "regcred".to_owned(),
        mount: "kubernetes".to_owned(),
        token_file,
    })
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
async fn a_login_that_fails_is_not_tried_again_for_every_key() {
    let directory = TempDir::new().unwrap();
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(refused(503)).expect(3).mount(&server).await;
    let values = open(&settings(&server.uri(), kubernetes(directory.path()))).read(&keys(40)).await;
    assert!(values.iter().all(|value| matches!(value, Err(Error::Unavailable { .. }))));
}

#[tokio::test]
async fn a_token_that_stops_working_is_replaced_once_for_all_reads() {
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
    let read = || Mock::given(path_regex("^/v1/secret/data/"));
    read()
        .and(header("X-Vault-Token", "hvs.a"))
        .respond_with(secret(1))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    read().and(header("X-Vault-Token", "hvs.a")).respond_with(refused(403)).mount(&server).await;
    read().and(header("X-Vault-Token", "hvs.b")).respond_with(secret(2)).expect(20).mount(&server).await;
    let vault = open(&settings(&server.uri(), kubernetes(directory.path())));
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.0, "1");
    for value in vault.read(&keys(20)).await {
        assert_eq!(value.unwrap().version.0, "2");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_says_what_to_check() {
    let directory = TempDir::new().unwrap();
    let auth = kubernetes(directory.path());
    let check = async |answer: ResponseTemplate, expect: &str| {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(answer).expect(1).mount(&server).await;
        let error = open(&settings(&server.uri(), auth.clone())).read(&keys(1)).await.remove(0).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault, key ci/0: access denied: {expect}"));
    };
    check(
        refused(403),
        "the login at auth/kubernetes was refused: check role regcred, the ServiceAccounts it is bound to \
         and its audience",
    )
    .await;
    check(
        ResponseTemplate::new(404).set_body_json(json!({"errors": ["no handler for route"]})),
        "no auth method is mounted at auth/kubernetes",
    )
    .await;
    check(granted("with space"), "the login at auth/kubernetes brought no token").await;
}

#[tokio::test]
async fn a_file_that_the_login_needs_is_named() {
    let check = async |auth: VaultAuth, expect: &str| {
        let vault = open(&settings("http://127.0.0.1:1", auth));
        let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault, key ci/0: access denied: {expect}"));
    };
    check(
        VaultAuth::TokenFile("/nowhere/token".into()),
        "`auth.tokenFile` /nowhere/token cannot be read: No such file or directory (os error 2)",
    )
    .await;
    check(VaultAuth::TokenFile("/dev/null".into()), "`auth.tokenFile` /dev/null is empty").await;
}

#[tokio::test]
async fn a_token_in_a_file_is_read_anew_when_it_stops_working() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("token");
    let server = MockServer::start().await;
    let read = |token: &str| Mock::given(path_regex("^/v1/secret/data/")).and(header("X-Vault-Token", token));
    read("hvs.a").respond_with(secret(1)).up_to_n_times(1).mount(&server).await;
    read("hvs.a").respond_with(refused(403)).mount(&server).await;
    read("hvs.b").respond_with(secret(2)).mount(&server).await;
    Mock::given(any()).respond_with(refused(403)).with_priority(200).mount(&server).await;
    let vault = open(&settings(&server.uri(), VaultAuth::TokenFile(file.clone())));
    std::fs::write(&file, "hvs.a\n").unwrap();
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.0, "1");
    let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "store vault, key ci/0: access denied: the token is expired or revoked, or no policy grants \
         `read` on secret/data/ci/0"
    );
    std::fs::write(&file, "hvs.b\n").unwrap();
    assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.0, "2");
}

#[test]
fn without_a_token_in_the_environment_the_store_does_not_open() {
    let settings = settings("http://127.0.0.1:1", VaultAuth::Environment);
    let check = |vault_token: Option<&str>, expect: &str| {
        let environment = Environment { vault_token: vault_token.map(Into::into) };
        let error = Vault::open("vault".into(), &settings, &environment).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault: {expect}"));
    };
    check(None, "no way to log in: set `auth`, or VAULT_TOKEN in the environment");
    check(Some("\n"), "VAULT_TOKEN is empty or no token");
    check(Some("hvs\nhunter2"), "VAULT_TOKEN is empty or no token");
}
