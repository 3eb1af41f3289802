//! The keys of single namespaces that a ClusterPullSecret reads, and the retries of those that failed.
//!
//! Pure; times are parameters. Keys that all namespaces share are not among them. A key that fails is retried
//! alone, so that one namespace without a key costs one request, not one for each namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::ObjectState;
use crate::credential::{StoreKey, Version};
use crate::object_name::NamespaceName;
use crate::reconcile::namespace_keys::NamespaceKey;

/// The keys of every namespace, and the failures among them.
#[derive(Debug, Default)]
pub struct NamespaceFetches {
    keys: BTreeMap<NamespaceName, Vec<NamespaceKey>>,
    /// The namespaces of each key: nearly always one.
    users: BTreeMap<StoreKey, BTreeSet<NamespaceName>>,
    failed: BTreeMap<StoreKey, FailedKey>,
    /// The version of the last successful read of each key.
    versions: BTreeMap<StoreKey, Version>,
}

/// A key that could not be read.
#[derive(Debug)]
struct FailedKey {
    /// Reads that failed in a row.
    times: u32,
    retry_at: Instant,
}

/// The keys that a change of a namespace adds and removes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyChange {
    /// Keys that no namespace had before.
    pub added: BTreeSet<StoreKey>,
    /// Keys that no namespace has any more.
    pub removed: BTreeSet<StoreKey>,
}

impl KeyChange {
    /// Adds a later change.
    pub fn extend(&mut self, later: Self) {
        for store_key in later.added {
            if !self.removed.remove(&store_key) {
                self.added.insert(store_key);
            }
        }
        for store_key in later.removed {
            if !self.added.remove(&store_key) {
                self.removed.insert(store_key);
            }
        }
    }
}

impl NamespaceFetches {
    /// Sets the keys of a namespace; none where it is gone or not selected.
    pub fn set(&mut self, name: &NamespaceName, keys: Vec<NamespaceKey>) -> KeyChange {
        if self.in_namespace(name) == keys {
            return KeyChange::default();
        }
        let mut change = KeyChange::default();
        for (_, store_key) in self.keys.remove(name).unwrap_or_default() {
            let users = self.users.entry(store_key.clone()).or_default();
            users.remove(name);
            if users.is_empty() {
                self.users.remove(&store_key);
                change.extend(KeyChange { added: BTreeSet::new(), removed: [store_key].into() });
            }
        }
        for (_, store_key) in &keys {
            let users = self.users.entry(store_key.clone()).or_default();
            if users.is_empty() {
                change.extend(KeyChange { added: [store_key.clone()].into(), removed: BTreeSet::new() });
            }
            users.insert(name.clone());
        }
        if !keys.is_empty() {
            self.keys.insert(name.clone(), keys);
        }
        for store_key in &change.removed {
            self.failed.remove(store_key);
            self.versions.remove(store_key);
        }
        change
    }

    /// Returns the namespaces that have keys.
    pub fn namespaces(&self) -> impl Iterator<Item = &NamespaceName> {
        self.keys.keys()
    }

    /// Returns the keys of a namespace.
    #[must_use]
    pub fn in_namespace(&self, name: &NamespaceName) -> &[NamespaceKey] {
        self.keys.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the keys of all namespaces, each with the index of its registry.
    pub fn all(&self) -> impl Iterator<Item = &NamespaceKey> + Clone {
        self.keys.values().flatten()
    }

    /// Returns every key once.
    pub fn store_keys(&self) -> impl Iterator<Item = &StoreKey> {
        self.users.keys()
    }

    /// Returns true if the keys are those of some namespace.
    #[must_use]
    pub fn contains(&self, store_key: &StoreKey) -> bool {
        self.users.contains_key(store_key)
    }

    /// Returns the namespaces that have this key.
    pub fn users(&self, store_key: &StoreKey) -> impl Iterator<Item = &NamespaceName> {
        self.users.get(store_key).into_iter().flatten()
    }

    /// Records the outcome of a read; a failed one is retried after a pause.
    pub fn record_read(
        &mut self,
        store_key: &StoreKey,
        is_ok: bool,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) {
        if is_ok {
            self.failed.remove(store_key);
        } else if self.contains(store_key) {
            let failed =
                self.failed.entry(store_key.clone()).or_insert(FailedKey { times: 0, retry_at: now });
            failed.times += 1;
            failed.retry_at = now + pause(failed.times);
        }
    }

    /// Records the version of a key, and returns true if it was another one before.
    pub fn record_version(&mut self, store_key: &StoreKey, version: &Version) -> bool {
        let before = self.versions.insert(store_key.clone(), version.clone());
        before.is_some_and(|before| before != *version)
    }

    /// Returns the failed keys that are due for another read.
    #[must_use]
    pub fn due(&self, now: Instant) -> BTreeSet<StoreKey> {
        let due = self.failed.iter().filter(|(_, failed)| failed.retry_at <= now);
        due.map(|(store_key, _)| store_key.clone()).collect()
    }

    /// Returns the instant of the next retry.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.failed.values().map(|failed| failed.retry_at).min()
    }
}

impl ObjectState {
    /// Forgets the times of keys that no namespace has any more.
    pub fn forget_keys(&mut self, removed: &BTreeSet<StoreKey>) {
        let shared: BTreeSet<_> = self.shared_keys().cloned().collect();
        for store_key in removed.difference(&shared) {
            self.fetched_at.remove(store_key);
        }
    }

    /// Records the time of a successful read of these keys. One of a namespace counts for its registry.
    pub fn record_fetched(&mut self, fetched: &BTreeSet<StoreKey>, at: Timestamp) {
        let own = self.namespace_fetches.all().filter(|(_, store_key)| fetched.contains(store_key));
        let registries: BTreeSet<usize> = own.map(|(index, _)| *index).collect();
        let shared = self.shared_keys().filter(|store_key| fetched.contains(*store_key));
        let own = registries.iter().map(|index| &self.manifest.registries[*index].store_key);
        let read: Vec<_> = shared.chain(own).cloned().collect();
        self.fetched_at.extend(read.into_iter().map(|store_key| (store_key, at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixture::store_key;

    fn keys(texts: &[&str]) -> Vec<NamespaceKey> {
        texts.iter().map(|text| (0, store_key(text))).collect()
    }

    fn change(added: &[&str], removed: &[&str]) -> KeyChange {
        let [added, removed] = [added, removed].map(|texts| texts.iter().map(|it| store_key(it)).collect());
        KeyChange { added, removed }
    }

    #[test]
    fn change_has_the_keys_that_appear_and_disappear() {
        let mut fetches = NamespaceFetches::default();
        assert_eq!(fetches.set(&"web".into(), keys(&["a", "b"])), change(&["a", "b"], &[]));
        assert_eq!(fetches.set(&"web".into(), keys(&["a", "b"])), KeyChange::default());
        assert_eq!(fetches.set(&"db".into(), keys(&["b"])), KeyChange::default(), "web has it already");
        assert_eq!(fetches.users(&store_key("b")).count(), 2);
        assert_eq!(fetches.set(&"web".into(), keys(&["a", "c"])), change(&["c"], &[]));
        assert_eq!(fetches.set(&"db".into(), Vec::new()), change(&[], &["b"]));
        assert_eq!(fetches.set(&"web".into(), keys(&["c"])), change(&[], &["a"]));
        assert_eq!(fetches.namespaces().count(), 1);
        assert_eq!(fetches.store_keys().collect::<Vec<_>>(), [&store_key("c")]);
    }

    fn pause(failures: u32) -> Duration {
        Duration::from_secs(u64::from(failures))
    }

    #[test]
    fn failed_key_is_retried_alone_until_it_is_read() {
        let (now, mut fetches) = (Instant::now(), NamespaceFetches::default());
        fetches.set(&"web".into(), keys(&["a"]));
        fetches.set(&"db".into(), keys(&["b"]));
        fetches.record_read(&store_key("a"), true, now, pause);
        fetches.record_read(&store_key("b"), false, now, pause);
        fetches.record_read(&store_key("unknown"), false, now, pause);
        let later = now + Duration::from_secs(1);
        assert_eq!((fetches.next_retry(), fetches.due(now)), (Some(later), BTreeSet::new()));
        assert_eq!(fetches.due(later), [store_key("b")].into());
        fetches.record_read(&store_key("b"), false, later, pause);
        assert_eq!(fetches.next_retry(), Some(later + Duration::from_secs(2)), "the pause grows");
        fetches.record_read(&store_key("b"), true, later, pause);
        assert_eq!(fetches.next_retry(), None);
    }

    #[test]
    fn version_of_a_key_is_forgotten_with_its_last_namespace() {
        let mut fetches = NamespaceFetches::default();
        fetches.set(&"web".into(), keys(&["a"]));
        let changes = ["1", "1", "2"].map(|version| fetches.record_version(&store_key("a"), &version.into()));
        assert_eq!(changes, [false, false, true]);
        fetches.set(&"web".into(), Vec::new());
        fetches.set(&"web".into(), keys(&["a"]));
        assert!(!fetches.record_version(&store_key("a"), &"3".into()));
    }

    #[test]
    fn key_of_a_namespace_that_is_gone_is_not_retried() {
        let (now, mut fetches) = (Instant::now(), NamespaceFetches::default());
        fetches.set(&"web".into(), keys(&["a"]));
        fetches.record_read(&store_key("a"), false, now, |_| Duration::ZERO);
        fetches.set(&"web".into(), Vec::new());
        assert!(fetches.due(now).is_empty());
    }
}
