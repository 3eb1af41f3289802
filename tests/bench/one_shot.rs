//! `regcred rotate` as a user runs it: a process of its own, of which everything is measured from outside.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::{Child, Command};

use crate::measure::Memory;
use crate::requests::{Asked, Mark};
use crate::stage::{CONCURRENCY, Stage};

/// How often the memory of the process is looked at.
const POLL: Duration = Duration::from_millis(2);

/// One run.
pub(crate) struct Run {
    /// From before the process was started until it was gone.
    pub(crate) seconds: f64,
    pub(crate) peak_memory: Option<Memory>,
    pub(crate) asked: Asked,
}

pub(crate) async fn rotate(stage: &Stage) -> anyhow::Result<Run> {
    let mark = Mark::set(stage).await?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
    command.arg("rotate").arg("-f").arg(&stage.config).arg("-f").arg(&stage.cluster_pull_secret);
    command.args(["--concurrency", &CONCURRENCY.to_string()]);
    command.env("KUBECONFIG", &stage.kubeconfig).env("VAULT_TOKEN", &stage.vault.root_token);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let begun = Instant::now();
    let child = command.spawn().context("failed to start regcred")?;
    let (output, peak_memory) = with_peak_memory(child).await.context("failed to wait for regcred")?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        output.status.success(),
        "regcred rotate: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Run { seconds, peak_memory, asked: mark.asked_since(stage).await? })
}

/// Waits for a process, and tells the most memory that it had resident.
///
/// The kernel keeps that mark itself but drops it when the process ends, so it is read every two
/// milliseconds: only what a process grew in its last two is missed. `None` where there is no `/proc`.
async fn with_peak_memory(child: Child) -> std::io::Result<(Output, Option<Memory>)> {
    let id = child.id();
    let mut peak = None;
    let end = child.wait_with_output();
    tokio::pin!(end);
    loop {
        tokio::select! {
            output = &mut end => return Ok((output?, peak)),
            () = tokio::time::sleep(POLL) => peak = id.and_then(|id| Memory::read(id, "VmHWM").ok()).or(peak),
        }
    }
}
