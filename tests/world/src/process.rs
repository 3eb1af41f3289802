//! Processes of the world: logs, exit statuses, signals, and waits until a process is ready.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::reaper::{Reaper, lock};

/// The longest start of any part, on a busy machine; a broken part fails earlier.
const READY_TIMEOUT: Duration = Duration::from_secs(90);

/// The time between two probes of a part that is not ready yet.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// A running program and its process group; dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
    reaper: Reaper,
}

impl Process {
    pub(crate) fn new(name: &str, log: PathBuf, child: Child, reaper: Reaper) -> Self {
        Self { name: name.to_owned(), log, child: Mutex::new(child), reaper }
    }

    /// Returns the file with the output of the process.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Sends a signal to the process group.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = group(&lock(&self.child)).context("a process has no id")?;
        kill_process_group(group, signal).with_context(|| format!("cannot send a signal to {}", self.name))
    }

    /// Waits until the process ends, by itself or by a signal, and returns its status.
    pub async fn wait(&self) -> anyhow::Result<ExitStatus> {
        wait_until(&format!("the end of {}", self.name), || async { Ok(self.try_wait()) }).await
    }

    /// Returns the exit status of a process that has ended. The process is reaped on drop only, so that its id is not
    /// reused before.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        let group = group(&lock(&self.child))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(group), options).ok().flatten()?;
        // The encoding of wait(2): the exit code in the second byte, or the signal in the first.
        let code = status.exit_status().map(|code| code << 8);
        code.or_else(|| status.terminating_signal()).map(ExitStatus::from_raw)
    }

    /// Returns the last lines of the log, for an error message.
    fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Probes until `probe` returns a value; fails if the process ends or the time runs out.
    pub(crate) async fn wait_until<T, L>(&self, what: &str, probe: impl Fn() -> L) -> anyhow::Result<T>
    where
        L: Future<Output = Option<T>>,
    {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            if let Some(found) = probe().await {
                return Ok(found);
            }
            if let Some(status) = self.try_wait() {
                bail!(
                    "{} ended with {status} before {what}; the end of its log:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} timed out after {} s waiting for {what}; the end of its log:\n{}",
                    self.name,
                    READY_TIMEOUT.as_secs(),
                    self.tail()
                );
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The process is not reaped yet, so its id cannot belong to another process.
        if let Some(group) = group(child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.reaper.forget(child.id());
        let _ = child.wait();
    }
}

fn group(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Probes until `probe` returns a value; fails if it fails or the time runs out. For conditions of no single process.
pub(crate) async fn wait_until<T, L>(what: &str, probe: impl Fn() -> L) -> anyhow::Result<T>
where
    L: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("timed out after {} s waiting for {what}", READY_TIMEOUT.as_secs());
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}
