//! Keys of single namespaces: which are read, and what follows from a read.
//!
//! A new namespace has its keys read before it is written; the keys of one that is gone are forgotten. A read
//! of such a key requeues its namespaces only.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::installation::record_namespace_values;
use super::object_state::{KeyChange, ObjectState};
use super::queue::Priority;
use super::reconciliation::Cause;
use super::timers::Timer;
use super::{Controller, backoff};
use crate::credential::StoreKey;
use crate::object_name::NamespaceName;
use crate::reconcile::namespace_keys;
use crate::trigger::Trigger;

impl Controller {
    /// Updates the keys of one namespace for every ClusterPullSecret that has some.
    pub(super) fn sync_keys_of_namespace(&mut self, namespace_name: &NamespaceName) {
        let observed = self.cache.cluster.namespaces.get(namespace_name);
        let mut changes = Vec::new();
        for (name, state) in self.objects.iter_mut().filter(|(_, state)| state.has_namespace_keys) {
            let keys = observed
                .map(|observed| namespace_keys::keys_in(&state.manifest, namespace_name, observed))
                .unwrap_or_default();
            let change = state.namespace_fetches.set(namespace_name, keys);
            if change != KeyChange::default() {
                changes.push((name.clone(), change));
            }
        }
        for (name, change) in changes {
            self.on_key_change(&name, &change);
        }
    }

    /// Updates the keys of all namespaces for a ClusterPullSecret that is new or changed.
    pub(super) fn sync_keys_of_object(&mut self, name: &str) {
        let Some(state) = self.objects.get_mut(name) else { return };
        state.has_namespace_keys = namespace_keys::has_namespace_keys(&state.manifest);
        let namespaces = &self.cache.cluster.namespaces;
        let known: Vec<_> = state.namespace_fetches.namespaces().cloned().collect();
        let mut change = KeyChange::default();
        for gone in known.iter().filter(|known| !namespaces.contains_key(*known)) {
            change.extend(state.namespace_fetches.set(gone, Vec::new()));
        }
        if !known.is_empty() || state.has_namespace_keys {
            let manifest = Arc::clone(&state.manifest);
            for (namespace_name, observed) in namespaces {
                let keys = namespace_keys::keys_in(&manifest, namespace_name, observed);
                change.extend(state.namespace_fetches.set(namespace_name, keys));
            }
        }
        self.on_key_change(name, &change);
    }

    fn on_key_change(&mut self, name: &str, change: &KeyChange) {
        let Some(state) = self.objects.get_mut(name) else { return };
        if !change.removed.is_empty() {
            state.forget_keys(&change.removed);
            self.stale_keys.extend(change.removed.iter().cloned());
        }
        if self.is_leading && state.is_active() && !change.added.is_empty() {
            self.fetches.request(&change.added, Instant::now());
        }
    }

    /// Forgets the keys of namespaces that are gone, once for all of them.
    pub(super) fn forget_stale_keys(&mut self) {
        if !std::mem::take(&mut self.stale_keys).is_empty() {
            self.retain_used_keys();
        }
    }

    /// Forgets the keys that nothing uses any more.
    pub(super) fn retain_used_keys(&mut self) {
        let used = self.objects.values().flat_map(ObjectState::store_keys).cloned().collect();
        for store_key in self.fetches.retain(&used) {
            self.context.health.metrics.set_credential_expiry(&store_key, None);
            self.context.stores.forget_leases(&store_key);
        }
        self.publish_known_versions();
    }

    /// Returns true if every key of a namespace was read, so that the namespace can be written.
    pub(super) fn has_keys_of_namespace(&self, state: &ObjectState, namespace_name: &NamespaceName) -> bool {
        state
            .namespace_fetches
            .in_namespace(namespace_name)
            .iter()
            .all(|(_, store_key)| self.fetches.has_read(store_key))
    }

    /// Handles the read of keys: requeues their namespaces, and retries each key that failed.
    pub(super) fn on_namespace_keys_read(&mut self, name: &str, read: &BTreeSet<StoreKey>, now: Instant) {
        let jitter = self.jitter();
        let Some(state) = self.objects.get_mut(name) else { return };
        let own: Vec<_> = read.iter().filter(|it| state.namespace_fetches.contains(it)).cloned().collect();
        if own.is_empty() {
            return;
        }
        let mut is_rotation = false;
        for store_key in &own {
            let version = self.fetches.version(store_key);
            let taken_at = self.fetches.older_taken_at([store_key], now);
            let longest = taken_at.map_or(state.manifest.refresh_interval, |at| at.duration_since(now));
            let is_ok = version.is_some() && taken_at.is_none();
            state
                .namespace_fetches
                .record_read(store_key, is_ok, now, |failures| backoff::after(failures, jitter).min(longest));
            is_rotation |= version.is_some_and(|it| state.namespace_fetches.record_version(store_key, it))
                || self.fetches.has_changed(store_key);
            for namespace_name in state.namespace_fetches.users(store_key) {
                self.queue.push(name, namespace_name, Priority::Normal);
            }
        }
        if let Some(installation) = &mut self.cache.installation {
            let users = own.iter().flat_map(|store_key| state.namespace_fetches.users(store_key));
            let namespaces = users.filter_map(|name| self.cache.cluster.namespaces.get_key_value(name));
            record_namespace_values(state, namespaces, &self.fetches, installation);
        }
        if is_rotation && state.is_active() {
            let cause = Cause { trigger: Trigger::Refresh, since: now, at: (self.context.wall_clock)() };
            state.start_or_join(cause, now).mark_rotation(now);
        }
        self.summarise_keys(name);
        self.schedule_key_retry(name);
        self.publish_soon(name, now);
    }

    /// Updates the reports of the registries that have a key for each namespace.
    pub(super) fn summarise_keys(&mut self, name: &str) {
        let Some(state) = self.objects.get_mut(name).filter(|state| state.has_namespace_keys) else {
            return;
        };
        if let Some(desired_secret) = &mut state.desired_secret {
            desired_secret.summarise(state.namespace_fetches.all(), self.fetches.all_values());
        }
    }

    fn schedule_key_retry(&mut self, name: &str) {
        let retry_at = self.objects.get(name).and_then(|state| state.namespace_fetches.next_retry());
        if let Some(retry_at) = retry_at {
            self.timers.set(retry_at, Timer::RetryKeys(name.to_owned()));
        }
    }

    /// Reads the failed keys again that are due.
    pub(super) fn retry_keys(&mut self, name: &str, now: Instant) {
        let Some(state) = self.objects.get(name).filter(|state| state.is_active()) else { return };
        let due = state.namespace_fetches.due(now);
        let unsettled: BTreeSet<_> = due.into_iter().filter(|it| self.fetches.is_settled([it])).collect();
        self.fetches.request(&unsettled, now);
    }
}
