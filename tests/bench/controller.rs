//! `regcred run` as a Deployment runs it: one process, of which everything is measured from outside.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use world::free_port;

use crate::measure::Memory;
use crate::stage::{CONCURRENCY, PATIENCE, SERVICE_ACCOUNT, Stage};

/// How often a process that is getting ready is asked how far it is.
const POLL: Duration = Duration::from_millis(10);
/// In one second there are so many of the ticks in which Linux counts a process's time, on every architecture
/// that runs Kubernetes.
const TICKS: f64 = 100.0;

pub(crate) struct Controller {
    child: Child,
    id: u32,
    started: Instant,
    admin: Admin,
    log: PathBuf,
}

/// The controller's own HTTP server.
struct Admin {
    http: reqwest::Client,
    address: String,
}

/// What the controller needs in the cluster: the CRD, its rights, and a ClusterPullSecret.
pub(crate) async fn install(stage: &Stage) -> anyhow::Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (crd, rights) = (repository.join("deploy/crd.yaml"), repository.join("deploy/base/rbac.yaml"));
    let apply = async |file: &Path| stage.kube.kubectl(&["apply", "-f", &file.display().to_string()]).await;
    apply(&crd).await?;
    apply(&rights).await?;
    let established = ["wait", "--for=condition=Established", "crd/clusterpullsecrets.regcred.dev"];
    stage.kube.kubectl(&established).await?;
    apply(&stage.cluster_pull_secret).await?;
    Ok(())
}

impl Controller {
    pub(crate) fn start(stage: &Stage) -> anyhow::Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port()?);
        // It never talks TLS; the machine's own roots would be loaded for nothing.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build()?;
        let admin = Admin { http, address: format!("http://{listen}") };
        let log = stage.config.with_file_name("regcred.log");
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
        command.arg("run").arg("-f").arg(&stage.config);
        command.args(["--namespace", SERVICE_ACCOUNT.0, "--identity", "bench", "--listen", &listen]);
        command.args(["--concurrency", &CONCURRENCY.to_string()]);
        command.env("KUBECONFIG", &stage.kubeconfig).env("VAULT_TOKEN", &stage.vault.root_token);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().context("failed to start regcred")?;
        let id = child.id().context("regcred has no process id")?;
        Ok(Self { child, id, started, admin, log })
    }

    /// Seconds from the start of the process until it says that it is ready.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<f64> {
        self.seconds_until("being ready", async |admin| admin.get("/ready").await.is_some()).await
    }

    /// Seconds from the start of the process until its first pass has left every namespace in sync.
    pub(crate) async fn first_pass(&mut self, stage: &Stage) -> anyhow::Result<f64> {
        let is_over = async |admin: &Admin| {
            let metrics = admin.get("/metrics").await.unwrap_or_default();
            sum(&metrics, "regcred_reconciliations_total", "") > 0
                && sum(&metrics, "regcred_targets", r#"state="in_sync""#) == stage.namespaces.len()
        };
        self.seconds_until("the end of its first pass", is_over).await
    }

    async fn seconds_until(
        &mut self,
        what: &str,
        is_so: impl AsyncFn(&Admin) -> bool,
    ) -> anyhow::Result<f64> {
        let wait = async {
            while !is_so(&self.admin).await {
                if let Some(status) = self.child.try_wait()? {
                    bail!("regcred run ended with {status} before {what}:\n{}", self.tail());
                }
                tokio::time::sleep(POLL).await;
            }
            Ok(self.started.elapsed().as_secs_f64())
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("regcred run does not get as far as {what}:\n{}", self.tail()))?
    }

    /// A field of what the kernel knows of its memory.
    pub(crate) fn memory(&self, field: &str) -> anyhow::Result<Memory> {
        Memory::read(self.id, field)
    }

    /// Seconds of a core that it has taken so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/stat", self.id);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // Behind the name, which may hold anything, `utime` and `stime` are the twelfth and the thirteenth.
        let (_, fields) = text.rsplit_once(')').unwrap_or_default();
        let ticks: Vec<u32> = fields.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
        ensure!(ticks.len() == 2, "{path} does not tell the time that the process took");
        Ok(ticks.into_iter().map(f64::from).sum::<f64>() / TICKS)
    }

    /// Ends it as Kubernetes does.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.id).ok().and_then(Pid::from_raw);
        kill_process(process.context("regcred has no process id")?, Signal::TERM)?;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
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
    async fn get(&self, path: &str) -> Option<String> {
        let response = self.http.get(format!("{}{path}", self.address)).send().await.ok()?;
        response.error_for_status().ok()?.text().await.ok()
    }
}

/// The sum of a metric, which counts something, over all series that carry a label.
fn sum(metrics: &str, name: &str, label: &str) -> usize {
    let series =
        metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    let counted = series.filter(|(labels, _)| labels.contains(label));
    counted.filter_map(|(_, value)| value.trim().parse::<usize>().ok()).sum()
}
