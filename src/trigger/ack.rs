//! Tells a source of triggers that everything one of them caused is done.
//!
//! A message of a queue may be deleted only then. One trigger may concern many ClusterPullSecrets: each
//! gets a share, and the last one that is given back decides. A share that is merely dropped, because a
//! pass failed or the process ends, means that it is not done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

/// A share in a trigger that is not done yet.
#[derive(Debug)]
pub struct Ack {
    whole: Arc<Whole>,
    is_settled: bool,
}

#[derive(Debug)]
struct Whole {
    /// Taken by the last share, in its drop.
    done: Option<oneshot::Sender<()>>,
    /// A share was dropped before its part was done.
    is_undone: AtomicBool,
}

impl Ack {
    /// The whole trigger, and what answers once it is done; an error means that it never will be.
    #[must_use]
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (done, ended) = oneshot::channel();
        let whole = Whole { done: Some(done), is_undone: AtomicBool::new(false) };
        (Self { whole: Arc::new(whole), is_settled: false }, ended)
    }

    /// One more share.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { whole: Arc::clone(&self.whole), is_settled: false }
    }

    /// The part of this share is done.
    pub fn settle(mut self) {
        self.is_settled = true;
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if !self.is_settled {
            self.whole.is_undone.store(true, Ordering::Release);
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if let Some(done) = self.done.take().filter(|_| !*self.is_undone.get_mut()) {
            // Whoever waited for it has gone.
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ack;

    #[tokio::test]
    async fn a_trigger_is_done_when_every_share_is_settled() {
        let (receipt, mut done) = Ack::new();
        let shares = [receipt.share(), receipt.share()];
        receipt.settle();
        for share in shares {
            assert!(done.try_recv().is_err());
            share.settle();
        }
        assert_eq!(done.try_recv(), Ok(()));
    }

    #[tokio::test]
    async fn a_share_that_is_dropped_leaves_the_trigger_undone() {
        let (receipt, done) = Ack::new();
        drop(receipt.share());
        receipt.settle();
        assert!(done.await.is_err());
    }
}
