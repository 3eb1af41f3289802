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
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use self::polled_versions::{PolledVersions, Verdict};
use super::channel::ChannelClosed;
use super::{Trigger, TriggerEvent, TriggerScope, TriggerSender};
use crate::backoff;
use crate::credential::{StoreKey, StoreName, Version};
use crate::metrics::{Metrics, PollOutcome};
use crate::provider::Error;
use crate::provider::stores::{Stores, Versions};

mod polled_versions;

/// Every key in use, with the version it was last read at; none where it could not be read.
pub type KnownVersions = BTreeMap<StoreKey, Option<Version>>;

/// The settings of the poll.
pub struct PollSettings {
    /// The stores to poll.
    pub stores: Arc<Stores>,
    /// The longest time from one answer of a store to the next request; up to a tenth is taken off.
    pub interval: Duration,
    /// Counts the answers.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
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
        let PollSettings { stores, interval, jitter, .. } = self.settings;
        while leading.wait_for(|leads| *leads).await.is_ok() {
            sleep(backoff::shortened(*interval, jitter())).await;
            if !*leading.borrow() {
                continue;
            }
            let before = self.known_versions();
            let answers = stores.versions(&self.polled.due(&before, Instant::now())).await;
            if answers.values().flatten().any(Version::is_unversioned) {
                info!(store = %self.store, "the store keeps no versions and is not polled; refreshInterval picks up changes");
                return Ok(());
            }
            let scopes = self.changed_scopes(&before, &answers);
            if !scopes.is_empty() {
                let now = (Instant::now(), (self.settings.wall_clock)());
                self.triggers.send(TriggerEvent::new(Trigger::Poll, scopes, Duration::ZERO, now)).await?;
            }
        }
        Ok(())
    }

    /// The known versions of this store.
    fn known_versions(&self) -> KnownVersions {
        let known = self.known.borrow();
        let own = known.iter().filter(|(key, _)| key.store == *self.store);
        own.map(|(key, version)| (key.clone(), version.clone())).collect()
    }

    /// Returns the keys to read again, `before` being the versions known at the time of the request.
    fn changed_scopes(&mut self, before: &KnownVersions, answers: &Versions) -> Vec<TriggerScope> {
        let (known, now) = (self.known_versions(), Instant::now());
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
