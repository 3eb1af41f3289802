//! Passes: what begins one, what it reads, and when it is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::fetches::StaleAnswer;
use super::object_state::{ObjectState, PUBLISH_AFTER, PUBLISH_EVERY};
use super::queue::Urgency;
use super::reconciliation::{Cause, Pass};
use super::timers::Timer;
use super::triggers::STALENESS;
use super::{Controller, TaskResult, backoff, status};
use crate::cluster::error::Error;
use crate::credential::StoreKey;
use crate::manifest::status::reason::ReadyReason;
use crate::metrics::PassOutcome;
use crate::provider::stores::Values;
use crate::reconcile::desired_secret::DesiredSecret;
use crate::reconcile::guards::Guards;
use crate::reconcile::resolve;
use crate::trigger::{Trigger, poll};

impl Controller {
    /// Something says to read a ClusterPullSecret's keys again.
    pub(super) fn trigger(&mut self, name: &str, trigger: Trigger, now: Instant, at: Timestamp) {
        let Some(record) = self.records.get_mut(name) else { return };
        if record.wanted.inactive_reason() == Some(ReadyReason::Suspended)
            || record.wanted.is_deleting_secrets()
        {
            record.pass = None;
            record.publish_at = Some(now);
            self.count(name);
            return;
        }
        record.awaits_read = true;
        self.reading.want(record.places(), now);
        self.join_pass(name, Cause { trigger, since: now, at }, now);
    }

    /// Begins a pass, or joins the one under way, whose status is told now and then while it lasts.
    pub(super) fn join_pass(&mut self, name: &str, cause: Cause, now: Instant) -> Option<&mut Pass> {
        let record = self.records.get_mut(name)?;
        debug!(cluster_pull_secret = name, trigger = %cause.trigger, "triggered");
        let publish_at = *record.publish_at.get_or_insert(now + PUBLISH_EVERY);
        self.timers.set(publish_at, Timer::ObjectPatch(name.to_owned()));
        Some(record.begin(cause, now))
    }

    /// A timer is due.
    pub(super) fn fire(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Refresh(name) => {
                if self.records.get(&name).is_some_and(|it| it.refresh_at.is_some_and(|at| at <= now)) {
                    let at = (self.settings.wall_clock)();
                    self.trigger(&name, Trigger::Refresh, now, at);
                }
            }
            Timer::Retry(name, namespace) if self.records.contains_key(&name) => {
                self.queue.push(&name, &namespace, Urgency::AtOnce);
            }
            Timer::Retry(..) => {}
            // The errands themselves are looked through in every round.
            Timer::ObjectPatch(name) => self.count(&name),
            Timer::SecretLists(name) => self.bodies.release(&name),
        }
    }

    /// Begins the reads that somebody wants, each store by itself.
    pub(super) fn begin_reads(&mut self, now: Instant) {
        for places in self.reading.begin(now) {
            let (stores, metrics) =
                (Arc::clone(&self.settings.stores), Arc::clone(&self.settings.health.metrics));
            self.under_way.read(async move {
                let values = stores.read(&places).await;
                let took = now.elapsed();
                for (place, value) in &values {
                    metrics.fetched(&place.store, value.as_ref(), took);
                    metrics.credential_expires(place, value.as_ref().ok().and_then(|value| value.expires_at));
                }
                TaskResult::Read(now, values)
            });
        }
    }

    /// A read came to its end: whoever names one of its keys decides anew what its Secrets are to hold.
    pub(super) fn read(&mut self, began: Instant, values: Values) {
        let at = (self.settings.wall_clock)();
        let (mut read, mut fetched) = (BTreeSet::new(), BTreeSet::new());
        for (place, value) in &values {
            read.insert(place.clone());
            if value.is_ok() {
                fetched.insert(place.clone());
            }
        }
        self.reading.end(values, began, Instant::now());
        for place in &read {
            self.reading.late(place).inspect(|late| tell_late(place, late));
        }
        self.tell_held();
        let concerned = self.records.iter().filter(|(_, record)| record.places().any(|it| read.contains(it)));
        for name in concerned.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            if let Some(record) = self.records.get_mut(&name) {
                let own: Vec<_> = record.places().filter(|it| fetched.contains(*it)).cloned().collect();
                record.fetched_at.extend(own.into_iter().map(|place| (place, at)));
            }
            self.resolve(&name);
            self.schedule(&name, Instant::now());
        }
    }

    /// The poll learns which keys there are, and which versions are known.
    pub(super) fn tell_held(&self) {
        let awake = self.records.values().filter(|record| record.is_awake());
        let used: BTreeSet<_> = awake.flat_map(ObjectState::places).collect();
        let held = self.reading.held().filter(|(place, _)| used.contains(place));
        let held: poll::Held = held.map(|(place, version)| (place.clone(), version.cloned())).collect();
        self.settings.held.send_if_modified(|known| {
            let is_new = *known != held;
            *known = held;
            is_new
        });
    }

    /// Decides anew what the Secrets are to hold, once every key was read.
    pub(super) fn resolve(&mut self, name: &str) {
        let now = Instant::now();
        let Some(record) = self.records.get_mut(name) else { return };
        let Some(values) = self.reading.values(record.places()) else { return };
        let resolved = resolve::resolve(&record.wanted, values);
        if let Some(contents) = record.contents.as_mut().filter(|it| it.gives_the_same(&resolved)) {
            // What everybody holds is kept; only what is told of the registries may be new.
            contents.tell(resolved);
            record.note_versions();
            self.tell_soon(name, now);
            return;
        }
        // Where a store has no versions, the credential of the read before tells, if that was good.
        let is_rotation = record.contents.as_ref().is_some_and(|before| before.is_rotated_by(&resolved));
        record.contents = Some(DesiredSecret::new(resolved, &self.memory.cluster));
        if record.note_versions() || (is_rotation && record.is_awake()) {
            // It may have been read for somebody else, whose key it is as well.
            let cause = Cause { trigger: Trigger::Refresh, since: now, at: (self.settings.wall_clock)() };
            record.begin(cause, now).rotate(now);
        }
        self.look_everywhere(name, Urgency::InTurn);
    }

    /// When its keys are read again: after the interval, or sooner where one could not be read.
    fn schedule(&mut self, name: &str, now: Instant) {
        let jitter = self.jitter();
        let Some(record) = self.records.get_mut(name) else { return };
        if !self.reading.is_settled(record.places()) {
            return;
        }
        let interval = record.wanted.refresh_interval;
        let at = if record.awaits_read {
            record.awaits_read = false;
            record.failed_reads = if record.has_failed_read() { record.failed_reads + 1 } else { 0 };
            let pause = match record.failed_reads {
                0 => backoff::jittered(interval, jitter),
                failures => backoff::after(failures, jitter).min(interval),
            };
            now + pause
        } else if record.has_failed_read() {
            // An event, or somebody else, had a part of its keys read: what is due sooner stays due.
            let again = now + backoff::after(record.failed_reads.max(1), jitter).min(interval);
            record.refresh_at.map_or(again, |at| at.min(again))
        } else {
            return;
        };
        record.refresh_at = Some(at);
        self.timers.set(at, Timer::Refresh(name.to_owned()));
    }

    /// Passes of which nothing waits and nothing is under way are over.
    pub(super) fn end_passes(&mut self, now: Instant) {
        let is_over = |(name, record): &(&String, &ObjectState)| {
            let is_read = |pass: &Pass| self.reading.is_done(record.places(), pass.begun);
            record.pass.as_ref().is_some_and(is_read) && self.queue.is_idle(name)
        };
        let over: Vec<_> = self.records.iter().filter(is_over).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.end_pass(&name, now);
        }
    }

    /// Counts anew what is told of a ClusterPullSecret as a whole.
    fn count(&mut self, name: &str) {
        let Some(record) = self.records.get_mut(name) else { return };
        record.problems = Guards::of(&record.wanted, &self.memory.cluster).problems;
        let behind = record.behind();
        self.settings.health.metrics.targets(name, record.standings.len() - behind, behind);
        if let Some(told) = record.hearsay() {
            self.settings.health.metrics.ready(name, status::is_ready(told));
            return;
        }
        let ready = status::ready(record);
        self.settings.health.metrics.ready(name, status::is_ready(&ready));
        let before = record.said.replace(ready.clone());
        if before.as_ref().is_some_and(|before| status::says_the_same(before, &ready)) {
            return;
        }
        let (reason, message) = (&ready.reason, &ready.message);
        if status::is_bad(&ready) && !record.is_progressing() {
            warn!(cluster_pull_secret = name, %reason, "not ready: {message}");
        } else if before.is_some_and(|before| status::is_bad(&before)) {
            info!(cluster_pull_secret = name, %reason, "{message}");
        }
    }

    fn end_pass(&mut self, name: &str, now: Instant) {
        let metrics = Arc::clone(&self.settings.health.metrics);
        let Some(record) = self.records.get_mut(name) else { return };
        let Some(mut pass) = record.pass.take() else { return };
        let served = self.reading.served_until(record.places());
        record.pass = served.and_then(|last| Pass::of_late(pass.leave_late(last)));
        record.passed = Some(record.generation());
        record.answer(served.is_some());
        record.publish_at = Some(now + PUBLISH_AFTER);
        self.timers.set(now + PUBLISH_AFTER, Timer::ObjectPatch(name.to_owned()));
        self.count(name);
        let Some(record) = self.records.get_mut(name) else { return };
        let behind = record.behind();
        let is_in_sync = behind == 0 && !record.has_failed_read() && record.problems.is_empty();
        metrics.passed(name, if is_in_sync { PassOutcome::InSync } else { PassOutcome::OutOfSync });
        if is_in_sync {
            metrics.succeeded(name, now);
        }
        let (namespaces, took) = (record.standings.len(), now.saturating_duration_since(pass.cause.since));
        let Pass { cause: Cause { trigger, .. }, rotates, written, failed, .. } = pass;
        if written + failed > 0 || rotates {
            info!(cluster_pull_secret = name, %trigger, rotates, namespaces, written, failed, behind, ?took, "pass finished");
        } else {
            debug!(cluster_pull_secret = name, %trigger, namespaces, behind, ?took, "pass finished, nothing to do");
        }
        if rotates && written > 0 {
            let rotation = pass.rotation();
            metrics.propagated(trigger, rotation.took);
            record.last_rotation = Some(rotation);
            self.announce_rotation(name);
        }
        if !pass.is_unsent && self.is_written(name, now) {
            pass.settle(|place| self.is_read(name, place));
        }
    }

    /// Whether every target of a ClusterPullSecret was written, as far as anybody can know.
    pub(super) fn is_written(&self, name: &str, now: Instant) -> bool {
        let Some(record) = self.records.get(name) else { return false };
        // Where Secrets could not be listed, nobody knows yet whether one has to be written.
        let is_unseen = |name: &String| match self.memory.cluster.unreadable.get(name) {
            None | Some(Error::Forbidden(_)) => false,
            Some(_) => true,
        };
        !record.secret_names().any(is_unseen) && record.is_written(now)
    }

    /// Whether a key was read for a ClusterPullSecret, or can never be, at the version that was told of.
    pub(super) fn is_read(&self, name: &str, place: &StoreKey) -> bool {
        let is_unread = |record: &ObjectState| record.is_unread(place);
        !self.reading.is_overdue(place) && !self.records.get(name).is_some_and(is_unread)
    }
}

/// Somebody waits for a rotation of which the store does not know.
///
/// What it should answer is not told: that may come from the body of a request.
fn tell_late(StoreKey { store, key }: &StoreKey, StaleAnswer { answered, is_over }: &StaleAnswer) {
    let seconds = STALENESS.as_secs();
    if *is_over {
        warn!(%store, %key, %answered, "the store did not answer the version that an event named within {seconds} s: a replica of it lags behind, or that version is current no more, or of another secret; poll and refresh look again");
    } else {
        info!(%store, %key, %answered, "the store answers an older version than an event named: it is asked again for up to {seconds} s");
    }
}
