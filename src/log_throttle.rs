//! Throttle for log lines about invalid or rejected input from outside.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines of the log.
const INTERVAL: Duration = Duration::from_mins(1);

/// A counter of events that are not logged yet.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl LogThrottle {
    /// Counts an event; returns the number of events since the last line if a line is due.
    pub(crate) fn count(&mut self, now: Instant) -> Option<u64> {
        self.unlogged += 1;
        if self.logged_at.is_some_and(|logged_at| now < logged_at + INTERVAL) {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_event_logged_at_once_and_the_rest_once_a_minute() {
        let begin = Instant::now();
        let mut throttle = LogThrottle::default();
        let mut logged = Vec::new();
        for second in 0..130 {
            let events = throttle.count(begin + Duration::from_secs(second));
            logged.extend(events.map(|events| (second, events)));
        }
        assert_eq!(logged, [(0, 1), (60, 60), (120, 60)]);
    }
}
