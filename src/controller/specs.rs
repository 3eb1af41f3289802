//! The ClusterPullSecrets of files and of the cluster, and what a change of one means.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Controller;
use super::object_state::{Attempts, ObjectState};
use super::queue::Priority;
use crate::cluster::watch::ObjectRef;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::cluster_pull_secret::sort_by_age;
use crate::manifest::object::{ForwardedRequest, LiveObject};
use crate::manifest::read_object;
use crate::object_name::SecretName;
use crate::reconcile::claims::{Claims, Others};
use crate::trigger::Trigger;

/// A ClusterPullSecret of the cluster that failed validation.
pub(super) struct InvalidObject {
    /// Its metadata and status on the API server.
    pub(super) object: LiveObject,
    /// Every error.
    pub(super) message: String,
    /// Patches of its status.
    pub(super) attempts: Attempts,
}

impl Controller {
    /// Handles a ClusterPullSecret that was created or changed.
    pub(super) fn on_object_applied(&mut self, name: &str, object: &Json) {
        if self.is_from_file(name) {
            let known = LiveObject::from_json(object);
            let message = "a file that regcred was given holds a ClusterPullSecret of this name, which takes precedence. Rename one of them".to_owned();
            self.mark_invalid(name, known, message);
            return;
        }
        match read_object(object, &self.context.store_configs) {
            Ok(cluster_pull_secret) => {
                self.invalid.remove(name);
                self.report_unknown_fields(&cluster_pull_secret);
                self.upsert(Arc::new(cluster_pull_secret));
            }
            Err(errors) => {
                let known = LiveObject::from_json(object);
                if known.deleting {
                    // Its Secrets have to be removed, whatever is invalid.
                    self.invalid.remove(name);
                    self.upsert(Arc::new(ClusterPullSecret::for_cleanup(name, known, object)));
                } else {
                    self.mark_invalid(name, known, errors.to_single_line());
                }
            }
        }
    }

    /// Logs the fields that this version does not know, once for each generation; the status names them, too.
    fn report_unknown_fields(&self, manifest: &ClusterPullSecret) {
        let before = self.objects.get(&manifest.name).map(|state| &state.manifest);
        // A deletion counts as a generation.
        if manifest.is_deleting() || before.is_some_and(|before| identity(before) == identity(manifest)) {
            return;
        }
        if let Some(message) = manifest.object.as_ref().and_then(LiveObject::unknown_fields_message) {
            warn!(cluster_pull_secret = manifest.name, "{message}");
        }
    }

    /// Logs the registries that other readers of pull secrets do not find, where they are new.
    fn report_portability(&self, manifest: &ClusterPullSecret) {
        let before = self.objects.get(&manifest.name).and_then(|state| state.manifest.portability_message());
        if let Some(message) =
            manifest.portability_message().filter(|message| before.as_ref() != Some(message))
        {
            warn!(cluster_pull_secret = manifest.name, "{message}");
        }
    }

    /// Stops reconciling a ClusterPullSecret: its Secrets stay until the error is fixed.
    fn mark_invalid(&mut self, name: &str, object: LiveObject, message: String) {
        if !self.is_from_file(name) && self.remove_object(name) {
            self.forget_object(name);
        }
        let before = self.invalid.insert(
            name.to_owned(),
            InvalidObject { object, message: message.clone(), attempts: Attempts::default() },
        );
        if before.is_none_or(|before| before.message != message) {
            warn!(cluster_pull_secret = name, "invalid, its Secrets are left unchanged: {message}");
        }
    }

    fn is_from_file(&self, name: &str) -> bool {
        self.objects.get(name).is_some_and(|state| state.manifest.object.is_none())
    }

    /// Handles a ClusterPullSecret that was deleted.
    pub(super) fn on_object_deleted(&mut self, name: &str) {
        self.invalid.remove(name);
        if self.is_from_file(name) {
            return;
        }
        if self.remove_object(name) {
            info!(cluster_pull_secret = name, "ClusterPullSecret deleted");
        }
        self.forget_object(name);
    }

    /// Handles a complete list of the ClusterPullSecrets: all others were deleted.
    pub(super) fn on_objects_relisted(&mut self, present: &BTreeSet<ObjectRef>) {
        let names = self.objects.keys().chain(self.invalid.keys());
        let deleted: Vec<_> =
            names.filter(|name| !present.contains(&ObjectRef::cluster_scoped(*name))).cloned().collect();
        for name in deleted {
            self.on_object_deleted(&name);
        }
    }

    /// Removes the state of a ClusterPullSecret, of which Secrets may keep credentials; returns true if there was one.
    fn remove_object(&mut self, name: &str) -> bool {
        let removed = self.objects.remove(name);
        if let Some(state) = &removed {
            self.forget_leases(state.store_keys());
        }
        removed.is_some()
    }

    fn forget_object(&mut self, name: &str) {
        self.queue.remove_lane(name);
        self.context.health.metrics.forget(name);
        self.has_stale_claims = true;
    }

    /// Adds or replaces a ClusterPullSecret, and reconciles what changed.
    pub(super) fn upsert(&mut self, mut manifest: Arc<ClusterPullSecret>) {
        let own_namespace = self.context.own_namespace.name.clone();
        Arc::make_mut(&mut manifest).selection.own_namespace = Some(own_namespace);
        let name = manifest.name.clone();
        self.report_portability(&manifest);
        let Some(state) = self.objects.get_mut(&name) else {
            self.objects.insert(name.clone(), ObjectState::new(manifest));
            self.has_stale_claims = true;
            self.sync_keys_of_object(&name);
            // Before the first list is complete, the object is older than this process.
            let trigger = if self.has_synced() { Trigger::Spec } else { Trigger::Start };
            self.reconcile_as_leader(&name, trigger);
            self.resume_request(&name);
            return;
        };
        let before = std::mem::replace(&mut state.manifest, Arc::clone(&manifest));
        let rotate = rotate_annotation(&manifest);
        if identity(&before) != identity(&manifest) {
            state.reset_backoff();
            // Values from before the change are still good; a new key has to be read first.
            state.desired_secret = None;
            // A Secret may keep the credential of a key that the spec no longer names.
            let dropped: Vec<_> = {
                let kept: BTreeSet<_> = manifest.registries.iter().map(|it| &it.store_key).collect();
                let named = before.registries.iter().map(|it| &it.store_key);
                named.filter(|it| !kept.contains(it)).cloned().collect()
            };
            state.forget_unused_keys();
            self.forget_leases(&dropped);
            self.has_stale_claims = true;
            self.sync_keys_of_object(&name);
            self.resolve(&name);
            self.reconcile_as_leader(&name, Trigger::Spec);
        } else if rotate.is_some() && rotate != rotate_annotation(&before) {
            state.reset_backoff();
            self.reconcile_as_leader(&name, Trigger::Annotation);
            // The user may have fixed the cause of a failure.
            self.requeue_targets(&name, Priority::Normal);
        }
        let request = forwarded_request(&manifest);
        if let Some(request) = request.filter(|_| request != forwarded_request(&before)) {
            self.on_request(&name, request);
        }
        if !before.previous_names().eq(manifest.previous_names()) {
            self.has_stale_claims = true;
        }
    }

    /// Reconciles while this replica leads; otherwise the leader does.
    fn reconcile_as_leader(&mut self, name: &str, trigger: Trigger) {
        if self.is_leading {
            let (now, at) = (Instant::now(), (self.context.wall_clock)());
            self.reconcile(name, trigger, now, at);
        }
    }

    /// Rebuilds the claims if they may have changed, then requeues every target.
    pub(super) fn rebuild_claims(&mut self) {
        if !std::mem::take(&mut self.has_stale_claims) {
            return;
        }
        self.installation_sync.may_have_unused_values = true;
        let mut manifests: Vec<_> = self.objects.values().map(|state| Arc::clone(&state.manifest)).collect();
        sort_by_age(&mut manifests);
        self.claims = Claims::new(&manifests, Others::Invalid(self.invalid.keys().cloned().collect()));
        self.retain_used_keys();
        for name in self.objects.keys().cloned().collect::<Vec<_>>() {
            self.requeue_targets(&name, Priority::Normal);
        }
    }

    /// Requeues every namespace that a ClusterPullSecret may affect.
    pub(super) fn requeue_targets(&mut self, name: &str, priority: Priority) {
        let Some(state) = self.objects.get(name) else { return };
        for (namespace, observed) in &self.cache.cluster.namespaces {
            if state.can_affect(namespace, Some(observed)) {
                self.queue.push(name, namespace, priority);
            }
        }
    }

    /// Requeues the targets of every ClusterPullSecret with Secrets of this name.
    pub(super) fn requeue_by_secret_name(&mut self, secret_name: &SecretName) {
        let users = self.objects.iter().filter(|(_, state)| state.has_secret_name(secret_name));
        for name in users.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.requeue_targets(&name, Priority::Normal);
        }
    }
}

/// Returns the fields that change whenever a ClusterPullSecret has to be reconciled from its spec.
fn identity(manifest: &ClusterPullSecret) -> Option<(&str, i64, bool)> {
    manifest.object.as_ref().map(|object| (object.uid.as_str(), object.generation, object.deleting))
}

fn rotate_annotation(manifest: &ClusterPullSecret) -> Option<&String> {
    manifest.object.as_ref()?.rotate.as_ref()
}

fn forwarded_request(manifest: &ClusterPullSecret) -> Option<&ForwardedRequest> {
    manifest.object.as_ref()?.request.as_ref()
}
