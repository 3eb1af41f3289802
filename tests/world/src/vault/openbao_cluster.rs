//! A raft cluster of three OpenBao servers, of which two are standbys that answer reads themselves.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::start::AUDIT_BY_API;
use super::{AUDIT_LOG, Vault};
use crate::process::{Process, wait_until};
use crate::reaper::Reaper;
use crate::{http, port, programs};

const NODES: usize = 3;

/// A running cluster with KV version 2 at `secret/`, initialised, unsealed and joined; dropping it ends it.
#[derive(Debug)]
pub struct OpenBaoCluster {
    nodes: Vec<Vault>,
}

/// A server that has started and is sealed.
struct Node {
    process: Process,
    address: String,
    directory: PathBuf,
}

impl OpenBaoCluster {
    /// Starts a cluster that runs until the returned value or `reaper` is dropped.
    pub async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let (program, client) = (programs::bao().await?, http::client(None)?);
        let mut started = Vec::new();
        for number in 0..NODES {
            started.push(Node::start(reaper, &program, number)?);
        }
        for node in &started {
            let status = format!("{}/v1/sys/seal-status", node.address);
            node.process
                .wait_until("an answer", || async { http::is_healthy(&client, &status).await.then_some(()) })
                .await?;
        }
        let leader = started[0].address.clone();
        let body = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let created = http::json(client.post(format!("{leader}/v1/sys/init")).json(&body)).await?;
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let root_token = text(&created["root_token"]).context("sys/init returned no root token")?;
        let unseal_key = text(&created["keys_base64"][0]).context("sys/init returned no key")?;
        let nodes = started.into_iter().map(|Node { process, address, directory }| Vault {
            address,
            root_token: root_token.clone(),
            unseal_key: unseal_key.clone(),
            audit_log: directory.join(AUDIT_LOG),
            client: client.clone(),
            program: program.clone(),
            _process: process,
            _reaper: reaper.clone(),
        });
        let cluster = Self { nodes: nodes.collect() };
        cluster.join(&leader).await?;
        Ok(cluster)
    }

    /// Unseals the first node, then lets the others join it.
    async fn join(&self, leader: &str) -> anyhow::Result<()> {
        self.nodes[0].unseal().await?;
        for node in &self.nodes[1..] {
            node.write("sys/storage/raft/join", &json!({ "leader_api_addr": leader })).await?;
            node.send_unseal_key().await?;
        }
        for node in &self.nodes {
            // A standby answers 429, and before it knows the cluster 503.
            let health = format!("{}/v1/sys/health?standbyok=true", node.address);
            wait_until("an unsealed node", || async {
                Ok(http::is_healthy(&node.client, &health).await.then_some(()))
            })
            .await?;
        }
        let active = self.active().await?;
        active.enable_audit().await?;
        active.enable_kv("secret", 2).await?;
        for node in &self.nodes {
            wait_until("the mount on every node", || async { Ok(node.read("secret/config").await.ok()) })
                .await?;
        }
        wait_until("three voters", || async {
            let peers = active.read("sys/storage/raft/configuration").await?;
            let peers = peers["data"]["config"]["servers"].as_array().cloned().unwrap_or_default();
            let voters = peers.iter().filter(|it| it["voter"] == true).count();
            Ok((voters == NODES).then_some(()))
        })
        .await
    }

    /// Returns the nodes, in the order of their start.
    #[must_use]
    pub fn nodes(&self) -> &[Vault] {
        &self.nodes
    }

    /// Waits for an active node and returns it; it takes all writes.
    pub async fn active(&self) -> anyhow::Result<&Vault> {
        wait_until("an active node", || async {
            for node in &self.nodes {
                if node.is_active().await {
                    return Ok(Some(node));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Returns the other nodes, which answer reads themselves.
    pub async fn standbys(&self) -> anyhow::Result<Vec<&Vault>> {
        let active = self.active().await?;
        Ok(self.nodes.iter().filter(|node| node.address != active.address).collect())
    }
}

impl Node {
    fn start(reaper: &Reaper, program: &Path, number: usize) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("openbao")?;
        let port = port::free()?;
        let address = format!("http://127.0.0.1:{port}");
        let config = directory.join("server.hcl");
        // The port after its own is free as well.
        let text = format!(
            "{AUDIT_BY_API}\
             storage \"raft\" {{\n  path = \"{data}\"\n  node_id = \"node-{number}\"\n}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n\
             api_addr = \"{address}\"\n\
             cluster_addr = \"https://127.0.0.1:{cluster}\"\n",
            data = reaper.new_directory_in_memory("openbao-data")?.display(),
            cluster = port + 1,
        );
        std::fs::write(&config, text).context("cannot write the settings of OpenBao")?;
        let process = reaper.spawn("openbao", &directory, program, |command| {
            command.arg("server").arg(format!("-config={}", config.display()));
        })?;
        Ok(Self { process, address, directory })
    }
}

impl Vault {
    /// Returns true if this is the active node of its cluster.
    async fn is_active(&self) -> bool {
        self.read("sys/leader").await.is_ok_and(|answer| answer["is_self"] == true)
    }
}
