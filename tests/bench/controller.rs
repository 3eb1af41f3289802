//! `regcred run` as a Deployment runs it: one process, measured from outside.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use harness::{NAMESPACE, TestCluster, apply_file, install_crd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use world::free_port;

use crate::cluster::{Bench as _, CONCURRENCY, TIMEOUT};
use crate::measure::Memory;

/// The interval between two checks of a process that is not ready.
const POLL: Duration = Duration::from_millis(10);
/// Ticks per second, the unit in which Linux counts a process's time, on every architecture that runs Kubernetes.
const TICKS: f64 = 100.0;

pub(crate) struct Controller {
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
pub(crate) async fn install(cluster: &TestCluster) -> anyhow::Result<()> {
    install_crd(&cluster.kube).await?;
    apply_file(&cluster.kube, "base/rbac.yaml").await?;
    apply_file(&cluster.kube, "base/admission-policies.yaml").await?;
    let object_file = cluster.object_file().display().to_string();
    cluster.kube.kubectl(&["apply", "-f", &object_file]).await?;
    Ok(())
}

impl Controller {
    pub(crate) fn start(cluster: &TestCluster) -> anyhow::Result<Self> {
        let [listen, probe_listen] =
            [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        // Without TLS the machine's root certificates would be loaded for nothing.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let admin = Admin {
            http,
            metrics: format!("http://{listen}/metrics"),
            ready: format!("http://{probe_listen}/ready"),
        };
        let log = cluster.directory.path().join("regcred.log");
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = cluster.command(&["run", "-f"]);
        command.arg(cluster.config_file());
        command.args(["--namespace", NAMESPACE, "--identity", "bench"]);
        command.args(["--listen", &listen, "--probe-listen", &probe_listen]);
        command.args(["--concurrency", &CONCURRENCY.to_string()]);
        command.stdout(Stdio::null()).stderr(file);
        let started = Instant::now();
        let child = command.spawn().context("failed to start regcred")?;
        let id = child.id().context("regcred has no process id")?;
        Ok(Self { child, id, started, admin, log })
    }

    /// Seconds from the start of the process until it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<f64> {
        self.seconds_until("being ready", async |admin| admin.get(&admin.ready).await.is_some()).await
    }

    /// Seconds from the start of the process until its first reconciliation has left every namespace in sync.
    pub(crate) async fn first_reconciliation(&mut self, cluster: &TestCluster) -> anyhow::Result<f64> {
        let count = cluster.namespaces.len();
        self.seconds_until("the end of its first reconciliation", async |admin| {
            let metrics = admin.get(&admin.metrics).await.unwrap_or_default();
            sum(&metrics, "regcred_reconciliations_total", "") > 0
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

    /// A field of the kernel's account of its memory.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<Memory> {
        Memory::read(self.id, field)
    }

    /// The seconds of CPU time so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.id);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // After the name, which may hold any character, `utime` and `stime` are fields twelve and thirteen.
        let (_, fields) = text.rsplit_once(')').unwrap_or_default();
        let ticks: Vec<u32> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        ensure!(ticks.len() == 2, "{path} has no CPU times of the process");
        Ok(ticks.into_iter().map(f64::from).sum::<f64>() / TICKS)
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
