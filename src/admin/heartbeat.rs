//! The heartbeat of the sync loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The longest time without a tick that still counts as alive. The loop ticks far more often than that.
pub(super) const LIVENESS_TIMEOUT: Duration = Duration::from_mins(1);

/// The last tick of the sync loop, shared with the server. A new one counts as a tick.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    /// The origin of `last`; monotonic, so setting the wall clock has no effect.
    begin: Instant,
    /// Milliseconds from `begin` to the last tick. Written by the sync loop alone.
    last: AtomicU64,
}

impl Heartbeat {
    /// A heartbeat with its first tick now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Beats { begin: Instant::now(), last: AtomicU64::new(0) }))
    }

    /// Records a tick of the loop.
    pub fn beat(&self) {
        let Beats { begin, last } = &*self.0;
        let millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        last.store(millis, Ordering::Relaxed);
    }

    /// Time since the last tick of the loop.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let Beats { begin, last } = &*self.0;
        begin.elapsed().saturating_sub(Duration::from_millis(last.load(Ordering::Relaxed)))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}
