//! The leases of issued credentials: renewed at two thirds of their life, revoked once their credential is in use
//! nowhere.
//!
//! The leader alone reads and renews. What another process obtained, such as the leader before or `rotate`, is unknown
//! here and runs out by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Controller, TaskResult};
use crate::credential::{Expiry, Life, StoreKey};

impl Controller {
    /// Renews the lease of a key; the result says if the key has to be read instead.
    pub(super) fn start_renewal(&mut self, store_key: &StoreKey) {
        let (stores, store_key) = (Arc::clone(&self.context.stores), store_key.clone());
        self.tasks.spawn_read(async move {
            let life = stores.renew(&store_key).await;
            TaskResult::Renewed(store_key, life)
        });
    }

    /// Handles the renewal of a lease: the same credential is valid for longer, or another one is read.
    pub(super) fn on_renewed(&mut self, store_key: &StoreKey, life: Option<Life>) {
        let now = Instant::now();
        // A read since has another lease, and its own timers.
        if !self.is_leading || !self.fetches.is_refresh_due(store_key, now) {
            return;
        }
        let Some(life) = life else { return self.fetches.request([store_key], now) };
        self.fetches.set_expiry(store_key, Expiry::Issued(life));
        self.record_expiries(vec![(store_key.clone(), Some(Expiry::Issued(life)))], now);
        // The recorded last good value expires later, too.
        for name in self.users_of(store_key) {
            self.resolve(&name);
            self.on_namespace_keys_read(&name, &BTreeSet::from([store_key.clone()]), now);
        }
    }

    /// Revokes the replaced leases of the keys of a ClusterPullSecret that is in sync, unless another ClusterPullSecret
    /// may still have a namespace with one of their credentials.
    pub(super) fn revoke_replaced_leases(&mut self, name: &str, now: Instant) {
        let Some(state) = self.objects.get(name) else { return };
        let keys = state.store_keys().filter(|it| it.key.dynamic_path().is_some());
        for store_key in keys.cloned().collect::<Vec<_>>() {
            let is_replaced_everywhere = self.fetches.is_settled([&store_key])
                && self.users_of(&store_key).iter().all(|user| self.holds_no_earlier_credential(user, now));
            if !is_replaced_everywhere {
                continue;
            }
            // Taken in the loop, while no read is in flight: a later read replaces the current lease, which stays.
            let leases = self.context.stores.take_replaced_leases(&store_key);
            if !leases.is_empty() {
                let stores = Arc::clone(&self.context.stores);
                self.tasks.spawn_read(async move {
                    stores.revoke_leases(&store_key.store, leases).await;
                    TaskResult::LeasesRevoked
                });
            }
        }
    }

    /// Returns true if every namespace of a ClusterPullSecret holds its current credentials, and no copy an earlier one.
    fn holds_no_earlier_credential(&self, name: &str, now: Instant) -> bool {
        let Some(state) = self.objects.get(name) else { return false };
        let is_in_sync = state.is_active()
            && state.reconciliation.is_none()
            && state.out_of_sync() == 0
            && !state.has_failed_fetch()
            && state.problems.is_empty();
        is_in_sync && state.copies == 0 && self.is_applied(name, now)
    }

    /// Forgets the leases of keys that Secrets may keep a credential of: those leases run out by themselves.
    pub(super) fn forget_leases<'a>(&self, store_keys: impl IntoIterator<Item = &'a StoreKey>) {
        for store_key in store_keys {
            self.context.stores.forget_leases(store_key);
        }
    }

    pub(super) fn users_of(&self, store_key: &StoreKey) -> Vec<String> {
        let users = self.objects.iter().filter(|(_, state)| state.store_keys().any(|it| it == store_key));
        users.map(|(name, _)| name.clone()).collect()
    }
}
