//! Of which names the Secrets were read with their bytes since this process leads, and which are next.
//!
//! Pure. By what they hold it is known what need not be written. Times are parameters.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::cluster::LISTS_AT_ONCE;

/// The names of Secrets by how far the reads of their bytes are.
#[derive(Debug, Default)]
pub(super) struct SecretLists {
    read: BTreeSet<String>,
    under_way: BTreeSet<String>,
    /// Those that could not be listed, and when that is tried again.
    not_before: BTreeMap<String, Instant>,
}

impl SecretLists {
    /// Whether those of a name were read.
    pub(super) fn has(&self, name: &str) -> bool {
        self.read.contains(name)
    }

    /// Says whether those of a name are to be read now; if so, they are under way.
    pub(super) fn begin(&mut self, name: &str, now: Instant) -> bool {
        let is_early = self.not_before.get(name).is_some_and(|at| *at > now);
        let has_room = self.under_way.len() < LISTS_AT_ONCE;
        has_room && !is_early && !self.has(name) && self.under_way.insert(name.to_owned())
    }

    /// Those of a name were read.
    pub(super) fn are_read(&mut self, name: &str) {
        self.under_way.remove(name);
        self.read.insert(name.to_owned());
    }

    /// Those of a name could not be read: that is tried again then.
    pub(super) fn failed(&mut self, name: &str, again: Instant) {
        self.under_way.remove(name);
        self.not_before.insert(name.to_owned(), again);
    }

    /// Those of a name may be tried again.
    pub(super) fn release(&mut self, name: &str) {
        self.not_before.remove(name);
    }

    /// Nobody wants those of a name any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.read.remove(name);
    }

    /// Somebody else led meanwhile: all have to be read anew.
    pub(super) fn doubt(&mut self) {
        self.read.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_name_is_read_once_until_it_is_doubted() {
        let (mut bodies, now) = (SecretLists::default(), Instant::now());
        assert!(bodies.begin("a", now));
        assert!(!bodies.begin("a", now), "it is under way");
        bodies.are_read("a");
        assert!(bodies.has("a") && !bodies.begin("a", now));
        bodies.doubt();
        assert!(!bodies.has("a") && bodies.begin("a", now));
    }

    #[test]
    fn what_could_not_be_read_waits_until_its_time_or_its_release() {
        let (mut bodies, now) = (SecretLists::default(), Instant::now());
        let again = now + Duration::from_secs(10);
        assert!(bodies.begin("a", now));
        bodies.failed("a", again);
        assert!(!bodies.has("a") && !bodies.begin("a", now));
        assert!(bodies.begin("a", again));
        bodies.failed("a", again);
        bodies.release("a");
        assert!(bodies.begin("a", now));
    }

    #[test]
    fn no_more_are_read_at_once_than_the_cluster_can_bear() {
        let (mut bodies, now) = (SecretLists::default(), Instant::now());
        let names: Vec<_> = (0..=LISTS_AT_ONCE).map(|number| number.to_string()).collect();
        let begun = names.iter().filter(|name| bodies.begin(name, now)).count();
        assert_eq!(begun, LISTS_AT_ONCE);
    }
}
