//! Full lists in progress, and what regcred wrote since each of them began.
//!
//! Pure. A list comes from a quorum, so its objects replace cached ones even where they are older: etcd may
//! have been restored from a backup. Only what regcred wrote since the list began may be newer than the list.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::watch::{ObjectRef, WatchedResource};

/// The lists in progress by their resource.
#[derive(Debug, Default)]
pub(super) struct ListsInProgress(BTreeMap<WatchedResource, ListState>);

#[derive(Debug, Default)]
struct ListState {
    written: BTreeSet<ObjectRef>,
    is_restored: bool,
}

impl ListsInProgress {
    /// Marks the beginning of a list. After one that broke off, the older objects that it had are cached already:
    /// this list does not show them as older.
    pub(super) fn begin(&mut self, resource: WatchedResource) {
        self.0.entry(resource).or_default().written.clear();
    }

    /// Records an object that regcred wrote.
    pub(super) fn record_write(&mut self, resource: &WatchedResource, object_ref: ObjectRef) {
        if let Some(list) = self.0.get_mut(resource) {
            list.written.insert(object_ref);
        }
    }

    /// Returns true if an object of the list that is older than the cached one replaces it: etcd was restored.
    pub(super) fn accept_older(&mut self, resource: &WatchedResource, object_ref: &ObjectRef) -> bool {
        let Some(list) = self.0.get_mut(resource) else { return false };
        let is_accepted = !list.written.contains(object_ref);
        list.is_restored |= is_accepted;
        is_accepted
    }

    /// Marks the end of a list; returns true if it had an object that was older than the cached one.
    pub(super) fn end(&mut self, resource: &WatchedResource) -> bool {
        self.0.remove(resource).is_some_and(|list| list.is_restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_object_is_accepted_unless_written_since() {
        let (resource, other) = (WatchedResource::Secrets("a".into()), WatchedResource::Secrets("b".into()));
        let object = |name: &str| ObjectRef::namespaced(name.into(), "a");
        let mut lists = ListsInProgress::default();
        assert!(!lists.accept_older(&resource, &object("web")), "no list is in progress");
        lists.begin(resource.clone());
        lists.record_write(&resource, object("web"));
        lists.record_write(&other, object("db"));
        assert!(!lists.accept_older(&resource, &object("web")) && !lists.0[&resource].is_restored);
        assert!(lists.accept_older(&resource, &object("db")));
        assert!(lists.end(&resource) && !lists.end(&resource));
    }

    #[test]
    fn restore_is_remembered_by_the_list_after_a_broken_one() {
        let resource = WatchedResource::Secrets("a".into());
        let object = ObjectRef::namespaced("web".into(), "a");
        let mut lists = ListsInProgress::default();
        lists.begin(resource.clone());
        assert!(lists.accept_older(&resource, &object));
        lists.begin(resource.clone());
        assert!(lists.end(&resource), "the first list broke off");
        lists.begin(resource.clone());
        assert!(!lists.end(&resource), "a complete list ends it");
    }
}
