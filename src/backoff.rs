//! Exponential back-off with jitter.
//!
//! Pure: the number of failures and a random number go in, a pause comes out.

use std::time::Duration;

/// The pause after the first failure.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The pause after that many failures in a row, from a second to five minutes. It doubles with each and
/// is shortened by up to a tenth, by `jitter` from 0 to 1, so that simultaneous failures are not retried together.
#[must_use]
pub fn after(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    shortened(MIN_PAUSE.saturating_mul(1 << doublings).min(MAX_PAUSE), jitter)
}

/// A pause that may not be exceeded, shortened by up to a tenth.
#[must_use]
pub fn shortened(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 10.0)
}

/// The time from one refresh to the next: the interval, a tenth more or less.
#[must_use]
pub fn jittered(interval: Duration, jitter: f64) -> Duration {
    interval.mul_f64(0.9 + jitter.clamp(0.0, 1.0) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::{after, jittered, shortened};
    use std::time::Duration;

    #[test]
    fn pauses_double_from_a_second_to_five_minutes() {
        let pauses: Vec<_> = (1..=10).map(|failures| after(failures, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(after(u32::MAX, 0.0).as_secs(), 300);
    }

    #[test]
    fn jitter_spreads_simultaneous_retries() {
        assert_eq!(after(4, 1.0), Duration::from_millis(7200));
        assert_eq!(shortened(Duration::from_mins(1), 0.0), Duration::from_mins(1));
        assert_eq!(shortened(Duration::from_mins(1), 1.0), Duration::from_secs(54));
        assert_eq!(jittered(Duration::from_mins(1), 0.0), Duration::from_secs(54));
        assert_eq!(jittered(Duration::from_mins(1), 1.0), Duration::from_secs(66));
    }
}
