//! Acknowledgement of a trigger once everything it caused is done.
//!
//! A queue's message may be deleted only then. One trigger may concern many ClusterPullSecrets: each of
//! them gets a fork, and the last one that is consumed decides. A fork that is dropped without an ack,
//! because a reconciliation failed or the process ends, leaves the trigger unacknowledged. An ack says what the
//! trigger brought.

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
    done: Option<oneshot::Sender<AckOutcome>>,
    /// A fork was dropped without an ack.
    is_nacked: AtomicBool,
    /// A fork was acked as [`AckOutcome::Done`].
    is_done: AtomicBool,
}

/// The result of a trigger that was acked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckOutcome {
    /// Everything was done, and no store answered with anything new.
    NoNewerVersion,
    /// Everything was done.
    Done,
}

impl Ack {
    /// Returns the first fork, and a receiver that resolves once all forks are acked, with the best of their
    /// outcomes; an error means that one was not.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<AckOutcome>) {
        let (done, ended) = oneshot::channel();
        let shared =
            Shared { done: Some(done), is_nacked: AtomicBool::new(false), is_done: AtomicBool::new(false) };
        (Self { shared: Arc::new(shared), is_acked: false }, ended)
    }

    /// Returns one more fork.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), is_acked: false }
    }

    /// Acknowledges this fork.
    pub fn ack(mut self, outcome: AckOutcome) {
        self.is_acked = true;
        if outcome == AckOutcome::Done {
            self.shared.is_done.store(true, Ordering::Release);
        }
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
            let is_done = *self.is_done.get_mut();
            let _ = done.send(if is_done { AckOutcome::Done } else { AckOutcome::NoNewerVersion });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ack, AckOutcome};

    #[tokio::test]
    async fn trigger_done_when_every_fork_is_acked() {
        let (ack, mut done) = Ack::new();
        let forks = [ack.fork(), ack.fork()];
        ack.ack(AckOutcome::NoNewerVersion);
        for fork in forks {
            assert!(done.try_recv().is_err());
            fork.ack(AckOutcome::NoNewerVersion);
        }
        assert_eq!(done.try_recv(), Ok(AckOutcome::NoNewerVersion));
    }

    #[tokio::test]
    async fn best_outcome_of_the_forks_counts() {
        let (ack, done) = Ack::new();
        ack.fork().ack(AckOutcome::Done);
        ack.ack(AckOutcome::NoNewerVersion);
        assert_eq!(done.await, Ok(AckOutcome::Done));
    }

    #[tokio::test]
    async fn dropped_fork_leaves_trigger_unacked() {
        let (ack, done) = Ack::new();
        drop(ack.fork());
        ack.ack(AckOutcome::Done);
        assert!(done.await.is_err());
    }
}
