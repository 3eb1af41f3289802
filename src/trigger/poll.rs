//! The poll: asks every store for the versions of its keys, and sends a trigger for each change.
//!
//! In go the known versions, out go [`TriggerEvent`]s. No value is read. Each store has its own rhythm, so
//! that a hanging store delays no other, and a key is asked for once, however many ClusterPullSecrets name
//! it. `polled_versions` decides what an answer means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use self::polled_versions::{PolledVersions, Verdict};
use super::channel::ChannelClosed;
use super::{Trigger, TriggerEvent, TriggerScope, TriggerSender};
use crate::backoff;
use crate::credential::{StoreKey, StoreName, Version};
use crate::metrics::{Metrics, PollOutcome};
use crate::provider::Error;
use crate::provider::stores::{Stores, Versions};

mod budget;
mod polled_versions;

pub use budget::effective_interval;

/// Every key in use, with the version it was last read at; none where it could not be read.
pub type KnownVersions = BTreeMap<StoreKey, Option<Version>>;

/// The settings of the poll.
pub struct PollSettings {
    /// The stores to poll.
    pub stores: Arc<Stores>,
    /// The longest time from one answer of a store to the next request; up to a tenth is taken off. With more
    /// keys than the budget of the store allows it is longer.
    pub interval: Duration,
    /// Counts the answers.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// Publishes to the poll the keys in use and their versions, if they changed.
pub fn publish(known: &watch::Sender<KnownVersions>, current: KnownVersions) {
    known.send_if_modified(|published| {
        let has_changed = *published != current;
        *published = current;
        has_changed
    });
}

/// Polls while this replica leads, until `stop` or until the controller is gone.
pub async fn run(
    settings: PollSettings,
    known: watch::Receiver<KnownVersions>,
    triggers: TriggerSender,
    leading: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let pollers = settings.stores.names().map(|store| {
        let (known, triggers, polled) = (known.clone(), triggers.clone(), PolledVersions::default());
        StorePoller { settings: &settings, store, known, triggers, polled }.run(leading.clone())
    });
    tokio::select! {
        // A sender that is gone means the same.
        _ = stop.wait_for(|stop| *stop) => {}
        Err(ChannelClosed) = future::try_join_all(pollers) => {}
    }
}

/// The poll of one store.
struct StorePoller<'a> {
    settings: &'a PollSettings,
    store: &'a StoreName,
    known: watch::Receiver<KnownVersions>,
    triggers: TriggerSender,
    polled: PolledVersions,
}

impl StorePoller<'_> {
    /// Polls the store; ends if the store need not be polled again.
    async fn run(mut self, mut leading: watch::Receiver<bool>) -> Result<(), ChannelClosed> {
        let PollSettings { stores, interval, jitter, metrics, .. } = self.settings;
        let max_per_second = stores.max_polls_per_second(self.store);
        let mut pause = *interval;
        while leading.wait_for(|leads| *leads).await.is_ok() {
            // Not even the jitter takes from the second that the last request may use.
            sleep(backoff::shortened(pause, jitter()).max(budget::TICK.min(*interval))).await;
            let due: Vec<_> = self.polled.due(&self.known_versions(), Instant::now()).into_iter().collect();
            for keys in due.chunks(budget::chunk_size(max_per_second)) {
                if !*leading.borrow() {
                    break;
                }
                let started = Instant::now();
                if !self.poll(keys).await? {
                    metrics.set_poll_interval(self.store, None);
                    return Ok(());
                }
                // The next second of the round has a budget of its own; the last one ends in the pause.
                if keys.last() != due.last() {
                    sleep_until(started + budget::TICK).await;
                }
            }
            pause = budget::pause_after_round(due.len(), max_per_second, *interval);
            let effective = effective_interval(due.len(), max_per_second, *interval);
            metrics.set_poll_interval(self.store, Some(effective).filter(|_| !due.is_empty()));
        }
        Ok(())
    }

    /// Polls these keys; returns false if the store keeps no versions.
    async fn poll(&mut self, keys: &[StoreKey]) -> Result<bool, ChannelClosed> {
        // A key may have gone out of use since the round began.
        let before = self.known_versions_of(keys);
        let answers = self.settings.stores.versions(&before.keys().cloned().collect()).await;
        if answers.values().flatten().any(Version::is_unversioned) {
            info!(store = %self.store, "the store keeps no versions and is not polled: refreshInterval, events and the end of a credential cause its reads");
            return Ok(false);
        }
        let scopes = self.changed_scopes(&before, &answers);
        if !scopes.is_empty() {
            let now = (Instant::now(), (self.settings.wall_clock)());
            self.triggers.send(TriggerEvent::new(Trigger::Poll, scopes, Duration::ZERO, now)).await?;
        }
        Ok(true)
    }

    /// The known versions of this store.
    fn known_versions(&self) -> KnownVersions {
        let known = self.known.borrow();
        let own = known.iter().filter(|(key, _)| key.store == *self.store);
        own.map(|(key, version)| (key.clone(), version.clone())).collect()
    }

    /// The known versions of these keys, without those that are not in use any more.
    fn known_versions_of<'k>(&self, keys: impl IntoIterator<Item = &'k StoreKey>) -> KnownVersions {
        let known = self.known.borrow();
        let known = keys.into_iter().filter_map(|key| known.get_key_value(key));
        known.map(|(key, version)| (key.clone(), version.clone())).collect()
    }

    /// Returns the keys to read again, `before` being the versions known at the time of the request.
    fn changed_scopes(&mut self, before: &KnownVersions, answers: &Versions) -> Vec<TriggerScope> {
        let (known, now) = (self.known_versions_of(before.keys()), Instant::now());
        let (mut scopes, mut denied) = (Vec::new(), Vec::new());
        for (key, answer) in answers {
            let verdict = self.polled.evaluate(key, answer, [before.get(key), known.get(key)], now);
            let is_changed = verdict == Verdict::Changed;
            let outcome = if is_changed { PollOutcome::New } else { PollOutcome::Known };
            self.settings.metrics.polled(self.store, answer.as_ref().map(|_| outcome));
            if is_changed {
                debug!(store = %key.store, key = %key.key, "the version changed");
                scopes.push(TriggerScope::Key(key.clone(), answer.as_ref().ok().cloned()));
            }
            if let (Verdict::Denied, Err(error)) = (verdict, answer) {
                denied.push(error);
            }
        }
        self.log_denied(&denied);
        scopes
    }

    /// Logs the missing permission, once for all keys.
    fn log_denied(&self, denied: &[&Error]) {
        if let Some(first) = denied.first() {
            let (store, keys) = (self.store, denied.len());
            warn!(%store, keys, "cannot poll: {first}; until access is granted, refreshInterval picks up changes, and the poll is retried after one to five minutes");
        }
    }
}

#[cfg(test)]
mod tests;
