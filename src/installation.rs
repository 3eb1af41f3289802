//! The state in regcred's own namespace, so that no other namespace is a source of truth.
//!
//! In goes what was read there: the key that signs Secrets, the last good values, and the record of the Secrets
//! that regcred wrote. Out comes what has to be written. Pure; [`api`] makes the requests. Nothing here reads or
//! writes in another namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

pub mod api;
pub mod key_secret;
pub mod last_good;
mod merge;
pub mod records;
pub mod refused_logins;
pub mod shard;

use self::last_good::{LastGoodValue, LastGoodValues, ValueId};
use self::shard::{EncodedShard, InvalidShard, RecordShards, Shard};
use crate::cluster::ownership::key::OwnershipKey;
use crate::cluster::ownership::owned_secrets::OwnedSecrets;
use crate::docker_config::registry_source::RegistrySource;
use crate::object_name::NamespaceName;

/// The state of one installation of regcred.
#[derive(Debug, Default)]
pub struct Installation {
    /// The key that signs Secrets; `None` without access to regcred's namespace.
    pub key: Option<Arc<OwnershipKey>>,
    /// The record of the Secrets that regcred wrote.
    pub owned: OwnedSecrets,
    values: LastGoodValues,
    /// The number of shards; 0 without access to regcred's namespace.
    shards: u16,
    /// The `resourceVersion` of each shard that may be written; `None` where the shard does not exist.
    versions: BTreeMap<u16, Option<String>>,
    dirty: BTreeSet<u16>,
    /// The values that this process recorded or removed, and that their shard may not have.
    unsaved: BTreeSet<ValueId>,
    /// The shards with a value that replaced another one: a restart before they are written would go back to it.
    rotated: BTreeSet<u16>,
    /// The ClusterPullSecrets of which a shard has no room for something.
    left_out: BTreeMap<u16, BTreeSet<String>>,
    /// The shards to which access is denied.
    denied: BTreeSet<u16>,
}

/// The reason why something is known to this process only, and lost at a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRecorded {
    /// A shard has no room for it.
    NoRoom,
    /// Access to its shard is denied.
    Denied,
}

/// A shard as it was read.
#[derive(Debug)]
pub struct StoredShard {
    /// Its number.
    pub index: u16,
    /// Its `resourceVersion`; `None` where it does not exist.
    pub resource_version: Option<String>,
    /// Its content.
    pub content: Result<Shard, InvalidShard>,
}

/// A shard that has to be written.
#[derive(Debug)]
pub struct PendingShard {
    /// Its number.
    pub index: u16,
    /// The precondition of the write; `None` creates the shard.
    pub resource_version: Option<String>,
    /// The bytes to write.
    pub encoded: EncodedShard,
}

impl Installation {
    /// Creates the state of an installation with this key and number of shards, before any shard was read.
    #[must_use]
    pub fn new(key: Arc<OwnershipKey>, shards: u16) -> Self {
        Self { key: Some(key), shards, ..Self::default() }
    }

    /// Returns the last good values.
    #[must_use]
    pub fn values(&self) -> &LastGoodValues {
        &self.values
    }

    /// Returns the last good values, and the record of Secrets to add to.
    pub fn parts_mut(&mut self) -> (&LastGoodValues, &mut OwnedSecrets) {
        (&self.values, &mut self.owned)
    }

    /// Adds the content of a shard, unless there is a later one of this process. A shard that cannot be parsed
    /// is going to be replaced by what this process knows; the error is returned.
    pub fn restore(&mut self, stored: StoredShard) -> Option<InvalidShard> {
        let StoredShard { index, resource_version, content } = stored;
        self.versions.insert(index, resource_version);
        let Shard { values, records } = match content {
            Ok(shard) => shard,
            Err(error) => {
                self.dirty.insert(index);
                return Some(error);
            }
        };
        for (id, value) in values {
            let home = shard::index_of_value(&id, self.shards);
            self.move_to(home, index);
            if self.values.restore(id.clone(), value) && home != index {
                self.unsaved.insert(id);
            }
        }
        for (namespace, name, owned) in records {
            let home = shard::index_of_record(&owned.cluster_pull_secret, &namespace, self.shards);
            self.move_to(home, index);
            self.owned.restore(namespace, name, owned);
        }
        None
    }

    /// Marks both shards of something that is stored in another one than its own: the number of shards changed.
    fn move_to(&mut self, home: u16, stored: u16) {
        if home != stored {
            self.dirty.extend([home, stored]);
        }
    }

    /// Records a value that was read from a store.
    pub fn record_value(
        &mut self,
        cluster_pull_secret: &str,
        registry: &RegistrySource,
        value: LastGoodValue,
    ) {
        let is_first = self.values.get(cluster_pull_secret, registry).is_none();
        let changed = self.values.record(cluster_pull_secret, registry, value);
        if let Some(id) = changed.as_ref().filter(|_| !is_first && self.shards > 0) {
            self.rotated.insert(shard::index_of_value(id, self.shards));
        }
        self.mark_values(changed);
    }

    /// Forgets the values and records for which nothing exists any more.
    pub fn retain(
        &mut self,
        keep_value: impl Fn(&ValueId) -> bool,
        keep_record: impl Fn(&str, &NamespaceName) -> bool,
    ) {
        let removed = self.values.remove_unless(|id, _| keep_value(id));
        self.mark_values(removed);
        self.owned.retain(|namespace, _, owner| keep_record(owner, namespace));
    }

    /// Forgets the values that are invalid at that time; returns true if there was one.
    pub fn forget_expired(&mut self, now: Timestamp) -> bool {
        let removed = self.values.remove_expired(now);
        let has_removed = !removed.is_empty();
        self.mark_values(removed);
        has_removed
    }

    fn mark_values(&mut self, changed: impl IntoIterator<Item = ValueId>) {
        if self.shards > 0 {
            for id in changed {
                self.dirty.insert(shard::index_of_value(&id, self.shards));
                self.unsaved.insert(id);
            }
        }
    }

    /// Returns true if something has to be written.
    pub fn has_changes(&mut self) -> bool {
        let changes = self.owned.take_changes();
        if self.shards > 0 {
            self.dirty.extend(
                changes
                    .iter()
                    .map(|(owner, namespace)| shard::index_of_record(owner, namespace, self.shards)),
            );
        }
        self.dirty.iter().any(|index| self.versions.contains_key(index))
    }

    /// Returns true if a value replaced another one since the last write of its shard.
    #[must_use]
    pub fn has_rotated_values(&self) -> bool {
        self.rotated.iter().any(|index| self.versions.contains_key(index))
    }

    /// Returns the shards with values that replaced others, and takes them as written until
    /// [`on_failed`](Self::on_failed).
    pub fn take_rotated(&mut self) -> Vec<PendingShard> {
        let rotated = std::mem::take(&mut self.rotated);
        self.take(&rotated)
    }

    /// Returns the shards that have to be written, and takes them as written until
    /// [`on_failed`](Self::on_failed).
    pub fn take_pending(&mut self) -> Vec<PendingShard> {
        self.rotated.clear();
        if !self.has_changes() {
            return Vec::new();
        }
        let dirty = self.dirty.clone();
        self.take(&dirty)
    }

    fn take(&mut self, chosen: &BTreeSet<u16>) -> Vec<PendingShard> {
        let indices: BTreeSet<u16> =
            chosen.iter().copied().filter(|index| self.versions.contains_key(index)).collect();
        self.dirty.retain(|index| !indices.contains(index));
        let mut shards: BTreeMap<u16, Shard> =
            indices.iter().map(|index| (*index, Shard::default())).collect();
        for (id, value) in self.values.iter() {
            if let Some(shard) = shards.get_mut(&shard::index_of_value(id, self.shards)) {
                shard.values.push((id.clone(), value.clone()));
            }
        }
        // There may be ten thousand records, and few owners: a name is hashed only for a shard that may hold it.
        let mut record_shards: BTreeMap<&str, Option<RecordShards>> = BTreeMap::new();
        for (namespace, name, owned) in self.owned.iter() {
            let known = record_shards.entry(&owned.cluster_pull_secret).or_insert_with_key(|owner| {
                let of_owner = RecordShards::new(owner, self.shards);
                let has_chosen = of_owner.iter().any(|index| indices.contains(&index));
                has_chosen.then_some(of_owner)
            });
            let Some(of_owner) = known else { continue };
            let home = of_owner.index_of(namespace);
            if let Some(shard) = shards.get_mut(&home) {
                shard.records.push((namespace.clone(), name.clone(), owned.clone()));
            }
        }
        let pending = shards.into_iter().map(|(index, shard)| {
            let encoded = shard.encode();
            let ids = shard.values.into_iter().map(|(id, _)| id);
            self.unsaved.extend(ids.filter(|id| encoded.left_out.contains(&id.cluster_pull_secret)));
            self.left_out.insert(index, encoded.left_out.clone());
            PendingShard { index, resource_version: self.versions[&index].clone(), encoded }
        });
        pending.collect()
    }

    /// Records the `resourceVersion` of a shard that was written.
    pub fn on_written(&mut self, index: u16, resource_version: String) {
        self.versions.insert(index, Some(resource_version));
        self.mark_saved(index);
    }

    /// Records that a shard could not be written: it is going to be tried again.
    pub fn on_failed(&mut self, index: u16) {
        self.dirty.insert(index);
    }

    /// Records that access to a shard is denied: what belongs there stays in memory.
    pub fn on_denied(&mut self, index: u16) {
        self.denied.insert(index);
    }

    /// Returns true if access to a shard is denied.
    #[must_use]
    pub fn has_denied(&self) -> bool {
        !self.denied.is_empty()
    }

    /// Returns true if something changed, since the last call, that belongs to a shard to which access is denied.
    pub fn take_denied_changes(&mut self) -> bool {
        self.dirty.extract_if(.., |index| self.denied.contains(index)).count() > 0
    }

    /// Returns the ClusterPullSecrets of which something is known to this process only.
    #[must_use]
    pub fn not_recorded(&self) -> BTreeMap<&str, NotRecorded> {
        let left_out = self.left_out.values().flatten().map(|name| (name.as_str(), NotRecorded::NoRoom));
        let may_be_denied = (!self.denied.is_empty()).then(|| self.values.iter().map(|(id, _)| id));
        let denied = may_be_denied
            .into_iter()
            .flatten()
            .filter(|id| self.denied.contains(&shard::index_of_value(id, self.shards)))
            .map(|id| (id.cluster_pull_secret.as_str(), NotRecorded::Denied));
        left_out.chain(denied).collect()
    }
}

#[cfg(test)]
mod tests;
