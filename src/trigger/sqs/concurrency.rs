//! How many requests for messages may be under way.
//!
//! Pure. One while the queue is quiet, more while each comes back full; none for a while after one failed.

use std::time::Duration;

use tokio::time::Instant;

use super::queue::BATCH;
use crate::backoff;

/// How many requests are under way at most.
const MOST: usize = 4;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How much is asked for at a time.
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
    /// Whether one more request may be made beside those under way, with room for so many messages.
    pub(super) fn allows(&self, under_way: usize, room: usize, now: Instant) -> bool {
        under_way < self.requests
            && (under_way + 1) * BATCH <= room
            && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// When the pause after a failure is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.not_before
    }

    /// A request brought so many messages.
    pub(super) fn received(&mut self, messages: usize) {
        let requests = if messages == BATCH { self.requests * 2 } else { self.requests / 2 };
        *self = Self { requests: requests.clamp(1, MOST), ..Self::default() };
    }

    /// A request failed. Of those that were under way together only the first counts.
    pub(super) fn failed(&mut self, now: Instant, jitter: f64) {
        if self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        let failures = self.failures.saturating_add(1);
        let pause = backoff::after(failures, jitter).min(LONGEST_PAUSE);
        *self = Self { requests: 1, failures, not_before: Some(now + pause) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests are made at once.
    fn at_once(appetite: &ReceiveConcurrency, room: usize, now: Instant) -> usize {
        (0..=MOST).take_while(|under_way| appetite.allows(*under_way, room, now)).count()
    }

    #[test]
    fn a_queue_full_of_messages_is_read_by_several_requests_and_a_quiet_one_by_one() {
        let (now, mut appetite) = (Instant::now(), ReceiveConcurrency::default());
        let mut requests = vec![at_once(&appetite, 1000, now)];
        for messages in [10, 10, 10, 3, 0, 0] {
            appetite.received(messages);
            requests.push(at_once(&appetite, 1000, now));
        }
        assert_eq!(requests, [1, 2, 4, 4, 2, 1, 1]);
    }

    #[test]
    fn no_more_is_asked_for_than_there_is_room() {
        let (now, mut appetite) = (Instant::now(), ReceiveConcurrency::default());
        appetite.received(10);
        appetite.received(10);
        assert_eq!([0, 9, 10, 25, 40].map(|room| at_once(&appetite, room, now)), [0, 0, 1, 2, 4]);
    }

    #[test]
    fn after_failures_there_are_pauses_up_to_a_minute() {
        let (mut now, mut appetite) = (Instant::now(), ReceiveConcurrency::default());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            appetite.failed(now, 0.0);
            // Another one that was under way at that time.
            appetite.failed(now, 0.0);
            let next = appetite.next().unwrap();
            pauses.push(next.duration_since(now).as_secs());
            assert_eq!([now, next].map(|at| appetite.allows(0, 1000, at)), [false, true]);
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        appetite.received(0);
        assert_eq!(appetite.next(), None);
    }
}
