//! What is known of the cluster: which watches there are, what they see, and which bytes were read.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::cache::News;
use super::object_state::ObjectState;
use super::queue::Urgency;
use super::timers::Timer;
use super::{Controller, TaskResult, backoff};
use crate::cluster::error::Error;
use crate::cluster::watch::{Object, ObjectRef, WatchEvent, WatchedResource, watch};
use crate::cluster::{self, Secret, age};

/// The pause before Secrets that could not be listed are listed again is that after so many failures.
const LIST_AGAIN: u32 = 5;

impl Controller {
    /// Takes note of what a watch saw.
    pub(super) fn see(&mut self, seen: WatchEvent) {
        match seen {
            WatchEvent::Applied((_, name), Object::ClusterPullSecret(object)) => {
                self.pull_secret_is_there(&name, &object);
            }
            WatchEvent::Applied(address, object) => {
                let news = self.memory.there(address, object);
                self.hear(news);
            }
            WatchEvent::Deleted(WatchedResource::ClusterPullSecrets, (_, name), _) => {
                self.pull_secret_is_gone(&name)
            }
            WatchEvent::Deleted(subject, address, version) => {
                let news = self.memory.gone(&subject, &address, age(&version));
                self.hear(news);
            }
            WatchEvent::Relisted(WatchedResource::ClusterPullSecrets, present) => {
                self.pull_secrets_are(&present);
                self.primed.insert(WatchedResource::ClusterPullSecrets);
            }
            WatchEvent::Relisted(subject, present) => {
                for news in self.memory.listed(&subject, &present) {
                    self.hear(news);
                }
                self.primed.insert(subject);
            }
            // The CRD is not installed: there are none but those of the files.
            WatchEvent::Failed(WatchedResource::ClusterPullSecrets, Error::NotFound(_)) => {
                if self.primed.insert(WatchedResource::ClusterPullSecrets) && self.records.is_empty() {
                    warn!(
                        "there is nothing to do: the files hold no ClusterPullSecret, and the cluster does not know the kind; apply deploy/crd.yaml"
                    );
                }
            }
            WatchEvent::Failed(subject @ WatchedResource::Secrets(_), error @ Error::Forbidden(_)) => {
                // It is told with the ClusterPullSecret; the others are served all the same. What was listed
                // once stays known: an API server that has just started refuses everything for an instant.
                if self.primed.insert(subject.clone())
                    && let WatchedResource::Secrets(name) = subject
                {
                    self.memory.cluster.unreadable.insert(name, error);
                }
            }
            WatchEvent::Failed(..) => {}
        }
    }

    /// A namespace changed: every ClusterPullSecret looks at it, and whoever undid something of ours is
    /// answered at once, or after a while.
    fn hear(&mut self, news: News) {
        let News::Changed { namespace, undone } = news else { return };
        if !self.leads {
            return;
        }
        let now = Instant::now();
        // While we write there ourselves, nobody can tell whose doing it is.
        let undone = if self.queue.is_busy(&namespace) { Vec::new() } else { undone };
        for thing in undone {
            let jitter = self.jitter();
            if let Some(pause) = self.contests.undone(&namespace, &thing, now, jitter) {
                self.hold(&namespace, &thing, now + pause);
            }
        }
        let observed = self.memory.cluster.namespaces.get(&namespace);
        for (name, record) in &self.records {
            if record.is_concerned(&namespace, observed) {
                self.queue.push(name, &namespace, Urgency::AtOnce);
            }
        }
    }

    /// Watches what is used, and nothing else.
    pub(super) fn keep_watches(&mut self) {
        let used: BTreeSet<&String> = self.records.values().flat_map(ObjectState::secret_names).collect();
        let is_unused = |subject: &&WatchedResource| matches!(subject, WatchedResource::Secrets(name) if !used.contains(name));
        let unused: Vec<_> = self.watches.keys().filter(is_unused).cloned().collect();
        let is_new =
            |name: &&&String| !self.watches.contains_key(&WatchedResource::Secrets((**name).clone()));
        let new: Vec<_> = used.iter().filter(is_new).map(|name| (*name).clone()).collect();
        for subject in unused {
            self.watches.remove(&subject);
            self.primed.remove(&subject);
            if let WatchedResource::Secrets(name) = subject {
                self.bodies.forget(&name);
                self.memory.forget(&name);
            }
        }
        for name in new {
            self.watch(WatchedResource::Secrets(name));
        }
    }

    pub(super) fn watch(&mut self, subject: WatchedResource) {
        let begun = watch(&self.settings.client, subject.clone(), self.seen.0.clone());
        self.watches.insert(subject, begun);
    }

    /// Whether everything that is watched from the beginning was listed.
    pub(super) fn is_primed(&self) -> bool {
        self.awaited().is_none()
    }

    fn awaited(&self) -> Option<WatchedResource> {
        let always = [
            WatchedResource::Namespaces,
            WatchedResource::ServiceAccounts,
            WatchedResource::ClusterPullSecrets,
        ];
        always.into_iter().find(|subject| !self.primed.contains(subject))
    }

    pub(super) fn tell_readiness(&self) {
        let secrets = || self.watches.keys().find(|subject| !self.primed.contains(subject)).cloned();
        let readiness = &self.settings.health.readiness;
        match self.awaited().or_else(secrets) {
            Some(subject) => readiness.await_next(format!("waiting for the first list of {subject}")),
            None => readiness.ready(),
        }
    }

    /// Begins to read the Secrets of every name with their bytes: by what they hold it is known what
    /// need not be written.
    pub(super) fn begin_bodies(&mut self, now: Instant) {
        let used: BTreeSet<String> =
            self.records.values().flat_map(ObjectState::secret_names).cloned().collect();
        for name in used {
            let is_primed = self.primed.contains(&WatchedResource::Secrets(name.clone()));
            if !is_primed || !self.bodies.begin(&name, now) {
                continue;
            }
            let client = self.settings.client.clone();
            self.under_way.read(async move {
                let secrets = cluster::list_secrets(&client, &name).await;
                TaskResult::SecretLists(name, secrets)
            });
        }
    }

    pub(super) fn bodies_are(&mut self, name: &str, secrets: Result<Vec<(ObjectRef, Secret)>, Error>) {
        match secrets {
            Ok(secrets) => {
                debug!(secret = name, count = secrets.len(), "read the Secrets of this name");
                self.bodies.are_read(name);
                self.memory.cluster.unreadable.remove(name);
                for news in self.memory.read(secrets) {
                    self.hear(news);
                }
                // What could not be read from a store may stand in them.
                let users =
                    self.records.values_mut().filter(|record| record.secret_names().any(|it| it == name));
                for contents in users.filter_map(|record| record.contents.as_mut()) {
                    contents.remember(&self.memory.cluster);
                }
                self.look_everywhere_for(name);
            }
            Err(error) => {
                warn!(
                    secret = name,
                    reason = error.reason(),
                    "cannot list the Secrets of this name: {error}"
                );
                self.memory.cluster.unreadable.insert(name.to_owned(), error);
                let again = Instant::now() + backoff::after(LIST_AGAIN, self.jitter());
                self.bodies.failed(name, again);
                self.timers.set(again, Timer::SecretLists(name.to_owned()));
                self.look_everywhere_for(name);
            }
        }
    }
}
