//! Leadership: the time until which this process leads, readable at any instant.
//!
//! Only the elector writes the end; every other part asks whether it has passed. The answer needs no
//! running task: a process that was suspended past the end knows at its first instruction. The one thing
//! its clock does not count is the time in which the whole machine sleeps; there the preconditions of the
//! writes protect.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::LeaderElectionConfig;

/// The longest time before the end during which no new write is started.
const MAX_MARGIN: Duration = Duration::from_secs(5);

/// A handle on the leadership of this process; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The instant from which `end` is counted.
    base: Instant,
    /// The time before the end at which leadership stops being current, so that a write just started is
    /// answered before another replica may lead.
    margin: Duration,
    /// Nanoseconds from `base` to the end, zero if this process does not lead. Written by the elector
    /// alone.
    end: Arc<AtomicU64>,
}

impl Leadership {
    /// Creates a leadership that has not begun.
    #[must_use]
    pub fn new(config: &LeaderElectionConfig) -> Self {
        let margin = (config.lease_duration / 8).min(MAX_MARGIN);
        Self { base: Instant::now(), margin, end: Arc::default() }
    }

    /// Returns true if this process leads, and will for long enough to start a write.
    #[must_use]
    pub fn is_current(&self) -> bool {
        Instant::now() + self.margin < self.end()
    }

    /// Returns the end, which is in the past if this process does not lead.
    fn end(&self) -> Instant {
        self.base + Duration::from_nanos(self.end.load(Ordering::Acquire))
    }

    /// Moves the end to `end`.
    pub(super) fn extend(&self, end: Instant) {
        let nanos = end.saturating_duration_since(self.base).as_nanos();
        self.end.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Ends the leadership at once.
    pub(super) fn revoke(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// Waits for the end, however often it is extended in between.
    pub(super) async fn ended(&self) {
        loop {
            let end = self.end();
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A leadership of that duration which begins now.
    fn begun(lease_duration: Duration) -> Leadership {
        let config = LeaderElectionConfig { lease_duration, ..LeaderElectionConfig::example() };
        let leadership = Leadership::new(&config);
        leadership.extend(Instant::now() + lease_duration);
        leadership
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_not_begun_is_not_current() {
        let leadership = Leadership::new(&LeaderElectionConfig::example());
        assert!(!leadership.is_current());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!leadership.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_is_current_until_a_margin_before_its_end() {
        for (seconds, margin) in [(8, 1000), (20, 2500), (600, 5000)] {
            let leadership = begun(Duration::from_secs(seconds));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - margin - 1)).await;
            assert!(leadership.is_current(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!leadership.is_current(), "{seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clones_share_one_leadership() {
        let leadership = begun(Duration::from_secs(20));
        let clone = leadership.clone();
        assert!(clone.is_current());
        leadership.revoke();
        assert!(!clone.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn extended_leadership_ends_at_its_new_end() {
        let leadership = begun(Duration::from_secs(20));
        let start = Instant::now();
        let renew = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            leadership.extend(Instant::now() + Duration::from_secs(20));
        };
        tokio::join!(renew, leadership.ended());
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }

    /// The effect of SIGSTOP on a process: time passes and none of its tasks runs.
    #[test]
    fn leadership_ends_while_nothing_runs() {
        let duration = Duration::from_millis(20);
        let leadership = begun(duration);
        assert!(leadership.is_current());
        std::thread::sleep(duration);
        assert!(!leadership.is_current());
    }
}
