//! Watch events and full lists of Secrets: which watches run, and how their events update the cache.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::cache::{CacheChange, Origin};
use super::object_state::ObjectState;
use super::queue::Priority;
use super::timers::Timer;
use super::{Controller, TaskResult, backoff};
use crate::cluster::error::Error;
use crate::cluster::watch::{IDLE_LIMIT, ObjectRef, WatchEvent, WatchedObject, WatchedResource, watch};
use crate::cluster::{self, Secret, revision};
use crate::object_name::SecretName;

/// The pause before a failed list of Secrets is retried, as the back-off after this many failures.
const LIST_BACKOFF: u32 = 5;

impl Controller {
    /// Handles a watch event.
    pub(super) fn on_watch_event(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::Applied(ObjectRef { name, .. }, WatchedObject::ClusterPullSecret(object))
            | WatchEvent::Listed(ObjectRef { name, .. }, WatchedObject::ClusterPullSecret(object)) => {
                self.on_object_applied(&name, &object);
            }
            WatchEvent::Applied(object_ref, object) => self.on_observed(object_ref, object, Origin::Watch),
            WatchEvent::ListStarted(resource) => self.cache.begin_list(resource),
            WatchEvent::Listed(object_ref, object) => self.on_observed(object_ref, object, Origin::List),
            WatchEvent::Deleted(WatchedResource::ClusterPullSecrets, ObjectRef { name, .. }, _) => {
                self.on_object_deleted(&name);
            }
            WatchEvent::Deleted(resource, object_ref, version) => {
                let change = self.cache.delete(&resource, &object_ref, revision(&version));
                self.foreign_versions.forget_deleted(&resource, &object_ref, &self.cache);
                self.on_change(change);
            }
            WatchEvent::Relisted(WatchedResource::ClusterPullSecrets, present) => {
                self.on_objects_relisted(&present);
                self.installation_sync.has_listed_objects = true;
                self.synced.insert(WatchedResource::ClusterPullSecrets);
            }
            WatchEvent::Relisted(resource, present) => {
                let changes = self.cache.relist(&resource, &present);
                self.foreign_versions.forget_uncached(&self.cache);
                for change in changes {
                    self.on_change(change);
                }
                self.synced.insert(resource);
            }
            // The CRD is not installed: the only ClusterPullSecrets are those from files.
            WatchEvent::Failed(WatchedResource::ClusterPullSecrets, Error::NotFound(_)) => {
                if self.synced.insert(WatchedResource::ClusterPullSecrets) && self.objects.is_empty() {
                    warn!(
                        "nothing to reconcile: the files hold no ClusterPullSecret, and the CRD is not installed. Apply deploy/crd.yaml"
                    );
                }
            }
            WatchEvent::Failed(resource @ WatchedResource::Secrets(_), error @ Error::Forbidden(_)) => {
                // Reported in the status of the ClusterPullSecret; the others are served. Once listed, Secrets
                // stay cached: an API server that has just started forbids everything for a moment.
                if self.synced.insert(resource.clone())
                    && let WatchedResource::Secrets(name) = resource
                {
                    self.cache.cluster.unreadable.insert(name, error);
                }
            }
            WatchEvent::Failed(..) => {}
        }
    }

    /// Handles an object that was created or changed.
    fn on_observed(&mut self, object_ref: ObjectRef, object: WatchedObject, origin: Origin) {
        let before = matches!(object, WatchedObject::Secret(_))
            .then(|| self.known_versions(&object_ref).map(str::to_owned));
        let change = self.cache.apply(object_ref.clone(), object, origin);
        if let (Some(before), CacheChange::Changed { .. }) = (before, &change) {
            self.record_foreign_version(&object_ref, before.as_deref(), Instant::now());
        }
        self.on_change(change);
    }

    /// Requeues a changed namespace for every ClusterPullSecret it affects. Reverts are restored at once, or
    /// with back-off.
    fn on_change(&mut self, change: CacheChange) {
        let CacheChange::Changed { namespace, reverted } = change else { return };
        self.sync_keys_of_namespace(&namespace);
        if !self.is_leading {
            return;
        }
        let now = Instant::now();
        // While a write of our own is in flight, the writer of a change cannot be known.
        let reverted = if self.queue.is_busy(&namespace) { Vec::new() } else { reverted };
        for resource in reverted {
            let jitter = self.jitter();
            if let Some(pause) = self.drift.on_reverted(&namespace, &resource, now, jitter) {
                self.mark_contested(&namespace, &resource, now + pause);
            }
        }
        let observed = self.cache.cluster.namespaces.get(&namespace);
        let secrets = observed.into_iter().flat_map(|it| it.secrets.values());
        let labels: BTreeSet<String> = secrets
            .filter(|it| it.evidence.owner().is_none())
            .filter_map(|it| it.evidence.owner_or_label().map(str::to_owned))
            .collect();
        let paused_until = self.read_pauses.until(&namespace, now);
        for (name, state) in &self.objects {
            if state.can_affect(&namespace, observed) {
                match paused_until {
                    Some(until) => self.timers.set(until, Timer::Requeue(name.clone(), namespace.clone())),
                    None => self.queue.push(name, &namespace, Priority::High),
                }
            }
        }
        // A copy may have to be reported.
        for label in labels {
            self.publish_soon(&label, now);
        }
    }

    /// Starts and stops watches so that exactly the Secret names in use are watched.
    pub(super) fn sync_watches(&mut self) {
        let used: BTreeSet<&SecretName> = self.objects.values().flat_map(ObjectState::secret_names).collect();
        let unused: Vec<_> = self
            .watches
            .keys()
            .filter(|resource| matches!(resource, WatchedResource::Secrets(name) if !used.contains(name)))
            .cloned()
            .collect();
        let unwatched: Vec<_> = used
            .into_iter()
            .map(|name| WatchedResource::Secrets(name.clone()))
            .filter(|resource| !self.watches.contains_key(resource))
            .collect();
        for resource in unused {
            self.watches.remove(&resource);
            self.synced.remove(&resource);
            if let WatchedResource::Secrets(name) = resource {
                self.secret_lists.forget(&name);
                self.cache.forget_secrets(&name);
                self.foreign_versions.forget_uncached(&self.cache);
            }
        }
        for resource in unwatched {
            self.watch(resource);
        }
    }

    pub(super) fn watch(&mut self, resource: WatchedResource) {
        let events = self.watch_events.0.clone();
        let watch = watch(&self.context.client, resource.clone(), IDLE_LIMIT, events, &self.restores);
        self.watches.insert(resource, watch);
    }

    /// Returns true if everything that is always watched has been listed.
    pub(super) fn has_synced(&self) -> bool {
        self.unsynced().is_none()
    }

    fn unsynced(&self) -> Option<WatchedResource> {
        let always = [
            WatchedResource::Namespaces,
            WatchedResource::ServiceAccounts,
            WatchedResource::ClusterPullSecrets,
        ];
        always.into_iter().find(|resource| !self.synced.contains(resource))
    }

    pub(super) fn update_readiness(&self) {
        let mut watched = self.watches.keys();
        let unsynced =
            self.unsynced().or_else(|| watched.find(|resource| !self.synced.contains(resource)).cloned());
        let readiness = &self.context.health.readiness;
        match unsynced {
            Some(resource) => readiness.set_not_ready(format!("waiting for the first list of {resource}")),
            None => readiness.set_ready(),
        }
    }

    /// Starts full lists of the Secrets of every name in use: their content shows which need no write.
    pub(super) fn start_secret_lists(&mut self, now: Instant) {
        let used: BTreeSet<SecretName> =
            self.objects.values().flat_map(ObjectState::secret_names).cloned().collect();
        for name in used {
            let is_watched = self.installation_sync.is_known()
                && self.synced.contains(&WatchedResource::Secrets(name.clone()));
            if !is_watched || !self.secret_lists.start(&name, now) {
                continue;
            }
            let client = self.context.client.clone();
            let claimed = self.cache.claimed_namespaces(&name, &self.claims);
            self.tasks.spawn_read(async move {
                let secrets = cluster::list_secrets(&client, &name, Some(&claimed)).await;
                TaskResult::SecretsListed(name, secrets)
            });
        }
    }

    /// Handles the result of a full list of Secrets.
    pub(super) fn on_secrets_listed(
        &mut self,
        name: &SecretName,
        secrets: Result<Vec<(ObjectRef, Secret)>, Error>,
    ) {
        match secrets {
            Ok(secrets) => {
                debug!(secret = name.as_str(), count = secrets.len(), "Secrets listed");
                self.secret_lists.mark_synced(name);
                self.cache.cluster.unreadable.remove(name);
                // The list may be ahead of the watch.
                self.foreign_versions.record_listed(&secrets, &self.cache, Instant::now());
                for change in self.cache.fill_bodies(secrets, &self.claims) {
                    self.on_change(change);
                }
                self.requeue_by_secret_name(name);
            }
            Err(error) => {
                // The status of each ClusterPullSecret with this name reports it.
                debug!(secret = name.as_str(), reason = %error.reason(), "cannot list Secrets: {error}");
                self.cache.cluster.unreadable.insert(name.clone(), error);
                let retry_at = Instant::now() + backoff::after(LIST_BACKOFF, self.jitter());
                self.secret_lists.mark_failed(name, retry_at);
                self.timers.set(retry_at, Timer::SecretLists(name.clone()));
                self.requeue_by_secret_name(name);
            }
        }
    }
}
