//! Patches of a ClusterPullSecret itself: its finalizer, the names of its Secrets, its status.
//!
//! Their order is safe whenever the process ends: the finalizer and the name are stored before anything is
//! written under that name, and the finalizer is removed after everything else is.

use std::sync::Arc;

use kube::Client;
use kube::api::Patch;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tracing::warn;

use super::dependents::Dependents;
use super::object_state::{ObjectState, PUBLISH_EVERY};
use super::timers::Timer;
use super::{Controller, TaskResult, backoff, status};
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::{cluster_pull_secret, params};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, Deletion};
use crate::manifest::object::LiveObject;
use crate::manifest::status::ClusterPullSecretStatus;
use crate::metrics::{WriteKind, WriteOutcome};
use crate::named;
use crate::object_name::NamespaceName;
use crate::object_name::SecretName;
use crate::reconcile::guards::Guards;
use crate::reconcile::target;

/// The finalizer that keeps a ClusterPullSecret until its Secrets are removed.
const FINALIZER: &str = "regcred.dev/cleanup";

/// One patch of a ClusterPullSecret.
#[derive(Debug)]
pub(super) enum ObjectPatch {
    /// Adds the finalizer.
    AddFinalizer,
    /// Stores every name under which its Secrets may exist.
    RecordSecretName(Vec<SecretName>),
    /// Updates the status. `before` is the status at the time of the decision: the watch may deliver the new
    /// one before the request ends.
    UpdateStatus { before: Box<ClusterPullSecretStatus>, after: Box<ClusterPullSecretStatus> },
    /// Removes the finalizer.
    RemoveFinalizer,
}

/// Returns true if the API server stores enough to find everything written for the ClusterPullSecret.
pub(super) fn is_registered(state: &ObjectState) -> bool {
    let manifest = &state.manifest;
    manifest.object.as_ref().is_none_or(|object| {
        object.deleting || (has_finalizer(object) && object.secret_names.contains(&manifest.secret_name))
    })
}

fn has_finalizer(object: &LiveObject) -> bool {
    object.finalizers.iter().any(|it| it == FINALIZER)
}

impl Controller {
    /// Starts the patches that are due, at most one for each ClusterPullSecret.
    pub(super) fn start_object_patches(&mut self, now: Instant) {
        let free = self.objects.iter().filter(|(_, state)| state.can_patch(now));
        for name in free.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let patch = self.next_patch(&self.objects[&name], now);
            let Some(state) = self.objects.get_mut(&name) else { continue };
            if state.publish_at.is_some_and(|at| at <= now) && !is_prerequisite(patch.as_ref()) {
                state.publish_at = None;
            }
            // In nearly every turn no patch is due, and nothing is copied.
            if let Some(patch) = patch
                && let Some(object) = state.manifest.object.clone()
            {
                state.attempts.is_in_flight = true;
                self.start_patch(name, patch, &object);
            }
        }
        let free = self.invalid.iter().filter(|(_, it)| it.attempts.can_start(now));
        for name in free.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let object = self.invalid[&name].object.clone();
            // Where a file has a ClusterPullSecret of the same name, the metric is regarding that one.
            if !self.objects.contains_key(&name) {
                self.context.health.metrics.set_ready(&name, Some(false));
            }
            let Some(patch) = self.next_patch_of_invalid(&name) else { continue };
            if let Some(invalid) = self.invalid.get_mut(&name) {
                invalid.attempts.is_in_flight = true;
                self.start_patch(name, patch, &object);
            }
        }
    }

    fn start_patch(&mut self, name: String, patch: ObjectPatch, object: &LiveObject) {
        if matches!(patch, ObjectPatch::RemoveFinalizer) {
            self.report_dependents(&name, &object.uid);
        }
        let (client, body) = (self.context.client.clone(), patch.body(object));
        self.tasks.spawn_write(async move {
            let result = send(client, &name, &patch, body).await;
            TaskResult::ObjectPatched(name, patch, result)
        });
    }

    /// Returns the patch that is due for a ClusterPullSecret.
    fn next_patch(&self, state: &ObjectState, now: Instant) -> Option<ObjectPatch> {
        let manifest = &state.manifest;
        let object = manifest.object.as_ref()?;
        if object.deleting {
            if has_finalizer(object) && self.queue.is_idle(&manifest.name) && self.is_cleaned_up(state) {
                return Some(ObjectPatch::RemoveFinalizer);
            }
        } else if !has_finalizer(object) {
            return Some(ObjectPatch::AddFinalizer);
        } else if !object.secret_names.contains(&manifest.secret_name) {
            let names = object.secret_names.iter().chain([&manifest.secret_name]);
            return Some(ObjectPatch::RecordSecretName(names.cloned().collect()));
        }
        let is_due = state.publish_at.is_some_and(|at| at <= now);
        if !is_due || state.inherited_ready(self.installation_sync.unreadable.is_some()).is_some() {
            return None;
        }
        let has_current_name_only = state.reconciliation.is_none() && self.has_current_name_only(state);
        let status = status::build(state, has_current_name_only, (self.context.wall_clock)());
        (!status::is_same(&status, &object.status)).then(|| ObjectPatch::update_status(object, status))
    }

    /// Returns the patch that is due for an invalid one: its status, or the removal of a finalizer that
    /// nothing depends on.
    fn next_patch_of_invalid(&self, name: &str) -> Option<ObjectPatch> {
        let invalid = self.invalid.get(name)?;
        let object = &invalid.object;
        // A file takes over the Secrets of the same name; those of other names have to be removed first.
        let is_free = self.objects.get(name).is_some_and(|file| {
            object.secret_names.iter().all(|it| *it == file.manifest.secret_name)
                && self.dependents(&file.manifest, &object.uid).awaited.is_empty()
        });
        if object.deleting && has_finalizer(object) && is_free {
            return Some(ObjectPatch::RemoveFinalizer);
        }
        let status = status::build_invalid(&invalid.object, &invalid.message, (self.context.wall_clock)())?;
        Some(ObjectPatch::update_status(&invalid.object, status))
    }

    /// Returns true if everything is removed that has to be before the ClusterPullSecret may go.
    fn is_cleaned_up(&self, state: &ObjectState) -> bool {
        let manifest = &state.manifest;
        if !state.secret_names().all(|name| self.can_finalize(manifest, name)) {
            return false;
        }
        let Some(object) = &manifest.object else { return true };
        let is_done = match manifest.deletion {
            Deletion::Retain => true,
            Deletion::Delete => {
                let guards = Guards::new(manifest, &self.cache.cluster);
                let mut namespaces = self.cache.cluster.namespaces.iter();
                !namespaces.any(|(name, it)| self.target(state, &guards, name, it).is_some())
            }
        };
        // The garbage collector must find nothing of regcred's to remove.
        is_done && self.dependents(manifest, &object.uid).awaited.is_empty()
    }

    /// Returns true if the Secrets of this name are cached, or regcred may not see them and wrote none.
    fn can_finalize(&self, manifest: &ClusterPullSecret, secret_name: &SecretName) -> bool {
        let error = self.cache.cluster.unreadable.get(secret_name);
        // Nothing was ever written under a name that the Role does not contain.
        let is_recorded =
            self.cache.installation.as_ref().is_some_and(|it| it.owned.has_any(&manifest.name, secret_name));
        self.has_listed(secret_name)
            || (matches!(error, Some(Error::Forbidden(_))) && manifest.is_deleting_secrets() && !is_recorded)
    }

    /// Returns the Secrets that the garbage collector would remove together with the object of this UID.
    fn dependents(&self, manifest: &ClusterPullSecret, uid: &str) -> Dependents<'_> {
        Dependents::new(manifest, uid, &self.claims, &self.cache.cluster)
    }

    /// Logs the Secrets that the garbage collector removes although regcred leaves them alone.
    fn report_dependents(&self, name: &str, uid: &str) {
        let Some(state) = self.objects.get(name) else { return };
        let left_alone = self.dependents(&state.manifest, uid).left_alone;
        if left_alone.is_empty() {
            return;
        }
        let count = left_alone.len();
        let namespaces = named::join(left_alone.into_iter().map(NamespaceName::as_str), ", ");
        warn!(
            cluster_pull_secret = name,
            count,
            namespaces,
            "Secrets that regcred does not manage name the deleted ClusterPullSecret as their owner: the garbage collector removes them"
        );
    }

    /// Returns true if the Secrets of this name were listed, so that one that is not cached does not exist.
    fn has_listed(&self, secret_name: &SecretName) -> bool {
        self.secret_lists.has_synced(secret_name) && !self.cache.cluster.unreadable.contains_key(secret_name)
    }

    /// Returns true if no Secret under a previous name is left.
    fn has_current_name_only(&self, state: &ObjectState) -> bool {
        let manifest = &state.manifest;
        let mut namespaces = self.cache.cluster.namespaces.iter();
        manifest.previous_names().all(|name| self.has_listed(name))
            && !namespaces
                .any(|(name, it)| !target::previous_names(&self.claims, manifest, None, name, it).is_empty())
    }

    /// Handles the result of a patch.
    pub(super) fn on_object_patched(&mut self, name: &str, patch: &ObjectPatch, result: Result<(), Error>) {
        let outcome = if result.is_ok() { WriteOutcome::Updated } else { WriteOutcome::Failed };
        self.context.health.metrics.wrote(WriteKind::ClusterPullSecret, outcome);
        if result.is_ok() {
            self.record_patch(name, patch);
        }
        let (now, jitter) = (Instant::now(), self.jitter());
        let is_expected = matches!(result, Err(Error::Changed(_) | Error::NotFound(_) | Error::NotLeading));
        let attempts = match (self.invalid.get_mut(name), self.objects.get_mut(name)) {
            (Some(invalid), _) => &mut invalid.attempts,
            (None, Some(state)) => &mut state.attempts,
            (None, None) => return,
        };
        attempts.is_in_flight = false;
        let again = match &result {
            Ok(()) => {
                attempts.consecutive_failures = 0;
                attempts.failure.ends();
                now + PUBLISH_EVERY
            }
            Err(error) => {
                attempts.consecutive_failures += 1;
                let retry_at = now + backoff::after(attempts.consecutive_failures, jitter);
                attempts.not_before = Some(retry_at);
                // The watch delivers a deletion or a newer version.
                if !is_expected && attempts.failure.begins(&error.to_string()) {
                    warn!(
                        cluster_pull_secret = name,
                        reason = %error.reason(),
                        "cannot update the ClusterPullSecret, retrying: {error}"
                    );
                }
                retry_at
            }
        };
        if let Some(state) = self.objects.get_mut(name)
            && (state.reconciliation.is_some() || result.is_err())
        {
            state.publish_at = Some(state.publish_at.map_or(again, |at| at.min(again)));
        }
        self.timers.set(again, Timer::ObjectPatch(name.to_owned()));
    }

    /// Applies a successful patch to the known object, and announces a change of `Ready`.
    fn record_patch(&mut self, name: &str, patch: &ObjectPatch) {
        let object = match (self.invalid.get_mut(name), self.objects.get_mut(name)) {
            (Some(invalid), _) => Some(&mut invalid.object),
            (None, Some(state)) => Arc::make_mut(&mut state.manifest).object.as_mut(),
            (None, None) => None,
        };
        let Some(object) = object else { return };
        patch.apply_to(object);
        let uid = object.uid.clone();
        if let ObjectPatch::UpdateStatus { before, after } = patch {
            self.announce_change(name, &uid, before, after);
        }
    }
}

/// Returns true if a patch has to be sent before any status update.
fn is_prerequisite(patch: Option<&ObjectPatch>) -> bool {
    matches!(patch, Some(ObjectPatch::AddFinalizer | ObjectPatch::RecordSecretName(_)))
}

impl ObjectPatch {
    fn update_status(object: &LiveObject, after: ClusterPullSecretStatus) -> Self {
        Self::UpdateStatus { before: object.status.clone(), after: Box::new(after) }
    }

    /// Returns the body of the request.
    fn body(&self, object: &LiveObject) -> Json {
        let others = object.finalizers.iter().filter(|it| *it != FINALIZER).map(String::as_str);
        match self {
            Self::AddFinalizer => set_finalizers(object, others.chain([FINALIZER]).collect()),
            Self::RemoveFinalizer => set_finalizers(object, others.collect()),
            Self::RecordSecretName(names) => json!({ "status": { "secretNames": names } }),
            Self::UpdateStatus { after, .. } => json!({ "status": after }),
        }
    }

    /// Applies the patch to the known object.
    fn apply_to(&self, object: &mut LiveObject) {
        match self {
            Self::AddFinalizer => object.finalizers.push(FINALIZER.to_owned()),
            Self::RemoveFinalizer => object.finalizers.retain(|it| it != FINALIZER),
            Self::RecordSecretName(names) => object.secret_names.clone_from(names),
            Self::UpdateStatus { after, .. } => {
                object.secret_names.clone_from(&after.secret_names);
                object.status.clone_from(after);
            }
        }
    }
}

fn set_finalizers(object: &LiveObject, finalizers: Vec<&str>) -> Json {
    json!({ "metadata": { "resourceVersion": object.resource_version, "finalizers": finalizers } })
}

async fn send(client: Client, name: &str, patch: &ObjectPatch, body: Json) -> Result<(), Error> {
    let api = cluster_pull_secret::api(client);
    let body = Patch::Merge(body);
    match patch {
        ObjectPatch::AddFinalizer | ObjectPatch::RemoveFinalizer => {
            with_timeout(api.patch(name, &params::patch(), &body)).await.map(drop)
        }
        ObjectPatch::RecordSecretName(_) | ObjectPatch::UpdateStatus { .. } => {
            with_timeout(api.patch_status(name, &params::patch(), &body)).await.map(drop)
        }
    }
}
