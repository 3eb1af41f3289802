//! Passes: what begins one, what it reads, and when it is over.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::queue::Urgency;
use super::record::{PUBLISH_AFTER, PUBLISH_EVERY, Pass};
use super::timers::Timer;
use super::{Controller, Done, backoff, status};
use crate::manifest::status::reason::ReadyReason;
use crate::metrics::PassOutcome;
use crate::pass::contents::Contents;
use crate::pass::resolve;
use crate::pass::scope::Scope;
use crate::provider::stores::Values;
use crate::trigger::{Receipt, Trigger, poll};

impl Controller {
    /// Something says to read a ClusterPullSecret's keys again.
    pub(super) fn trigger(&mut self, name: &str, trigger: Trigger, now: Instant, at: Timestamp) {
        let Some(record) = self.records.get_mut(name) else { return };
        if record.wanted.at_rest() == Some(ReadyReason::Suspended) || record.wanted.is_going() {
            record.pass = None;
            record.publish_at = Some(now);
            return;
        }
        record.awaits_read = true;
        debug!(pull_secret = name, %trigger, "triggered");
        let publish_at = *record.publish_at.get_or_insert(now + PUBLISH_EVERY);
        self.timers.set(publish_at, Timer::Errand(name.to_owned()));
        record.begin(trigger, now, at);
        self.reading.want(record.places(), now);
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
            Timer::Errand(name) => self.count(&name),
            Timer::Bodies(name) => drop(self.bodies_not_before.remove(&name)),
        }
    }

    /// Begins the reads that somebody wants, each store by itself.
    pub(super) fn begin_reads(&mut self, now: Instant) {
        for places in self.reading.begin(now) {
            let (stores, metrics) =
                (Arc::clone(&self.settings.stores), Arc::clone(&self.settings.vitals.metrics));
            self.under_way.spawn(async move {
                let values = stores.read(&places).await;
                let took = now.elapsed();
                for (place, value) in &values {
                    metrics.fetched(&place.store, value.as_ref(), took);
                    metrics.credential_expires(place, value.as_ref().ok().and_then(|value| value.expires_at));
                }
                Done::Read(values)
            });
        }
    }

    /// A read came to its end: whoever names one of its keys decides anew what its Secrets are to hold.
    pub(super) fn read(&mut self, values: Values) {
        let at = (self.settings.wall_clock)();
        let (mut read, mut fetched) = (BTreeSet::new(), BTreeSet::new());
        for (place, value) in &values {
            read.insert(place.clone());
            if value.is_ok() {
                fetched.insert(place.clone());
            }
        }
        self.reading.end(values, Instant::now());
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
        let held: poll::Held =
            self.reading.held().map(|(place, version)| (place.clone(), version.cloned())).collect();
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
            self.tell_soon(name, now);
            return;
        }
        let is_rotation = record.contents.as_ref().is_some_and(|before| before.is_rotated_by(&resolved));
        record.contents = Some(Contents::new(resolved, &self.memory.cluster));
        // While nobody led, or a registry could not be read, the status remembers what was there.
        let is_rotation = is_rotation || record.is_newer_than_told();
        if let Some(pass) = record.pass.as_mut().filter(|_| is_rotation) {
            pass.rotates = true;
            pass.fetched.get_or_insert(now);
        }
        self.look_everywhere(name, Urgency::InTurn);
    }

    /// When its keys are read again: after the interval, or sooner where one could not be read.
    fn schedule(&mut self, name: &str, now: Instant) {
        let dice = self.dice();
        let Some(record) = self.records.get_mut(name) else { return };
        // What was read for somebody else is not what this one asked for.
        if !record.awaits_read || !self.reading.is_settled(record.places()) {
            return;
        }
        record.awaits_read = false;
        let pause = if record.has_failed_read() {
            record.failed_reads += 1;
            backoff::after(record.failed_reads, dice).min(record.wanted.refresh_interval)
        } else {
            record.failed_reads = 0;
            backoff::jittered(record.wanted.refresh_interval, dice)
        };
        let at = now + pause;
        record.refresh_at = Some(at);
        self.timers.set(at, Timer::Refresh(name.to_owned()));
    }

    /// Passes of which nothing waits and nothing is under way are over.
    pub(super) fn end_passes(&mut self, now: Instant) {
        let is_over = |(name, record): &(&String, &super::record::Record)| {
            record.pass.is_some() && self.queue.is_idle(name) && self.reading.is_settled(record.places())
        };
        let over: Vec<_> = self.records.iter().filter(is_over).map(|(name, _)| name.clone()).collect();
        for name in over {
            self.end_pass(&name, now);
        }
    }

    /// Counts anew what is told of a ClusterPullSecret as a whole.
    fn count(&mut self, name: &str) {
        let Some(record) = self.records.get_mut(name) else { return };
        record.problems = Scope::of(&record.wanted, &self.memory.cluster).problems;
        let behind = record.behind();
        self.settings.vitals.metrics.targets(name, record.standings.len() - behind, behind);
        let ready = status::ready(record);
        let before = record.said.replace(ready.clone());
        if before.as_ref().is_some_and(|before| status::says_the_same(before, &ready)) {
            return;
        }
        let (reason, message) = (&ready.reason, &ready.message);
        if status::is_bad(&ready) && !record.is_progressing() {
            warn!(pull_secret = name, %reason, "not ready: {message}");
        } else if before.is_some_and(|before| status::is_bad(&before)) {
            info!(pull_secret = name, %reason, "{message}");
        }
    }

    fn end_pass(&mut self, name: &str, now: Instant) {
        let metrics = Arc::clone(&self.settings.vitals.metrics);
        let Some(record) = self.records.get_mut(name) else { return };
        let Some(pass) = record.pass.take() else { return };
        let rotation = pass.rotation(now);
        let Pass { trigger, rotates, written, failed, receipts, .. } = pass;
        let took = rotation.took;
        record.passed = Some(record.generation());
        record.rotated = record.wanted.object.as_ref().and_then(|object| object.rotate.clone());
        if record.is_answered(now) {
            receipts.into_iter().for_each(Receipt::settle);
        }
        record.publish_at = Some(now + PUBLISH_AFTER);
        self.timers.set(now + PUBLISH_AFTER, Timer::Errand(name.to_owned()));
        self.count(name);
        let Some(record) = self.records.get_mut(name) else { return };
        let behind = record.behind();
        let is_in_sync = behind == 0 && !record.has_failed_read() && record.problems.is_empty();
        metrics.passed(name, if is_in_sync { PassOutcome::InSync } else { PassOutcome::OutOfSync });
        if is_in_sync {
            metrics.succeeded(name, now);
        }
        let namespaces = record.standings.len();
        if written + failed > 0 || rotates {
            info!(pull_secret = name, %trigger, rotates, namespaces, written, failed, behind, ?took, "pass finished");
        } else {
            debug!(pull_secret = name, %trigger, namespaces, behind, ?took, "pass finished, nothing to do");
        }
        if rotates && written > 0 {
            metrics.propagated(trigger, took);
            record.last_rotation = Some(rotation);
            self.announce_rotation(name);
        }
    }
}
