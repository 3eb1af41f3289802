//! The sign of life of the sync loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How long the loop may be silent and still count as alive. It ticks far more often than that.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// When the sync loop last ticked, shared with whoever asks. A new one counts as a tick.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    /// What `last` counts from; it never moves, so no clock that is set can matter.
    begin: Instant,
    /// Milliseconds from `begin` to the last tick. Written by the sync loop alone.
    last: AtomicU64,
}

impl Heartbeat {
    /// A heart that beats now for the first time.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Beats { begin: Instant::now(), last: AtomicU64::new(0) }))
    }

    /// The loop ticks.
    pub fn beat(&self) {
        let Beats { begin, last } = &*self.0;
        let millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.store(millis, Ordering::Relaxed);
    }

    /// How long ago the loop last ticked.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let Beats { begin, last } = &*self.0;
        begin.elapsed().saturating_sub(Duration::from_millis(last.load(Ordering::Relaxed)))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}
