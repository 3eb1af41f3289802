//! Starts etcd, and restarts it on the same ports with the same data.

use std::path::PathBuf;

use tokio::sync::Mutex;

use super::StopSignal;
use crate::process::Process;
use crate::programs::Program;
use crate::reaper::Reaper;
use crate::{http, port};

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

    /// Returns the URL for clients.
    pub(super) fn url(&self) -> &str {
        &self.client
    }

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

    async fn run(&self, reaper: &Reaper) -> anyhow::Result<Process> {
        let Self { client, peer, .. } = self;
        let program = Program::Etcd.path().await?;
        let process = reaper.spawn("etcd", &self.logs, &program, |command| {
            command
                .arg("--data-dir")
                .arg(&self.data)
                .args(["--listen-client-urls", client, "--advertise-client-urls", client])
                .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
                .args(["--initial-cluster", &format!("default={peer}")])
                // The data of a test need not survive a crash of the machine.
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
