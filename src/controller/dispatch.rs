//! What is written where: the next item of the queue is decided on, and carried out beside the loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::drift::Thing;
use super::object_state::{CONTESTED, Change, ObjectState, PUBLISH_AFTER};
use super::queue::{Item, Urgency};
use super::reconciliation::Cause;
use super::timers::Timer;
use super::{Controller, TaskResult, backoff};
use crate::cluster::Namespace;
use crate::cluster::watch::WatchedResource;
use crate::manifest::status::reason::ReadyReason;
use crate::metrics::{WriteKind, WriteOutcome};
use crate::reconcile::apply;
use crate::reconcile::execute::{self, Applied};
use crate::reconcile::guards::Guards;
use crate::reconcile::plan::NamespacePlan;
use crate::reconcile::target::{self, Part, Target};
use crate::report::{NamespaceReport, ResultKind};
use crate::rotator::{GarbageCollection, Ownership};
use crate::trigger::Trigger;

/// Items that are looked at in one turn of the loop.
const LOOKS_AT_ONCE: usize = 1000;

/// The reason of a write that was not sent because this process leads no more.
const NOT_LEADING: &str = "NotLeading";

impl Controller {
    /// Begins as much as may be under way at once. A turn of the loop is short, however much there is to
    /// look at: somebody else wants to be heard.
    pub(super) fn dispatch(&mut self, now: Instant) {
        for (name, record) in &self.records {
            self.queue.open(name, self.can_write(record));
        }
        let mut scopes = BTreeMap::new();
        for _ in 0..LOOKS_AT_ONCE {
            let Some(item) = self.queue.begin() else {
                self.is_unfinished = false;
                return;
            };
            if let Some(record) = self.records.get(&item.cluster_pull_secret) {
                let scope = || Guards::of(&record.wanted, &self.memory.cluster);
                scopes.entry(item.cluster_pull_secret.clone()).or_insert_with(scope);
            }
            let plan = scopes.get(&item.cluster_pull_secret).and_then(|scope| self.look(&item, scope, now));
            match plan {
                None => self.queue.done(&item),
                Some(plan) => self.carry_out(item, plan, now),
            }
        }
        self.is_unfinished = true;
    }

    fn carry_out(&mut self, item: Item, plan: NamespacePlan, now: Instant) {
        let at = (self.settings.wall_clock)();
        if let Some(record) = self.records.get_mut(&item.cluster_pull_secret) {
            record.begin(Cause { trigger: Trigger::Drift, since: now, at }, now);
        }
        self.memory.begin(&item.namespace);
        let client = self.settings.client.clone();
        self.under_way.write(async move {
            let applied = execute::apply(&client, plan).await;
            TaskResult::Applied(item, applied)
        });
    }

    /// Whether everything is known that has to be before anything is written for it.
    fn can_write(&self, record: &ObjectState) -> bool {
        let is_known = |name: &String| {
            self.memory.cluster.unreadable.contains_key(name)
                || (self.bodies.has(name) && self.primed.contains(&WatchedResource::Secrets(name.clone())))
        };
        let is_suspended = record.wanted.inactive_reason() == Some(ReadyReason::Suspended);
        let has_contents = record.contents.is_some() || record.wanted.is_deleting_secrets();
        !is_suspended
            && has_contents
            && record.secret_names().all(is_known)
            && super::object_writes::is_registered(record)
    }

    /// What a ClusterPullSecret wants of a namespace; `None` where they have nothing to do with each other.
    pub(super) fn target(
        &self,
        record: &ObjectState,
        scope: &Guards,
        name: &str,
        namespace: &Namespace,
    ) -> Option<Target> {
        let wanted = &record.wanted;
        let mut owner = Ownership::of(wanted, &wanted.secret_name);
        // An object of the same name that goes must not take along what a file wants.
        if wanted.object.is_none() && self.invalid.get(&wanted.name).is_some_and(|it| it.object.deleting) {
            owner.collection = GarbageCollection::Never;
        }
        let part = Part {
            cluster_pull_secret: wanted,
            owner: Arc::new(owner),
            contents: record.contents.as_ref(),
            scope,
        };
        target::target(&self.claims, 0, &part, name, namespace)
    }

    /// What there is to do for an item; `None` where that is nothing.
    fn look(&mut self, item: &Item, scope: &Guards, now: Instant) -> Option<NamespacePlan> {
        let Item { cluster_pull_secret, namespace } = item;
        let record = self.records.get(cluster_pull_secret)?;
        let observed = self.memory.cluster.namespaces.get(namespace);
        if observed.is_some() && record.is_held(namespace, now) {
            return None;
        }
        let target = observed.and_then(|observed| self.target(record, scope, namespace, observed));
        let plan =
            target.zip(observed).map(|(it, observed)| NamespacePlan::new(namespace, observed, vec![it]));
        let Some(plan) = plan else {
            if self.records.get_mut(cluster_pull_secret)?.standings.remove(namespace).is_some() {
                self.tell_soon(cluster_pull_secret, now);
            }
            return None;
        };
        if plan.has_work(&plan.targets[0]) {
            return Some(plan);
        }
        let report = apply::dry_run_target(&plan, &plan.targets[0]);
        self.take_note(cluster_pull_secret, &report, now);
        None
    }

    /// The status of a ClusterPullSecret is looked at in a moment, when what belongs together came together.
    pub(super) fn tell_soon(&mut self, cluster_pull_secret: &str, now: Instant) {
        let Some(record) = self.records.get_mut(cluster_pull_secret) else { return };
        let at = now + PUBLISH_AFTER;
        // While a pass is under way, its end tells.
        if record.pass.is_none() && record.publish_at.is_none_or(|known| known > at) {
            record.publish_at = Some(at);
            self.timers.set(at, Timer::ObjectPatch(cluster_pull_secret.to_owned()));
        }
    }

    /// Takes note of how a ClusterPullSecret stands in a namespace; a Secret that is refused is told.
    fn take_note(&mut self, cluster_pull_secret: &str, report: &NamespaceReport, now: Instant) {
        let jitter = self.jitter();
        let Some(record) = self.records.get_mut(cluster_pull_secret) else { return };
        let change = record.stands(report, now, |failures| backoff::after(failures, jitter));
        if change == Change::None {
            return;
        }
        let secret_name = record.wanted.secret_name.clone();
        self.tell_soon(cluster_pull_secret, now);
        if change == Change::Trouble && report.result == ResultKind::Refused {
            let message = report.message.as_deref().unwrap_or_default();
            let message =
                format!("ClusterPullSecret {cluster_pull_secret} cannot use this Secret: {message}");
            let reason = report.reason.unwrap_or_default();
            self.announce_trouble(&report.namespace, &secret_name, reason, message);
        }
    }

    /// The work in one namespace came to its end.
    pub(super) fn applied(&mut self, item: &Item, mut applied: Applied) {
        let Item { cluster_pull_secret, namespace } = item;
        let now = Instant::now();
        self.memory.wrote(namespace, &mut applied);
        self.queue.done(item);
        for (kind, outcome) in &applied.writes {
            self.settings.health.metrics.wrote(*kind, *outcome);
        }
        if applied.is_read {
            self.queue.push(cluster_pull_secret, namespace, Urgency::AtOnce);
        }
        self.count_repair(item, &applied, now);
        let Some(record) = self.records.get(cluster_pull_secret) else { return };
        let owner = Ownership::of(&record.wanted, &record.wanted.secret_name);
        let mut is_unsent = false;
        for (_, report) in &applied.reports {
            // A write that the fence refused says nothing of the target: either this process ends, or its
            // lease is renewed in time and the write is tried again.
            if report.reason == Some(NOT_LEADING) {
                let again = now + backoff::after(1, self.jitter());
                self.timers.set(again, Timer::Retry(cluster_pull_secret.clone(), namespace.clone()));
                is_unsent = true;
                continue;
            }
            self.take_note(cluster_pull_secret, report, now);
            if !applied.writes.is_empty() || report.reason.is_some() {
                apply::log(report, &owner);
            }
        }
        let Some(record) = self.records.get_mut(cluster_pull_secret) else { return };
        if let Some(pass) = &mut record.pass {
            let failed = applied.writes.iter().any(|(_, outcome)| *outcome == WriteOutcome::Failed);
            if !applied.writes.is_empty() && !failed {
                pass.wrote(now);
            }
            pass.failed += usize::from(failed);
            pass.is_unsent |= is_unsent;
        }
        if let Some(again) = record.standings.get(namespace).and_then(|standing| standing.not_before) {
            self.timers.set(again, Timer::Retry(cluster_pull_secret.clone(), namespace.clone()));
        }
    }

    /// A Secret that was in place and had to be put right was changed by somebody.
    fn count_repair(&mut self, item: &Item, applied: &Applied, now: Instant) {
        let Item { cluster_pull_secret, namespace } = item;
        let Some(record) = self.records.get(cluster_pull_secret) else { return };
        let was_in_place = record.standings.get(namespace).is_some_and(|it| it.trouble.is_none());
        let is_drift = record.pass.as_ref().is_some_and(|pass| pass.cause.trigger == Trigger::Drift);
        let is_repair = applied.writes.contains(&(WriteKind::Secret, WriteOutcome::Updated));
        if was_in_place && is_drift && is_repair {
            let thing = Thing::Secret(record.wanted.secret_name.clone());
            let jitter = self.jitter();
            if let Some(pause) = self.contests.undone(namespace, &thing, now, jitter) {
                self.hold(namespace, &thing, now + pause);
            }
        }
    }

    /// Somebody keeps undoing us here: it is told, and nothing is tried before an instant.
    pub(super) fn hold(&mut self, namespace: &str, thing: &Thing, until: Instant) {
        let (secret_name, what) = match thing {
            Thing::Secret(secret_name) => (secret_name, format!("Secret {secret_name}")),
            Thing::Entry { service_account, secret_name } => {
                (secret_name, format!("the entry {secret_name} of ServiceAccount {service_account}"))
            }
        };
        let message = format!(
            "somebody keeps undoing {what}: it is put back with growing pauses; look in its managedFields or the audit log for who that is"
        );
        let keeps = |record: &ObjectState| {
            record.standings.contains_key(namespace) && record.secret_names().any(|it| it == secret_name)
        };
        let (now, at) = (Instant::now(), (self.settings.wall_clock)());
        let keepers = self.records.iter_mut().filter(|(_, record)| keeps(record));
        let mut is_new = false;
        for (name, record) in keepers {
            is_new |= !record.is_in_trouble(namespace, CONTESTED);
            record.hold(namespace, until, (CONTESTED, message.clone()));
            record.begin(Cause { trigger: Trigger::Drift, since: now, at }, now);
            self.timers.set(until, Timer::Retry(name.clone(), namespace.to_owned()));
        }
        if is_new {
            self.announce_trouble(namespace, secret_name, CONTESTED, message);
        }
    }
}
