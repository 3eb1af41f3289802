//! The controller's cache of the cluster.
//!
//! Pure. In go watch events and the results of our own writes, out comes the namespace that has to be
//! reconciled again. An event older than the cached object is ignored, so that the watch event of our own
//! write changes nothing; a full list replaces what is cached. The bytes of Secrets that nobody claims are never
//! kept.

mod lists;
mod orphans;
mod tombstones;

use std::collections::BTreeSet;

use self::lists::ListsInProgress;
use self::orphans::Orphans;
use self::tombstones::Tombstones;
use super::drift::ManagedResource;
use crate::cluster::docker_configs::DockerConfigs;
use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::service_account::Annotation;
use crate::cluster::shared_versions::SharedVersions;
use crate::cluster::watch::{ObjectRef, WatchedObject, WatchedResource};
use crate::cluster::{Cluster, Namespace, Secret, ServiceAccount, revision};
use crate::installation::Installation;
use crate::object_map::ObjectMap;
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::claims::Claims;
use crate::reconcile::execute::{AfterWrite, Applied};

/// The cached cluster.
#[derive(Debug, Default)]
pub struct Cache {
    /// The namespaces with their Secrets and ServiceAccounts.
    pub cluster: Cluster,
    /// Objects that were seen before their namespace was.
    orphans: Orphans,
    /// One copy of each docker config, however many Secrets hold it.
    docker_configs: DockerConfigs,
    /// One copy of each versions annotation.
    shared_versions: SharedVersions,
    /// Deletions during writes in flight.
    tombstones: Tombstones,
    /// The content of regcred's own namespace, by which Secrets are judged; `None` until it was read.
    pub installation: Option<Installation>,
    /// Full lists in progress.
    lists: ListsInProgress,
}

/// The effect of an event on the cache.
#[derive(Debug, PartialEq, Eq)]
pub enum CacheChange {
    /// This namespace has to be reconciled again.
    Changed {
        /// The namespace.
        namespace: NamespaceName,
        /// The managed resources that another writer removed or changed.
        reverted: Vec<ManagedResource>,
    },
    /// Nothing that was not cached already.
    Unchanged,
}

impl CacheChange {
    fn changed(namespace: &NamespaceName, reverted: Vec<ManagedResource>) -> Self {
        Self::Changed { namespace: namespace.clone(), reverted }
    }
}

/// The origin of an observed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An event of a watch.
    Watch,
    /// A full list from a quorum.
    List,
}

impl Cache {
    /// Applies an object that was created or changed, or that a full list has.
    pub fn apply(&mut self, object_ref: ObjectRef, object: WatchedObject, origin: Origin) -> CacheChange {
        let ObjectRef { namespace, name } = object_ref;
        match (object, namespace) {
            (WatchedObject::Namespace { labels, terminating }, None) => {
                self.apply_namespace(name.into(), labels, terminating)
            }
            (WatchedObject::ServiceAccount(object), Some(namespace)) => {
                self.apply_service_account(&namespace, name, object, origin)
            }
            (WatchedObject::Secret(object), Some(namespace)) => {
                self.apply_secret(&namespace, name.into(), object, origin)
            }
            // ClusterPullSecrets are not cached here; every other kind has the scope above.
            _ => CacheChange::Unchanged,
        }
    }

    fn apply_namespace(
        &mut self,
        name: NamespaceName,
        labels: ObjectMap<String, String>,
        terminating: bool,
    ) -> CacheChange {
        if let Some(known) = self.cluster.namespaces.get_mut(&name) {
            if known.labels == labels && known.terminating == terminating {
                return CacheChange::Unchanged;
            }
            (known.labels, known.terminating) = (labels, terminating);
            return CacheChange::changed(&name, Vec::new());
        }
        let orphans = self.orphans.adopt(&name);
        let change = CacheChange::changed(&name, Vec::new());
        self.cluster.namespaces.insert(name, Namespace { labels, terminating, ..orphans });
        change
    }

    fn apply_service_account(
        &mut self,
        namespace: &NamespaceName,
        name: String,
        mut object: ServiceAccount,
        origin: Origin,
    ) -> CacheChange {
        let cached = namespace_mut(&mut self.cluster, &mut self.orphans, namespace);
        let Some(known) = cached.service_accounts.get_mut(&name) else {
            cached.service_accounts.insert(name, object);
            return CacheChange::changed(namespace, Vec::new());
        };
        let (seen, held) = (revision(&object.resource_version), revision(&known.resource_version));
        if seen <= held {
            let object_ref = ObjectRef::namespaced(namespace.clone(), name.clone());
            let is_newest = origin == Origin::List
                && seen < held
                && self.lists.accept_older(&WatchedResource::ServiceAccounts, &object_ref);
            if !is_newest {
                return CacheChange::Unchanged;
            }
        }
        let reverted = reverted_entries(&name, known, &object);
        object.keep_lost_annotation(known);
        let is_same = known.has_same_entries(&object);
        *known = object;
        // Only the precondition of the next write changed, not what there is to write.
        if is_same { CacheChange::Unchanged } else { CacheChange::changed(namespace, reverted) }
    }

    fn apply_secret(
        &mut self,
        namespace: &NamespaceName,
        name: SecretName,
        mut object: Secret,
        origin: Origin,
    ) -> CacheChange {
        let cached = namespace_mut(&mut self.cluster, &mut self.orphans, namespace);
        let known = cached.secrets.get(&name);
        if let Some(known) = known {
            let (seen, held) = (revision(&object.resource_version), revision(&known.resource_version));
            let object_ref = ObjectRef::namespaced(namespace.clone(), name.as_str());
            let is_newest = seen > held
                || origin == Origin::List
                    && seen < held
                    && self.lists.accept_older(&WatchedResource::Secrets(name.clone()), &object_ref);
            if !is_newest {
                return CacheChange::Unchanged;
            }
        }
        assess(self.installation.as_mut(), known, namespace, &name, &mut object);
        self.shared_versions.intern(&mut object.versions);
        cached.secrets.insert(name, object);
        // A revert is detected once the Secret has been read.
        CacheChange::changed(namespace, Vec::new())
    }

    /// Marks the beginning of a full list.
    pub fn begin_list(&mut self, resource: WatchedResource) {
        self.lists.begin(resource);
    }

    /// Removes an object that was deleted as of the [`revision`] of a `resourceVersion`.
    pub fn delete(
        &mut self,
        resource: &WatchedResource,
        ObjectRef { namespace, name }: &ObjectRef,
        as_of: u128,
    ) -> CacheChange {
        match (resource, namespace) {
            (WatchedResource::Namespaces, None) => self.delete_namespace(&name.as_str().into(), as_of),
            (WatchedResource::ServiceAccounts, Some(namespace)) => {
                self.tombstones.record(namespace, name, as_of);
                let Some(cached) = self.known_namespace_mut(namespace) else {
                    return CacheChange::Unchanged;
                };
                let known = cached.service_accounts.get(name);
                if known.is_none_or(|known| as_of < revision(&known.resource_version)) {
                    return CacheChange::Unchanged;
                }
                cached.service_accounts.remove(name);
                self.orphans.drop_if_empty(namespace);
                CacheChange::changed(namespace, Vec::new())
            }
            (WatchedResource::Secrets(name), Some(namespace)) => {
                self.tombstones.record(namespace, name, as_of);
                let Some(cached) = self.known_namespace_mut(namespace) else {
                    return CacheChange::Unchanged;
                };
                let known =
                    cached.secrets.get(name).filter(|known| as_of >= revision(&known.resource_version));
                let Some(known) = known else { return CacheChange::Unchanged };
                let reverted = known.has_known_data().then(|| ManagedResource::Secret(name.clone()));
                cached.secrets.remove(name);
                self.orphans.drop_if_empty(namespace);
                CacheChange::changed(namespace, reverted.into_iter().collect())
            }
            _ => CacheChange::Unchanged,
        }
    }

    fn delete_namespace(&mut self, name: &NamespaceName, as_of: u128) -> CacheChange {
        if let Some(namespace) = self.cluster.namespaces.remove(name) {
            self.orphans.keep_newer(name, namespace, as_of);
        }
        self.tombstones.forget(name);
        CacheChange::changed(name, Vec::new())
    }

    /// Marks a namespace as having a write in flight.
    pub fn begin_write(&mut self, namespace: &NamespaceName) {
        self.tombstones.begin_write(namespace);
    }

    /// Applies a complete list: deletes every cached object that is not in it. After etcd was restored from a
    /// backup, the bytes of Secrets are unknown: their versions may stand for other contents than before.
    pub fn relist(&mut self, resource: &WatchedResource, present: &BTreeSet<ObjectRef>) -> Vec<CacheChange> {
        if let (true, WatchedResource::Secrets(name)) = (self.lists.end(resource), resource) {
            for namespace in self.cluster.namespaces.values_mut().chain(self.orphans.values_mut()) {
                namespace.secrets.get_mut(name).into_iter().for_each(|secret| secret.body = None);
            }
        }
        let cached = self.cached_objects(resource);
        let deleted = cached.iter().filter(|object_ref| !present.contains(*object_ref));
        // Absent from the list means deleted, at whatever version it was cached.
        deleted.map(|object_ref| self.delete(resource, object_ref, u128::MAX)).collect()
    }

    /// Returns a cached Secret; its namespace may not have been observed yet.
    #[must_use]
    pub fn known_secret(&self, namespace: &NamespaceName, name: &SecretName) -> Option<&Secret> {
        self.known_namespace(namespace)?.secrets.get(name)
    }

    /// Returns the cached Secret that one of a full list replaces, unless the list is older. One that is not cached was
    /// deleted since the list, or will be reported by its watch.
    #[must_use]
    pub fn replaced_by_listed(
        &self,
        namespace: &NamespaceName,
        name: &SecretName,
        listed: &Secret,
    ) -> Option<&Secret> {
        let known = self.known_secret(namespace, name)?;
        (revision(&known.resource_version) <= revision(&listed.resource_version)).then_some(known)
    }

    fn cached_objects(&self, resource: &WatchedResource) -> Vec<ObjectRef> {
        let namespaces = self.cluster.namespaces.iter().chain(self.orphans.iter());
        match resource {
            WatchedResource::Namespaces => {
                self.cluster.namespaces.keys().cloned().map(ObjectRef::cluster_scoped).collect()
            }
            WatchedResource::ServiceAccounts => namespaces
                .flat_map(|(ns, it)| {
                    it.service_accounts.keys().map(|name| ObjectRef::namespaced(ns.clone(), name.clone()))
                })
                .collect(),
            WatchedResource::Secrets(name) => namespaces
                .filter(|(_, it)| it.secrets.contains_key(name))
                .map(|(ns, _)| ObjectRef::namespaced(ns.clone(), name.clone()))
                .collect(),
            WatchedResource::ClusterPullSecrets => Vec::new(),
        }
    }

    /// Returns the namespaces in which a ClusterPullSecret claims the Secret of this name.
    #[must_use]
    pub fn claimed_namespaces(&self, name: &SecretName, claims: &Claims) -> BTreeSet<NamespaceName> {
        let namespaces = self.cluster.namespaces.iter();
        let claimed = namespaces.filter(|(namespace, it)| claims.holder(name, namespace, it).is_some());
        claimed.map(|(namespace, _)| namespace.clone()).collect()
    }

    /// Fills in the bodies of Secrets that were listed in full, where the list is not older than the cache.
    pub fn fill_bodies(&mut self, secrets: Vec<(ObjectRef, Secret)>, claims: &Claims) -> Vec<CacheChange> {
        let mut installation = self.installation.take();
        let mut changes = Vec::new();
        for (ObjectRef { namespace, name }, mut secret) in secrets {
            let Some(namespace) = namespace else { continue };
            let name = SecretName::from(name);
            let Some(cached) = self.known_namespace(&namespace) else { continue };
            let Some(known) = self.replaced_by_listed(&namespace, &name, &secret) else { continue };
            assess(installation.as_mut(), Some(known), &namespace, &name, &mut secret);
            let is_claimed = || claims.holder(&name, &namespace, cached).is_some();
            let is_needed = is_needed(&secret, is_claimed);
            intern(&mut self.docker_configs, &mut secret, is_needed);
            self.shared_versions.intern(&mut secret.versions);
            if let Some(cached) = self.known_namespace_mut(&namespace) {
                cached.secrets.insert(name, secret);
            }
            changes.push(CacheChange::changed(&namespace, Vec::new()));
        }
        self.installation = installation;
        changes
    }

    /// Merges the result of a write in a namespace. Later watch events take precedence.
    pub fn finish_write(&mut self, namespace: &NamespaceName, applied: &mut Applied, claims: &Claims) {
        if let Some(installation) = &mut self.installation {
            applied.record_writes(namespace, &mut installation.owned);
        }
        let tombstones = self.tombstones.finish_write(namespace);
        let Some(cached) = self.cluster.namespaces.get_mut(namespace) else { return };
        for (name, mut written) in std::mem::take(&mut applied.secrets) {
            if let Some(secret) = &mut written.now {
                let is_claimed = || claims.holder(&name, namespace, cached).is_some();
                let is_needed = is_needed(secret, is_claimed);
                intern(&mut self.docker_configs, secret, is_needed);
            }
            let tombstone = tombstones.get(name.as_str()).copied();
            let object_ref = ObjectRef::namespaced(namespace.clone(), name.as_str());
            let resource = WatchedResource::Secrets(name.clone());
            if merge(&mut cached.secrets, name, written, tombstone, |it| &it.resource_version) {
                self.lists.record_write(&resource, object_ref);
            }
        }
        for (name, written) in std::mem::take(&mut applied.service_accounts) {
            let tombstone = tombstones.get(&name).copied();
            let object_ref = ObjectRef::namespaced(namespace.clone(), name.clone());
            if merge(&mut cached.service_accounts, name, written, tombstone, |it| &it.resource_version) {
                self.lists.record_write(&WatchedResource::ServiceAccounts, object_ref);
            }
        }
    }

    /// Drops the Secrets of a name that is no longer in use, and docker configs that no Secret holds.
    pub fn forget_secrets(&mut self, secret_name: &SecretName) {
        for namespace in self.cluster.namespaces.values_mut().chain(self.orphans.values_mut()) {
            namespace.secrets.remove(secret_name);
        }
        self.cluster.unreadable.remove(secret_name);
        self.docker_configs.drop_unused();
    }

    /// Replaces the content of regcred's own namespace, and judges every Secret by it whose marks are kept.
    pub fn set_installation(&mut self, mut installation: Installation) {
        for (namespace, cached) in self.cluster.namespaces.iter_mut().chain(self.orphans.iter_mut()) {
            for (name, secret) in cached.secrets.iter_mut() {
                let known = Secret {
                    uid: secret.uid.clone(),
                    evidence: secret.evidence.clone(),
                    ..Secret::default()
                };
                assess(Some(&mut installation), Some(&known), namespace, name, secret);
            }
        }
        self.installation = Some(installation);
    }

    fn known_namespace(&self, namespace: &NamespaceName) -> Option<&Namespace> {
        self.cluster.namespaces.get(namespace).or_else(|| self.orphans.get(namespace))
    }

    fn known_namespace_mut(&mut self, namespace: &NamespaceName) -> Option<&mut Namespace> {
        self.cluster.namespaces.get_mut(namespace).or_else(|| self.orphans.get_mut(namespace))
    }
}

fn namespace_mut<'a>(
    cluster: &'a mut Cluster,
    orphans: &'a mut Orphans,
    namespace: &NamespaceName,
) -> &'a mut Namespace {
    match cluster.namespaces.get_mut(namespace) {
        Some(known) => known,
        None => orphans.get_or_create(namespace),
    }
}

/// Merges a written object into the cache, unless the cache is newer; returns true if it was merged. Where nothing newer
/// arrived since the plan, an older version means that etcd was restored from a backup.
fn merge<K: Ord, T>(
    cached: &mut ObjectMap<K, T>,
    name: K,
    AfterWrite { before, now, .. }: AfterWrite<T>,
    tombstone: Option<u128>,
    version: impl Fn(&T) -> &String,
) -> bool {
    let known = cached.get(&name).map(|it| revision(version(it)));
    let planned_for = revision(&before);
    match now {
        None => known.is_some_and(|known| known <= planned_for) && cached.remove(&name).is_some(),
        Some(object) => {
            let written = revision(version(&object));
            let is_newest = known.is_none_or(|known| known <= written || known == planned_for)
                && tombstone.is_none_or(|tombstone| tombstone < written);
            if is_newest {
                cached.insert(name, object);
            }
            is_newest
        }
    }
}

/// Judges the marks of a Secret that was observed, and records one that its signature proves. Does nothing until
/// regcred's own namespace was read.
fn assess(
    installation: Option<&mut Installation>,
    known: Option<&Secret>,
    namespace: &NamespaceName,
    name: &SecretName,
    secret: &mut Secret,
) {
    let Some(Installation { key, owned, .. }) = installation else { return };
    let same = known.filter(|known| !known.uid.is_empty() && known.uid == secret.uid);
    let known_for = same.and_then(|known| known.evidence.owner_by_uid(key.is_some()));
    let recorded_for = owned.owner(namespace, name, &secret.uid).or(known_for);
    secret.assess(namespace, name, key.as_deref(), recorded_for);
    if let Evidence::Signed(owner) | Evidence::Recorded(owner) = &secret.evidence {
        owned.record_signed(namespace, name, owner, &secret.uid);
    }
}

/// Returns true if a decision needs the bytes of a Secret: it is regcred's, or going to be taken over.
fn is_needed(secret: &Secret, is_claimed: impl FnOnce() -> bool) -> bool {
    match &secret.evidence {
        Evidence::Foreign => false,
        Evidence::Labelled(_) => is_claimed(),
        Evidence::Unverified(_) | Evidence::Signed(_) | Evidence::Recorded(_) => true,
    }
}

/// Makes Secrets share one copy of equal bytes; drops long annotations, and the bytes that no decision needs.
fn intern(copies: &mut DockerConfigs, secret: &mut Secret, is_needed: bool) {
    secret.drop_long_versions();
    copies.intern(secret, is_needed);
}

/// Returns the entries that regcred added and that another writer removed from the list, or from regcred's
/// annotation.
fn reverted_entries(name: &str, before: &ServiceAccount, after: &ServiceAccount) -> Vec<ManagedResource> {
    let (before_list, after_list) = (&before.image_pull_secrets, &after.image_pull_secrets);
    let is_recorded = !matches!(before.annotation, Annotation::Lost { .. });
    before
        .added
        .keys()
        .filter(|secret_name| before_list.contains(secret_name) == Some(true))
        .filter(|secret_name| match after_list.contains(secret_name) {
            Some(true) => is_recorded && !after.added.contains_key(*secret_name),
            Some(false) => true,
            None => false,
        })
        .map(|secret_name| ManagedResource::Entry {
            service_account: name.to_owned(),
            secret_name: secret_name.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
