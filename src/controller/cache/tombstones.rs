//! Tombstones of objects that were deleted during a write in flight.
//!
//! The result of a write may still contain an object that was deleted while the write was in flight. A tombstone
//! keeps such a result from restoring the object in the cache.

use std::collections::{BTreeMap, BTreeSet};

use crate::object_name::NamespaceName;

/// The deletions of one namespace by name, each with the [`revision`](crate::cluster::revision) of its event.
pub(super) type Deletions = BTreeMap<String, u128>;

/// Namespaces with a write in flight, and the deletions observed since the write began.
///
/// A Secret and a ServiceAccount of the same name share a tombstone: at worst one of them is read again.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    busy: BTreeSet<NamespaceName>,
    deletions: BTreeMap<NamespaceName, Deletions>,
}

impl Tombstones {
    /// Marks a namespace as having a write in flight.
    pub(super) fn begin_write(&mut self, namespace: &NamespaceName) {
        self.busy.insert(namespace.clone());
    }

    /// Ends the write and returns the deletions observed during it.
    pub(super) fn finish_write(&mut self, namespace: &NamespaceName) -> Deletions {
        self.busy.remove(namespace);
        self.deletions.remove(namespace).unwrap_or_default()
    }

    /// Records a deletion, if a write is in flight.
    pub(super) fn record(&mut self, namespace: &NamespaceName, name: &str, as_of: u128) {
        if self.busy.contains(namespace) {
            self.deletions.entry(namespace.clone()).or_default().insert(name.to_owned(), as_of);
        }
    }

    /// Drops the deletions of a namespace that was itself deleted.
    pub(super) fn forget(&mut self, namespace: &NamespaceName) {
        self.deletions.remove(namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_is_recorded_only_while_a_write_is_in_flight() {
        let (web, db) = (NamespaceName::from("web"), NamespaceName::from("db"));
        let mut tombstones = Tombstones::default();
        tombstones.record(&web, "regcred", 1);
        tombstones.begin_write(&web);
        tombstones.record(&web, "regcred", 2);
        tombstones.record(&db, "regcred", 3);
        assert_eq!(tombstones.finish_write(&web), Deletions::from([("regcred".to_owned(), 2)]));
        assert!(tombstones.finish_write(&web).is_empty() && tombstones.finish_write(&db).is_empty());
    }
}
