//! Versions that another writer wrote into Secrets, and that no read of the store has confirmed or replaced.
//!
//! Times are parameters. Versions of AWS, files and KV version 1 have no order: the last read counts. A value that
//! was read before another writer's version was seen may be the older one, and is not written before another read.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::Controller;
use super::fetches::Fetches;
use crate::cluster::watch::{ObjectRef, WatchedResource};
use crate::cluster::{Namespace, Secret};
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::target::{Action, Target};
use crate::rotator::{Decision, VersionConflict};

/// The time at which another writer's version was seen, by Secret.
#[derive(Debug, Default)]
pub(super) struct ForeignVersions(BTreeMap<(NamespaceName, SecretName), Instant>);

impl ForeignVersions {
    /// Forgets a Secret that was deleted, or those of a namespace.
    pub(super) fn forget(&mut self, resource: &WatchedResource, ObjectRef { namespace, name }: &ObjectRef) {
        match (resource, namespace) {
            (WatchedResource::Secrets(secret_name), Some(namespace)) => {
                self.0.remove(&(namespace.clone(), secret_name.clone()));
            }
            (WatchedResource::Namespaces, None) => self.0.retain(|(known, _), _| known.as_str() != name),
            _ => {}
        }
    }

    /// Returns the first version of unknown order that a Secret holds, and that was seen after the last read of its key.
    fn unread(
        &self,
        target: &Target,
        namespace: &NamespaceName,
        observed: Option<&Secret>,
        fetches: &Fetches,
    ) -> Option<VersionConflict> {
        let Action::Apply { content, secret: Decision::Update { .. } | Decision::Read, .. } = &target.action
        else {
            return None;
        };
        let seen_at = *self.0.get(&(namespace.clone(), target.owner.secret_name.clone()))?;
        let unordered = content.fetched.unordered(observed);
        unordered.into_iter().find(|conflict| !fetches.has_started_since(&conflict.store_key, seen_at))
    }
}

impl Controller {
    /// Records the version of a Secret that changed in a watch event; `before` is the annotation that was known.
    pub(super) fn record_foreign_version(
        &mut self,
        object_ref: &ObjectRef,
        before: Option<String>,
        now: Instant,
    ) {
        let Some(namespace) = &object_ref.namespace else { return };
        let secret = || (namespace.clone(), SecretName::from(object_ref.name.as_str()));
        match self.known_versions(object_ref) {
            Some(versions) if before.is_some_and(|before| before != versions) => {
                self.foreign_versions.0.insert(secret(), now);
            }
            Some(_) => {}
            None => drop(self.foreign_versions.0.remove(&secret())),
        }
    }

    /// Returns the cached annotation with the versions of a Secret.
    pub(super) fn known_versions(&self, ObjectRef { namespace, name }: &ObjectRef) -> Option<&str> {
        let namespace = self.cache.cluster.namespaces.get(namespace.as_ref()?)?;
        namespace.secrets.get(name.as_str())?.versions.as_deref()
    }

    /// Holds back a write that would replace another writer's version by a value that was read before.
    pub(super) fn hold_unread(&self, target: &mut Target, namespace: &NamespaceName, observed: &Namespace) {
        let observed = observed.secrets.get(&target.owner.secret_name);
        let conflict = self.foreign_versions.unread(target, namespace, observed, &self.fetches);
        if let (Some(conflict), Action::Apply { secret, .. }) = (conflict, &mut target.action) {
            *secret = Decision::Outdated(conflict);
        }
    }
}
