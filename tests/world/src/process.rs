//! A process of the world: its log, whether it still lives, and waiting until it is ready.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::guardian::{Guardian, lock};

/// How long any part may take to get ready; a busy machine is slow, a broken part says so earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two looks at something that is not ready yet.
const PAUSE: Duration = Duration::from_millis(25);

/// A running program and its process group; dropping it kills the group.
#[derive(Debug)]
pub(crate) struct Process {
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
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).try_wait().ok().flatten()
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
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.guardian.forget(child.id());
        let _ = child.wait();
    }
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
