//! A process that keeps a docker config file current: `regcred sidecar`, or `vault agent` with a template.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::registries;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use world::Vault;

use crate::sidecar_image;

/// The interval between two looks at the file.
const POLL: Duration = Duration::from_millis(1);
/// The longest wait for a start or an end.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Regcred,
    VaultAgent,
}

impl Tool {
    /// The name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Regcred => "regcred sidecar",
            Self::VaultAgent => "vault agent",
        }
    }

    /// The interval between two reads of a key at the tool's defaults.
    pub(crate) fn interval(self) -> Duration {
        match self {
            Self::Regcred => Duration::from_secs(10),
            Self::VaultAgent => Duration::from_mins(5),
        }
    }

    /// The path of the reads by which the tool sees a new version of a key.
    pub(crate) fn watched_path(self, key: &str) -> String {
        match self {
            Self::Regcred => format!("secret/metadata/{key}"),
            Self::VaultAgent => format!("secret/data/{key}"),
        }
    }

    fn command(self, vault: &Vault, keys: &[String], directory: &Path) -> anyhow::Result<Command> {
        match self {
            Self::Regcred => regcred(vault, keys, directory),
            Self::VaultAgent => vault_agent(vault, keys, directory),
        }
    }

    /// The file with the credential of a key: vault agent needs a template for each key.
    fn file(self, directory: &Path, key: &str) -> PathBuf {
        match self {
            Self::Regcred => directory.join("config.json"),
            Self::VaultAgent => directory.join(host(key)),
        }
    }
}

/// A tool that runs.
pub(crate) struct Running {
    tool: Tool,
    pub(crate) id: u32,
    started: Instant,
    keys: Vec<String>,
    child: Child,
    directory: TempDir,
}

impl Running {
    /// Starts the tool for these keys of KV version 2, each the credential of a registry.
    pub(crate) fn start(tool: Tool, vault: &Vault, keys: &[String]) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir_in("/dev/shm").context("cannot create a directory in memory")?;
        let mut command = tool.command(vault, keys, directory.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("failed to start {}", tool.name()))?;
        let id = child.id().context("the tool has no process id")?;
        Ok(Self { tool, id, started, keys: keys.to_owned(), child, directory })
    }

    /// The password of a key in its file.
    pub(crate) fn password(&self, key: &str) -> Option<String> {
        let file = std::fs::read(self.tool.file(self.directory.path(), key)).ok()?;
        // vault agent writes in place: half a file has no password yet.
        let config: Value = serde_json::from_slice(&file).ok()?;
        let auth = BASE64_STANDARD.decode(config["auths"][host(key)]["auth"].as_str()?).ok()?;
        let auth = String::from_utf8(auth).ok()?;
        auth.split_once(':').map(|(_, password)| password.to_owned())
    }

    /// Seconds from the start of the process until every key is in its file.
    pub(crate) async fn first_file(&mut self) -> anyhow::Result<f64> {
        let wait = async {
            while !self.keys.iter().all(|key| self.password(key).is_some()) {
                if let Some(status) = self.child.try_wait()? {
                    bail!("{} ended with {status} before its first file", self.tool.name());
                }
                tokio::time::sleep(POLL).await;
            }
            Ok(self.started.elapsed().as_secs_f64())
        };
        tokio::time::timeout(TIMEOUT, wait).await.context("there is no file after a minute")?
    }

    /// Terminates the process.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        kill_process(process.context("the tool has no process id")?, Signal::TERM)?;
        tokio::time::timeout(TIMEOUT, self.child.wait()).await.context("the tool does not end")??;
        Ok(())
    }
}

/// The registry of a key.
fn host(key: &str) -> String {
    format!("{}.example.com", key.rsplit('/').next().unwrap_or_default())
}

fn regcred(vault: &Vault, keys: &[String], directory: &Path) -> anyhow::Result<Command> {
    let config = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "Config",
        "stores": [{ "name": "vault", "vault": { "address": vault.address } }],
    });
    let hosts: Vec<_> = keys.iter().map(|key| (host(key), key)).collect();
    let hosts: Vec<_> = hosts.iter().map(|(host, key)| (host.as_str(), "vault", key.as_str())).collect();
    let cluster_pull_secret = json!({
        "apiVersion": "regcred.dev/v1alpha1", "kind": "ClusterPullSecret", "metadata": { "name": "bench" },
        "spec": { "registries": registries(&hosts) },
    });
    let manifests = directory.join("manifests.yaml");
    std::fs::write(&manifests, format!("{config}\n---\n{cluster_pull_secret}\n"))?;
    let mut command = Command::new(sidecar_image::program());
    command.arg("sidecar").arg("-f").arg(manifests).arg("--output").arg(directory.join("config.json"));
    command.env_clear().env("VAULT_TOKEN", &vault.root_token).kill_on_drop(true);
    Ok(command)
}

fn vault_agent(vault: &Vault, keys: &[String], directory: &Path) -> anyhow::Result<Command> {
    let token = directory.join("token");
    std::fs::write(&token, &vault.root_token)?;
    let templates = keys.iter().map(|key| {
        json!({
            "contents": template(key),
            "destination": Tool::VaultAgent.file(directory, key),
            "perms": "0600",
        })
    });
    let settings = json!({
        "vault": { "address": vault.address },
        // In JSON a block is a list.
        "auto_auth": { "method": [{ "type": "token_file", "config": { "token_file_path": token } }] },
        "template": templates.collect::<Vec<_>>(),
    });
    let path = directory.join("agent.json");
    std::fs::write(&path, settings.to_string())?;
    Ok(vault.agent(&path))
}

/// The docker config of a key as a template.
fn template(key: &str) -> String {
    let auth = r#"{{ printf "%s:%s" .Data.data.username .Data.data.password | base64Encode }}"#;
    let mut template = format!(r#"{{{{ with secret "secret/data/{key}" }}}}"#);
    // Writing to a String cannot fail.
    let _ = write!(template, r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, host(key));
    template + "{{ end }}"
}

/// Puts a password for a key into Vault.
pub(crate) async fn put(vault: &Vault, key: &str, password: &str) -> anyhow::Result<()> {
    vault.put_kv2("secret", key, &json!({ "username": "robot", "password": password })).await?;
    Ok(())
}
