//! Starts etcd, restarts it, and puts an earlier copy of its data back, as a restore from a backup does.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::sync::Mutex;

use super::StopSignal;
use crate::process::Process;
use crate::programs::Program;
use crate::reaper::Reaper;
use crate::{http, port};

/// A copy of the data of a control plane.
#[derive(Debug)]
pub struct Backup(PathBuf);

/// A running etcd.
#[derive(Debug)]
pub(super) struct Etcd {
    logs: PathBuf,
    data: PathBuf,
    client: String,
    peer: String,
    /// `None` only between a stop and the next start, or after a failed start.
    process: Mutex<Option<Process>>,
}

impl Etcd {
    pub(super) async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let etcd = Self {
            logs: reaper.new_directory("etcd")?,
            data: reaper.new_directory_in_memory("etcd-data")?,
            client: format!("http://127.0.0.1:{}", port::free()?),
            peer: format!("http://127.0.0.1:{}", port::free()?),
            process: Mutex::new(None),
        };
        *etcd.process.lock().await = Some(etcd.run(reaper).await?);
        Ok(etcd)
    }

    pub(super) fn url(&self) -> &str {
        &self.client
    }

    /// Restarts etcd on the same ports with the same data.
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

    /// Stops etcd, copies its data, and starts it again.
    pub(super) async fn back_up(&self, reaper: &Reaper) -> anyhow::Result<Backup> {
        let backup = Backup(reaper.new_directory_in_memory("etcd-backup")?);
        let mut running = self.process.lock().await;
        stop(running.take()).await?;
        copy(&self.data, &backup.0)?;
        *running = Some(self.run(reaper).await?);
        Ok(backup)
    }

    /// Stops etcd, replaces its data by a copy, and starts it again.
    pub(super) async fn restore(&self, reaper: &Reaper, backup: &Backup) -> anyhow::Result<()> {
        let mut running = self.process.lock().await;
        stop(running.take()).await?;
        for entry in std::fs::read_dir(&self.data).context("cannot read the data of etcd")? {
            std::fs::remove_dir_all(entry?.path()).context("cannot remove the data of etcd")?;
        }
        copy(&backup.0, &self.data)?;
        *running = Some(self.run(reaper).await?);
        Ok(())
    }

    async fn run(&self, reaper: &Reaper) -> anyhow::Result<Process> {
        let program = Program::Etcd.path().await?;
        let Self { client, peer, .. } = self;
        let process = reaper.spawn("etcd", &self.logs, &program, |command| {
            command
                .arg("--data-dir")
                .arg(&self.data)
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &format!("default={peer}")])
                // The data of a test need not survive a crash.
                .args(["--unsafe-no-fsync", "--log-level", "warn"]);
        })?;
        let health = format!("{client}/health");
        let http = http::client(None)?;
        process
            .wait_until("a successful health check", || async {
                http::is_healthy(&http, &health).await.then_some(())
            })
            .await?;
        Ok(process)
    }
}

async fn stop(process: Option<Process>) -> anyhow::Result<()> {
    let process = process.context("etcd is not running")?;
    process.signal(Signal::TERM)?;
    process.wait().await?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
