//! How often it is said that what others send is refused or cannot be read.

use std::time::Duration;

use tokio::time::Instant;

/// Time between two lines of the log.
const PAUSE: Duration = Duration::from_mins(1);

/// Things refused that nobody was told of yet.
#[derive(Debug, Default)]
pub(super) struct LogThrottle {
    untold: u64,
    told_at: Option<Instant>,
}

impl LogThrottle {
    /// One more: how many there were since it was last told, where it is time to tell it again.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told_at.is_some_and(|told_at| now < told_at + PAUSE) {
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_together_after_a_minute() {
        let begin = Instant::now();
        let mut complaints = LogThrottle::default();
        let mut told = Vec::new();
        for second in 0..130 {
            let requests = complaints.count(begin + Duration::from_secs(second));
            told.extend(requests.map(|requests| (second, requests)));
        }
        assert_eq!(told, [(0, 1), (60, 60), (120, 60)]);
    }
}
