//! Tracks which Secret names have been listed in full since this replica became leader.
//!
//! Pure. The content of the Secrets shows which of them need no write. Times are parameters.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::cluster::LISTS_AT_ONCE;
use crate::object_name::SecretName;

/// Secret names by the progress of their full list.
#[derive(Debug, Default)]
pub(super) struct SecretLists {
    synced: BTreeSet<SecretName>,
    in_flight: BTreeSet<SecretName>,
    /// Names that could not be listed, and the time of the next attempt.
    not_before: BTreeMap<SecretName, Instant>,
}

impl SecretLists {
    /// Returns true if the Secrets of a name were listed.
    pub(super) fn has_synced(&self, name: &SecretName) -> bool {
        self.synced.contains(name)
    }

    /// Returns true if the Secrets of a name are to be listed now, and marks the list as in flight.
    pub(super) fn start(&mut self, name: &SecretName, now: Instant) -> bool {
        let is_early = self.not_before.get(name).is_some_and(|at| *at > now);
        let has_room = self.in_flight.len() < LISTS_AT_ONCE;
        has_room && !is_early && !self.has_synced(name) && self.in_flight.insert(name.clone())
    }

    /// Records that the Secrets of a name were listed.
    pub(super) fn mark_synced(&mut self, name: &SecretName) {
        self.in_flight.remove(name);
        self.synced.insert(name.clone());
    }

    /// Records that the Secrets of a name could not be listed, and the time of the next attempt.
    pub(super) fn mark_failed(&mut self, name: &SecretName, retry_at: Instant) {
        self.in_flight.remove(name);
        self.not_before.insert(name.clone(), retry_at);
    }

    /// Ends the back-off of a name.
    pub(super) fn reset_backoff(&mut self, name: &SecretName) {
        self.not_before.remove(name);
    }

    /// Forgets a name that is no longer in use.
    pub(super) fn forget(&mut self, name: &SecretName) {
        self.synced.remove(name);
    }

    /// Invalidates every list: another replica led since.
    pub(super) fn invalidate(&mut self) {
        self.synced.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn a() -> SecretName {
        "a".into()
    }

    #[test]
    fn name_is_listed_once_until_invalidated() {
        let (mut lists, now) = (SecretLists::default(), Instant::now());
        assert!(lists.start(&a(), now));
        assert!(!lists.start(&a(), now), "it is in flight");
        lists.mark_synced(&a());
        assert!(lists.has_synced(&a()) && !lists.start(&a(), now));
        lists.invalidate();
        assert!(!lists.has_synced(&a()) && lists.start(&a(), now));
    }

    #[test]
    fn failed_list_waits_for_its_backoff_or_a_reset() {
        let (mut lists, now) = (SecretLists::default(), Instant::now());
        let retry_at = now + Duration::from_secs(10);
        assert!(lists.start(&a(), now));
        lists.mark_failed(&a(), retry_at);
        assert!(!lists.has_synced(&a()) && !lists.start(&a(), now));
        assert!(lists.start(&a(), retry_at));
        lists.mark_failed(&a(), retry_at);
        lists.reset_backoff(&a());
        assert!(lists.start(&a(), now));
    }

    #[test]
    fn lists_in_flight_are_limited() {
        let (mut lists, now) = (SecretLists::default(), Instant::now());
        let names: Vec<_> = (0..=LISTS_AT_ONCE).map(|number| SecretName::from(number.to_string())).collect();
        let started = names.iter().filter(|name| lists.start(name, now)).count();
        assert_eq!(started, LISTS_AT_ONCE);
    }
}
