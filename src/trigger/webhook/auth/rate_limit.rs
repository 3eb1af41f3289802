//! Rate limit per key.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::keys::KeyId;

/// Allows each key a number of requests per second, and as many at once after an idle second.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// The time that one request uses up.
    interval: Duration,
    /// The instant up to which each key has used up its time. Idle keys are not in it.
    used_until: HashMap<KeyId, Instant>,
}

/// The time that may be used up in advance.
const BURST: Duration = Duration::from_secs(1);

impl RateLimiter {
    pub(super) fn new(requests_per_second: u32) -> Self {
        Self { interval: BURST / requests_per_second.max(1), used_until: HashMap::new() }
    }

    /// Takes one request off the limit of this key; returns false if there is none left.
    pub(super) fn try_acquire(&mut self, key: KeyId, now: Instant) -> bool {
        if !self.used_until.contains_key(&key) {
            self.used_until.retain(|_, used_until| *used_until > now);
        }
        let used_until = self.used_until.entry(key).or_insert(now);
        let next = now.max(*used_until) + self.interval;
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

    /// The number of a hundred simultaneous requests that are allowed.
    fn allowed(rate_limiter: &mut RateLimiter, key: &str, now: Instant) -> usize {
        (0..100).filter(|_| rate_limiter.try_acquire(KeyId::new(key.as_bytes()), now)).count()
    }

    #[test]
    fn key_is_limited_to_its_requests_per_second() {
        let begin = Instant::now();
        let mut rate_limiter = RateLimiter::new(10);
        for (millis, expect) in [(0, 10), (99, 0), (100, 1), (350, 2), (10_000, 10)] {
            let now = begin + Duration::from_millis(millis);
            assert_eq!(allowed(&mut rate_limiter, "one", now), expect, "after {millis} ms");
        }
    }

    #[test]
    fn keys_are_limited_independently() {
        let now = Instant::now();
        let mut rate_limiter = RateLimiter::new(3);
        assert_eq!(allowed(&mut rate_limiter, "one", now), 3);
        assert_eq!(allowed(&mut rate_limiter, "two", now), 3);
    }

    #[test]
    fn idle_key_is_forgotten() {
        let begin = Instant::now();
        let mut rate_limiter = RateLimiter::new(1000);
        for n in 0..1000_u32 {
            let now = begin + Duration::from_secs(2) * n;
            assert!(rate_limiter.try_acquire(KeyId::new(&n.to_le_bytes()), now));
        }
        assert_eq!(rate_limiter.len(), 1);
    }
}
