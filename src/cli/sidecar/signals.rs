//! The signals of a sidecar: those that stop it, and the one that reads all credentials again.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::info;

use super::super::Failure;

/// The signals of a sidecar.
pub(super) struct SidecarSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl SidecarSignals {
    /// Starts listening.
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for any of the signals, for a run that ends by itself; returns its name.
    pub(super) async fn any(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
        }
    }

    /// Forwards each SIGHUP until a signal stops the process.
    pub(super) async fn forward(mut self, reload: mpsc::Sender<()>) {
        let name = loop {
            tokio::select! {
                _ = self.terminate.recv() => break "SIGTERM",
                _ = self.interrupt.recv() => break "SIGINT",
                _ = self.hangup.recv() => {
                    info!(signal = "SIGHUP", "reading every credential again");
                    // One that waits already serves this one, too.
                    let _ = reload.try_send(());
                }
            }
        };
        info!(signal = name, "stopping");
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).context("cannot listen for signals").map_err(Failure::internal)
}
