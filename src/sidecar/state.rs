//! The state of a sidecar: the reads, the last good values, and the time of the next action.
//!
//! Pure; times and randomness are parameters. In go results of reads, changed versions and the clock, out come the keys
//! to read; `desired` has the entries that follow.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::desired::DesiredFile;
use crate::backoff;
use crate::credential::{Expiry, Life, StoreKey, Version};
use crate::docker_config::host_key::HostKey;
use crate::fetches::{self, ChangeNotice, Fetches, KeyLife, STALENESS};
use crate::installation::last_good::LastGoodValues;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Values;
use crate::reconcile::namespace_keys;
use crate::trigger::poll::KnownVersions;

/// The state of a sidecar.
pub(super) struct SidecarState {
    registries: Arc<ClusterPullSecret>,
    store_keys: BTreeSet<StoreKey>,
    /// The servers that had entries by path in the file at the start.
    split: BTreeSet<HostKey>,
    fetches: Fetches,
    last_good: LastGoodValues,
    /// The time of the next read of all keys, or of those that failed.
    refresh_at: Option<Instant>,
    /// The reads in a row after which a key had failed.
    failed_reads: u32,
    /// True if a key failed since the last schedule.
    has_new_failure: bool,
    /// The keys with a credential that was issued for a time, by the time at which something is due.
    lives: BTreeSet<(Instant, StoreKey)>,
    desired: DesiredFile,
}

impl SidecarState {
    /// Creates the state at the start, when every key is to be read.
    pub(super) fn new(registries: Arc<ClusterPullSecret>, split: BTreeSet<HostKey>, now: Instant) -> Self {
        let store_keys = namespace_keys::shared_keys(&registries).cloned().collect();
        let mut state = Self {
            registries,
            store_keys,
            split,
            fetches: Fetches::default(),
            last_good: LastGoodValues::default(),
            refresh_at: None,
            failed_reads: 0,
            has_new_failure: false,
            lives: BTreeSet::new(),
            desired: DesiredFile::default(),
        };
        state.read_all(now);
        state.resolve();
        state
    }

    /// Requests a read of every key, without any pause.
    pub(super) fn read_all(&mut self, now: Instant) {
        self.fetches.request(&self.store_keys, now);
    }

    /// Starts the reads that are due, one for each store, and returns their keys.
    pub(super) fn start_due(&mut self, now: Instant) -> Vec<BTreeSet<StoreKey>> {
        self.fetches.start_due(now)
    }

    /// Handles a version that the poll found, or a change without one.
    pub(super) fn on_change(
        &mut self,
        store_key: &StoreKey,
        version: Option<&Version>,
        now: Instant,
        can_lag: bool,
    ) {
        let version = version.cloned().map(|version| (version, now + STALENESS));
        let notice = ChangeNotice { before: now, version, can_lag };
        if self.store_keys.contains(store_key) && !self.fetches.has_seen(store_key, &notice) {
            self.fetches.on_change_notice(store_key, notice, now);
        }
    }

    /// Takes the result of a read that started at `started`; the next read follows `jitter`.
    pub(super) fn on_read(
        &mut self,
        mut values: Values,
        (started, now): (Instant, Instant),
        wall: Timestamp,
        jitter: f64,
    ) {
        fetches::reject_expired(&mut values, wall);
        let expiries = fetches::expiries(&values);
        let read: Vec<_> = values.keys().cloned().collect();
        self.fetches.finish(values, (started, now), |_| None);
        for (store_key, expiry) in expiries {
            let life = expiry.as_ref().and_then(Expiry::life).copied();
            self.set_life(&store_key, life, wall, now);
        }
        let failed: Vec<_> = read.iter().filter(|it| self.fetches.version(it).is_none()).cloned().collect();
        for store_key in &failed {
            self.fetches.on_refresh_failed(store_key);
            self.fetches.expire(store_key, now);
        }
        self.has_new_failure |= !failed.is_empty();
        self.resolve();
        self.schedule(now, jitter);
    }

    /// Schedules the next read of the keys: after the refresh interval, or sooner where one failed. A read of one key
    /// never postpones that of another.
    fn schedule(&mut self, now: Instant, jitter: f64) {
        if !self.fetches.is_settled(&self.store_keys) {
            return;
        }
        let interval = self.registries.refresh_interval;
        let has_failed = self.store_keys.iter().any(|it| self.fetches.version(it).is_none());
        self.failed_reads = match (has_failed, std::mem::take(&mut self.has_new_failure)) {
            (true, true) => self.failed_reads.saturating_add(1),
            (true, false) => self.failed_reads,
            (false, _) => 0,
        };
        let pause = match self.failed_reads {
            0 => backoff::jittered(interval, jitter),
            failures => backoff::after(failures, jitter).min(interval),
        };
        let taken_at = self.fetches.older_taken_at(&self.store_keys, now);
        let times = [Some(now + pause), taken_at, self.refresh_at];
        self.refresh_at = times.into_iter().flatten().min();
    }

    /// Requests the reads that are due by now, and returns the keys of which the lease is to be renewed.
    pub(super) fn on_timer(&mut self, now: Instant) -> Vec<StoreKey> {
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = None;
            let due: Vec<_> =
                self.store_keys.iter().filter(|it| !self.fetches.is_fresh(it, now)).cloned().collect();
            self.fetches.request(&due, now);
            // Credentials that were issued for a time have timers of their own.
            if due.is_empty() {
                self.refresh_at = Some(now + self.registries.refresh_interval);
            }
        }
        let mut renewals = Vec::new();
        while self.lives.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, store_key)) = self.lives.pop_first() else { break };
            if self.fetches.is_refresh_due(&store_key, now) {
                renewals.push(store_key);
            } else if self.fetches.expire(&store_key, now) {
                self.resolve();
            }
        }
        renewals
    }

    /// Handles the renewal of a lease: the same credential is valid for longer, or another one is read.
    pub(super) fn on_renewed(
        &mut self,
        store_key: &StoreKey,
        life: Option<Life>,
        wall: Timestamp,
        now: Instant,
    ) {
        if !self.fetches.is_refresh_due(store_key, now) {
            return;
        }
        match life {
            Some(life) => {
                self.fetches.set_expiry(store_key, Expiry::Issued(life));
                self.set_life(store_key, Some(life), wall, now);
            }
            None => self.fetches.request([store_key], now),
        }
    }

    fn set_life(&mut self, store_key: &StoreKey, life: Option<Life>, wall: Timestamp, now: Instant) {
        let life = life.map(|life| KeyLife::at(&life, wall, now));
        self.lives.retain(|(_, it)| it != store_key);
        self.lives.extend(life.iter().flat_map(KeyLife::deadlines).map(|at| (at, store_key.clone())));
        self.fetches.set_life(store_key, life);
    }

    /// Returns the time of the next action.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let life = self.lives.first().map(|(at, _)| *at);
        [self.refresh_at, self.fetches.next_due(), life].into_iter().flatten().min()
    }

    /// Returns true if every key was read at least once, and no read is in flight.
    pub(super) fn is_settled(&self) -> bool {
        self.fetches.is_settled(&self.store_keys)
            && self.store_keys.iter().all(|it| self.fetches.has_read(it))
    }

    /// Returns every key that can be polled with the version of its last read.
    pub(super) fn known_versions(&self) -> KnownVersions {
        self.fetches.known_versions().map(|(key, version)| (key.clone(), version.cloned())).collect()
    }

    /// Returns the entries that the file should have.
    pub(super) fn desired(&self) -> &DesiredFile {
        &self.desired
    }

    /// Updates the last good values and the desired entries.
    fn resolve(&mut self) {
        self.desired =
            DesiredFile::resolve(&self.registries, &self.fetches, &mut self.last_good, &self.split);
    }
}

#[cfg(test)]
mod tests;
