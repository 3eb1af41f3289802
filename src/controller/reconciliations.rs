//! Reconciliations: their start, the reads they need, and their end.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::installation::{not_recorded, record_values};
use super::object_state::{ObjectState, PUBLISH_AFTER, PUBLISH_EVERY};
use super::queue::Priority;
use super::reconciliation::{Cause, Reconciliation};
use super::timers::Timer;
use super::{Controller, TaskResult, backoff, status};
use crate::cluster::error::Error;
use crate::credential::StoreKey;
use crate::fetches::{self, ChangeNotice, STALENESS, StaleAnswer};
use crate::installation::Installation;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::status::reason::ReadyReason;
use crate::metrics::ReconciliationOutcome;
use crate::provider::stores::Values;
use crate::reconcile::copies;
use crate::reconcile::desired_secret::DesiredSecret;
use crate::reconcile::guards::Guards;
use crate::reconcile::resolve;
use crate::trigger::{AckOutcome, Trigger};

impl Controller {
    /// Reconciles a ClusterPullSecret from its stores: requests its keys, and starts a reconciliation or
    /// joins the one in progress.
    pub(super) fn reconcile(&mut self, name: &str, trigger: Trigger, now: Instant, at: Timestamp) {
        let Some(state) = self.objects.get_mut(name) else { return };
        if state.manifest.inactive_reason() == Some(ReadyReason::Suspended)
            || state.manifest.is_deleting_secrets()
        {
            state.reconciliation = None;
            state.publish_at = Some(now);
            self.update_ready(name);
            return;
        }
        state.awaits_fetch = true;
        // A retry for a key that all namespaces share leaves those of each namespace alone.
        let is_retry = trigger == Trigger::Refresh && state.failed_fetches > 0;
        let mut store_keys: Vec<_> = if is_retry && state.full_refresh_at.is_some_and(|at| at > now) {
            state.shared_keys().cloned().collect()
        } else {
            state.full_refresh_at = Some(now + state.manifest.refresh_interval);
            state.store_keys().cloned().collect()
        };
        if trigger != Trigger::Annotation {
            // Another read would make a store issue another credential.
            store_keys.retain(|store_key| !self.fetches.is_fresh(store_key, now));
        }
        self.fetches.request(&store_keys, now);
        if trigger == Trigger::Annotation {
            // A replica of a store may lag behind a write, which is why a user asks.
            for store_key in &store_keys {
                let can_lag = self.context.stores.can_lag(&store_key.store);
                let notice = ChangeNotice { before: now, version: None, can_lag };
                self.fetches.on_change_notice(store_key, notice, now);
            }
        }
        let is_settled = self.fetches.is_settled(state.shared_keys());
        // No read leads to it: no key is shared by all namespaces, or no credential of one is due.
        if state.desired_secret.is_none() && is_settled {
            self.resolve(name);
        }
        self.join_reconciliation(name, Cause { trigger, since: now, at }, now);
        if is_settled {
            self.schedule_refresh(name, now);
        }
    }

    /// Starts a reconciliation, or joins the one in progress; its status is published at intervals.
    pub(super) fn join_reconciliation(
        &mut self,
        name: &str,
        cause: Cause,
        now: Instant,
    ) -> Option<&mut Reconciliation> {
        let state = self.objects.get_mut(name)?;
        debug!(cluster_pull_secret = name, trigger = %cause.trigger, "triggered");
        let publish_at = *state.publish_at.get_or_insert(now + PUBLISH_EVERY);
        self.timers.set(publish_at, Timer::ObjectPatch(name.to_owned()));
        Some(state.start_or_join(cause, now))
    }

    /// Handles a timer that is due.
    pub(super) fn on_timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Refresh(name) => {
                if self.objects.get(&name).is_some_and(|it| it.refresh_at.is_some_and(|at| at <= now)) {
                    let at = (self.context.wall_clock)();
                    self.reconcile(&name, Trigger::Refresh, now, at);
                }
            }
            Timer::RetryKeys(name) => self.retry_keys(&name, now),
            Timer::Expiry(store_key) => self.on_expiry_timer(&store_key, now),
            Timer::Requeue(name, namespace) if self.objects.contains_key(&name) => {
                self.queue.push(&name, &namespace, Priority::High);
            }
            // The loop does what is due for regcred's own namespace.
            Timer::Requeue(..) | Timer::Installation => {}
            // Every turn of the loop starts the patches themselves.
            Timer::ObjectPatch(name) => self.update_ready(&name),
            Timer::SecretLists(name) => self.secret_lists.reset_backoff(&name),
        }
    }

    /// Starts the reads that are due, each store on its own, once the recorded versions are known: an answer that
    /// is older than these is held back.
    pub(super) fn start_fetches(&mut self, now: Instant) {
        if !self.installation_sync.is_known() {
            return;
        }
        for store_keys in self.fetches.start_due(now) {
            let stores = Arc::clone(&self.context.stores);
            self.tasks.spawn_read(async move { TaskResult::Fetched(now, stores.read(&store_keys).await) });
        }
    }

    /// Handles the values of a read: resolves every ClusterPullSecret that names one of the keys.
    pub(super) fn on_fetched(&mut self, started: Instant, mut values: Values) {
        let at = (self.context.wall_clock)();
        fetches::reject_expired(&mut values, at);
        let mut expiries = fetches::expiries(&values);
        let read: BTreeSet<_> = values.keys().cloned().collect();
        let installation = self.cache.installation.as_ref();
        // Only the first answer of a key is compared with them, and there may be a key for each namespace.
        let recorded =
            LazyCell::new(|| installation.map(|it| it.values().latest_versions()).unwrap_or_default());
        let verdicts = self
            .fetches
            .finish(values, (started, Instant::now()), |store_key| recorded.get(store_key).copied().cloned());
        let accepted: BTreeSet<_> = verdicts.iter().map(|(store_key, _)| store_key).collect();
        // The key went out of use during the read, and may be in use again with another lease.
        self.forget_leases(read.iter().filter(|store_key| !accepted.contains(store_key)));
        expiries.retain(|(store_key, _)| accepted.contains(store_key));
        self.record_expiries(expiries, Instant::now());
        self.on_refreshes_failed(&accepted, Instant::now());
        let fetched = self.record_verdicts(&verdicts, started.elapsed());
        for store_key in &read {
            self.fetches.stale_answer(store_key).inspect(|answer| log_stale_answer(store_key, answer));
            if self.fetches.was_read_in_vain(store_key) {
                log_no_newer_version(store_key);
            }
        }
        self.publish_known_versions();
        let affected =
            self.objects.iter().filter(|(_, state)| state.store_keys().any(|it| read.contains(it)));
        for name in affected.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            let Some(state) = self.objects.get_mut(&name) else { continue };
            state.record_fetched(&fetched, at);
            if state.shared_keys().any(|it| read.contains(it)) {
                self.resolve(&name);
            }
            self.on_namespace_keys_read(&name, &read, Instant::now());
            self.requeue_conflicts(&name, &read, started);
            self.schedule_refresh(&name, Instant::now());
        }
    }

    /// Recomputes the desired content of the Secrets, once every key was read.
    pub(super) fn resolve(&mut self, name: &str) {
        let now = Instant::now();
        let Some(state) = self.objects.get_mut(name) else { return };
        let Some(values) = self.fetches.values(state.shared_keys()) else { return };
        let mut resolved =
            resolve::resolve(&state.manifest, values).with_order(|store_key| self.fetches.order(store_key));
        if state.has_namespace_keys {
            resolved.summarise(state.namespace_fetches.all(), values);
        }
        if let Some(desired_secret) =
            state.desired_secret.as_mut().filter(|it| it.has_same_credentials(&resolved))
        {
            // The content stays; only the reports of the registries may be new.
            desired_secret.update_resolved(resolved);
            record_values(state, self.cache.installation.as_mut());
            state.record_versions();
            self.publish_soon(name, now);
            return;
        }
        // Where a store has no versions, compare the credentials, if the previous read was good.
        let is_rotation = state.desired_secret.as_ref().is_some_and(|before| before.is_rotated_by(&resolved));
        let known = self.cache.installation.as_ref().map(Installation::values);
        let desired_secret = match known {
            Some(known) => DesiredSecret::new(resolved, known),
            None => DesiredSecret::new(resolved, &LastGoodValues::default()),
        };
        state.desired_secret = Some(desired_secret);
        record_values(state, self.cache.installation.as_mut());
        if state.record_versions() || (is_rotation && state.is_active()) {
            // The read may have been for another ClusterPullSecret with the same key.
            let cause = Cause { trigger: Trigger::Refresh, since: now, at: (self.context.wall_clock)() };
            state.start_or_join(cause, now).mark_rotation(now);
        }
        self.requeue_targets(name, Priority::Normal);
    }

    /// Schedules the next read of the keys: after the refresh interval, or sooner where one failed.
    fn schedule_refresh(&mut self, name: &str, now: Instant) {
        let jitter = self.jitter();
        let Some(state) = self.objects.get_mut(name) else { return };
        if !self.fetches.is_settled(state.shared_keys()) {
            return;
        }
        let interval = state.manifest.refresh_interval;
        let at = if state.awaits_fetch {
            state.awaits_fetch = false;
            state.failed_fetches = if state.has_failed_shared_fetch() { state.failed_fetches + 1 } else { 0 };
            let pause = match state.failed_fetches {
                0 => backoff::jittered(interval, jitter),
                failures => backoff::after(failures, jitter).min(interval),
            };
            let at = now + pause;
            self.fetches.older_taken_at(state.shared_keys(), now).map_or(at, |taken_at| at.min(taken_at))
        } else if state.has_failed_shared_fetch() {
            // An event, or another ClusterPullSecret, caused the read: an earlier refresh stays scheduled.
            let retry_at = now + backoff::after(state.failed_fetches.max(1), jitter).min(interval);
            state.refresh_at.map_or(retry_at, |at| at.min(retry_at))
        } else {
            return;
        };
        state.refresh_at = Some(at);
        self.timers.set(at, Timer::Refresh(name.to_owned()));
    }

    /// Finishes the reconciliations of which nothing is queued or in flight.
    pub(super) fn finish_reconciliations(&mut self, now: Instant) {
        let finished = self.objects.iter().filter(|(name, state)| self.is_finished(name, state, now));
        for name in finished.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.finish_reconciliation(&name, now);
        }
    }

    fn is_finished(&self, name: &str, state: &ObjectState, now: Instant) -> bool {
        let Some(reconciliation) = &state.reconciliation else { return false };
        // No tenant can keep a reconciliation from its end.
        let awaits_read = state.awaits_read() && now < reconciliation.started + STALENESS;
        // There may be a key for each namespace: those are looked at only when no namespace is left to write.
        !awaits_read
            && self.queue.is_idle(name)
            && self.fetches.has_served(state.store_keys(), reconciliation.started)
    }

    /// Updates the problems, the metrics and the logged `Ready` of a ClusterPullSecret.
    fn update_ready(&mut self, name: &str) {
        let Some(state) = self.objects.get_mut(name) else { return };
        let too_large = state.desired_secret.as_ref().and_then(DesiredSecret::problem);
        let guards = Guards::new(&state.manifest, &self.cache.cluster);
        let installation = self.cache.installation.as_ref();
        let not_recorded = installation.and_then(|it| not_recorded(it, name));
        let guards = state.without_awaited_account(guards.problems, Instant::now());
        let unreadable = self.installation_sync.unreadable.clone();
        let is_unreadable = unreadable.is_some();
        let problems = unreadable.into_iter().chain(guards).chain(too_large);
        state.problems = problems.chain(not_recorded).collect();
        // Without the key of the installation, every signed Secret looks like a copy.
        let copies = if self.installation_sync.is_known() {
            copies::copies(&state.manifest, &self.claims, &self.cache.cluster)
        } else {
            Vec::new()
        };
        if copies.len() > state.copies {
            warn!(cluster_pull_secret = name, "{}", copies::describe(&copies));
        }
        state.copies = copies.len();
        self.context.health.metrics.set_copies(name, copies.len());
        let out_of_sync = state.out_of_sync();
        self.context.health.metrics.set_targets(name, state.targets.len() - out_of_sync, out_of_sync);
        if let Some(ready) = state.inherited_ready(is_unreadable) {
            self.context.health.metrics.set_ready(name, status::is_ready(ready));
            return;
        }
        let ready = status::ready(state);
        self.context.health.metrics.set_ready(name, status::is_ready(&ready));
        let before = state.logged_ready.replace(ready.clone());
        if before.as_ref().is_some_and(|before| status::is_same_ready(before, &ready)) {
            return;
        }
        let (reason, message) = (&ready.reason, &ready.message);
        if status::is_problem(&ready) && !state.is_progressing() {
            warn!(cluster_pull_secret = name, %reason, "not ready: {message}");
        } else if before.is_some_and(|before| status::is_problem(&before)) {
            info!(cluster_pull_secret = name, %reason, "{message}");
        }
    }

    fn finish_reconciliation(&mut self, name: &str, now: Instant) {
        let metrics = Arc::clone(&self.context.health.metrics);
        let Some(state) = self.objects.get_mut(name) else { return };
        let Some(mut finished) = state.reconciliation.take() else { return };
        let served = self.fetches.served_until(state.store_keys());
        state.reconciliation = served.and_then(|last| finished.split_off_late(last));
        state.reconciled_generation = Some(state.generation());
        state.record_observed(served.is_some());
        state.publish_at = Some(now + PUBLISH_AFTER);
        self.timers.set(now + PUBLISH_AFTER, Timer::ObjectPatch(name.to_owned()));
        self.update_ready(name);
        let Some(state) = self.objects.get_mut(name) else { return };
        let out_of_sync = state.out_of_sync();
        let is_in_sync = out_of_sync == 0 && !state.has_failed_fetch() && state.problems.is_empty();
        metrics.reconciled(
            name,
            if is_in_sync { ReconciliationOutcome::InSync } else { ReconciliationOutcome::OutOfSync },
        );
        if is_in_sync {
            metrics.succeeded(name, now);
        }
        let (namespaces, took) = (state.targets.len(), now.saturating_duration_since(finished.cause.since));
        let is_rotation = finished.has_rotated();
        let Reconciliation { cause: Cause { trigger, .. }, written, failed, .. } = finished;
        if written + failed > 0 || is_rotation {
            info!(cluster_pull_secret = name, %trigger, is_rotation, namespaces, written, failed, out_of_sync, ?took, "reconciliation finished");
        } else {
            debug!(cluster_pull_secret = name, %trigger, namespaces, out_of_sync, ?took, "reconciliation finished without changes");
        }
        if is_rotation {
            let rotation = finished.rotation();
            metrics.propagated(trigger, rotation.took);
            state.last_rotation = Some(rotation);
            self.announce_rotation(name);
        }
        if !finished.has_unsent_write && self.is_applied(name, now) {
            finished.ack(|store_key, notice| self.outcome(store_key, notice));
        }
        self.revoke_replaced_leases(name, now);
    }

    /// Returns true if every target of a ClusterPullSecret was written, as far as can be known.
    pub(super) fn is_applied(&self, name: &str, now: Instant) -> bool {
        let Some(state) = self.objects.get(name) else { return false };
        // Secrets that could not be listed may need a write; those that are forbidden never get one.
        let has_unknown_secrets = state.secret_names().any(|secret_name| {
            let error = self.cache.cluster.unreadable.get(secret_name);
            error.is_some_and(|error| !matches!(error, Error::Forbidden(_)))
        });
        !has_unknown_secrets && state.is_applied(now)
    }

    /// Returns the outcome of an event for one of its keys, once that was read at the version that the event named,
    /// or a retry cannot succeed.
    pub(super) fn outcome(&self, store_key: &StoreKey, notice: &ChangeNotice) -> Option<AckOutcome> {
        if self.fetches.has_given_up(store_key) || self.fetches.has_transient_failure(store_key) {
            return None;
        }
        let has_news = self.fetches.has_brought_news(store_key, notice);
        Some(if has_news { AckOutcome::Done } else { AckOutcome::NoNewerVersion })
    }
}

/// Logs a store that does not answer the version an event named.
///
/// The named version is left out: it may come from the body of a request.
fn log_stale_answer(StoreKey { store, key }: &StoreKey, StaleAnswer { answered, is_final }: &StaleAnswer) {
    let seconds = STALENESS.as_secs();
    if *is_final {
        warn!(%store, %key, %answered, "the store did not answer the version that an event named within {seconds} s (replication lag, or the version is no longer current, or is that of another secret); the next poll or refresh retries");
    } else {
        info!(%store, %key, %answered, "the store answers an older version than an event named; retrying for up to {seconds} s");
    }
}

/// Logs a key of which the reads for an event brought nothing new.
fn log_no_newer_version(StoreKey { store, key }: &StoreKey) {
    info!(%store, %key, "no newer version seen after an event (nothing changed, or replication lag of more than three seconds); the next poll or refresh reads again");
}
