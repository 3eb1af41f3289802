//! What is wanted: the ClusterPullSecrets of files and of the cluster.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Controller;
use super::object_state::{Attempts, ObjectState};
use super::queue::Urgency;
use crate::cluster::watch::ObjectRef;
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, sort_by_age};
use crate::manifest::object::Object;
use crate::manifest::read_object;
use crate::reconcile::claims::Claims;
use crate::trigger::Trigger;

/// A ClusterPullSecret of the cluster in which something is wrong.
pub(super) struct Invalid {
    /// What the API server knows of it.
    pub(super) object: Object,
    /// Every mistake.
    pub(super) message: String,
    /// The request that says so.
    pub(super) attempts: Attempts,
}

impl Controller {
    /// A ClusterPullSecret is there, or was changed.
    pub(super) fn pull_secret_is_there(&mut self, name: &str, object: &Json) {
        if self.is_of_a_file(name) {
            let known = Object::of(object);
            let message = "a ClusterPullSecret of this name is in a file that regcred was given, and goes before this one: rename one of them".to_owned();
            self.refuse(name, known, message);
            return;
        }
        match read_object(object, &self.settings.stores_known) {
            Ok(cluster_pull_secret) => {
                self.invalid.remove(name);
                self.want(Arc::new(cluster_pull_secret));
            }
            Err(mistakes) => {
                let known = Object::of(object);
                if known.deleting {
                    // Whatever is wrong with it, what was made for it has to go.
                    self.invalid.remove(name);
                    self.want(Arc::new(ClusterPullSecret::for_cleanup(name, known, object)));
                } else {
                    self.refuse(name, known, mistakes.to_single_line());
                }
            }
        }
    }

    /// Leaves a ClusterPullSecret as it is: what was made for it stays until the mistake is mended.
    fn refuse(&mut self, name: &str, object: Object, message: String) {
        if !self.is_of_a_file(name) && self.records.remove(name).is_some() {
            self.forget(name);
        }
        let before = self.invalid.insert(
            name.to_owned(),
            Invalid { object, message: message.clone(), attempts: Attempts::default() },
        );
        if before.is_none_or(|before| before.message != message) {
            warn!(cluster_pull_secret = name, "left as it is: {message}");
        }
    }

    fn is_of_a_file(&self, name: &str) -> bool {
        self.records.get(name).is_some_and(|record| record.wanted.object.is_none())
    }

    /// A ClusterPullSecret is gone for good.
    pub(super) fn pull_secret_is_gone(&mut self, name: &str) {
        self.invalid.remove(name);
        if self.is_of_a_file(name) {
            return;
        }
        if self.records.remove(name).is_some() {
            info!(cluster_pull_secret = name, "ClusterPullSecret gone");
        }
        self.forget(name);
    }

    /// All that there are: the others are gone.
    pub(super) fn pull_secrets_are(&mut self, present: &BTreeSet<ObjectRef>) {
        let names = self.records.keys().chain(self.invalid.keys());
        let is_gone = |name: &&String| !present.contains(&(String::new(), (*name).clone()));
        for name in names.filter(is_gone).cloned().collect::<Vec<_>>() {
            self.pull_secret_is_gone(&name);
        }
    }

    fn forget(&mut self, name: &str) {
        self.queue.forget(name);
        self.settings.health.metrics.forget(name);
        self.is_claim_new = true;
    }

    /// Takes note of what is wanted now, and of what that means.
    pub(super) fn want(&mut self, wanted: Arc<ClusterPullSecret>) {
        let name = wanted.name.clone();
        let Some(record) = self.records.get_mut(&name) else {
            self.records.insert(name.clone(), ObjectState::new(wanted));
            self.is_claim_new = true;
            // It was there before this process was.
            let trigger = if self.is_primed() { Trigger::Spec } else { Trigger::Start };
            self.begin_pass(&name, trigger);
            self.take_over(&name);
            return;
        };
        let before = std::mem::replace(&mut record.wanted, Arc::clone(&wanted));
        let key = |it: &ClusterPullSecret| {
            it.object.as_ref().map(|object| (object.uid.clone(), object.generation, object.deleting))
        };
        let annotation = |it: &ClusterPullSecret| it.object.as_ref().and_then(|object| object.rotate.clone());
        let request = |it: &ClusterPullSecret| it.object.as_ref().and_then(|object| object.request.clone());
        let names = |it: &ClusterPullSecret| it.previous_names().cloned().collect::<Vec<_>>();
        if key(&before) != key(&wanted) {
            record.release();
            // What was read before the change is as good as it was; a key that is new has to be read first.
            record.contents = None;
            record.forget_keys();
            self.is_claim_new = true;
            self.resolve(&name);
            self.begin_pass(&name, Trigger::Spec);
        } else if annotation(&wanted).is_some() && annotation(&before) != annotation(&wanted) {
            record.release();
            self.begin_pass(&name, Trigger::Annotation);
            // Who asks may have mended what failed.
            self.look_everywhere(&name, Urgency::InTurn);
        }
        if let Some(request) = request(&wanted).filter(|_| request(&before) != request(&wanted)) {
            self.requested(&name, &request);
        }
        if names(&before) != names(&wanted) {
            self.is_claim_new = true;
        }
    }

    /// A trigger by what is seen; while another process leads, it is that one's.
    fn begin_pass(&mut self, name: &str, trigger: Trigger) {
        if self.leads {
            let (now, at) = (Instant::now(), (self.settings.wall_clock)());
            self.trigger(name, trigger, now, at);
        }
    }

    /// Whose every Secret is, anew, where that may have changed; then everybody looks everywhere.
    pub(super) fn renew_claims(&mut self) {
        if !std::mem::take(&mut self.is_claim_new) {
            return;
        }
        let mut wanted: Vec<_> = self.records.values().map(|record| Arc::clone(&record.wanted)).collect();
        sort_by_age(&mut wanted);
        self.claims = Claims::new(&wanted);
        let places = self.records.values().flat_map(ObjectState::places).cloned().collect();
        for place in self.reading.retain(&places) {
            self.settings.health.metrics.credential_expires(&place, None);
        }
        self.tell_held();
        for name in self.records.keys().cloned().collect::<Vec<_>>() {
            self.look_everywhere(&name, Urgency::InTurn);
        }
    }

    /// Every namespace is looked at for a ClusterPullSecret.
    pub(super) fn look_everywhere(&mut self, name: &str, urgency: Urgency) {
        let Some(record) = self.records.get(name) else { return };
        for (namespace, observed) in &self.memory.cluster.namespaces {
            if record.is_concerned(namespace, Some(observed)) {
                self.queue.push(name, namespace, urgency);
            }
        }
    }

    /// Every namespace is looked at for those whose Secrets have this name.
    pub(super) fn look_everywhere_for(&mut self, secret_name: &str) {
        let uses = |record: &ObjectState| record.secret_names().any(|it| it == secret_name);
        let concerned = self.records.iter().filter(|(_, record)| uses(record));
        for name in concerned.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.look_everywhere(&name, Urgency::InTurn);
        }
    }
}
