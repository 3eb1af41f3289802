//! What is known of the cluster: which watches there are, what they see, and which bytes were read.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::memory::News;
use super::queue::Urgency;
use super::record::Record;
use super::timers::Timer;
use super::{Controller, Done, backoff};
use crate::cluster::error::Error;
use crate::cluster::watch::{Address, Object, Seen, Subject, watch};
use crate::cluster::{self, Secret, age};

/// The pause before Secrets that could not be listed are listed again is that after so many failures.
const LIST_AGAIN: u32 = 5;

impl Controller {
    /// Takes note of what a watch saw.
    pub(super) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::There((_, name), Object::PullSecret(object)) => {
                self.pull_secret_is_there(&name, &object);
            }
            Seen::There(address, object) => {
                let news = self.memory.there(address, object);
                self.hear(news);
            }
            Seen::Gone(Subject::PullSecrets, (_, name), _) => self.pull_secret_is_gone(&name),
            Seen::Gone(subject, address, version) => {
                let news = self.memory.gone(&subject, &address, age(&version));
                self.hear(news);
            }
            Seen::Listed(Subject::PullSecrets, present) => {
                self.pull_secrets_are(&present);
                self.primed.insert(Subject::PullSecrets);
            }
            Seen::Listed(subject, present) => {
                for news in self.memory.listed(&subject, &present) {
                    self.hear(news);
                }
                self.primed.insert(subject);
            }
            // The CRD is not installed: there are none but those of the files.
            Seen::Failed(Subject::PullSecrets, Error::NotFound(_)) => {
                if self.primed.insert(Subject::PullSecrets) && self.records.is_empty() {
                    warn!(
                        "there is nothing to do: the files hold no ClusterPullSecret, and the cluster does not know the kind; apply deploy/crd.yaml"
                    );
                }
            }
            Seen::Failed(subject @ Subject::Secrets(_), error @ Error::Forbidden(_)) => {
                // It is told with the ClusterPullSecret; the others are served all the same. What was listed
                // once stays known: an API server that has just started refuses everything for an instant.
                if self.primed.insert(subject.clone())
                    && let Subject::Secrets(name) = subject
                {
                    self.memory.cluster.unreadable.insert(name, error);
                }
            }
            Seen::Failed(..) => {}
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
            let dice = self.dice();
            if let Some(pause) = self.contests.undone(&namespace, &thing, now, dice) {
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
        let used: BTreeSet<&String> = self.records.values().flat_map(Record::secret_names).collect();
        let is_unused =
            |subject: &&Subject| matches!(subject, Subject::Secrets(name) if !used.contains(name));
        let unused: Vec<_> = self.watches.keys().filter(is_unused).cloned().collect();
        let is_new = |name: &&&String| !self.watches.contains_key(&Subject::Secrets((**name).clone()));
        let new: Vec<_> = used.iter().filter(is_new).map(|name| (*name).clone()).collect();
        for subject in unused {
            self.watches.remove(&subject);
            self.primed.remove(&subject);
            if let Subject::Secrets(name) = subject {
                self.bodies.forget(&name);
                self.memory.forget(&name);
            }
        }
        for name in new {
            self.watch(Subject::Secrets(name));
        }
    }

    pub(super) fn watch(&mut self, subject: Subject) {
        let begun = watch(&self.settings.client, subject.clone(), self.seen.0.clone());
        self.watches.insert(subject, begun);
    }

    /// Whether everything that is watched from the beginning was listed.
    pub(super) fn is_primed(&self) -> bool {
        self.awaited().is_none()
    }

    fn awaited(&self) -> Option<Subject> {
        let always = [Subject::Namespaces, Subject::ServiceAccounts, Subject::PullSecrets];
        always.into_iter().find(|subject| !self.primed.contains(subject))
    }

    pub(super) fn tell_readiness(&self) {
        let secrets = || self.watches.keys().find(|subject| !self.primed.contains(subject)).cloned();
        let readiness = &self.settings.vitals.readiness;
        match self.awaited().or_else(secrets) {
            Some(subject) => readiness.await_next(format!("waiting for the first list of {subject}")),
            None => readiness.ready(),
        }
    }

    /// Begins to read the Secrets of every name with their bytes: by what they hold it is known what
    /// need not be written.
    pub(super) fn begin_bodies(&mut self, now: Instant) {
        let used: BTreeSet<String> = self.records.values().flat_map(Record::secret_names).cloned().collect();
        for name in used {
            let is_primed = self.primed.contains(&Subject::Secrets(name.clone()));
            if !is_primed || !self.bodies.begin(&name, now) {
                continue;
            }
            let client = self.settings.client.clone();
            self.under_way.read(async move {
                let secrets = cluster::secrets(&client, &name).await;
                Done::Bodies(name, secrets)
            });
        }
    }

    pub(super) fn bodies_are(&mut self, name: &str, secrets: Result<Vec<(Address, Secret)>, Error>) {
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
                let again = Instant::now() + backoff::after(LIST_AGAIN, self.dice());
                self.bodies.failed(name, again);
                self.timers.set(again, Timer::Bodies(name.to_owned()));
                self.look_everywhere_for(name);
            }
        }
    }
}
