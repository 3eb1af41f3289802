//! `regcred run` as a Deployment runs it: one process, measured from outside.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use harness::bench::measure::{cpu, memory};
use harness::{NAMESPACE, apply_path, deploy_folder, install_crd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use world::free_port;

use crate::cluster::{Bench as _, CONCURRENCY, TIMEOUT};
use crate::side::{Side, Version};

/// The interval between two checks of a process that is not ready.
const POLL: Duration = Duration::from_millis(10);

/// The number of `utime` in `/proc/PROCESS/stat`.
const UTIME: usize = 14;

pub(crate) struct Controller {
    version: Version,
    child: Child,
    id: u32,
    started: Instant,
    admin: Admin,
    log: PathBuf,
}

/// The controller's own HTTP servers, by URL.
struct Admin {
    http: reqwest::Client,
    metrics: String,
    ready: String,
}

/// Installs the requirements of the controller: the CRD, its rights, and a ClusterPullSecret.
///
/// Both versions write under the admission policies of this one: their evaluation is time of the API server, which
/// would count as that of regcred.
pub(crate) async fn install(side: &Side) -> anyhow::Result<()> {
    let deploy = side.version.build().await?.deploy;
    for manifest in ["crd.yaml", "base/rbac.yaml"] {
        apply_path(&side.kube, &deploy.join(manifest)).await?;
    }
    apply_path(&side.kube, &policies_file()).await?;
    install_crd(&side.kube).await?;
    let object_file = side.object_file().display().to_string();
    side.kube.kubectl(&["apply", "-f", &object_file]).await?;
    Ok(())
}

/// The admission policies of this version.
pub(crate) fn policies_file() -> PathBuf {
    deploy_folder().join("base/admission-policies.yaml")
}

/// The metric that counts the reconciliations of a version.
fn reconciliations(version: Version) -> &'static str {
    match version {
        Version::Current => "regcred_reconciliations_total",
        Version::Baseline => "regcred_passes_total",
    }
}

/// True if a version answers probes at an address of their own.
fn has_probe_address(version: Version) -> bool {
    version == Version::Current
}

impl Controller {
    pub(crate) fn start(side: &Side) -> anyhow::Result<Self> {
        let version = side.version;
        let [listen, probe_listen] =
            [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        let ready_at = if has_probe_address(version) { &probe_listen } else { &listen };
        // Without TLS the machine's root certificates would be loaded for nothing.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let admin = Admin {
            http,
            metrics: format!("http://{listen}/metrics"),
            ready: format!("http://{ready_at}/ready"),
        };
        let log = side.directory.path().join("regcred.log");
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = side.command(&["run", "-f"]);
        command.arg(side.config_file());
        command.args(["--namespace", NAMESPACE, "--identity", "bench"]);
        command.args(["--listen", &listen]);
        if has_probe_address(version) {
            command.args(["--probe-listen", &probe_listen]);
        }
        command.args(["--concurrency", &CONCURRENCY.to_string()]);
        command.stdout(Stdio::null()).stderr(file);
        let started = Instant::now();
        let child = command.spawn().context("failed to start regcred")?;
        let id = child.id().context("regcred has no process id")?;
        Ok(Self { version, child, id, started, admin, log })
    }

    /// Seconds from the start of the process until it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<f64> {
        self.seconds_until("being ready", async |admin| admin.get(&admin.ready).await.is_some()).await
    }

    /// Seconds from the start of the process until its first reconciliation has left every namespace in sync.
    pub(crate) async fn first_reconciliation(&mut self, side: &Side) -> anyhow::Result<f64> {
        let (count, reconciliations) = (side.namespaces.len(), reconciliations(self.version));
        self.seconds_until("the end of its first reconciliation", async |admin| {
            let metrics = admin.get(&admin.metrics).await.unwrap_or_default();
            sum(&metrics, reconciliations, "") > 0
                && sum(&metrics, "regcred_targets", r#"state="in_sync""#) == count
        })
        .await
    }

    async fn seconds_until(
        &mut self,
        what: &str,
        holds: impl AsyncFn(&Admin) -> bool,
    ) -> anyhow::Result<f64> {
        let wait = async {
            while !holds(&self.admin).await {
                if let Some(status) = self.child.try_wait()? {
                    bail!("regcred run ended with {status} before {what}:\n{}", self.tail());
                }
                tokio::time::sleep(POLL).await;
            }
            Ok(self.started.elapsed().as_secs_f64())
        };
        let waited = tokio::time::timeout(TIMEOUT, wait).await;
        waited.with_context(|| format!("regcred run does not reach {what}:\n{}", self.tail()))?
    }

    /// A field of the kernel's account of its memory, in MiB.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<f64> {
        memory(self.id, field)
    }

    /// The seconds of CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        cpu(&self.id.to_string(), UTIME)
    }

    /// Terminates the process as Kubernetes does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        kill_process(process.context("regcred has no process id")?, Signal::TERM)?;
        let status = tokio::time::timeout(TIMEOUT, self.child.wait()).await;
        let status = status.with_context(|| format!("regcred run does not end:\n{}", self.tail()))??;
        ensure!(status.success(), "regcred run ended with {status}:\n{}", self.tail());
        Ok(())
    }

    /// The last lines of its log, for an error message.
    fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Admin {
    /// The body of a successful answer.
    async fn get(&self, url: &str) -> Option<String> {
        let response = self.http.get(url).send().await.ok()?;
        response.error_for_status().ok()?.text().await.ok()
    }
}

/// The sum of a metric over all series with a label.
fn sum(metrics: &str, name: &str, label: &str) -> usize {
    let series =
        metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let counted = series.filter(|(labels, _)| labels.contains(label));
    counted.filter_map(|(_, value)| value.trim().parse::<usize>().ok()).sum()
}
