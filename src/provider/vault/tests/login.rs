//! The auth methods, and the errors of a failed login.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::{any, body_json, header, method, path, path_regex};
use wiremock::{Mock, MockBuilder, MockServer, ResponseTemplate};

use super::super::*;
use super::{error_body, keys, open, refused, secret, settings};
use crate::manifest::config::{AppRoleAuth, KubernetesAuth, VaultAuth};
use crate::provider::Denied;

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
            error_body(400, "invalid role name \"regcred\""),
            "the login at auth/kubernetes was refused: there is no role regcred. Create it, or correct \
             `auth.kubernetes.role`",
        ),
        (
            error_body(403, "service account name not authorized"),
            "the login at auth/kubernetes was refused: role regcred is not bound to this ServiceAccount. Add it \
             to `bound_service_account_names`",
        ),
        (
            error_body(403, "namespace not authorized"),
            "the login at auth/kubernetes was refused: role regcred is not bound to the namespace of this \
             ServiceAccount. Add it to `bound_service_account_namespaces`",
        ),
        (
            error_body(
                403,
                "invalid audience (aud) claim: audience claim does not match any expected audience",
            ),
            "the login at auth/kubernetes was refused: the token in `tokenFile` is not for the audience of role \
             regcred. Mount a token with that audience",
        ),
        (
            error_body(403, "permission denied"),
            "the login at auth/kubernetes was refused: the Vault could not have the token reviewed. Check that \
             its auth method reaches the API server, that its reviewer token is valid and bound to \
             system:auth-delegator, and that the ServiceAccount and the auth method exist",
        ),
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

/// AppRole with both ids in files of a directory.
fn app_role(directory: &Path, secret_id: &str) -> VaultAuth {
    let [role_id_file, secret_id_file] = ["role-id", "secret-id"].map(|name| directory.join(name));
    std::fs::write(&role_id_file, "role").unwrap();
    std::fs::write(&secret_id_file, secret_id).unwrap();
    VaultAuth::AppRole(AppRoleAuth { role_id_file, secret_id_file, mount: "approle".to_owned() })
}

async fn app_role_server(login: ResponseTemplate, logins: u64) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(path("/v1/auth/approle/login")).respond_with(login).expect(logins).mount(&server).await;
    Mock::given(any()).respond_with(secret(1)).with_priority(200).mount(&server).await;
    server
}

#[tokio::test]
async fn refused_app_role_login_is_not_tried_again() {
    let directory = TempDir::new().unwrap();
    let server = app_role_server(error_body(400, "invalid role or secret ID"), 2).await;
    let vault = open(&settings(&server.uri(), app_role(directory.path(), "stale")));
    let mut messages = std::collections::BTreeSet::new();
    for _ in 0..6 {
        messages.insert(vault.read(&keys(1)).await.remove(0).unwrap_err().to_string());
        vault.versions(&keys(1)).await.remove(0).unwrap_err();
    }
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(messages.first().unwrap().contains("lock the role"), "{messages:?}");
    std::fs::write(directory.path().join("secret-id"), "stale, too").unwrap();
    for _ in 0..3 {
        vault.read(&keys(1)).await.remove(0).unwrap_err();
    }
}

#[tokio::test]
async fn stores_with_the_same_login_are_refused_once() {
    let directory = TempDir::new().unwrap();
    let refused = error_body(400, "invalid role or secret ID").set_delay(Duration::from_millis(100));
    let server = app_role_server(refused, 1).await;
    let settings = settings(&server.uri(), app_role(directory.path(), "stale"));
    let environment = Environment::default();
    let stores = (0..6).map(|n| {
        let settings = VaultSettings { mount: format!("kv-{n}"), ..settings.clone() };
        Vault::open(format!("vault-{n}").as_str().into(), &settings, &environment).unwrap()
    });
    let stores: Vec<_> = stores.collect();
    let first = keys(1);
    let reads = futures::future::join_all(stores.iter().map(|store| store.read(&first))).await;
    assert!(reads.iter().flatten().all(Result::is_err));
}

#[tokio::test]
async fn locked_role_is_named_and_tried_again() {
    let directory = TempDir::new().unwrap();
    let server = app_role_server(error_body(403, "permission denied"), 2).await;
    let vault = open(&settings(&server.uri(), app_role(directory.path(), "right")));
    for _ in 0..2 {
        let message = vault.read(&keys(1)).await.remove(0).unwrap_err().to_string();
        assert!(message.contains("the role is locked after refused logins"), "{message}");
    }
}

#[tokio::test]
async fn outage_during_an_app_role_login_is_no_refusal() {
    let directory = TempDir::new().unwrap();
    let server = app_role_server(error_body(500, "internal error"), 6).await;
    let vault = open(&settings(&server.uri(), app_role(directory.path(), "right")));
    for _ in 0..2 {
        let error = vault.read(&keys(1)).await.remove(0).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Unavailable(_)), "{error}");
    }
}

#[tokio::test]
async fn refused_login_is_told_from_a_refused_key() {
    let directory = TempDir::new().unwrap();
    let server = app_role_server(error_body(400, "invalid role or secret ID"), 1).await;
    let vault = open(&settings(&server.uri(), app_role(directory.path(), "stale")));
    let error = vault.versions(&keys(1)).await.remove(0).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Denied(Denied::Login(_))), "{error}");
    let vault = open(&settings("http://127.0.0.1:1", VaultAuth::TokenFile("/nowhere/token".into())));
    let error = vault.versions(&keys(1)).await.remove(0).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Denied(Denied::Login(_))), "{error}");
}

#[tokio::test]
async fn dead_token_is_told_from_a_missing_policy() {
    for (text, is_login) in [
        ("2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n", true),
        ("permission denied", true),
        ("1 error occurred:\n\t* permission denied\n\n", false),
    ] {
        let server = MockServer::start().await;
        Mock::given(any()).respond_with(error_body(403, text)).mount(&server).await;
        let vault = open(&settings(&server.uri(), VaultAuth::Environment));
        let error = vault.versions(&keys(1)).await.remove(0).unwrap_err();
        assert_eq!(matches!(error.kind, ErrorKind::Denied(Denied::Login(_))), is_login, "{error}");
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
        let environment = Environment { vault_token: vault_token.map(Into::into), ..Environment::default() };
        let error = Vault::open("vault".into(), &settings, &environment).unwrap_err();
        assert_eq!(error.to_string(), format!("store vault: {expect}"));
    }
}
