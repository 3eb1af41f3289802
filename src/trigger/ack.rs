//! Acknowledgement of a trigger once everything it caused is done.
//!
//! A queue's message may be deleted only then. One trigger may concern many ClusterPullSecrets: each of
//! them gets a fork, and the last one that is consumed decides. A fork that is dropped without an ack,
//! because a reconciliation failed or the process ends, leaves the trigger unacknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

/// A fork of a trigger's acknowledgement.
#[derive(Debug)]
pub struct Ack {
    shared: Arc<Shared>,
    is_acked: bool,
}

#[derive(Debug)]
struct Shared {
    /// Taken when the last fork is dropped.
    done: Option<oneshot::Sender<()>>,
    /// A fork was dropped without an ack.
    is_nacked: AtomicBool,
}

impl Ack {
    /// Returns the first fork, and a receiver that resolves once all forks are acked; an error means that
    /// one was not.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (done, ended) = oneshot::channel();
        let shared = Shared { done: Some(done), is_nacked: AtomicBool::new(false) };
        (Self { shared: Arc::new(shared), is_acked: false }, ended)
    }

    /// Returns one more fork.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), is_acked: false }
    }

    /// Acknowledges this fork.
    pub fn ack(mut self) {
        self.is_acked = true;
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.is_acked {
            self.shared.is_nacked.store(true, Ordering::Release);
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(done) = self.done.take().filter(|_| !*self.is_nacked.get_mut()) {
            // The receiver may be gone.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ack;

    #[tokio::test]
    async fn trigger_done_when_every_fork_is_acked() {
        let (ack, mut done) = Ack::new();
        let forks = [ack.fork(), ack.fork()];
        ack.ack();
        for fork in forks {
            assert!(done.try_recv().is_err());
            fork.ack();
        }
        assert_eq!(done.try_recv(), Ok(()));
    }

    #[tokio::test]
    async fn dropped_fork_leaves_trigger_unacked() {
        let (ack, done) = Ack::new();
        drop(ack.fork());
        ack.ack();
        assert!(done.await.is_err());
    }
}
