//! Which keys are to be read, which are being read, and what was read last.
//!
//! Pure. A key that several ClusterPullSecrets name is read once for all of them: who wants it as of an
//! instant is served by any read that began after it. Each store is asked by itself, so that one that
//! hangs delays no other. `slot` knows of each key when it is to be read next.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

pub use self::key_state::{ChangeNotice, StaleAnswer};
use self::key_state::{KeyState, State};
use crate::credential::{StoreKey, StoreName, Version};
use crate::provider::stores::Values;

mod key_state;

/// Keys and what is known of them.
#[derive(Default)]
pub struct Fetches {
    slots: BTreeMap<StoreKey, KeyState>,
    values: Values,
    /// The account in which each store looks up names.
    accounts: BTreeMap<StoreName, String>,
}

impl Fetches {
    /// Somebody wants these keys as of an instant.
    pub fn want<'a>(&mut self, places: impl IntoIterator<Item = &'a StoreKey>, since: Instant) {
        for place in places {
            self.slots.entry(place.clone()).or_default().want(since);
        }
    }

    /// An event tells of something about a key.
    pub fn expect(&mut self, place: &StoreKey, told: ChangeNotice, now: Instant) {
        self.slots.entry(place.clone()).or_default().expect(told, now);
    }

    /// Whether what a key was last read at has seen what an event tells of: it is that version, or, where it
    /// names none, was read since.
    #[must_use]
    pub fn has_seen(&self, place: &StoreKey, told: &ChangeNotice) -> bool {
        match &told.version {
            Some((version, _)) => {
                matches!(self.values.get(place), Some(Ok(value)) if value.version == *version)
            }
            None => self.slots.get(place).is_some_and(|slot| slot.is_read_since(told.before)),
        }
    }

    /// Every key with the version it was last read at; none where it could not be read.
    pub fn held(&self) -> impl Iterator<Item = (&StoreKey, Option<&Version>)> {
        let version = |place| self.values.get(place)?.as_ref().ok().map(|value| &value.version);
        self.slots.keys().map(move |place| (place, version(place)))
    }

    /// The account of a store, as its answers tell: where its keys that are names are looked up.
    #[must_use]
    pub fn account(&self, store: &StoreName) -> Option<&str> {
        self.accounts.get(store).map(String::as_str)
    }

    /// When the next read may begin that waits.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.slots.values().filter_map(KeyState::next).min()
    }

    /// The reads to begin now, one for each store; they are under way from now on.
    pub fn begin(&mut self, now: Instant) -> Vec<BTreeSet<StoreKey>> {
        let mut reads: BTreeMap<String, BTreeSet<StoreKey>> = BTreeMap::new();
        for (place, slot) in &mut self.slots {
            if slot.begin(now) {
                reads.entry(place.store.0.clone()).or_default().insert(place.clone());
            }
        }
        reads.into_values().collect()
    }

    /// The read that began at an instant came to its end.
    pub fn end(&mut self, values: Values, began: Instant, now: Instant) {
        for (place, value) in values {
            // Nobody names it any more, or somebody does again who did not when it began.
            let Some(slot) = self.slots.get_mut(&place) else { continue };
            if !slot.end(began, value.as_ref().ok().map(|value| &value.version), now) {
                continue;
            }
            // An ARN may be of somebody else's account.
            if let Some(account) = value.as_ref().ok().and_then(|value| value.account.as_ref())
                && !place.key.is_arn()
            {
                self.accounts.insert(place.store.clone(), account.clone());
            }
            self.values.insert(place, value);
        }
    }

    /// Whether every one of these keys was read as often as somebody wanted it.
    #[must_use]
    pub fn is_settled<'a>(&self, places: impl IntoIterator<Item = &'a StoreKey>) -> bool {
        self.states(places).all(|state| state == State::Settled)
    }

    /// Whether every one of these keys was read for a pass that began at an instant; it may have to be
    /// again for those who came later.
    #[must_use]
    pub fn is_done<'a>(&self, places: impl IntoIterator<Item = &'a StoreKey>, begun: Instant) -> bool {
        self.states(places).all(|state| match state {
            State::Settled => true,
            State::Later(last) => last >= begun,
            State::Owed => false,
        })
    }

    /// When the last read of a key began that will be read again: who came after that waits for it.
    #[must_use]
    pub fn served_until<'a>(&self, places: impl IntoIterator<Item = &'a StoreKey>) -> Option<Instant> {
        let last = |state| if let State::Later(last) = state { Some(last) } else { None };
        self.states(places).filter_map(last).min()
    }

    /// What there is to say of a key that was just read at an older version than an event named.
    #[must_use]
    pub fn late(&self, place: &StoreKey) -> Option<&StaleAnswer> {
        self.slots.get(place)?.late()
    }

    /// Whether a key never answered the version that an event named.
    #[must_use]
    pub fn is_overdue(&self, place: &StoreKey) -> bool {
        self.late(place).is_some_and(|late| late.is_over)
    }

    fn states<'a>(&self, places: impl IntoIterator<Item = &'a StoreKey>) -> impl Iterator<Item = State> {
        places.into_iter().map(|place| self.slots.get(place).map_or(State::Settled, KeyState::state))
    }

    /// What was read last, once every one of these keys was read at all.
    #[must_use]
    pub fn values<'a>(&self, places: impl IntoIterator<Item = &'a StoreKey>) -> Option<&Values> {
        places.into_iter().all(|place| self.values.contains_key(place)).then_some(&self.values)
    }

    /// Forgets every key but these; gives back those that were forgotten.
    pub fn retain(&mut self, places: &BTreeSet<StoreKey>) -> Vec<StoreKey> {
        let forgotten: Vec<_> = self.slots.keys().filter(|place| !places.contains(*place)).cloned().collect();
        for place in &forgotten {
            self.slots.remove(place);
            self.values.remove(place);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::StoredValue;
    use std::time::Duration;

    fn places(keys: &[&str]) -> BTreeSet<StoreKey> {
        let place = |key: &&str| {
            let (store, key) = key.split_once(':').expect("store:key");
            StoreKey { store: store.into(), key: key.into() }
        };
        keys.iter().map(place).collect()
    }

    fn values(keys: &[&str]) -> Values {
        let value = || {
            Ok(StoredValue {
                version: "1".into(),
                bytes: b"pw".to_vec().into(),
                expires_at: None,
                account: None,
            })
        };
        places(keys).into_iter().map(|place| (place, value())).collect()
    }

    #[test]
    fn a_key_that_many_want_is_read_once() {
        let (now, mut reading) = (Instant::now(), Fetches::default());
        reading.want(&places(&["vault:a", "aws:b"]), now);
        reading.want(&places(&["vault:a"]), now);
        assert_eq!(reading.begin(now), [places(&["aws:b"]), places(&["vault:a"])]);
        assert!(reading.begin(now).is_empty());
        reading.end(values(&["vault:a"]), now, now);
        assert!(reading.is_settled(&places(&["vault:a"])) && !reading.is_settled(&places(&["aws:b"])));
        assert!(reading.values(&places(&["vault:a", "aws:b"])).is_none());
        reading.end(values(&["aws:b"]), now, now);
        assert!(reading.values(&places(&["vault:a", "aws:b"])).is_some());
        assert!(reading.begin(now).is_empty());
    }

    #[test]
    fn who_asks_while_a_read_is_under_way_is_served_by_the_next() {
        let (now, mut reading) = (Instant::now(), Fetches::default());
        let key = places(&["vault:a"]);
        reading.want(&key, now);
        reading.begin(now);
        reading.want(&key, now + Duration::from_millis(1));
        reading.end(values(&["vault:a"]), now, now);
        assert!(!reading.is_settled(&key));
        let later = now + Duration::from_millis(2);
        assert_eq!(reading.begin(later), std::slice::from_ref(&key));
        reading.end(values(&["vault:a"]), later, later);
        assert!(reading.is_settled(&key));
    }

    #[test]
    fn what_nobody_names_any_more_is_forgotten() {
        let (now, mut reading) = (Instant::now(), Fetches::default());
        reading.want(&places(&["vault:a"]), now);
        reading.begin(now);
        reading.end(values(&["vault:a"]), now, now);
        assert_eq!(reading.retain(&BTreeSet::new()), Vec::from_iter(places(&["vault:a"])));
        assert!(reading.values(&places(&["vault:a"])).is_none());
    }

    #[test]
    fn the_account_of_a_store_is_that_of_its_names() {
        let (now, mut reading) = (Instant::now(), Fetches::default());
        let keys = ["aws:arn:aws:secretsmanager:eu-west-1:2:secret:b-abcdef", "aws:a"];
        reading.want(&places(&keys), now);
        reading.begin(now);
        let mut read = values(&keys);
        for (place, value) in &mut read {
            let value = value.as_mut().expect("a value");
            value.account = Some(if place.key.is_arn() { "2" } else { "1" }.to_owned());
        }
        reading.end(read, now, now);
        assert_eq!(reading.account(&"aws".into()), Some("1"));
        assert_eq!(reading.account(&"other".into()), None);
    }
}
