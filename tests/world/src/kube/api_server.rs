//! Starts the API server, and restarts it on the same port with the same keys and certificates.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Client;
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::audit::AUDIT_LOG;
use super::credentials;
use crate::process::Process;
use crate::programs::Program;
use crate::reaper::Reaper;
use crate::{http, port};

/// One line for each finished request, without the API server's requests to itself.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
  "omitManagedFields": true,
  "rules": [
    { "level": "None", "users": ["system:apiserver"] },
    { "level": "Metadata" }
  ]
}"#;

/// The signal by which a server of the control plane is stopped before its restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGKILL, as in a power cut: open requests are cut off.
    Kill,
    /// SIGTERM, as in an upgrade: the server completes open requests.
    Terminate,
}

impl StopSignal {
    /// Stops a process and waits for its end; SIGKILL is left to the drop.
    pub(super) async fn stop(self, process: &Process) -> anyhow::Result<()> {
        if self == Self::Terminate {
            process.signal(Signal::TERM)?;
            process.wait().await?;
        }
        Ok(())
    }
}

/// A running API server.
#[derive(Debug)]
pub(super) struct ApiServer {
    directory: PathBuf,
    etcd: String,
    port: u16,
    admin_token: String,
    /// `None` only between a stop and the next start, or after a failed start.
    process: Mutex<Option<Process>>,
}

impl ApiServer {
    pub(super) async fn start(
        reaper: &Reaper,
        directory: &Path,
        etcd: &str,
        admin_token: &str,
    ) -> anyhow::Result<Self> {
        let (private, public) = credentials::service_account_keys()?;
        credentials::write_private(&directory.join("sa.key"), &private)?;
        credentials::write_private(&directory.join("sa.pub"), &public)?;
        credentials::write_private(
            &directory.join("tokens.csv"),
            &format!("{admin_token},admin,admin,system:masters\n"),
        )?;
        credentials::write_private(&directory.join("audit-policy.json"), AUDIT_POLICY)?;
        let server = Self {
            directory: directory.to_owned(),
            etcd: etcd.to_owned(),
            port: port::free()?,
            admin_token: admin_token.to_owned(),
            process: Mutex::new(None),
        };
        *server.process.lock().await = Some(server.run(reaper).await?);
        Ok(server)
    }

    pub(super) async fn restart(&self, reaper: &Reaper, signal: StopSignal) -> anyhow::Result<()> {
        let mut running = self.process.lock().await;
        if let Some(process) = running.as_ref() {
            signal.stop(process).await?;
        }
        // The drop kills the rest of the process group and waits for its end.
        drop(running.take());
        *running = Some(self.run(reaper).await?);
        Ok(())
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns the file of the server's self-signed certificate, which is created at the first start and kept.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.join("certs/apiserver.crt")
    }

    async fn run(&self, reaper: &Reaper) -> anyhow::Result<Process> {
        let program = Program::KubeApiserver.path().await?;
        let process = reaper.spawn("kube-apiserver", &self.directory, &program, |command| {
            command
                .arg(format!("--etcd-servers={}", self.etcd))
                .arg(format!("--secure-port={}", self.port))
                .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
                // A loopback address is no valid endpoint of the Service `kubernetes`, and no pod uses the Service.
                .arg("--endpoint-reconciler-type=none")
                .args(["--cert-dir=certs", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC"])
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .args(["--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.pub"])
                .args(["--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true"])
                .args(["--audit-policy-file=audit-policy.json", &format!("--audit-log-path={AUDIT_LOG}")])
                // By default, open watches delay the shutdown by a minute.
                .arg("--shutdown-watch-termination-grace-period=1s")
                // Zero disables log rotation, so that a mark stays a byte offset of the whole run.
                .arg("--audit-log-maxsize=0");
        })?;
        let ready = format!("{}/readyz", self.url());
        process
            .wait_until("readiness", || async {
                // The certificate is written before the server listens.
                let ca = std::fs::read(self.ca_file()).ok()?;
                let client = http::client(Some(&ca)).ok()?;
                succeeds(&client, &ready, &self.admin_token).await
            })
            .await
            .context("the API server did not become ready")?;
        Ok(process)
    }
}

pub(super) async fn succeeds(client: &Client, url: &str, token: &str) -> Option<()> {
    let response = client.get(url).bearer_auth(token).send().await.ok()?;
    response.status().is_success().then_some(())
}
