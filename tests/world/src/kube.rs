//! A real Kubernetes API server, with the controllers that make ServiceAccounts and finish namespaces, and no node.

mod api_server;
mod apply;
mod audit;
mod burst;
mod control_plane;
pub(crate) mod credentials;
mod kubeconfig;
mod kubectl;
mod namespaces;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub use api_server::Ending;
pub use audit::{AuditEvent, AuditMark, service_account_user};

use crate::guardian::Guardian;
use crate::http;
use crate::process::Process;
use api_server::ApiServer;

/// A running control plane.
#[derive(Debug)]
pub struct Kube {
    /// Where the API server listens, `https://127.0.0.1:PORT`.
    pub url: String,
    /// The certificates to trust for it, as PEM.
    pub ca_file: PathBuf,
    /// A bearer token in the group `system:masters`.
    admin_token: String,
    /// Everything of the control plane that lies on disk.
    directory: PathBuf,
    /// Requests as admin.
    client: Client,
    // Killed in this order when the control plane is dropped.
    controllers: Option<Process>,
    apiserver: ApiServer,
    _etcd: Process,
    guardian: Guardian,
}

impl Kube {
    /// The admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// Reads as admin; `path` begins with `/api` or `/apis`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// Creates as admin.
    pub async fn post(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path, Some(object)).await
    }

    /// Replaces as admin.
    pub async fn put(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::PUT, path, Some(object)).await
    }

    /// Changes as admin, by JSON merge patch.
    pub async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .patch(format!("{}{path}", self.url))
            .bearer_auth(&self.admin_token)
            .header("content-type", "application/merge-patch+json")
            .body(change.to_string());
        http::json(request).await
    }

    /// Makes an object be as given, as admin, by server-side apply; `path` is that of the object.
    pub async fn apply(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .patch(format!("{}{path}?fieldManager=world&force=true", self.url))
            .bearer_auth(&self.admin_token)
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string());
        http::json(request).await
    }

    /// Deletes as admin.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::DELETE, path, None).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request =
            self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.admin_token);
        if let Some(body) = body {
            request = request.json(body);
        }
        http::json(request).await
    }

    /// A token for a ServiceAccount by `TokenRequest`, good for `seconds` (600 at least).
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        seconds: u32,
    ) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
        let answer = self.post(&path, &json!({ "spec": { "expirationSeconds": seconds } })).await?;
        let token =
            answer["status"]["token"].as_str().context("a TokenRequest was answered without a token")?;
        Ok(token.to_owned())
    }

    /// Ends the API server and starts it again on the same port, with the same keys and certificates; waits until it is
    /// ready. etcd goes on, so nothing that was answered is lost.
    pub async fn restart_apiserver(&self, ending: Ending) -> anyhow::Result<()> {
        self.apiserver.restart(&self.guardian, ending).await
    }

    /// The certificates to trust, as PEM text.
    pub fn ca_pem(&self) -> anyhow::Result<String> {
        read(&self.ca_file)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
