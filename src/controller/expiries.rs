//! The expiry of credentials that a store issued for a time: the next read of each, and the status after its end.
//!
//! The one place of the controller that compares such times with the clock.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::warn;

use super::Controller;
use super::fetches::KeyLife;
use super::timers::Timer;
use crate::credential::{Expiry, Life, StoreKey, StoredValue};
use crate::provider::ErrorKind;
use crate::provider::stores::Values;

impl Controller {
    /// Takes no credential that had expired when it was read: it would replace a good one.
    pub(super) fn reject_expired(&self, values: &mut Values) {
        let wall = (self.context.wall_clock)();
        for (store_key, value) in values {
            if let Some(life) = life(value).filter(|life| life.is_over(wall)) {
                let expires = life.expires;
                let what = format!(
                    "the store issued a credential that expired at {expires}. Compare its clock with that of this machine"
                );
                *value = Err(ErrorKind::Expired(what).at(store_key.clone()));
            }
        }
    }

    /// Sets the timers of the keys that were read.
    pub(super) fn schedule_expiries(&mut self, lives: Vec<(StoreKey, Option<Life>)>, now: Instant) {
        let wall = (self.context.wall_clock)();
        for (store_key, life) in lives {
            let life =
                life.map(|life| KeyLife::new(until(life.refresh_at(), wall), until(life.expires, wall), now));
            for at in life.iter().flat_map(KeyLife::deadlines) {
                self.timers.set(at, Timer::Expiry(store_key.clone()));
            }
            self.fetches.set_life(&store_key, life);
        }
    }

    /// Renews the lease of a credential at two thirds of its life, or reads its key again.
    pub(super) fn on_expiry_timer(&mut self, store_key: &StoreKey, now: Instant) {
        if self.fetches.is_refresh_due(store_key, now) && self.is_in_use(store_key) {
            self.start_renewal(store_key);
        }
        if self.expire(store_key, now) {
            for name in self.users_of(store_key) {
                self.resolve(&name);
                self.summarise_keys(&name);
                self.publish_soon(&name, now);
            }
        }
    }

    /// Marks the credential of a key as expired where it is over, so that the status says so and no new namespace
    /// gets it.
    pub(super) fn expire(&mut self, store_key: &StoreKey, now: Instant) -> bool {
        if !self.fetches.expire(store_key, now) {
            return false;
        }
        self.forget_expired_values();
        let StoreKey { store, key } = store_key;
        warn!(%store, %key, "the credential has expired, and the store issued no other one");
        true
    }

    /// Forgets the last good values that have expired.
    pub(super) fn forget_expired_values(&mut self) {
        let wall = (self.context.wall_clock)();
        let Some(installation) = &mut self.cache.installation else { return };
        if installation.forget_expired(wall) {
            self.refresh_last_good();
        }
    }

    fn is_in_use(&self, store_key: &StoreKey) -> bool {
        let mut active = self.objects.values().filter(|state| state.is_active());
        active.any(|state| state.store_keys().any(|it| it == store_key))
    }
}

/// Returns the life of each value that was read; the keys that failed are left out.
pub(super) fn lives(values: &Values) -> Vec<(StoreKey, Option<Life>)> {
    let read = values.iter().filter(|(_, value)| value.is_ok());
    read.map(|(store_key, value)| (store_key.clone(), life(value))).collect()
}

fn life<E>(value: &Result<StoredValue, E>) -> Option<Life> {
    value.as_ref().ok()?.expiry.as_ref().and_then(Expiry::life).copied()
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    // Bounded, so that an instant can hold it.
    Duration::try_from(at.duration_since(now)).unwrap_or_default().min(Duration::from_hours(24 * 365 * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn time_that_is_over_is_due_at_once() {
        assert_eq!(until(at(70), at(10)), Duration::from_mins(1));
        assert_eq!(until(at(10), at(70)), Duration::ZERO);
        assert_eq!(until(Timestamp::MAX, at(0)), Duration::from_hours(24 * 365 * 10));
    }
}
