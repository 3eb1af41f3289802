//! The wait of one target for one key, of which its Secret holds a later version than the store answered.
//!
//! Pure; times are parameters. The store is read before a conflict is reported, and once more before the
//! older version is written. Each key of a Secret has a wait of its own.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::ObjectState;
use crate::credential::{StoreKey, Version};
use crate::fetches::HOLD_BACK;
use crate::object_name::NamespaceName;
use crate::rotator::VersionConflict;

/// The reads for one wait, after which a target is reported whatever its Secret holds.
const MAX_READS: u32 = 3;

/// The waits of one target, which end together: a conflict hides those of the hosts after it.
pub type VersionHolds = BTreeMap<StoreKey, VersionHold>;

/// The wait of one target for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionHold {
    /// The version in the Secret.
    held: Version,
    /// The first conflict: five minutes later the older version is written.
    since: Instant,
    /// A read has to start at this instant or later before this version is reported.
    found_at: Instant,
    /// The target waits for a read from this instant on.
    awaited: Option<Instant>,
    /// The start of the last read that the target waited for.
    read_at: Option<Instant>,
    /// The reads that the target waited for.
    reads: u32,
    is_accepted: bool,
}

/// The next step of a target in conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictStep {
    /// Read the store again; nothing is reported yet.
    Read,
    /// Report the conflict, and wait.
    Report,
    /// Write the older version.
    Accept,
}

impl VersionHold {
    /// Creates the hold of a target whose conflict was found at `now`.
    pub(crate) fn new(conflict: &VersionConflict, now: Instant) -> Self {
        Self {
            held: conflict.held.clone(),
            since: now,
            found_at: now,
            awaited: None,
            read_at: None,
            reads: 0,
            is_accepted: false,
        }
    }

    /// Returns the instant from which the older version may be written.
    pub(crate) fn ends_at(&self) -> Instant {
        self.since + HOLD_BACK
    }

    /// Returns the next step, where a conflict was found.
    pub(crate) fn next_step(&mut self, conflict: &VersionConflict, now: Instant) -> ConflictStep {
        if self.is_accepted {
            // Another process wrote a version that is later than the accepted one.
            *self = Self::new(conflict, now);
        } else if self.held != conflict.held || !conflict.is_ordered() {
            // The store may have this version since the last read.
            self.held = conflict.held.clone();
            self.found_at = now;
        }
        let is_over = now >= self.ends_at();
        let earliest = if is_over { self.ends_at() } else { self.since };
        // A tenant who edits the annotation again and again extends neither the reads nor the five minutes.
        let needed = if self.reads < MAX_READS { self.found_at.max(earliest) } else { earliest };
        if self.read_at.is_none_or(|read_at| read_at < needed) {
            self.awaited.get_or_insert(needed);
            return ConflictStep::Read;
        }
        self.is_accepted = is_over;
        if is_over { ConflictStep::Accept } else { ConflictStep::Report }
    }

    /// Records a read of the key that started at `started`, with or without success. Returns true if the
    /// target waited for it.
    pub(crate) fn on_read(&mut self, started: Instant) -> bool {
        let is_served = self.awaited.is_some_and(|awaited| started >= awaited);
        if is_served {
            (self.awaited, self.read_at) = (None, Some(started));
            self.reads += 1;
        }
        is_served
    }
}

impl ObjectState {
    /// Returns the keys at which an older version may replace the one in the Secret of a namespace, after a wait.
    pub fn accepted_older(&self, namespace: &NamespaceName) -> impl Iterator<Item = &StoreKey> {
        let holds = self.version_holds.get(namespace).into_iter().flatten();
        holds.filter(|(_, hold)| hold.is_accepted).map(|(key, _)| key)
    }

    /// Returns the keys of which a namespace has credentials: those that all namespaces share, and its own.
    pub fn keys_of_namespace(&self, namespace: &NamespaceName) -> impl Iterator<Item = &StoreKey> {
        let own = self.namespace_fetches.in_namespace(namespace).iter().map(|(_, store_key)| store_key);
        self.shared_keys().chain(own)
    }

    /// Returns true if a target waits for another read of the store.
    #[must_use]
    pub fn awaits_read(&self) -> bool {
        self.version_holds.values().flat_map(BTreeMap::values).any(|hold| hold.awaited.is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn conflict(held: &str) -> VersionConflict {
        VersionConflict {
            host: crate::reconcile::fixture::host_key("ghcr.io"),
            store_key: crate::reconcile::fixture::store_key("ci/ghcr"),
            held: held.into(),
            fetched: "6".into(),
        }
    }

    /// A hold with the clock of its steps, in seconds.
    struct TestHold {
        hold: VersionHold,
        start: Instant,
    }

    impl TestHold {
        fn new(held: &str) -> Self {
            let start = Instant::now();
            Self { hold: VersionHold::new(&conflict(held), start), start }
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }

        #[track_caller]
        fn check(&mut self, second: u64, held: &str, expect: ConflictStep) {
            let now = self.at(second);
            assert_eq!(self.hold.next_step(&conflict(held), now), expect, "at {second} s");
        }

        fn read(&mut self, second: u64) -> bool {
            let started = self.at(second);
            self.hold.on_read(started)
        }
    }

    #[test]
    fn conflict_is_read_reported_read_and_accepted() {
        let mut target = TestHold::new("9");
        target.check(1, "9", ConflictStep::Read);
        assert!(
            !target.hold.on_read(target.start - Duration::from_millis(1)),
            "it began before the conflict"
        );
        target.check(1, "9", ConflictStep::Read);
        assert!(target.read(2));
        target.check(2, "9", ConflictStep::Report);
        assert!(!target.read(3), "nothing waits for it");
        target.check(299, "9", ConflictStep::Report);
        target.check(300, "9", ConflictStep::Read);
        assert!(!target.read(299) && target.read(300));
        assert!(!target.hold.is_accepted);
        target.check(300, "9", ConflictStep::Accept);
        assert!(target.hold.is_accepted);
    }

    #[test]
    fn other_version_is_read_again_within_the_same_wait() {
        let mut target = TestHold::new("9");
        target.check(0, "9", ConflictStep::Read);
        assert!(target.read(1));
        target.check(200, "10", ConflictStep::Read);
        assert!(target.read(201));
        target.check(202, "10", ConflictStep::Report);
        target.check(301, "10", ConflictStep::Read);
        assert!(target.read(301));
        target.check(301, "10", ConflictStep::Accept);
    }

    #[test]
    fn name_without_order_is_read_again_each_time() {
        let mut target = TestHold::new("id-9");
        for second in [0, 10, 20] {
            target.check(second, "id-9", ConflictStep::Read);
            assert!(target.read(second + 1));
        }
    }

    #[test]
    fn edits_without_end_are_reported_and_overwritten() {
        let mut target = TestHold::new("9");
        for second in 0..3 {
            target.check(second, &format!("9{second}"), ConflictStep::Read);
            target.check(second, &format!("8{second}"), ConflictStep::Read);
            assert!(target.read(second));
        }
        target.check(4, "99", ConflictStep::Report);
        target.check(5, "98", ConflictStep::Report);
        target.check(300, "97", ConflictStep::Read);
        assert!(target.read(300));
        target.check(301, "96", ConflictStep::Accept);
    }

    #[test]
    fn conflict_after_acceptance_begins_again() {
        let mut target = TestHold::new("9");
        target.check(300, "9", ConflictStep::Read);
        assert!(target.read(300));
        target.check(300, "9", ConflictStep::Accept);
        target.check(301, "10", ConflictStep::Read);
        assert!(!target.hold.is_accepted);
        assert_eq!(target.hold.ends_at(), target.at(601));
    }
}
