//! A process of the world: its log, whether it still lives, waiting until it is ready, and signals to it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::guardian::{Guardian, lock};

/// How long any part may take to get ready; a busy machine is slow, a broken part says so earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two looks at something that is not ready yet.
const PAUSE: Duration = Duration::from_millis(25);

/// A running program and its process group; dropping it kills the group.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Mutex<Child>,
    guardian: Guardian,
}

impl Process {
    pub(crate) fn new(name: &str, log: PathBuf, child: Child, guardian: Guardian) -> Self {
        Self { name: name.to_owned(), log, child: Mutex::new(child), guardian }
    }

    /// The file that holds everything it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its number in the system.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Sends a signal to its group.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = group(&lock(&self.child)).context("a process has no number")?;
        kill_process_group(group, signal).with_context(|| format!("cannot send a signal to {}", self.name))
    }

    /// Waits until it ends, by itself or by a signal, and tells how.
    pub async fn end(&self) -> anyhow::Result<ExitStatus> {
        until(&format!("the end of {}", self.name), || async { Ok(self.ended()) }).await
    }

    /// How it ended, if it has. It is not reaped before it is dropped, so that its number stays its own.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        let group = group(&lock(&self.child))?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(group), options).ok().flatten()?;
        // As wait(2) has it: the exit code in the second byte, or the signal in the first.
        let code = status.exit_status().map(|code| code << 8);
        code.or_else(|| status.terminating_signal()).map(ExitStatus::from_raw)
    }

    /// The last lines of its log, for an error message.
    fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Looks again and again until `look` finds something, the process ends, or patience does.
    pub(crate) async fn until<T, L>(&self, what: &str, look: impl Fn() -> L) -> anyhow::Result<T>
    where
        L: Future<Output = Option<T>>,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look().await {
                return Ok(found);
            }
            if let Some(status) = self.ended() {
                bail!(
                    "{} ended with {status} before {what}; its last lines are:\n{}",
                    self.name,
                    self.tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "{} did not get as far as {what} in {} s; its last lines are:\n{}",
                    self.name,
                    PATIENCE.as_secs(),
                    self.tail()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Not reaped yet, so the number cannot have passed to another process.
        if let Some(group) = group(child) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.guardian.forget(child.id());
        let _ = child.wait();
    }
}

fn group(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Looks again and again until `look` finds something or patience ends; for what no single process answers for.
pub(crate) async fn until<T, L>(what: &str, look: impl Fn() -> L) -> anyhow::Result<T>
where
    L: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not come true in {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
