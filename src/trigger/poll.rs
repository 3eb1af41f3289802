//! The poll: asks every store for the versions of its keys, and rings where one is new.
//!
//! In goes what is held, out go wakes. No value is read. Each store has a rhythm of its own, so that one
//! that hangs delays no other, and a key is asked for once, however many ClusterPullSecrets name it.
//! `memory` decides what an answer means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use self::memory::{Memory, Verdict};
use super::channel::Gone;
use super::{Trigger, TriggerEvent, TriggerScope, TriggerSender};
use crate::backoff;
use crate::credential::{StoreKey, StoreName, Version};
use crate::metrics::{Metrics, PollOutcome};
use crate::provider::Error;
use crate::provider::stores::{Stores, Versions};

mod memory;

/// Every key that is read, with the version it was last read at; none where it could not be read.
pub type Held = BTreeMap<StoreKey, Option<Version>>;

/// What the poll works with.
pub struct Settings {
    /// The stores to ask.
    pub stores: Arc<Stores>,
    /// The longest time from one answer of a store to the next question; up to a tenth is taken off.
    pub interval: Duration,
    /// Where answers are counted.
    pub metrics: Arc<Metrics>,
    /// The clock on the wall.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// Polls while this replica leads, until it is told to stop or the controller is gone.
pub async fn run(
    settings: Settings,
    held: watch::Receiver<Held>,
    triggers: TriggerSender,
    leading: watch::Receiver<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let rounds = settings.stores.names().map(|store| {
        let (held, triggers, memory) = (held.clone(), triggers.clone(), Memory::default());
        Rounds { settings: &settings, store, held, triggers, memory }.run(leading.clone())
    });
    tokio::select! {
        // A sender that is gone means the same.
        _ = stop.wait_for(|stop| *stop) => {}
        Err(Gone) = future::try_join_all(rounds) => {}
    }
}

/// The questions to one store.
struct Rounds<'a> {
    settings: &'a Settings,
    store: &'a StoreName,
    held: watch::Receiver<Held>,
    triggers: TriggerSender,
    memory: Memory,
}

impl Rounds<'_> {
    /// Ends for a store that need not be asked again.
    async fn run(mut self, mut leading: watch::Receiver<bool>) -> Result<(), Gone> {
        let Settings { stores, interval, jitter, .. } = self.settings;
        while leading.wait_for(|leads| *leads).await.is_ok() {
            sleep(backoff::shortened(*interval, jitter())).await;
            if !*leading.borrow() {
                continue;
            }
            let before = self.held();
            let answers = stores.versions(&self.memory.due(&before, Instant::now())).await;
            if answers.values().flatten().any(|version| version.0 == Version::UNVERSIONED) {
                info!(store = %self.store, "keeps no versions, so it is not polled: refreshInterval picks changes up");
                return Ok(());
            }
            let looks = self.news(&before, &answers);
            if !looks.is_empty() {
                let now = (Instant::now(), (self.settings.wall_clock)());
                self.triggers.ring(TriggerEvent::new(Trigger::Poll, looks, Duration::ZERO, now)).await?;
            }
        }
        Ok(())
    }

    /// What is held of this store.
    fn held(&self) -> Held {
        let held = self.held.borrow();
        let own = held.iter().filter(|(place, _)| place.store == *self.store);
        own.map(|(place, version)| (place.clone(), version.clone())).collect()
    }

    /// What is to be looked at, `before` being what was held when the store was asked.
    fn news(&mut self, before: &Held, answers: &Versions) -> Vec<TriggerScope> {
        let (held, now) = (self.held(), Instant::now());
        let (mut looks, mut denied) = (Vec::new(), Vec::new());
        for (place, answer) in answers {
            let verdict = self.memory.judge(place, answer, [before.get(place), held.get(place)], now);
            let is_new = verdict == Verdict::New;
            let outcome = if is_new { PollOutcome::New } else { PollOutcome::Known };
            self.settings.metrics.polled(self.store, answer.as_ref().map(|_| outcome));
            if is_new {
                debug!(store = %place.store, key = %place.key, "another version than was read");
                looks.push(TriggerScope::Key(place.clone(), answer.as_ref().ok().cloned()));
            }
            if let (Verdict::Denied, Err(error)) = (verdict, answer) {
                denied.push(error);
            }
        }
        self.tell(&denied);
        looks
    }

    /// Says once for all keys which right is missing.
    fn tell(&self, denied: &[&Error]) {
        if let Some(first) = denied.first() {
            let (store, keys) = (self.store, denied.len());
            warn!(%store, keys, "cannot be polled: {first}; until it can, refreshInterval picks changes up, and it is asked again after one to five minutes");
        }
    }
}

#[cfg(test)]
mod tests;
