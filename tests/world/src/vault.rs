//! A real Vault or OpenBao, with KV of both versions, the Kubernetes auth method and an audit file.

mod audit;
mod auth;
mod cli;
mod namespaces;
mod openbao_cluster;
mod start;

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use reqwest::{Client, Method};
use serde_json::{Value, json};

pub use audit::{VaultAuditEvent, VaultAuditMark};
pub use openbao_cluster::OpenBaoCluster;

use crate::http;
use crate::process::{Process, wait_until};
use crate::reaper::Reaper;

/// The audit file in the directory of a server.
const AUDIT_LOG: &str = "audit.log";

/// A running Vault or OpenBao, or one node of a cluster; dropping it ends it.
#[derive(Debug)]
pub struct Vault {
    /// The URL, `http://127.0.0.1:PORT`.
    pub address: String,
    /// A token with all rights.
    pub root_token: String,
    /// The key that [`Vault::unseal`] needs.
    unseal_key: String,
    audit_log: PathBuf,
    client: Client,
    /// The server, which is the command line as well.
    program: PathBuf,
    _process: Process,
    _reaper: Reaper,
}

impl Vault {
    /// Sends a request with the root token; `path` follows `/v1/`. An empty response is `null`.
    pub async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.request_as(&self.root_token, method, path, body).await
    }

    /// Sends a request with any token.
    pub async fn request_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let method: Method = method.parse().map_err(|_| anyhow!("{method} is not an HTTP method"))?;
        let mut request =
            self.client.request(method, format!("{}/v1/{path}", self.address)).header("x-vault-token", token);
        if let Some(body) = body {
            request = request.json(body);
        }
        http::json(request).await
    }

    /// Reads `path`.
    pub async fn read(&self, path: &str) -> anyhow::Result<Value> {
        self.request("GET", path, None).await
    }

    /// Writes `path`, for example `secret/data/ci/ghcr` with `{"data": …}`.
    pub async fn write(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request("POST", path, Some(body)).await
    }

    /// Deletes `path`.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.request("DELETE", path, None).await
    }

    /// Puts a new version of a KV version 2 key and returns its number.
    pub async fn put_kv2(&self, mount: &str, key: &str, data: &Value) -> anyhow::Result<u64> {
        let answer = self.write(&format!("{mount}/data/{key}"), &json!({ "data": data })).await?;
        answer["data"]["version"].as_u64().context("the response to a KV write has no version")
    }

    /// Puts a KV version 1 key.
    pub async fn put_kv1(&self, mount: &str, key: &str, data: &Value) -> anyhow::Result<()> {
        self.write(&format!("{mount}/{key}"), data).await?;
        Ok(())
    }

    /// Mounts a KV engine of version 1 or 2, at a path that may contain slashes, and waits until it accepts writes.
    pub async fn enable_kv(&self, mount: &str, version: u8) -> anyhow::Result<()> {
        self.enable_kv_in("", mount, version).await
    }

    /// The same below a namespace, which ends with a slash.
    async fn enable_kv_in(&self, namespace: &str, mount: &str, version: u8) -> anyhow::Result<()> {
        let body = json!({ "type": "kv", "options": { "version": version.to_string() } });
        self.write(&format!("{namespace}sys/mounts/{mount}"), &body).await?;
        if version == 2 {
            // A new version 2 mount rejects all requests for a moment while it upgrades itself.
            let config = format!("{namespace}{mount}/config");
            wait_until("a usable KV mount", || async { Ok(self.read(&config).await.ok()) }).await?;
        }
        Ok(())
    }

    /// Writes a policy in HCL.
    pub async fn put_policy(&self, name: &str, hcl: &str) -> anyhow::Result<()> {
        self.write(&format!("sys/policies/acl/{name}"), &json!({ "policy": hcl })).await?;
        Ok(())
    }

    /// Seals Vault: every request except [`Vault::unseal`] then fails with 503.
    pub async fn seal(&self) -> anyhow::Result<()> {
        self.write("sys/seal", &json!({})).await?;
        Ok(())
    }

    /// Unseals Vault and waits until it accepts requests again.
    pub async fn unseal(&self) -> anyhow::Result<()> {
        self.send_unseal_key().await?;
        let health = format!("{}/v1/sys/health", self.address);
        wait_until("an unsealed Vault", || async {
            Ok(http::is_healthy(&self.client, &health).await.then_some(()))
        })
        .await
    }

    async fn send_unseal_key(&self) -> anyhow::Result<()> {
        self.write("sys/unseal", &json!({ "key": self.unseal_key })).await?;
        Ok(())
    }
}
