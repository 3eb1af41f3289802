//! How often each key may ask.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::keys::KeyId;

/// So many requests a second of each key, and as many at once after a second of silence.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// The time that one request uses up.
    pause: Duration,
    /// Up to when the time of each key is used up. Who has used up nothing is not in it.
    used_until: HashMap<KeyId, Instant>,
}

/// How much time may be used up beforehand.
const BURST: Duration = Duration::from_secs(1);

impl RateLimiter {
    pub(super) fn new(requests_per_second: u32) -> Self {
        Self { pause: BURST / requests_per_second.max(1), used_until: HashMap::new() }
    }

    /// Whether this key may ask now, which is one request of its allowance.
    pub(super) fn take(&mut self, key: KeyId, now: Instant) -> bool {
        if !self.used_until.contains_key(&key) {
            self.used_until.retain(|_, used_until| *used_until > now);
        }
        let used_until = self.used_until.entry(key).or_insert(now);
        let next = now.max(*used_until) + self.pause;
        let is_allowed = next <= now + BURST;
        if is_allowed {
            *used_until = next;
        }
        is_allowed
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.used_until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a hundred requests at once are allowed.
    fn taken(allowances: &mut RateLimiter, key: &str, now: Instant) -> usize {
        (0..100).filter(|_| allowances.take(KeyId::of(key.as_bytes()), now)).count()
    }

    #[test]
    fn a_key_may_ask_so_often_a_second_and_no_more() {
        let begin = Instant::now();
        let mut allowances = RateLimiter::new(10);
        let mut check = |millis, expect| {
            let now = begin + Duration::from_millis(millis);
            assert_eq!(taken(&mut allowances, "one", now), expect, "after {millis} ms");
        };
        check(0, 10);
        check(99, 0);
        check(100, 1);
        check(350, 2);
        check(10_000, 10);
    }

    #[test]
    fn no_key_uses_up_the_allowance_of_another() {
        let now = Instant::now();
        let mut allowances = RateLimiter::new(3);
        assert_eq!(taken(&mut allowances, "one", now), 3);
        assert_eq!(taken(&mut allowances, "two", now), 3);
    }

    #[test]
    fn a_key_that_is_used_no_more_is_forgotten() {
        let begin = Instant::now();
        let mut allowances = RateLimiter::new(1000);
        for n in 0..1000_u32 {
            let now = begin + Duration::from_secs(2) * n;
            assert!(allowances.take(KeyId::of(&n.to_le_bytes()), now));
        }
        assert_eq!(allowances.len(), 1);
    }
}
