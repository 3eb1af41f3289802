//! The term of office: until when this process leads, readable at any instant.
//!
//! The campaign writes the end of the term, everybody else asks whether it has come. No task has to
//! run for the answer: a process that was stopped past the end of its term knows it at its first
//! instruction. Only the time in which the whole machine sleeps is not counted by its clock; there the
//! preconditions of the writes are what protects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Settings;

/// The longest time before the end of a term at which no write is begun any more.
const MAX_MARGIN: Duration = Duration::from_secs(5);

/// A handle on the term of this process; all clones tell of the same one.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// What `end` is counted from.
    base: Instant,
    /// How long before the end the term stops being current, so that a write which was just begun is
    /// answered before anybody else may lead.
    margin: Duration,
    /// Nanoseconds from `base` to the end of the term, zero where there is none. Written by the
    /// campaign alone.
    end: Arc<AtomicU64>,
}

impl Leadership {
    /// A term that has not begun.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let margin = (settings.duration / 8).min(MAX_MARGIN);
        Self { base: Instant::now(), margin, end: Arc::default() }
    }

    /// Whether this process leads, and will for long enough that a write may be begun.
    #[must_use]
    pub fn is_current(&self) -> bool {
        Instant::now() + self.margin < self.end()
    }

    /// The end, which is in the past where no term has begun.
    fn end(&self) -> Instant {
        self.base + Duration::from_nanos(self.end.load(Ordering::Acquire))
    }

    /// Makes the term last until `end`.
    pub(super) fn extend(&self, end: Instant) {
        let nanos = end.saturating_duration_since(self.base).as_nanos();
        self.end.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Ends the term at once.
    pub(super) fn lay_down(&self) {
        self.end.store(0, Ordering::Release);
    }

    /// Waits until the term is over, however often it is renewed in between.
    pub(super) async fn over(&self) {
        loop {
            let end = self.end();
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A term of that duration which begins now.
    fn begun(duration: Duration) -> Leadership {
        let term = Leadership::new(&Settings { duration, ..Settings::example() });
        term.extend(Instant::now() + duration);
        term
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_has_not_begun_is_not_current() {
        let term = Leadership::new(&Settings::example());
        assert!(!term.is_current());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!term.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_current_until_a_margin_before_its_end() {
        for (seconds, margin) in [(8, 1000), (20, 2500), (600, 5000)] {
            let term = begun(Duration::from_secs(seconds));
            tokio::time::advance(Duration::from_millis(seconds * 1000 - margin - 1)).await;
            assert!(term.is_current(), "{seconds} s");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!term.is_current(), "{seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clones_tell_of_the_same_term() {
        let term = begun(Duration::from_secs(20));
        let clone = term.clone();
        assert!(clone.is_current());
        term.lay_down();
        assert!(!clone.is_current());
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_term_is_over_at_its_new_end() {
        let term = begun(Duration::from_secs(20));
        let start = Instant::now();
        let renew = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            term.extend(Instant::now() + Duration::from_secs(20));
        };
        tokio::join!(renew, term.over());
        assert_eq!(start.elapsed(), Duration::from_secs(30));
    }

    /// What SIGSTOP does to a process: time passes and none of its tasks runs.
    #[test]
    fn a_term_ends_while_nothing_runs() {
        let duration = Duration::from_millis(20);
        let term = begun(duration);
        assert!(term.is_current());
        std::thread::sleep(duration);
        assert!(!term.is_current());
    }
}
