//! A real Kubernetes control plane without nodes: the API server, and the controllers that create ServiceAccounts and
//! finalize namespaces.

mod api_server;
mod apply;
mod audit;
mod burst;
mod control_plane;
pub(crate) mod credentials;
mod etcd;
mod kubeconfig;
mod kubectl;
mod namespaces;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub use api_server::StopSignal;
pub use audit::{AuditEvent, AuditMark, service_account_user};
pub use etcd::Backup;

use crate::http;
use crate::process::{Process, wait_until};
use crate::reaper::Reaper;
use api_server::ApiServer;
use etcd::Etcd;

/// A running control plane.
#[derive(Debug)]
pub struct Kube {
    /// The URL of the API server, `https://127.0.0.1:PORT`.
    pub url: String,
    /// The file of certificates to trust for the API server, as PEM.
    pub ca_file: PathBuf,
    /// A bearer token in the group `system:masters`.
    admin_token: String,
    /// The directory of the control plane's files.
    directory: PathBuf,
    /// The client for requests as admin.
    client: Client,
    // Killed in this order when the control plane is dropped.
    controllers: Option<Process>,
    apiserver: ApiServer,
    etcd: Etcd,
    reaper: Reaper,
}

impl Kube {
    /// Returns the path of the admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// Reads an object or a list as admin; `path` begins with `/api` or `/apis`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::GET, path, None).await
    }

    /// Creates an object as admin.
    pub async fn post(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::POST, path, Some(object)).await
    }

    /// Replaces an object as admin.
    pub async fn put(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        self.request(Method::PUT, path, Some(object)).await
    }

    /// Changes an object as admin, by JSON merge patch.
    pub async fn patch(&self, path: &str, change: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .patch(format!("{}{path}", self.url))
            .bearer_auth(&self.admin_token)
            .header("content-type", "application/merge-patch+json")
            .body(change.to_string());
        http::json(request).await
    }

    /// Applies an object as admin, by server-side apply; `path` is that of the object.
    pub async fn apply(&self, path: &str, object: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .patch(format!("{}{path}?fieldManager=world&force=true", self.url))
            .bearer_auth(&self.admin_token)
            .header("content-type", "application/apply-patch+yaml")
            .body(object.to_string());
        http::json(request).await
    }

    /// Deletes an object as admin.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.request(Method::DELETE, path, None).await
    }

    /// Sends a request with a bearer token; the error of a rejected one quotes the response. The body is a content
    /// type and a text.
    pub async fn request_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<(&str, String)>,
    ) -> anyhow::Result<Value> {
        let method = Method::from_bytes(method.as_bytes()).context("not an HTTP method")?;
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if let Some((content_type, text)) = body {
            request = request.header("content-type", content_type).body(text);
        }
        http::json(request).await
    }

    async fn request(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let mut request =
            self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.admin_token);
        if let Some(body) = body {
            request = request.json(body);
        }
        http::json(request).await
    }

    /// Requests a token for a ServiceAccount by `TokenRequest`, valid for `seconds` (600 at least).
    pub async fn token(
        &self,
        namespace: &str,
        service_account: &str,
        seconds: u32,
    ) -> anyhow::Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token");
        let answer = self.post(&path, &json!({ "spec": { "expirationSeconds": seconds } })).await?;
        let token =
            answer["status"]["token"].as_str().context("the response to a TokenRequest has no token")?;
        Ok(token.to_owned())
    }

    /// Restarts the API server on the same port with the same keys and certificates, and waits until it is ready. etcd
    /// keeps running, so no acknowledged write is lost.
    pub async fn restart_apiserver(&self, signal: StopSignal) -> anyhow::Result<()> {
        self.apiserver.restart(&self.reaper, signal).await
    }

    /// Restarts etcd on the same ports with the same data, and waits until the API server can write again.
    pub async fn restart_etcd(&self, signal: StopSignal) -> anyhow::Result<()> {
        self.etcd.restart(&self.reaper, signal).await?;
        // A patch that changes nothing is not sent to etcd.
        let change = json!({ "metadata": { "annotations": { "restart": credentials::random_token()? } } });
        wait_until("a write to etcd", || async {
            Ok(self.patch("/api/v1/namespaces/default", &change).await.ok().map(drop))
        })
        .await
    }

    /// Copies the data of etcd, and waits until the API server is ready again.
    pub async fn back_up(&self) -> anyhow::Result<Backup> {
        let backup = self.etcd.back_up(&self.reaper).await?;
        self.restart_apiserver(StopSignal::Kill).await?;
        Ok(backup)
    }

    /// Puts an earlier copy of the data of etcd back: every write since is lost, and versions are given out again.
    pub async fn restore(&self, backup: &Backup) -> anyhow::Result<()> {
        self.etcd.restore(&self.reaper, backup).await?;
        self.restart_apiserver(StopSignal::Kill).await
    }

    /// Returns the certificates to trust, as PEM text.
    pub fn ca_pem(&self) -> anyhow::Result<String> {
        read(&self.ca_file)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
