//! Events that name no version and that no read has confirmed: the times at which their key is read again.
//!
//! Pure. A replica of a store may lag behind the change that an event reports, so a first read that brings nothing
//! new proves nothing. All events of a key share its reads, of which there is at most one a second on average.

use std::time::Duration;

use tokio::time::Instant;

/// The times of the further reads, from the start of the first one.
const READ_AGAIN_AFTER: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// The unconfirmed events of a key.
#[derive(Debug, Default)]
pub(super) struct UnconfirmedEvents {
    /// The changes of the first event and of the last one happened before these instants.
    events: Option<(Instant, Instant)>,
    /// The start of the first read for them.
    first_read: Option<Instant>,
}

/// The gain of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadGain {
    /// Another value or version than the one before.
    New,
    /// The value that was known, an older one, or none.
    Nothing,
    /// No answer that another replica could improve.
    Failed,
}

/// The decision after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Confirmation {
    /// Every event before this instant is served.
    Served(Instant),
    /// The key is read again at this instant, for the same events.
    ReadAgain(Instant),
    /// Every event before `until` is served, by reads that brought nothing new; those since are read for `again`.
    InVain {
        /// The start of the first of these reads.
        until: Instant,
        /// The time of the next read, where the last read was the first one of later events.
        again: Option<Instant>,
    },
}

impl UnconfirmedEvents {
    /// Adds an event about a change before this instant.
    pub(super) fn add(&mut self, before: Instant) {
        let (first, last) = self.events.unwrap_or((before, before));
        self.events = Some((first.min(before), last.max(before)));
    }

    /// Returns true if a further read is to come.
    pub(super) fn awaits_read(&self) -> bool {
        self.first_read.is_some()
    }

    /// Decides about the read that started at `started`.
    pub(super) fn on_read(&mut self, started: Instant, gain: ReadGain) -> Confirmation {
        let Some((_, last)) = self.events.filter(|(first, _)| *first <= started) else {
            return Confirmation::Served(started);
        };
        let first_read = *self.first_read.get_or_insert(started);
        if gain != ReadGain::Nothing {
            self.forget_until(started, last);
            return Confirmation::Served(started);
        }
        if let Some(at) = next_read(first_read, started) {
            return Confirmation::ReadAgain(at);
        }
        self.forget_until(first_read, last);
        let is_first_of_later = first_read < last && last <= started;
        self.first_read = is_first_of_later.then_some(started);
        let again = self.first_read.and_then(|first_read| next_read(first_read, started));
        Confirmation::InVain { until: first_read, again }
    }

    fn forget_until(&mut self, served: Instant, last: Instant) {
        self.events = (served < last).then_some((last, last));
        self.first_read = None;
    }
}

/// Returns the time of the read after the one that started at `started`. A slow store is read less often.
fn next_read(first_read: Instant, started: Instant) -> Option<Instant> {
    READ_AGAIN_AFTER.into_iter().map(|pause| first_read + pause).find(|at| started < *at)
}

#[cfg(test)]
mod tests {
    use super::Confirmation::{InVain, ReadAgain, Served};
    use super::*;

    fn millis(now: Instant) -> impl Fn(u64) -> Instant {
        move |n| now + Duration::from_millis(n)
    }

    #[test]
    fn read_without_news_is_repeated_three_times() {
        let at = millis(Instant::now());
        let mut events = UnconfirmedEvents::default();
        events.add(at(0));
        for (started, next) in [(0, 200), (200, 1000), (1000, 3000)] {
            assert_eq!(events.on_read(at(started), ReadGain::Nothing), ReadAgain(at(next)));
        }
        assert_eq!(events.on_read(at(3000), ReadGain::Nothing), InVain { until: at(0), again: None });
        assert!(!events.awaits_read());
    }

    #[test]
    fn news_and_failures_end_the_reads() {
        let at = millis(Instant::now());
        for gain in [ReadGain::New, ReadGain::Failed] {
            let mut events = UnconfirmedEvents::default();
            events.add(at(0));
            assert_eq!(events.on_read(at(10), ReadGain::Nothing), ReadAgain(at(210)));
            assert_eq!(events.on_read(at(210), gain), Served(at(210)));
            assert_eq!(events.on_read(at(500), ReadGain::Nothing), Served(at(500)), "no event waits");
        }
    }

    #[test]
    fn read_without_event_is_not_repeated() {
        let at = millis(Instant::now());
        let mut events = UnconfirmedEvents::default();
        assert_eq!(events.on_read(at(0), ReadGain::Nothing), Served(at(0)));
        events.add(at(10));
        assert_eq!(
            events.on_read(at(5), ReadGain::Nothing),
            Served(at(5)),
            "the read is older than the event"
        );
        assert_eq!(events.on_read(at(10), ReadGain::Nothing), ReadAgain(at(210)));
    }

    #[test]
    fn event_during_the_reads_gets_its_own() {
        let at = millis(Instant::now());
        let mut events = UnconfirmedEvents::default();
        events.add(at(0));
        assert_eq!(events.on_read(at(0), ReadGain::Nothing), ReadAgain(at(200)));
        events.add(at(1500));
        assert_eq!(events.on_read(at(2000), ReadGain::Nothing), ReadAgain(at(3000)));
        let again = Some(at(3200));
        assert_eq!(events.on_read(at(3000), ReadGain::Nothing), InVain { until: at(0), again });
        assert_eq!(events.on_read(at(3200), ReadGain::New), Served(at(3200)));
    }

    #[test]
    fn event_after_the_last_read_waits_for_another() {
        let at = millis(Instant::now());
        let mut events = UnconfirmedEvents::default();
        events.add(at(0));
        let _ = events.on_read(at(0), ReadGain::Nothing);
        events.add(at(3001));
        assert_eq!(events.on_read(at(3000), ReadGain::Nothing), InVain { until: at(0), again: None });
        assert_eq!(events.on_read(at(4000), ReadGain::Nothing), ReadAgain(at(4200)));
    }

    #[test]
    fn slow_store_is_read_less_often() {
        let at = millis(Instant::now());
        let mut events = UnconfirmedEvents::default();
        events.add(at(0));
        assert_eq!(events.on_read(at(0), ReadGain::Nothing), ReadAgain(at(200)));
        assert_eq!(events.on_read(at(2500), ReadGain::Nothing), ReadAgain(at(3000)));
        assert_eq!(events.on_read(at(5000), ReadGain::Nothing), InVain { until: at(0), again: None });
    }
}
