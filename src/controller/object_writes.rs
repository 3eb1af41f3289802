//! Requests about a ClusterPullSecret itself: its finalizer, the names of its Secrets, its status.
//!
//! They come in an order that holds at whatever instant the process ends: the finalizer and the name
//! before anything is written under that name, the finalizer away after nothing is left.

use std::sync::Arc;

use kube::Client;
use kube::api::Patch;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tracing::warn;

use super::object_state::{ObjectState, PUBLISH_EVERY};
use super::timers::Timer;
use super::{Controller, TaskResult, backoff, status};
use crate::cluster::error::{Error, within};
use crate::cluster::{cluster_pull_secret, params};
use crate::manifest::cluster_pull_secret::Deletion;
use crate::manifest::object::Object;
use crate::manifest::status::ClusterPullSecretStatus;
use crate::metrics::{WriteKind, WriteOutcome};
use crate::reconcile::guards::Guards;
use crate::reconcile::target;

/// Lets a ClusterPullSecret go only after what was made for it.
const FINALIZER: &str = "regcred.dev/cleanup";

/// One request about a ClusterPullSecret itself.
#[derive(Debug)]
pub(super) enum ObjectPatch {
    /// Put our finalizer on it.
    AddFinalizer,
    /// Say under which name Secrets of it are going to be.
    RecordSecretName(Vec<String>),
    /// Say how it stands, and how it stood when that was decided: the watch may show the new status
    /// before the request comes to its end.
    UpdateStatus { before: Box<ClusterPullSecretStatus>, after: Box<ClusterPullSecretStatus> },
    /// Let it go.
    RemoveFinalizer,
}

/// Whether the API server remembers what was made for it, should this process end.
pub(super) fn is_registered(record: &ObjectState) -> bool {
    let wanted = &record.wanted;
    wanted.object.as_ref().is_none_or(|object| {
        object.deleting || (has_finalizer(object) && object.secret_names.contains(&wanted.secret_name))
    })
}

fn has_finalizer(object: &Object) -> bool {
    object.finalizers.iter().any(|it| it == FINALIZER)
}

impl Controller {
    /// Begins what is due, at most one request for each ClusterPullSecret.
    pub(super) fn begin_errands(&mut self, now: Instant) {
        let is_free = |record: &ObjectState| record.wanted.object.is_some() && record.attempts.is_free(now);
        let free = self.records.iter().filter(|(_, record)| is_free(record));
        for name in free.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let errand = self.errand(&self.records[&name], now);
            let Some(record) = self.records.get_mut(&name) else { continue };
            if record.publish_at.is_some_and(|at| at <= now) && !is_before_all(errand.as_ref()) {
                record.publish_at = None;
            }
            if let (Some(errand), Some(object)) = (errand, record.wanted.object.clone()) {
                record.attempts.under_way = true;
                self.run_errand(name, errand, &object);
            }
        }
        let free = self.invalid.iter().filter(|(_, it)| it.attempts.is_free(now));
        for name in free.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let object = self.invalid[&name].object.clone();
            // Where a file has one of the same name, that is the one in use.
            if !self.records.contains_key(&name) {
                self.settings.health.metrics.ready(&name, Some(false));
            }
            let Some(errand) = self.errand_of_invalid(&name) else { continue };
            if let Some(invalid) = self.invalid.get_mut(&name) {
                invalid.attempts.under_way = true;
                self.run_errand(name, errand, &object);
            }
        }
    }

    fn run_errand(&mut self, name: String, errand: ObjectPatch, object: &Object) {
        let (client, patch) = (self.settings.client.clone(), errand.patch(object));
        self.under_way.write(async move {
            let result = send(client, &name, &errand, patch).await;
            TaskResult::ObjectPatch(name, errand, result)
        });
    }

    /// What is due for a ClusterPullSecret.
    fn errand(&self, record: &ObjectState, now: Instant) -> Option<ObjectPatch> {
        let wanted = &record.wanted;
        let object = wanted.object.as_ref()?;
        if object.deleting {
            if has_finalizer(object) && self.queue.is_idle(&wanted.name) && self.is_nothing_left(record) {
                return Some(ObjectPatch::RemoveFinalizer);
            }
        } else if !has_finalizer(object) {
            return Some(ObjectPatch::AddFinalizer);
        } else if !object.secret_names.contains(&wanted.secret_name) {
            let names = object.secret_names.iter().chain([&wanted.secret_name]);
            return Some(ObjectPatch::RecordSecretName(names.cloned().collect()));
        }
        let is_due = record.publish_at.is_some_and(|at| at <= now);
        if !is_due || record.hearsay().is_some() {
            return None;
        }
        let are_former_gone = record.pass.is_none() && self.are_former_gone(record);
        let told = status::of(record, are_former_gone, (self.settings.wall_clock)());
        (!status::is_same(&told, &object.status)).then(|| ObjectPatch::tell(object, told))
    }

    /// What is due for one that is left as it is: to say so, and to let it go where nothing keeps it.
    fn errand_of_invalid(&self, name: &str) -> Option<ObjectPatch> {
        let invalid = self.invalid.get(name)?;
        let object = &invalid.object;
        // What the file wants under the same name stays; what was made under another one has to go first.
        let is_handed_over =
            |file: &ObjectState| object.secret_names.iter().all(|it| *it == file.wanted.secret_name);
        let is_free = self.records.get(name).is_some_and(is_handed_over) && !self.is_owner(&object.uid);
        if object.deleting && has_finalizer(object) && is_free {
            return Some(ObjectPatch::RemoveFinalizer);
        }
        let told = status::of_invalid(&invalid.object, &invalid.message, (self.settings.wall_clock)())?;
        Some(ObjectPatch::tell(&invalid.object, told))
    }

    /// Whether nothing is left that has to go before the ClusterPullSecret may.
    fn is_nothing_left(&self, record: &ObjectState) -> bool {
        let wanted = &record.wanted;
        let is_settled = |name: &String| {
            let is_forbidden = matches!(self.memory.cluster.unreadable.get(name), Some(Error::Forbidden(_)));
            // What regcred may not see, the owner reference removes.
            self.is_readable(name) || (is_forbidden && wanted.is_deleting_secrets())
        };
        if !record.secret_names().all(is_settled) {
            return false;
        }
        match (&wanted.object, wanted.deletion) {
            (None, _) => true,
            // The garbage collector must find nothing that it would take away.
            (Some(object), Deletion::Retain) => !self.is_owner(&object.uid),
            (Some(_), Deletion::Delete) => {
                let scope = Guards::of(wanted, &self.memory.cluster);
                let mut namespaces = self.memory.cluster.namespaces.iter();
                !namespaces.any(|(name, it)| self.target(record, &scope, name, it).is_some())
            }
        }
    }

    /// Whether the garbage collector would remove a Secret together with the object of this UID.
    fn is_owner(&self, uid: &str) -> bool {
        let namespaces = self.memory.cluster.namespaces.values().filter(|it| !it.terminating);
        let mut owners = namespaces.flat_map(|it| it.secrets.values()).flat_map(|it| &it.owners);
        owners.any(|owner| owner.uid == uid)
    }

    /// Whether the Secrets of this name were listed, so that one that is not known is not there.
    fn is_readable(&self, secret_name: &str) -> bool {
        self.bodies.has(secret_name) && !self.memory.cluster.unreadable.contains_key(secret_name)
    }

    /// Whether every Secret under a name of before is gone.
    fn are_former_gone(&self, record: &ObjectState) -> bool {
        let wanted = &record.wanted;
        let mut namespaces = self.memory.cluster.namespaces.iter();
        wanted.previous_names().all(|name| self.is_readable(name))
            && !namespaces.any(|(name, it)| !target::previous(&self.claims, wanted, name, it).is_empty())
    }

    /// A request about a ClusterPullSecret came to its end.
    pub(super) fn errand_done(&mut self, name: &str, errand: &ObjectPatch, result: Result<(), Error>) {
        let outcome = if result.is_ok() { WriteOutcome::Updated } else { WriteOutcome::Failed };
        self.settings.health.metrics.wrote(WriteKind::ClusterPullSecret, outcome);
        if result.is_ok() {
            self.note(name, errand);
        }
        let (now, jitter) = (Instant::now(), self.jitter());
        let is_known = matches!(result, Err(Error::Changed(_) | Error::NotFound(_) | Error::NotLeading));
        let attempts = match (self.invalid.get_mut(name), self.records.get_mut(name)) {
            (Some(invalid), _) => &mut invalid.attempts,
            (None, Some(record)) => &mut record.attempts,
            (None, None) => return,
        };
        attempts.under_way = false;
        let again = match &result {
            Ok(()) => {
                attempts.failures = 0;
                now + PUBLISH_EVERY
            }
            Err(error) => {
                attempts.failures += 1;
                let again = now + backoff::after(attempts.failures, jitter);
                attempts.not_before = Some(again);
                // That it is gone, or newer than we knew, its watch tells.
                if !is_known {
                    warn!(
                        cluster_pull_secret = name,
                        reason = error.reason(),
                        "cannot update the ClusterPullSecret: {error}"
                    );
                }
                again
            }
        };
        if let Some(record) = self.records.get_mut(name)
            && (record.pass.is_some() || result.is_err())
        {
            record.publish_at = Some(record.publish_at.map_or(again, |at| at.min(again)));
        }
        self.timers.set(again, Timer::ObjectPatch(name.to_owned()));
    }

    /// Takes note of what is so since an errand was done, and announces it.
    fn note(&mut self, name: &str, errand: &ObjectPatch) {
        let object = match (self.invalid.get_mut(name), self.records.get_mut(name)) {
            (Some(invalid), _) => Some(&mut invalid.object),
            (None, Some(record)) => Arc::make_mut(&mut record.wanted).object.as_mut(),
            (None, None) => None,
        };
        let Some(object) = object else { return };
        errand.note(object);
        let uid = object.uid.clone();
        if let ObjectPatch::UpdateStatus { before, after } = errand {
            self.announce_change(name, &uid, before, after);
        }
    }
}

/// Whether an errand has to be done before any status is told.
fn is_before_all(errand: Option<&ObjectPatch>) -> bool {
    matches!(errand, Some(ObjectPatch::AddFinalizer | ObjectPatch::RecordSecretName(_)))
}

impl ObjectPatch {
    fn tell(object: &Object, after: ClusterPullSecretStatus) -> Self {
        Self::UpdateStatus { before: object.status.clone(), after: Box::new(after) }
    }

    /// What is sent.
    fn patch(&self, object: &Object) -> Json {
        let others = object.finalizers.iter().filter(|it| *it != FINALIZER).map(String::as_str);
        let finalizers = |finalizers: Vec<&str>| json!({ "metadata": { "resourceVersion": object.resource_version, "finalizers": finalizers } });
        match self {
            Self::AddFinalizer => finalizers(others.chain([FINALIZER]).collect()),
            Self::RemoveFinalizer => finalizers(others.collect()),
            Self::RecordSecretName(names) => json!({ "status": { "secretNames": names } }),
            Self::UpdateStatus { after, .. } => json!({ "status": after }),
        }
    }

    /// What is known of the object once it was carried out.
    fn note(&self, object: &mut Object) {
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

async fn send(client: Client, name: &str, errand: &ObjectPatch, patch: Json) -> Result<(), Error> {
    let api = cluster_pull_secret::api(client);
    let patch = Patch::Merge(patch);
    match errand {
        ObjectPatch::AddFinalizer | ObjectPatch::RemoveFinalizer => {
            within(api.patch(name, &params::patch(), &patch)).await.map(drop)
        }
        ObjectPatch::RecordSecretName(_) | ObjectPatch::UpdateStatus { .. } => {
            within(api.patch_status(name, &params::patch(), &patch)).await.map(drop)
        }
    }
}
