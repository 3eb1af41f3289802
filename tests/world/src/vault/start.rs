//! The start of a server in dev mode: Vault or OpenBao, which has the same API and the same first lines of its log.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;

use super::{AUDIT_LOG, Vault};
use crate::process::Process;
use crate::programs::{self, Program};
use crate::reaper::Reaper;
use crate::{http, port};

/// A setting of OpenBao, without which its API creates no audit file.
pub(super) const AUDIT_BY_API: &str = "unsafe_allow_api_audit_creation = true\n";

/// A program that serves the API of Vault.
struct Server {
    name: &'static str,
    program: PathBuf,
    /// The directory of its log, its audit file and its settings.
    directory: PathBuf,
    /// The arguments that are its own.
    arguments: Vec<OsString>,
}

impl Server {
    /// Vault, with its Kubernetes auth method if there is a plugin.
    async fn vault(reaper: &Reaper, plugin: Option<&Path>) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("vault")?;
        let plugins = directory.join("plugins");
        std::fs::create_dir(&plugins).context("cannot create the plugin directory of Vault")?;
        if let Some(plugin) = plugin {
            install_plugin(plugin, &plugins)?;
        }
        let arguments = vec![format!("-dev-plugin-dir={}", plugins.display()).into()];
        Ok(Self { name: "vault", program: Program::Vault.path().await?, directory, arguments })
    }

    /// OpenBao, which has the Kubernetes auth method built in.
    async fn openbao(reaper: &Reaper) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("openbao")?;
        let config = directory.join("server.hcl");
        std::fs::write(&config, AUDIT_BY_API).context("cannot write the settings of OpenBao")?;
        let arguments = vec![format!("-config={}", config.display()).into()];
        Ok(Self { name: "openbao", program: programs::bao().await?, directory, arguments })
    }

    /// Starts the server with everything in memory, and unsealed.
    async fn start_dev(self, reaper: &Reaper) -> anyhow::Result<Vault> {
        let root_token = crate::kube::credentials::random_token()?;
        let listen = format!("127.0.0.1:{}", port::free()?);
        let process = reaper.spawn(self.name, &self.directory, &self.program, |command| {
            command
                .args(["server", "-dev", "-dev-no-store-token"])
                .arg(format!("-dev-root-token-id={root_token}"))
                .arg(format!("-dev-listen-address={listen}"))
                .args(&self.arguments);
        })?;
        let address = format!("http://{listen}");
        let unseal_key = unseal_key(&process, &address).await?;
        let vault = Vault {
            address,
            root_token,
            unseal_key,
            audit_log: self.directory.join(AUDIT_LOG),
            client: http::client(None)?,
            program: self.program,
            _process: process,
            _reaper: reaper.clone(),
        };
        vault.setup().await?;
        Ok(vault)
    }
}

impl Vault {
    /// Starts a Vault that runs until the returned value or `reaper` is dropped.
    ///
    /// KV version 2 is at `secret/`, version 1 at `kv1/`.
    pub async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let plugin = Program::VaultPluginAuthKubernetes.path().await?;
        Server::vault(reaper, Some(&plugin)).await?.start_dev(reaper).await
    }

    /// Starts a Vault without the Kubernetes auth method.
    pub async fn start_bare(reaper: &Reaper) -> anyhow::Result<Self> {
        Server::vault(reaper, None).await?.start_dev(reaper).await
    }

    /// Starts an OpenBao with the same engines, which runs until the returned value or `reaper` is dropped.
    pub async fn start_openbao(reaper: &Reaper) -> anyhow::Result<Self> {
        Server::openbao(reaper).await?.start_dev(reaper).await
    }

    /// Creates the audit file, and KV version 1; version 2 is part of dev mode.
    async fn setup(&self) -> anyhow::Result<()> {
        self.enable_audit().await?;
        self.enable_kv("kv1", 1).await
    }

    /// Creates the audit file, below the working directory of each node.
    pub(super) async fn enable_audit(&self) -> anyhow::Result<()> {
        let options = json!({ "file_path": AUDIT_LOG, "log_raw": "false" });
        self.write("sys/audit/file", &json!({ "type": "file", "options": options })).await?;
        Ok(())
    }
}

/// Waits until a server in dev mode is unsealed, and returns the key that it printed.
async fn unseal_key(process: &Process, address: &str) -> anyhow::Result<String> {
    let client = http::client(None)?;
    let health = format!("{address}/v1/sys/health");
    process
        .wait_until("an unsealed Vault", || async {
            let log = std::fs::read_to_string(process.log()).ok()?;
            let key = log.lines().find_map(|line| line.strip_prefix("Unseal Key: "))?.trim().to_owned();
            http::is_healthy(&client, &health).await.then_some(key)
        })
        .await
}

/// Installs the plugin under its name in Vault, that of its file; Vault accepts no symbolic link.
fn install_plugin(plugin: &Path, directory: &Path) -> anyhow::Result<()> {
    let to = directory.join("kubernetes");
    std::fs::hard_link(plugin, &to)
        .or_else(|_| std::fs::copy(plugin, &to).map(drop))
        .with_context(|| format!("cannot copy Vault's Kubernetes auth method to {}", to.display()))
}
