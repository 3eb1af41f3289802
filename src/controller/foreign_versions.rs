//! Versions that another writer wrote into Secrets, and that no read of the store has confirmed or replaced.
//!
//! Times are parameters. Versions of AWS, files and KV version 1 have no order: the last read counts. A value that
//! was read before another writer's version was seen may be the older one, and is not written before another read.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Controller;
use super::cache::Cache;
use crate::cluster::watch::{ObjectRef, WatchedResource};
use crate::cluster::{Namespace, Secret, revision};
use crate::fetches::Fetches;
use crate::object_map::ObjectMap;
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::execute::AfterWrite;
use crate::reconcile::target::{Action, Target};
use crate::rotator::{AcceptedOlder, Decision, VersionConflict};

/// The time at which another writer's version was seen, by Secret.
#[derive(Debug, Default)]
pub(super) struct ForeignVersions(BTreeMap<(NamespaceName, SecretName), Instant>);

impl ForeignVersions {
    /// Records a Secret that was observed with other versions than were known before.
    pub(super) fn record(
        &mut self,
        object_ref: &ObjectRef,
        before: Option<&str>,
        observed: Option<&Secret>,
        now: Instant,
    ) {
        let Some(namespace) = &object_ref.namespace else { return };
        let secret = || (namespace.clone(), SecretName::from(object_ref.name.as_str()));
        match observed {
            // A long annotation is not kept, so that nothing shows the change.
            Some(observed) if observed.is_shortened || observed.versions.is_some() => {
                if observed.is_shortened || observed.versions.as_deref() != before {
                    self.0.insert(secret(), now);
                }
            }
            _ => drop(self.0.remove(&secret())),
        }
    }

    /// Forgets a Secret that a decision found to hold nothing unread.
    pub(super) fn confirm(&mut self, namespace: &NamespaceName, target: &Target) {
        if let Action::Apply { secret: Decision::Unchanged | Decision::Update { .. }, .. } = &target.action {
            self.0.remove(&(namespace.clone(), target.owner.secret_name.clone()));
        }
    }

    /// Forgets the Secrets that this process wrote last: nobody else's version is in them any more.
    pub(super) fn forget_overwritten(
        &mut self,
        namespace: &NamespaceName,
        secrets: &ObjectMap<SecretName, AfterWrite<Secret>>,
        cached: Option<&Namespace>,
    ) {
        for (name, written) in secrets.iter().filter(|(_, it)| it.is_written) {
            let Some(now) = &written.now else { continue };
            let known = cached.and_then(|it| it.secrets.get(name));
            if known.is_none_or(|it| revision(&it.resource_version) <= revision(&now.resource_version)) {
                self.0.remove(&(namespace.clone(), name.clone()));
            }
        }
    }

    /// Holds back a write that would replace another writer's version by a value that was read before, unless the
    /// older version of its key is accepted.
    pub(super) fn hold_unread(
        &self,
        target: &mut Target,
        namespace: &NamespaceName,
        observed: &Namespace,
        accepted: &AcceptedOlder,
        fetches: &Fetches,
    ) {
        let observed = observed.secrets.get(&target.owner.secret_name);
        let conflict = self.unread(target, namespace, observed, accepted, fetches);
        if let (Some(conflict), Action::Apply { secret, .. }) = (conflict, &mut target.action) {
            *secret = Decision::Outdated(conflict);
        }
    }

    /// Forgets a Secret that was deleted, or those of a namespace. One that is cached was created again.
    pub(super) fn forget_deleted(
        &mut self,
        resource: &WatchedResource,
        ObjectRef { namespace, name }: &ObjectRef,
        cache: &Cache,
    ) {
        match (resource, namespace) {
            (WatchedResource::Secrets(secret_name), Some(namespace))
                if cache.known_secret(namespace, secret_name).is_none() =>
            {
                self.0.remove(&(namespace.clone(), secret_name.clone()));
            }
            (WatchedResource::Namespaces, None) => self.0.retain(|(known, secret_name), _| {
                known.as_str() != name || cache.known_secret(known, secret_name).is_some()
            }),
            _ => {}
        }
    }

    /// Forgets every Secret that is not cached any more.
    pub(super) fn forget_uncached(&mut self, cache: &Cache) {
        self.0.retain(|(namespace, name), _| cache.known_secret(namespace, name).is_some());
    }

    /// Records the Secrets of a full list that are going to replace cached ones.
    pub(super) fn record_listed(&mut self, listed: &[(ObjectRef, Secret)], cache: &Cache, now: Instant) {
        for (object_ref, secret) in listed {
            let Some(namespace) = &object_ref.namespace else { continue };
            let name = SecretName::from(object_ref.name.as_str());
            if let Some(known) = cache.replaced_by_listed(namespace, &name, secret) {
                self.record(object_ref, known.versions.as_deref(), Some(secret), now);
            }
        }
    }

    /// Returns the first version of unknown order that a Secret holds, and that was seen after the last read of its key.
    fn unread(
        &self,
        target: &Target,
        namespace: &NamespaceName,
        observed: Option<&Secret>,
        accepted: &AcceptedOlder,
        fetches: &Fetches,
    ) -> Option<VersionConflict> {
        let Action::Apply { content, secret: Decision::Update { .. } | Decision::Read, .. } = &target.action
        else {
            return None;
        };
        let seen_at = *self.0.get(&(namespace.clone(), target.owner.secret_name.clone()))?;
        let unordered = content.fetched.unordered(observed);
        unordered.into_iter().find(|VersionConflict { store_key, .. }| {
            !accepted.contains(store_key) && !fetches.has_started_since(store_key, seen_at)
        })
    }
}

impl Controller {
    /// Records the versions of a Secret that changed; `before` is the annotation that was known.
    pub(super) fn record_foreign_version(
        &mut self,
        object_ref: &ObjectRef,
        before: Option<&str>,
        now: Instant,
    ) {
        let Some(namespace) = &object_ref.namespace else { return };
        let observed = self.cache.known_secret(namespace, &object_ref.name.as_str().into());
        self.foreign_versions.record(object_ref, before, observed, now);
    }

    /// Returns the cached annotation with the versions of a Secret.
    pub(super) fn known_versions(&self, ObjectRef { namespace, name }: &ObjectRef) -> Option<&str> {
        self.cache.known_secret(namespace.as_ref()?, &name.as_str().into())?.versions.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::watch::WatchedObject;
    use crate::controller::cache::Origin;

    fn secret(versions: Option<&str>, is_shortened: bool) -> Secret {
        Secret { versions: versions.map(Into::into), is_shortened, ..Secret::default() }
    }

    /// True if the Secret is known to hold a foreign version after it was observed.
    fn is_recorded(before: Option<&str>, observed: Option<Secret>) -> bool {
        let mut foreign = ForeignVersions::default();
        foreign.record(
            &ObjectRef::namespaced("web".into(), "regcred"),
            before,
            observed.as_ref(),
            Instant::now(),
        );
        !foreign.0.is_empty()
    }

    #[test]
    fn changed_and_new_versions_are_recorded() {
        assert!(is_recorded(Some("ghcr.io=aws:id-1"), Some(secret(Some("ghcr.io=aws:id-2"), false))));
        assert!(is_recorded(None, Some(secret(Some("ghcr.io=aws:id-2"), false))), "nothing was known");
        assert!(!is_recorded(Some("ghcr.io=aws:id-2"), Some(secret(Some("ghcr.io=aws:id-2"), false))));
        assert!(!is_recorded(None, Some(secret(None, false))));
        assert!(!is_recorded(Some("ghcr.io=aws:id-1"), None));
    }

    #[test]
    fn long_versions_that_are_not_kept_are_recorded() {
        assert!(is_recorded(None, Some(secret(None, true))));
    }

    fn secret_at(resource_version: &str) -> Secret {
        let resource_version = resource_version.to_owned();
        Secret { resource_version, ..secret(Some("ghcr.io=aws:id-2"), false) }
    }

    #[test]
    fn versions_are_forgotten_after_a_later_own_write() {
        for (observed_at, written_at, expect) in [("5", "6", true), ("6", "6", true), ("7", "6", false)] {
            let (namespace, name) = (NamespaceName::from("web"), SecretName::from("regcred"));
            let observed = secret_at(observed_at);
            let mut foreign = ForeignVersions::default();
            let object_ref = ObjectRef::namespaced(namespace.clone(), "regcred");
            foreign.record(&object_ref, None, Some(&observed), Instant::now());
            let cached = Namespace { secrets: [(name.clone(), observed)].into(), ..Namespace::default() };
            let now = Some(secret_at(written_at));
            let written = AfterWrite { before: "4".to_owned(), now, is_written: true };
            foreign.forget_overwritten(&namespace, &[(name, written)].into(), Some(&cached));
            assert_eq!(foreign.0.is_empty(), expect, "seen at {observed_at}, written at {written_at}");
        }
    }

    /// A cache with this Secret `regcred` in namespace `web`, and the record of its foreign version.
    fn cached(at: &str) -> (Cache, ForeignVersions) {
        let (mut cache, mut foreign) = (Cache::default(), ForeignVersions::default());
        let object_ref = ObjectRef::namespaced("web".into(), "regcred");
        let secret = listed(at, Some("ghcr.io=aws:id-2"));
        foreign.record(&object_ref, None, Some(&secret), Instant::now());
        cache.apply(object_ref, WatchedObject::Secret(secret), Origin::Watch);
        (cache, foreign)
    }

    fn listed(at: &str, versions: Option<&str>) -> Secret {
        Secret { resource_version: at.to_owned(), ..secret(versions, false) }
    }

    #[test]
    fn secret_absent_from_a_list_is_forgotten() {
        let (mut cache, mut foreign) = cached("5");
        let object_ref = ObjectRef::namespaced("web".into(), "regcred");
        cache.relist(&WatchedResource::Secrets("regcred".into()), &[object_ref].into());
        foreign.forget_uncached(&cache);
        assert_eq!(foreign.0.len(), 1, "it is in the list");
        cache.relist(&WatchedResource::Secrets("regcred".into()), &[].into());
        foreign.forget_uncached(&cache);
        assert!(foreign.0.is_empty());
    }

    #[test]
    fn secret_of_an_unused_name_is_forgotten() {
        let (mut cache, mut foreign) = cached("5");
        cache.forget_secrets(&"regcred".into());
        foreign.forget_uncached(&cache);
        assert!(foreign.0.is_empty());
    }

    #[test]
    fn secret_newer_than_its_deletion_is_kept() {
        for (deleted_at, expect) in [(4, 1), (5, 0)] {
            let (mut cache, mut foreign) = cached("5");
            let resource = WatchedResource::Secrets("regcred".into());
            let object_ref = ObjectRef::namespaced("web".into(), "regcred");
            cache.delete(&resource, &object_ref, deleted_at);
            foreign.forget_deleted(&resource, &object_ref, &cache);
            assert_eq!(foreign.0.len(), expect, "deleted at {deleted_at}");
        }
    }

    #[test]
    fn list_older_than_the_cache_changes_nothing() {
        for (listed_at, expect) in [("4", 1), ("5", 0), ("6", 0)] {
            let (cache, mut foreign) = cached("5");
            let list = [(ObjectRef::namespaced("web".into(), "regcred"), listed(listed_at, None))];
            foreign.record_listed(&list, &cache, Instant::now());
            assert_eq!(foreign.0.len(), expect, "listed at {listed_at}");
        }
    }

    #[test]
    fn removed_versions_are_forgotten() {
        let (mut foreign, object_ref) =
            (ForeignVersions::default(), ObjectRef::namespaced("web".into(), "regcred"));
        let now = Instant::now();
        foreign.record(&object_ref, None, Some(&secret(Some("ghcr.io=aws:id-2"), false)), now);
        foreign.record(&object_ref, Some("ghcr.io=aws:id-2"), Some(&secret(None, false)), now);
        assert!(foreign.0.is_empty());
    }
}
