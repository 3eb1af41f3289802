//! Timers by the instant at which they are due.
//!
//! Pure. Setting a timer again leaves the older one in place; the handler of a timer without effect does
//! nothing.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::credential::StoreKey;
use crate::object_name::{NamespaceName, SecretName};

/// An action that is due at an instant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Reads the keys of a ClusterPullSecret again.
    Refresh(String),
    /// Reads the failed keys of single namespaces again.
    RetryKeys(String),
    /// Reads a key again whose credential was issued for a time, or reports its end.
    Expiry(StoreKey),
    /// Requeues a namespace for a ClusterPullSecret.
    Requeue(String, NamespaceName),
    /// Retries a patch of a ClusterPullSecret, or updates its status.
    ObjectPatch(String),
    /// Lists the Secrets of a name again.
    SecretLists(SecretName),
    /// Reads regcred's own namespace again, or saves to it: the loop does what is due.
    Installation,
}

/// Timers by the instant they are due.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Removes and returns the timers that are due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Vec<Timer> {
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
    fn timers_fire_in_order_and_only_when_due() {
        let (now, mut timers) = (Instant::now(), Timers::default());
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(2));
        timers.set(late, Timer::Refresh("b".into()));
        timers.set(soon, Timer::Refresh("a".into()));
        assert_eq!(timers.next_due(), Some(soon));
        assert_eq!(timers.pop_due(now), []);
        assert_eq!(timers.pop_due(late), [Timer::Refresh("a".into()), Timer::Refresh("b".into())]);
        assert_eq!(timers.next_due(), None);
    }
}
