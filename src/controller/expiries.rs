//! The expiry of credentials that a store issued for a time: the next read of each, and the status after its end.
//!
//! Such times are compared with the clock here and in `fetches::lives` alone.

use std::collections::BTreeSet;

use tokio::time::Instant;
use tracing::warn;

use super::Controller;
use super::timers::Timer;
use crate::credential::{Expiry, StoreKey};
use crate::fetches::KeyLife;

impl Controller {
    /// Sets the metric and the timers of the keys that were read. After a failed read the credential that is in use still
    /// expires at the known time.
    pub(super) fn record_expiries(&mut self, expiries: Vec<(StoreKey, Option<Expiry>)>, now: Instant) {
        let wall = (self.context.wall_clock)();
        for (store_key, expiry) in expiries {
            let expires_at = expiry.as_ref().map(Expiry::at);
            self.context.health.metrics.set_credential_expiry(&store_key, expires_at);
            let life = expiry.as_ref().and_then(Expiry::life).map(|life| KeyLife::at(life, wall, now));
            self.set_life(&store_key, life);
        }
    }

    fn set_life(&mut self, store_key: &StoreKey, life: Option<KeyLife>) {
        for at in life.iter().flat_map(KeyLife::deadlines) {
            self.timers.set(at, Timer::Expiry(store_key.clone()));
        }
        self.fetches.set_life(store_key, life);
    }

    /// Handles the keys whose read failed: their credentials stay until they expire. Those that a leader before this one
    /// read expire at the recorded time.
    pub(super) fn on_refreshes_failed(&mut self, read: &BTreeSet<&StoreKey>, now: Instant) {
        let failed: Vec<_> = read.iter().copied().filter(|it| self.fetches.version(it).is_none()).collect();
        let unknown: BTreeSet<_> = failed.iter().copied().filter(|it| !self.fetches.has_life(it)).collect();
        let recorded = self.cache.installation.as_ref().filter(|_| !unknown.is_empty());
        let recorded = recorded.map(|it| it.values().expiries(&unknown)).unwrap_or_default();
        let wall = (self.context.wall_clock)();
        for (store_key, expires) in recorded {
            self.set_life(&store_key, Some(KeyLife::without_refresh(expires, wall, now)));
        }
        for store_key in failed {
            self.fetches.on_refresh_failed(store_key);
            self.expire(store_key, now);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use crate::cluster::script::play;
    use crate::controller::fixture::leader;
    use crate::credential::{Life, StoredValue, Version};
    use crate::installation::last_good::LastGoodValue;
    use crate::manifest::status::reason::FetchedReason;
    use crate::provider::ErrorKind;
    use crate::provider::stores::Values;
    use crate::reconcile::fixture::{recorded, registry};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn store_key() -> StoreKey {
        registry("ghcr.io").store_key
    }

    /// The answer of a read: a credential that expires after a minute, or a failure.
    fn values(is_ok: bool) -> Values {
        let expiry = Expiry::Issued(Life { issued: at(0), expires: at(60) });
        let value = StoredValue {
            version: Version::unversioned(),
            bytes: b"pw".to_vec().into(),
            expiry: Some(expiry),
            account: None,
        };
        let failed = ErrorKind::Unavailable("status 503".into()).at(store_key());
        [(store_key(), if is_ok { Ok(value) } else { Err(failed) })].into()
    }

    /// Starts a read of the key, and returns its start.
    fn start_read(controller: &mut Controller) -> Instant {
        let now = Instant::now();
        controller.fetches.request([&store_key()], now);
        controller.fetches.start_due(now);
        now
    }

    /// The reason why the key has no value.
    fn reason(controller: &Controller) -> FetchedReason {
        controller.fetches.all_values()[&store_key()].as_ref().expect_err("a failure").reason()
    }

    #[tokio::test(start_paused = true)]
    async fn recorded_credential_expires_where_no_read_succeeds() {
        let ((), _) = play(Vec::new(), async |client| {
            let mut controller = leader(client);
            let installation = controller.cache.installation.as_mut().expect("an installation");
            let (values_of, source) = (recorded("images", &[("ghcr.io", "1", "pw")]), registry("ghcr.io"));
            let known = values_of.get("images", &source).expect("a value").clone();
            let value = LastGoodValue { expires: Some(at(60)), ..known };
            installation.record_value("images", &source, value);
            let started = start_read(&mut controller);
            controller.on_fetched(started, values(false));
            controller.on_expiry_timer(&store_key(), started + Duration::from_secs(59));
            assert_eq!(reason(&controller), FetchedReason::Unavailable);
            controller.on_expiry_timer(&store_key(), started + Duration::from_mins(1));
            assert_eq!(reason(&controller), FetchedReason::Expired);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn read_of_a_key_that_was_dropped_sets_no_expiry() {
        let ((), _) = play(Vec::new(), async |client| {
            let mut controller = leader(client);
            let started = start_read(&mut controller);
            controller.fetches.retain(&BTreeSet::new());
            controller.on_fetched(started, values(true));
            assert!(!controller.fetches.has_life(&store_key()));
            assert!(
                !controller.context.health.metrics.encode().contains("credential_expiry_timestamp_seconds{")
            );
            let started = start_read(&mut controller);
            controller.on_fetched(started, values(true));
            assert!(controller.fetches.has_life(&store_key()));
            assert!(
                controller.context.health.metrics.encode().contains("credential_expiry_timestamp_seconds{")
            );
        })
        .await;
    }
}
