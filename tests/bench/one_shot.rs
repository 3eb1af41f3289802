//! `regcred rotate` as a user runs it: a process, measured from outside.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::TestCluster;
use tokio::process::Child;

use crate::cluster::{Bench as _, CONCURRENCY};
use crate::measure::Memory;
use crate::requests::{Cost, Mark};

/// The interval between two reads of the process's memory.
const POLL: Duration = Duration::from_millis(2);

/// One run.
pub(crate) struct Run {
    /// The time from before the start of the process until after its end.
    pub(crate) seconds: f64,
    pub(crate) peak_memory: Option<Memory>,
    pub(crate) cost: Cost,
}

pub(crate) async fn rotate(cluster: &TestCluster) -> anyhow::Result<Run> {
    let mark = Mark::new(cluster).await?;
    let mut command = cluster.command(&["rotate", "--concurrency", &CONCURRENCY.to_string()]);
    command.arg("-f").arg(cluster.config_file()).arg("-f").arg(cluster.object_file());
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
    Ok(Run { seconds, peak_memory, cost: mark.cost_since(cluster).await? })
}

/// Waits for a process; returns its output and the peak of its resident memory.
///
/// The kernel records the peak but drops it when the process ends, so it is read every two milliseconds: only growth in
/// the last two is missed. `None` without `/proc`.
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
