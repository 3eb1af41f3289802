//! The clock of the lease: the time since the machine started, in which it was suspended included.
//!
//! `Instant` stands still while a machine is suspended, and so would the lease. A virtual machine that its
//! host pauses has no clock that shows the pause; there the preconditions of the writes and the order of
//! the versions protect.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

/// An instant by the [`Clock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseInstant(Duration);

/// A clock; all clones show the same time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// Creates a clock that goes on while the machine is suspended.
    #[must_use]
    pub fn boot_time() -> Self {
        Self(Arc::new(boot_time))
    }

    /// Returns the current time.
    #[must_use]
    pub(super) fn now(&self) -> LeaseInstant {
        LeaseInstant(self.0())
    }

    /// Creates a clock that shows what `now` returns.
    #[must_use]
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Creates a clock that follows tokio's, which a test may pause.
    #[cfg(test)]
    pub(crate) fn tokio() -> Self {
        let start = tokio::time::Instant::now();
        Self::new(move || start.elapsed())
    }
}

/// Returns the time since the machine started.
fn boot_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // Linux alone has a clock that stands still during a suspension, and a second one that does not.
    #[cfg(target_os = "linux")]
    const BOOT_TIME: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const BOOT_TIME: ClockId = ClockId::Monotonic;
    // Neither clock is ever negative.
    Duration::try_from(clock_gettime(BOOT_TIME)).unwrap_or_default()
}

impl LeaseInstant {
    /// Returns the time since `earlier`; zero if that is later.
    pub(super) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Returns the nanoseconds from the start of the clock.
    pub(super) fn as_nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Creates an instant from the nanoseconds since the start of the clock.
    pub(super) fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }
}

impl Add<Duration> for LeaseInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_is_no_earlier_than_that_of_the_kernel() {
        // The kernel counts it from the start of the machine, in which a suspension is included.
        let uptime = std::fs::read_to_string("/proc/uptime").expect("the uptime");
        let seconds: f64 = uptime.split(' ').next().expect("a number").parse().expect("seconds");
        let now = Clock::boot_time().now().0.as_secs_f64();
        assert!((seconds - 0.1..seconds + 60.0).contains(&now), "{now} s, the kernel says {seconds} s");
    }

    #[test]
    fn clock_never_goes_back() {
        let clock = Clock::boot_time();
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now().saturating_duration_since(before) >= Duration::from_millis(2));
        assert_eq!(before.saturating_duration_since(clock.now()), Duration::ZERO);
    }
}
