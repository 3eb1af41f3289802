//! What becomes due at which instant.
//!
//! Pure. A timer that is set again leaves the older one behind; who is woken for nothing goes back to
//! sleep.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// What becomes due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A ClusterPullSecret is read again.
    Refresh(String),
    /// A namespace is looked at again for a ClusterPullSecret.
    Retry(String, String),
    /// A request about a ClusterPullSecret itself is tried again, or its status is looked at.
    ObjectPatch(String),
    /// The Secrets of a name are listed again.
    SecretLists(String),
}

/// Timers by the instant they are due.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out those that are due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Timer> {
        let mut due = Vec::new();
        while self.0.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.0.pop_first().map(|(_, timer)| timer));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_come_in_their_order_and_only_when_they_are_due() {
        let (now, mut timers) = (Instant::now(), Timers::default());
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        timers.set(late, Timer::Refresh("b".into()));
        timers.set(soon, Timer::Refresh("a".into()));
        assert_eq!(timers.next(), Some(soon));
        assert_eq!(timers.due(now), []);
        assert_eq!(timers.due(late), [Timer::Refresh("a".into()), Timer::Refresh("b".into())]);
        assert_eq!(timers.next(), None);
    }
}
