//! The budget of the poll: how many versions of a store are read in a second, and how long a round then takes.
//!
//! Pure. A round reads at most the budget in each second, so that a store with a key for each namespace is
//! asked evenly. Where a round takes longer than the interval of the poll, the next one follows at once.

use std::time::Duration;

/// The time in which the budget is spent.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// Returns the interval at which each of this number of keys is polled.
#[must_use]
pub fn effective_interval(keys: usize, max_per_second: u32, interval: Duration) -> Duration {
    interval.max(round_time(keys, max_per_second))
}

/// Returns the time in which a round spends its budget.
fn round_time(keys: usize, max_per_second: u32) -> Duration {
    TICK.saturating_mul(u32::try_from(keys.div_ceil(chunk_size(max_per_second))).unwrap_or(u32::MAX))
}

/// Returns the number of keys that are asked for at once.
pub(super) fn chunk_size(max_per_second: u32) -> usize {
    usize::try_from(max_per_second.max(1)).unwrap_or(usize::MAX)
}

/// Returns the pause between the last request of a round and the first of the next.
pub(super) fn pause_after_round(keys: usize, max_per_second: u32, interval: Duration) -> Duration {
    let spent = round_time(keys, max_per_second).saturating_sub(TICK);
    interval.saturating_sub(spent).max(TICK.min(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the effective interval and the pause after a round, in seconds, at an interval of 10 s.
    #[track_caller]
    fn check(keys: usize, max_per_second: u32, expect: (u64, u64)) {
        let interval = Duration::from_secs(10);
        let effective = effective_interval(keys, max_per_second, interval);
        let pause = pause_after_round(keys, max_per_second, interval);
        assert_eq!(
            (effective.as_secs(), pause.as_secs()),
            expect,
            "{keys} keys, {max_per_second} per second"
        );
    }

    #[test]
    fn interval_grows_once_the_budget_is_spent() {
        check(0, 20, (10, 10));
        check(20, 20, (10, 10));
        check(21, 20, (10, 9));
        check(200, 20, (10, 1));
        check(201, 20, (11, 1));
        check(1000, 20, (50, 1));
        check(1000, 1000, (10, 10));
        check(30, 1, (30, 1));
    }
}
