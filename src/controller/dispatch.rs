//! Takes items from the queue, plans each namespace, and carries the plan out as a task.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::drift::ManagedResource;
use super::object_state::{ObjectState, PUBLISH_AFTER, TargetChange};
use super::queue::Item;
use super::read_again::{ReadSecrets, with_read};
use super::reconciliation::Cause;
use super::timers::Timer;
use super::{Controller, TaskResult, backoff};
use crate::cluster::Namespace;
use crate::cluster::ownership::Ownership;
use crate::cluster::watch::WatchedResource;
use crate::installation::Installation;
use crate::manifest::status::reason::{AppliedReason, ReadyReason};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::apply;
use crate::reconcile::desired_secret::KnownValues;
use crate::reconcile::execute::{self, Applied};
use crate::reconcile::guards::Guards;
use crate::reconcile::plan::NamespacePlan;
use crate::reconcile::target::{self, Target, TargetInput};
use crate::report::{NamespaceReport, ResultKind, TargetReason};
use crate::rotator::Difference;
use crate::trigger::Trigger;

/// Items that one turn of the loop takes from the queue.
const ITEMS_PER_TURN: usize = 1000;

impl Controller {
    /// Starts as many items as may be in flight. Bounded, so that a turn of the loop stays short however
    /// long the queue is.
    pub(super) fn dispatch(&mut self, now: Instant) {
        for (name, state) in &self.objects {
            self.queue.set_open(name, self.can_write(state));
        }
        let mut guards = BTreeMap::new();
        for _ in 0..ITEMS_PER_TURN {
            let Some(item) = self.queue.pop() else {
                self.has_more_items = false;
                return;
            };
            if let Some(state) = self.objects.get(&item.cluster_pull_secret) {
                guards
                    .entry(item.cluster_pull_secret.clone())
                    .or_insert_with(|| Guards::new(&state.manifest, &self.cache.cluster));
            }
            let plan = guards
                .get(&item.cluster_pull_secret)
                .and_then(|it| self.plan(&item, it, &ReadSecrets::new(), now));
            match plan {
                None => self.queue.done(&item),
                Some(plan) => self.execute(item, plan, now),
            }
        }
        self.has_more_items = true;
    }

    pub(super) fn execute(&mut self, item: Item, plan: NamespacePlan, now: Instant) {
        let at = (self.context.wall_clock)();
        if let Some(state) = self.objects.get_mut(&item.cluster_pull_secret) {
            state.start_or_join(Cause { trigger: Trigger::Drift, since: now, at }, now);
        }
        self.cache.begin_write(&item.namespace);
        let client = self.context.client.clone();
        self.tasks.spawn_write(async move {
            let applied = execute::execute(&client, plan).await;
            TaskResult::Applied(item, applied)
        });
    }

    /// Returns true if everything is known that a write for the ClusterPullSecret depends on.
    pub(super) fn can_write(&self, state: &ObjectState) -> bool {
        let is_suspended = state.manifest.inactive_reason() == Some(ReadyReason::Suspended);
        let has_content = state.desired_secret.is_some() || state.manifest.is_deleting_secrets();
        !is_suspended
            && self.installation_sync.is_known()
            && has_content
            && state.secret_names().all(|name| self.is_observed(name))
            && super::object_writes::is_registered(state)
    }

    /// Returns true if the Secrets of this name are cached in full, or cannot be listed.
    fn is_observed(&self, secret_name: &SecretName) -> bool {
        self.cache.cluster.unreadable.contains_key(secret_name)
            || (self.secret_lists.has_synced(secret_name)
                && self.synced.contains(&WatchedResource::Secrets(secret_name.clone())))
    }

    /// Returns what to do in a namespace for a ClusterPullSecret; `None` where the two are unrelated.
    pub(super) fn target(
        &self,
        state: &ObjectState,
        guards: &Guards,
        namespace_name: &NamespaceName,
        namespace: &Namespace,
    ) -> Option<Target> {
        let manifest = &state.manifest;
        let owner = Ownership::new(manifest, &manifest.secret_name, self.key());
        let known = KnownValues {
            values: self.fetches.all_values(),
            recorded: self.cache.installation.as_ref().map(Installation::values),
            order: &|store_key| self.fetches.order(store_key),
        };
        let input = TargetInput {
            cluster_pull_secret: manifest,
            owner: Arc::new(owner),
            desired: state.desired_secret.as_ref(),
            known: &known,
            guards,
            accepted_older: self.accepted_older(state, namespace_name, Instant::now()),
        };
        target::decide(&self.claims, 0, &input, namespace_name, namespace)
    }

    /// Plans an item, with the Secrets that were just read for it; `None` where there is nothing to do.
    pub(super) fn plan(
        &mut self,
        item: &Item,
        guards: &Guards,
        read: &ReadSecrets,
        now: Instant,
    ) -> Option<NamespacePlan> {
        let Item { cluster_pull_secret, namespace } = item;
        let state = self.objects.get(cluster_pull_secret)?;
        let observed = self.cache.cluster.namespaces.get(namespace);
        if observed.is_some() && state.is_backing_off(namespace, now) {
            return None;
        }
        if !self.has_keys_of_namespace(state, namespace) {
            // Their read requeues the namespace.
            let keys = state.namespace_fetches.in_namespace(namespace).iter().map(|(_, store_key)| store_key);
            self.fetches.request_unknown(keys, now);
            return None;
        }
        let plan = observed.and_then(|observed| {
            let observed = with_read(observed, read);
            let mut target = self.target(state, guards, namespace, &observed)?;
            let accepted = self.accepted_older(state, namespace, now);
            self.foreign_versions.hold_unread(&mut target, namespace, &observed, &accepted, &self.fetches);
            Some(NamespacePlan::new(namespace, &observed, vec![target]))
        });
        let Some(plan) = plan else {
            let state = self.objects.get_mut(cluster_pull_secret)?;
            state.forget_waits(namespace);
            if state.targets.remove(namespace).is_some() {
                self.publish_soon(cluster_pull_secret, now);
            }
            return None;
        };
        self.foreign_versions.confirm(namespace, &plan.targets[0]);
        if plan.has_work(&plan.targets[0]) {
            return Some(plan);
        }
        let mut report = apply::dry_run_target(&plan, &plan.targets[0]);
        if !self.defer_report(cluster_pull_secret, &mut report, now) {
            self.record_report(cluster_pull_secret, &report, now);
        }
        None
    }

    /// Returns true if a report is not to be recorded, because its target waits for what is about to happen.
    fn defer_report(
        &mut self,
        cluster_pull_secret: &str,
        report: &mut NamespaceReport,
        now: Instant,
    ) -> bool {
        let report_at =
            self.objects.get_mut(cluster_pull_secret).and_then(|it| it.awaits_service_account(report, now));
        if let Some(report_at) = report_at {
            let requeue = Timer::Requeue(cluster_pull_secret.to_owned(), report.namespace.clone());
            self.timers.set(report_at, requeue);
        }
        report_at.is_some() || self.defer_conflict(cluster_pull_secret, report, now)
    }

    /// Schedules a status update after a short delay, so that changes that belong together make one.
    pub(super) fn publish_soon(&mut self, cluster_pull_secret: &str, now: Instant) {
        let Some(state) = self.objects.get_mut(cluster_pull_secret) else { return };
        let at = now + PUBLISH_AFTER;
        // The end of a reconciliation in progress publishes the status.
        if state.reconciliation.is_none() && state.publish_at.is_none_or(|known| known > at) {
            state.publish_at = Some(at);
            self.timers.set(at, Timer::ObjectPatch(cluster_pull_secret.to_owned()));
        }
    }

    /// Records the report of a target, and returns what it changes; publishes an Event regarding a Secret that is
    /// refused.
    fn record_report(
        &mut self,
        cluster_pull_secret: &str,
        report: &NamespaceReport,
        now: Instant,
    ) -> TargetChange {
        let jitter = self.jitter();
        let Some(state) = self.objects.get_mut(cluster_pull_secret) else { return TargetChange::None };
        let change = state.update_target(report, now, |failures| backoff::after(failures, jitter));
        if change == TargetChange::None {
            return change;
        }
        let secret_name = state.manifest.secret_name.clone();
        let message = report.message.as_deref().unwrap_or_default();
        let reason = report.reason.and_then(TargetReason::applied);
        // The previous leader has published what its status names.
        let reason = reason.filter(|reason| !state.was_published(&report.namespace, *reason, message));
        self.publish_soon(cluster_pull_secret, now);
        if let Some(reason) = reason
            && change == TargetChange::NewFailure
            && report.result == ResultKind::Refused
        {
            let message =
                format!("ClusterPullSecret {cluster_pull_secret} cannot use this Secret: {message}");
            self.announce_failure(&report.namespace, &secret_name, reason, message);
        }
        change
    }

    /// Handles the result of a plan that was carried out.
    pub(super) fn on_applied(&mut self, item: &Item, mut applied: Applied) {
        let Item { cluster_pull_secret, namespace } = item;
        let now = Instant::now();
        let read = applied.is_read.then(|| applied.observed_secrets());
        if applied.writes.is_empty() && applied.has_read() {
            self.read_pauses.record(namespace, now);
        }
        let cached = self.cache.cluster.namespaces.get(namespace);
        self.foreign_versions.forget_overwritten(namespace, &applied.secrets, cached);
        self.cache.finish_write(namespace, &mut applied, &self.claims);
        for (kind, outcome) in &applied.writes {
            self.context.health.metrics.wrote(*kind, *outcome);
        }
        match read {
            // The report of a read says nothing about the target yet.
            Some(read) => {
                applied.reports.clear();
                self.decide_again(item, &read, now);
            }
            None => self.queue.done(item),
        }
        self.detect_restored(item, &applied, now);
        let Some(state) = self.objects.get(cluster_pull_secret) else { return };
        let owner = Ownership::new(&state.manifest, &state.manifest.secret_name, self.key());
        let mut is_unsent = false;
        for (_, report) in &mut applied.reports {
            // A write that the fence rejected is not a failure of the target: either this process ends, or its
            // lease is renewed in time and the write is retried.
            if report.reason == Some(AppliedReason::NotLeading.into()) {
                let retry_at = now + backoff::after(1, self.jitter());
                self.timers.set(retry_at, Timer::Requeue(cluster_pull_secret.clone(), namespace.clone()));
                is_unsent = true;
                continue;
            }
            if self.defer_report(cluster_pull_secret, report, now) {
                continue;
            }
            let change = self.record_report(cluster_pull_secret, report, now);
            let has_written = applied.writes.iter().any(|(_, outcome)| *outcome != WriteOutcome::Failed);
            // A failure that lasts is logged once.
            if has_written || (report.reason.is_some() && change != TargetChange::None) {
                apply::log(report, &owner);
            }
        }
        let Some(state) = self.objects.get_mut(cluster_pull_secret) else { return };
        if let Some(reconciliation) = &mut state.reconciliation {
            let has_failed = applied.writes.iter().any(|(_, outcome)| *outcome == WriteOutcome::Failed);
            if !applied.writes.is_empty() && !has_failed {
                reconciliation.record_write(now);
            }
            if applied.difference == Some(Difference::Credentials) {
                reconciliation.record_credentials();
            }
            reconciliation.failed += usize::from(has_failed);
            reconciliation.has_unsent_write |= is_unsent;
        }
        if let Some(retry_at) = state.targets.get(namespace).and_then(|target| target.not_before) {
            self.timers.set(retry_at, Timer::Requeue(cluster_pull_secret.clone(), namespace.clone()));
        }
    }

    /// Records the reverts that only a write shows: of a Secret that was in sync, and of entries in lists that are too
    /// long to be kept.
    fn detect_restored(&mut self, item: &Item, applied: &Applied, now: Instant) {
        let Item { cluster_pull_secret, namespace } = item;
        let Some(state) = self.objects.get(cluster_pull_secret) else { return };
        let was_in_sync = state.targets.get(namespace).is_some_and(|it| it.failure.is_none());
        let is_drift = state.reconciliation.as_ref().is_some_and(|it| it.cause.trigger == Trigger::Drift);
        if !was_in_sync || !is_drift {
            return;
        }
        let is_restored = applied.writes.contains(&(WriteKind::Secret, WriteOutcome::Updated));
        let secret_name = &state.manifest.secret_name;
        let secret = applied.difference.filter(|_| is_restored);
        let secret = secret.map(|difference| ManagedResource::from_difference(secret_name, difference));
        let entries = applied.restored_entries.iter().map(|(service_account, secret_name)| {
            let (service_account, secret_name) = (service_account.clone(), secret_name.clone());
            ManagedResource::Entry { service_account, secret_name }
        });
        for resource in secret.into_iter().chain(entries).collect::<Vec<_>>() {
            let jitter = self.jitter();
            if let Some(pause) = self.drift.on_reverted(namespace, &resource, now, jitter) {
                self.mark_contested(namespace, &resource, now + pause);
            }
        }
    }

    /// Reports a resource that another writer keeps reverting, and makes its namespace back off.
    pub(super) fn mark_contested(
        &mut self,
        namespace: &NamespaceName,
        resource: &ManagedResource,
        until: Instant,
    ) {
        let (secret_name, what) = match resource {
            ManagedResource::Secret(secret_name) => (secret_name, format!("Secret {secret_name}")),
            ManagedResource::SecretForm(secret_name) => {
                (secret_name, format!("Secret {secret_name} to the form of an earlier version"))
            }
            ManagedResource::Entry { service_account, secret_name } => {
                (secret_name, format!("the entry {secret_name} of ServiceAccount {service_account}"))
            }
        };
        let message = format!(
            "another writer keeps reverting {what}: it is restored with increasing back-off. Find the writer in managedFields or the audit log"
        );
        let (now, at) = (Instant::now(), (self.context.wall_clock)());
        let mut is_new = false;
        for (name, state) in &mut self.objects {
            if !state.targets.contains_key(namespace) || !state.has_secret_name(secret_name) {
                continue;
            }
            is_new |= !state.has_failure(namespace, AppliedReason::Contested);
            state.back_off(namespace, until, (AppliedReason::Contested, message.clone()));
            state.start_or_join(Cause { trigger: Trigger::Drift, since: now, at }, now);
            self.timers.set(until, Timer::Requeue(name.clone(), namespace.clone()));
        }
        if is_new {
            self.announce_failure(namespace, secret_name, AppliedReason::Contested, message);
        }
    }
}
