//! `regcred rotate` as a user runs it: a process, measured from outside.

use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use harness::TestCluster;
use harness::bench::measure::{cpu, memory};
use tokio::process::Child;

use crate::cluster::{Bench as _, CONCURRENCY};
use crate::requests::{Cost, Mark};

/// The interval between two reads of the process's memory.
const POLL: Duration = Duration::from_millis(2);

/// The number of `cutime` in `/proc/PROCESS/stat`: the time of children that have ended.
const CUTIME: usize = 16;

/// One run.
pub(crate) struct Run {
    /// The time from before the start of the process until after its end.
    pub(crate) seconds: f64,
    /// In MiB.
    pub(crate) peak_memory: f64,
    /// The seconds of CPU time.
    pub(crate) cpu: f64,
    pub(crate) cost: Cost,
}

pub(crate) async fn rotate(cluster: &TestCluster) -> anyhow::Result<Run> {
    let mark = Mark::new(cluster).await?;
    let mut command = cluster.command(&["rotate", "--concurrency", &CONCURRENCY.to_string()]);
    command.arg("-f").arg(cluster.config_file()).arg("-f").arg(cluster.object_file());
    let (begun, cpu_before) = (Instant::now(), cpu("self", CUTIME)?);
    let child = command.spawn().context("failed to start regcred")?;
    let (output, peak_memory) = with_peak_memory(child).await.context("failed to wait for regcred")?;
    let peak_memory = peak_memory.context("the memory of regcred could not be read")?;
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu("self", CUTIME)? - cpu_before);
    ensure!(
        output.status.success(),
        "regcred rotate: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Run { seconds, peak_memory, cpu, cost: mark.cost_since(cluster).await? })
}

/// Waits for a process; returns its output and the peak of its resident memory.
///
/// The kernel records the peak but drops it when the process ends, so it is read every two milliseconds: only growth in
/// the last two is missed.
async fn with_peak_memory(child: Child) -> std::io::Result<(Output, Option<f64>)> {
    let id = child.id();
    let mut peak = None;
    let end = child.wait_with_output();
    tokio::pin!(end);
    loop {
        tokio::select! {
            output = &mut end => return Ok((output?, peak)),
            () = tokio::time::sleep(POLL) => peak = id.and_then(|id| memory(id, "VmHWM").ok()).or(peak),
        }
    }
}
