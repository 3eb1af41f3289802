//! Leadership: the time until which this process leads, readable at any instant.
//!
//! Only the elector writes the end; every other part asks whether it has passed. The answer needs no
//! running task: a process that was suspended past the end, alone or with its machine, knows at its first
//! instruction.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::LeaderElectionConfig;
use super::clock::{Clock, LeaseInstant};

/// The longest time before the end during which no new write is started.
const MAX_MARGIN: Duration = Duration::from_secs(5);

/// A handle on the leadership of this process; all clones share the same state.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The clock that the elector counts the lease by.
    clock: Clock,
    /// The time before the end at which leadership stops being current, so that a write just started is
    /// answered before another replica may lead.
    margin: Duration,
    /// The end in nanoseconds of the clock, zero if this process does not lead. Written by the elector
    /// alone.
    end: Arc<AtomicU64>,
}

impl Leadership {
    /// Creates a leadership that has not begun.
    #[must_use]
    pub fn new(config: &LeaderElectionConfig, clock: Clock) -> Self {
        let margin = (config.lease_duration / 8).min(MAX_MARGIN);
        Self { clock, margin, end: Arc::default() }
    }

    /// Returns true if this process leads, and will for long enough to start a write.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.clock.now() + self.margin < self.end()
    }

    /// Returns the end, which is in the past if this process does not lead.
    fn end(&self) -> LeaseInstant {
        LeaseInstant::from_nanos(self.end.load(Ordering::Acquire))
    }

    /// Moves the end to `end`.
    pub(super) fn extend(&self, end: LeaseInstant) {
        self.end.store(end.as_nanos(), Ordering::Release);
    }

    /// Ends the leadership at once.
    pub(super) fn revoke(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// Returns the clock of the lease.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits for the end, however often it is extended in between. Every poll reads the clock: the timer stood
    /// still while the machine was suspended.
    pub(super) async fn ended(&self) {
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        poll_fn(|context| {
            loop {
                let remaining = self.end().saturating_duration_since(self.clock.now());
                if remaining.is_zero() {
                    return Poll::Ready(());
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                timer.as_mut().reset(tokio::time::Instant::now() + remaining);
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A leadership of that duration which begins now.
    fn begun(lease_duration: Duration) -> Leadership {
        let config = LeaderElectionConfig { lease_duration, ..LeaderElectionConfig::example() };
        let leadership = Leadership::new(&config, Clock::tokio());
        leadership.extend(leadership.clock.now() + lease_duration);
        leadership
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_not_begun_is_not_current() {
        let leadership = Leadership::new(&LeaderElectionConfig::example(), Clock::tokio());
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
            leadership.extend(leadership.clock.now() + Duration::from_secs(20));
        };
        tokio::join!(renew, leadership.ended());
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }

    /// The effect of a suspended machine: the timers of the process stand still, and the clock goes on.
    #[tokio::test(start_paused = true)]
    async fn leadership_ends_while_the_machine_is_suspended() {
        let seconds = Arc::new(AtomicU64::new(100));
        let shown = Arc::clone(&seconds);
        let clock = Clock::new(move || Duration::from_secs(shown.load(Ordering::Relaxed)));
        let leadership = Leadership::new(&LeaderElectionConfig::example(), clock);
        leadership.extend(leadership.clock.now() + Duration::from_secs(20));
        let mut ended = pin!(leadership.ended());
        assert!(leadership.is_current() && futures::poll!(ended.as_mut()).is_pending());
        seconds.store(100 + 3600, Ordering::Relaxed);
        assert!(!leadership.is_current());
        assert!(futures::poll!(ended).is_ready(), "the timer has not run");
    }

    /// The effect of SIGSTOP on a process: time passes and none of its tasks runs.
    #[test]
    fn leadership_ends_while_nothing_runs() {
        let duration = Duration::from_millis(20);
        let config = LeaderElectionConfig { lease_duration: duration, ..LeaderElectionConfig::example() };
        let leadership = Leadership::new(&config, Clock::boot_time());
        leadership.extend(leadership.clock.now() + duration);
        assert!(leadership.is_current());
        std::thread::sleep(duration);
        assert!(!leadership.is_current());
    }
}
