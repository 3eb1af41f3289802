//! The credentials that a store issued for a time: when each key is read again, and when its credential is over.
//!
//! Pure. A credential is read again at two thirds of its life, and by events; a refresh does not read it, because
//! every read makes the store issue another one. A failed read is retried as any other, until the credential is over.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Fetches;
use crate::credential::{Expiry, Life, StoreKey, StoredValue};
use crate::provider::ErrorKind;
use crate::provider::stores::Values;

/// The least time from a read to the next one, however short the life is.
const MIN_REFRESH: Duration = Duration::from_secs(5);

/// The life of the last credential of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLife {
    /// The instant of the next read; `None` while a failed one is retried.
    refresh_at: Option<Instant>,
    /// The instant from which the credential is invalid.
    expires_at: Instant,
    /// True once that was found out, which is new only once.
    has_expired: bool,
}

/// The lives of the keys that have one.
pub(super) type Lives = BTreeMap<StoreKey, KeyLife>;

impl KeyLife {
    /// Creates the life of a credential that was read now.
    #[must_use]
    pub fn new(refresh_in: Duration, expires_in: Duration, now: Instant) -> Self {
        let refresh_at = Some(now + refresh_in.max(MIN_REFRESH));
        Self { refresh_at, expires_at: now + expires_in, has_expired: false }
    }

    /// Creates the life of a credential that another process read, and that no read of this one replaced yet.
    #[must_use]
    pub fn without_refresh(expires: Timestamp, wall: Timestamp, now: Instant) -> Self {
        Self { refresh_at: None, expires_at: now + until(expires, wall), has_expired: false }
    }

    /// Creates the life of a credential that was read now, `wall` by the wall clock.
    #[must_use]
    pub fn at(life: &Life, wall: Timestamp, now: Instant) -> Self {
        Self::new(until(life.refresh_at(), wall), until(life.expires, wall), now)
    }

    /// Returns the instants at which something is due.
    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.refresh_at.into_iter().chain([self.expires_at])
    }
}

impl Fetches {
    /// Records the life of the credential that a key was just read at; `None` if it has none.
    pub fn set_life(&mut self, store_key: &StoreKey, life: Option<KeyLife>) {
        match life {
            Some(life) => self.lives.insert(store_key.clone(), life),
            None => self.lives.remove(store_key),
        };
    }

    /// Returns true if the expiry of the last credential of a key is known.
    #[must_use]
    pub fn has_life(&self, store_key: &StoreKey) -> bool {
        self.lives.contains_key(store_key)
    }

    /// Records the later expiry of a credential that was renewed.
    pub fn set_expiry(&mut self, store_key: &StoreKey, expiry: Expiry) {
        if let Some(Ok(value)) = self.values.get_mut(store_key) {
            value.expiry = Some(expiry);
        }
    }

    /// Records that the read of a key failed: it is retried by the back-off of its users.
    pub fn on_refresh_failed(&mut self, store_key: &StoreKey) {
        if let Some(life) = self.lives.get_mut(store_key) {
            life.refresh_at = None;
        }
    }

    /// Returns true if a refresh need not read the key: its credential was issued for a time that is not over.
    #[must_use]
    pub fn is_fresh(&self, store_key: &StoreKey, now: Instant) -> bool {
        let life = self.lives.get(store_key).filter(|_| self.version(store_key).is_some());
        life.is_some_and(|life| life.refresh_at.is_some_and(|at| now < at))
    }

    /// Returns true if the key has to be read again now.
    #[must_use]
    pub fn is_refresh_due(&self, store_key: &StoreKey, now: Instant) -> bool {
        self.lives.get(store_key).is_some_and(|life| life.refresh_at.is_some_and(|at| at <= now))
    }

    /// Marks the credential of a key as expired, if it is and the last read failed; returns true if that is new.
    pub fn expire(&mut self, store_key: &StoreKey, now: Instant) -> bool {
        let Some(life) = self.lives.get_mut(store_key).filter(|life| life.expires_at <= now) else {
            return false;
        };
        let Some(Err(error)) = self.values.get(store_key) else { return false };
        if matches!(error.kind, ErrorKind::Expired(_)) {
            return false;
        }
        let what = format!("the credential has expired; the last read failed: {error}");
        let kind = ErrorKind::Expired(what);
        self.values.insert(store_key.clone(), Err(kind.at(store_key.clone())));
        !std::mem::replace(&mut life.has_expired, true)
    }
}

/// Takes no credential that had expired when it was read: it would replace a good one.
pub fn reject_expired(values: &mut Values, wall: Timestamp) {
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

/// Returns the expiry of each value that was read; the keys that failed are left out.
#[must_use]
pub fn expiries(values: &Values) -> Vec<(StoreKey, Option<Expiry>)> {
    let read = values.iter().filter_map(|(store_key, value)| Some((store_key, value.as_ref().ok()?)));
    read.map(|(store_key, value)| (store_key.clone(), value.expiry)).collect()
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
    use crate::credential::StoredValue;
    use crate::manifest::status::reason::FetchedReason;

    const KEY: &str = "artifactory/token/puller";

    fn key() -> StoreKey {
        StoreKey { store: "vault".into(), key: KEY.into() }
    }

    /// Reads the key with a life of a minute, or without success.
    fn read(fetches: &mut Fetches, is_ok: bool, now: Instant) {
        let value =
            StoredValue { version: "1".into(), bytes: b"pw".to_vec().into(), expiry: None, account: None };
        let failed = ErrorKind::Unavailable("status 503".into()).at(key());
        let value = if is_ok { Ok(value) } else { Err(failed) };
        fetches.request([&key()], now);
        fetches.start_due(now);
        fetches.finish(Values::from([(key(), value)]), (now, now), |_| None);
        if is_ok {
            let minute = Duration::from_mins(1);
            fetches.set_life(&key(), Some(KeyLife::new(minute * 2 / 3, minute, now)));
        } else {
            fetches.on_refresh_failed(&key());
        }
    }

    #[test]
    fn key_is_fresh_until_two_thirds_of_its_life() {
        let (start, mut fetches) = (Instant::now(), Fetches::default());
        assert!(!fetches.is_fresh(&key(), start), "it was never read");
        read(&mut fetches, true, start);
        for (second, is_fresh) in [(0, true), (39, true), (40, false), (70, false)] {
            let now = start + Duration::from_secs(second);
            assert_eq!(fetches.is_fresh(&key(), now), is_fresh, "{second}");
            assert_eq!(fetches.is_refresh_due(&key(), now), !is_fresh, "{second}");
        }
    }

    #[test]
    fn failed_refresh_is_left_to_the_back_off() {
        let (start, mut fetches) = (Instant::now(), Fetches::default());
        read(&mut fetches, true, start);
        read(&mut fetches, false, start + Duration::from_secs(40));
        let now = start + Duration::from_secs(45);
        assert!(!fetches.is_fresh(&key(), now));
        assert!(!fetches.is_refresh_due(&key(), now));
    }

    #[test]
    fn credential_expires_once_where_no_read_succeeds() {
        let (start, mut fetches) = (Instant::now(), Fetches::default());
        read(&mut fetches, true, start);
        assert!(!fetches.expire(&key(), start + Duration::from_mins(1)), "the read is in flight");
        read(&mut fetches, false, start + Duration::from_secs(40));
        assert!(!fetches.expire(&key(), start + Duration::from_secs(59)));
        assert!(fetches.expire(&key(), start + Duration::from_mins(1)));
        assert!(!fetches.expire(&key(), start + Duration::from_secs(61)));
        let error = fetches.all_values()[&key()].as_ref().expect_err("expired");
        assert_eq!(error.reason(), FetchedReason::Expired);
        assert!(error.to_string().contains("status 503"), "{error}");
        // The next failure keeps the reason, and is no news.
        read(&mut fetches, false, start + Duration::from_secs(70));
        assert!(!fetches.expire(&key(), start + Duration::from_secs(70)));
        let error = fetches.all_values()[&key()].as_ref().expect_err("expired");
        assert_eq!(error.reason(), FetchedReason::Expired);
        read(&mut fetches, true, start + Duration::from_secs(80));
        assert!(fetches.is_fresh(&key(), start + Duration::from_secs(80)));
    }

    #[test]
    fn short_life_does_not_hammer_the_store() {
        let (start, mut fetches) = (Instant::now(), Fetches::default());
        read(&mut fetches, true, start);
        fetches.set_life(&key(), Some(KeyLife::new(Duration::ZERO, Duration::from_secs(1), start)));
        assert!(!fetches.is_refresh_due(&key(), start + Duration::from_secs(4)));
        assert!(fetches.is_refresh_due(&key(), start + Duration::from_secs(5)));
    }

    #[test]
    fn time_that_is_over_is_due_at_once() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(until(at(70), at(10)), Duration::from_mins(1));
        assert_eq!(until(at(10), at(70)), Duration::ZERO);
        assert_eq!(until(Timestamp::MAX, at(0)), Duration::from_hours(24 * 365 * 10));
    }

    #[test]
    fn unused_key_has_no_life() {
        let (start, mut fetches) = (Instant::now(), Fetches::default());
        read(&mut fetches, true, start);
        fetches.retain(&std::collections::BTreeSet::new());
        assert!(fetches.lives.is_empty());
    }
}
