//! Namespaces: those of OpenBao, nested too, and the refusal of one that a server does not have.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use regcred::manifest::config::{AppRoleAuth, KubernetesAuth, KvVersion, VaultAuth, VaultSettings};
use regcred::provider::Provider;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::super::{KeepingSubject, Subject, closed_address, json_of, password, read};
use super::server::{OpenBao, Server, VaultServer, on_every_server};
use super::{message, open, settings};

/// KV version 2 in a namespace of a namespace.
pub(in super::super) struct NestedNamespace(&'static Server);

/// The namespace of [`NestedNamespace`].
const NESTED: &str = "contract/nested";

#[async_trait]
impl Subject for NestedNamespace {
    async fn new() -> Self {
        static NAMESPACE: OnceCell<()> = OnceCell::const_new();
        let server = OpenBao::shared().await;
        NAMESPACE.get_or_init(async || server.vault.create_namespace(NESTED).await.unwrap()).await;
        Self(server)
    }

    async fn provider(&self) -> Arc<dyn Provider> {
        open(&in_namespace(self.0, NESTED))
    }

    async fn unreachable(&self) -> Arc<dyn Provider> {
        let address = closed_address().parse().unwrap();
        open(&VaultSettings { address, ..in_namespace(self.0, NESTED) })
    }

    async fn put(&self, key: &str, value: &Value) {
        self.0.vault.put_kv2(&format!("{NESTED}/secret"), key, value).await.unwrap();
    }

    fn reads_of(&self, key: &str) -> Option<usize> {
        Some(super::reads_of(self.0.vault, &format!("{NESTED}/secret/data/{key}")))
    }
}

#[async_trait]
impl KeepingSubject for NestedNamespace {
    const DELETED: &str = "Deleted";

    async fn delete(&self, key: &str) {
        self.0.vault.delete(&format!("{NESTED}/secret/data/{key}")).await.unwrap();
    }
}

/// The settings of a store in this namespace.
fn in_namespace(server: &Server, namespace: &str) -> VaultSettings {
    VaultSettings { namespace: Some(namespace.to_owned()), ..settings(server, "secret", KvVersion::V2) }
}

/// Settings with every login: a token, AppRole at `approle`, and Kubernetes at `kubernetes`.
fn logins(settings: VaultSettings, files: &Files) -> [(&'static str, VaultSettings); 3] {
    let app_role = VaultAuth::AppRole(AppRoleAuth {
        role_id_file: files.path("role-id"),
        secret_id_file: files.path("secret-id"),
        mount: "approle".to_owned(),
    });
    let kubernetes = VaultAuth::Kubernetes(KubernetesAuth {
        role: "regcred".to_owned(),
        mount: "kubernetes".to_owned(),
        token_file: files.path("jwt"),
    });
    [
        ("tokenFile", settings.clone()),
        ("appRole", VaultSettings { auth: app_role, ..settings.clone() }),
        ("kubernetes", VaultSettings { auth: kubernetes, ..settings }),
    ]
}

/// The files of a login.
struct Files(TempDir);

impl Files {
    fn new(role_id: &str, secret_id: &str, jwt: &str) -> Self {
        let files = Self(TempDir::new().unwrap());
        for (name, content) in [("role-id", role_id), ("secret-id", secret_id), ("jwt", jwt)] {
            std::fs::write(files.path(name), content).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

on_every_server! {
    absent_namespace_is_named_by_every_login
}

async fn absent_namespace_is_named_by_every_login<S: VaultServer>() {
    let server = S::shared().await;
    server.vault.put_kv2("secret", "namespace/ghcr", &password("root")).await.unwrap();
    let files = Files::new("role", "secret", "jwt");
    for (login, settings) in logins(in_namespace(server, "team-b"), &files) {
        let expect = format!("store vault, key namespace/ghcr: {}", S::ABSENT_NAMESPACE);
        assert_eq!(message(&*open(&settings), "namespace/ghcr").await, expect, "{login}");
    }
}

#[tokio::test]
async fn nested_namespaces_are_read_with_every_login() {
    let server = OpenBao::shared().await;
    let (vault, kube) = (server.vault, &server.world.kube);
    kube.create_namespaces(["logins"], &[]).await.unwrap();
    vault.put_kv2("secret", "logins", &password("root")).await.unwrap();
    for namespace in ["logins", "logins/nested"] {
        vault.create_namespace(namespace).await.unwrap();
        vault.put_kv2(&format!("{namespace}/secret"), "logins", &password(namespace)).await.unwrap();
        let policy = json!({"policy": r#"path "secret/data/*" { capabilities = ["read"] }"#});
        vault.write(&format!("{namespace}/sys/policies/acl/regcred"), &policy).await.unwrap();
        let role_path = format!("{namespace}/auth/approle/role/regcred");
        vault.write(&format!("{namespace}/sys/auth/approle"), &json!({"type": "approle"})).await.unwrap();
        vault.write(&role_path, &json!({"token_policies": ["regcred"]})).await.unwrap();
        let role_id = vault.read(&format!("{role_path}/role-id")).await.unwrap();
        let secret_id = vault.write(&format!("{role_path}/secret-id"), &json!({})).await.unwrap();
        let config = json!({
            "kubernetes_host": kube.url,
            "kubernetes_ca_cert": std::fs::read_to_string(&kube.ca_file).unwrap(),
            "token_reviewer_jwt": kube.token("kube-system", "vault-reviewer", 3600).await.unwrap(),
        });
        vault
            .write(&format!("{namespace}/sys/auth/kubernetes"), &json!({"type": "kubernetes"}))
            .await
            .unwrap();
        vault.write(&format!("{namespace}/auth/kubernetes/config"), &config).await.unwrap();
        let role = json!({
            "bound_service_account_names": ["default"],
            "bound_service_account_namespaces": ["logins"],
            "token_policies": ["regcred"],
        });
        vault.write(&format!("{namespace}/auth/kubernetes/role/regcred"), &role).await.unwrap();
        let jwt = kube.token("logins", "default", 600).await.unwrap();
        let files = Files::new(
            role_id["data"]["role_id"].as_str().unwrap(),
            secret_id["data"]["secret_id"].as_str().unwrap(),
            &jwt,
        );
        for (login, settings) in logins(in_namespace(server, namespace), &files) {
            let value = read(&*open(&settings), "logins").await;
            let value = value.unwrap_or_else(|error| panic!("{login} in {namespace}: {error}"));
            assert_eq!(json_of(&value), password(namespace), "{login}");
        }
    }
}

#[tokio::test]
async fn locked_and_deleted_namespaces_are_named() {
    let server = OpenBao::shared().await;
    let vault = server.vault;
    vault.create_namespace("unfortunate").await.unwrap();
    vault.put_kv2("unfortunate/secret", "key", &password("hunter2")).await.unwrap();
    let provider = open(&in_namespace(server, "unfortunate"));
    assert!(read(&*provider, "key").await.is_ok());
    let unlock = vault.write("sys/namespaces/api-lock/lock/unfortunate", &json!({})).await.unwrap();
    assert_eq!(
        message(&*provider, "key").await,
        "store vault, key key: the namespace unfortunate is locked by an administrator. Unlock it with \
         `namespace unlock`"
    );
    let key = json!({"unlock_key": unlock["data"]["unlock_key"]});
    vault.write("sys/namespaces/api-lock/unlock/unfortunate", &key).await.unwrap();
    assert!(read(&*provider, "key").await.is_ok());
    vault.delete("sys/namespaces/unfortunate").await.unwrap();
    let absent = "the namespace unfortunate is not found in the Vault. Correct `namespace`, or create it";
    super::until(async || message(&*provider, "key").await.ends_with(absent)).await;
}
