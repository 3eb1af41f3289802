//! The number of concurrent requests for messages.
//!
//! Pure. One while the queue is quiet, more while each returns a full batch; none for a while after a failure.

use std::time::Duration;

use tokio::time::Instant;

use super::queue::BATCH;
use crate::backoff;

/// The largest number of concurrent requests.
const MAX_REQUESTS: usize = 4;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// The allowed concurrency, and the pause after a failure.
#[derive(Debug)]
pub(super) struct ReceiveConcurrency {
    requests: usize,
    failures: u32,
    not_before: Option<Instant>,
}

impl Default for ReceiveConcurrency {
    fn default() -> Self {
        Self { requests: 1, failures: 0, not_before: None }
    }
}

impl ReceiveConcurrency {
    /// Returns true if one more request may start, given those pending and the capacity for messages.
    pub(super) fn allows(&self, pending: usize, capacity: usize, now: Instant) -> bool {
        pending < self.requests
            && (pending + 1) * BATCH <= capacity
            && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// The end of the pause after a failure.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.not_before
    }

    /// Adapts to the number of messages that a request returned.
    pub(super) fn on_received(&mut self, messages: usize) {
        let requests = if messages == BATCH { self.requests * 2 } else { self.requests / 2 };
        *self = Self { requests: requests.clamp(1, MAX_REQUESTS), ..Self::default() };
    }

    /// Pauses after a failed request. Of concurrent failures only the first counts.
    pub(super) fn on_failure(&mut self, now: Instant, jitter: f64) {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        let failures = self.failures.saturating_add(1);
        let pause = backoff::after(failures, jitter).min(MAX_PAUSE);
        *self = Self { requests: 1, failures, not_before: Some(now + pause) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of requests that may run at once.
    fn allowed(concurrency: &ReceiveConcurrency, capacity: usize, now: Instant) -> usize {
        (0..=MAX_REQUESTS).take_while(|pending| concurrency.allows(*pending, capacity, now)).count()
    }

    #[test]
    fn concurrency_grows_with_full_batches_and_falls_when_quiet() {
        let (now, mut concurrency) = (Instant::now(), ReceiveConcurrency::default());
        let mut requests = vec![allowed(&concurrency, 1000, now)];
        for messages in [10, 10, 10, 3, 0, 0] {
            concurrency.on_received(messages);
            requests.push(allowed(&concurrency, 1000, now));
        }
        assert_eq!(requests, [1, 2, 4, 4, 2, 1, 1]);
    }

    #[test]
    fn requests_limited_by_capacity() {
        let (now, mut concurrency) = (Instant::now(), ReceiveConcurrency::default());
        concurrency.on_received(10);
        concurrency.on_received(10);
        let requests = [0, 9, 10, 25, 40].map(|capacity| allowed(&concurrency, capacity, now));
        assert_eq!(requests, [0, 0, 1, 2, 4]);
    }

    #[test]
    fn failures_pause_requests_up_to_a_minute() {
        let (mut now, mut concurrency) = (Instant::now(), ReceiveConcurrency::default());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            concurrency.on_failure(now, 0.0);
            // A concurrent failure.
            concurrency.on_failure(now, 0.0);
            let next = concurrency.paused_until().unwrap();
            pauses.push(next.duration_since(now).as_secs());
            assert_eq!([now, next].map(|at| concurrency.allows(0, 1000, at)), [false, true]);
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        concurrency.on_received(0);
        assert_eq!(concurrency.paused_until(), None);
    }
}
