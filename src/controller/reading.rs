//! Which keys are to be read, which are being read, and what was read last.
//!
//! Pure. A key that several ClusterPullSecrets name is read once for all of them: who wants it as of an
//! instant is served by any read that began after it. Each store is asked by itself, so that one that
//! hangs delays no other.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::credential::Place;
use crate::provider::stores::Values;

/// Keys and what is known of them.
#[derive(Default)]
pub struct Reading {
    slots: BTreeMap<Place, Slot>,
    values: Values,
}

#[derive(Debug, Default)]
struct Slot {
    /// Somebody wants a read that began at this instant or later.
    wanted: Option<Instant>,
    /// When the read began that is under way.
    under_way: Option<Instant>,
}

impl Reading {
    /// Somebody wants these keys as of an instant.
    pub fn want<'a>(&mut self, places: impl IntoIterator<Item = &'a Place>, since: Instant) {
        for place in places {
            let slot = self.slots.entry(place.clone()).or_default();
            slot.wanted = slot.wanted.max(Some(since));
        }
    }

    /// The reads to begin now, one for each store; they are under way from now on.
    pub fn begin(&mut self, now: Instant) -> Vec<BTreeSet<Place>> {
        let mut reads: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        for (place, slot) in &mut self.slots {
            if slot.wanted.is_some() && slot.under_way.is_none() {
                slot.under_way = Some(now);
                reads.entry(place.store.0.clone()).or_default().insert(place.clone());
            }
        }
        reads.into_values().collect()
    }

    /// A read came to its end.
    pub fn end(&mut self, values: Values) {
        for (place, value) in values {
            // Nobody names it any more.
            let Some(slot) = self.slots.get_mut(&place) else { continue };
            let began = slot.under_way.take();
            // Who asked after it began is not served by it.
            slot.wanted = slot.wanted.filter(|since| began.is_none_or(|began| *since > began));
            self.values.insert(place, value);
        }
    }

    /// Whether every one of these keys was read as often as somebody wanted it.
    #[must_use]
    pub fn is_settled<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> bool {
        let is_settled = |slot: &Slot| slot.wanted.is_none() && slot.under_way.is_none();
        places.into_iter().all(|place| self.slots.get(place).is_none_or(is_settled))
    }

    /// What was read last, once every one of these keys was read at all.
    #[must_use]
    pub fn values<'a>(&self, places: impl IntoIterator<Item = &'a Place>) -> Option<&Values> {
        places.into_iter().all(|place| self.values.contains_key(place)).then_some(&self.values)
    }

    /// Forgets every key but these; gives back those that were forgotten.
    pub fn retain(&mut self, places: &BTreeSet<Place>) -> Vec<Place> {
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

    fn places(keys: &[&str]) -> BTreeSet<Place> {
        let place = |key: &&str| {
            let (store, key) = key.split_once(':').expect("store:key");
            Place { store: store.into(), key: key.into() }
        };
        keys.iter().map(place).collect()
    }

    fn values(keys: &[&str]) -> Values {
        let value =
            || Ok(StoredValue { version: "1".into(), bytes: b"pw".to_vec().into(), expires_at: None });
        places(keys).into_iter().map(|place| (place, value())).collect()
    }

    #[test]
    fn a_key_that_many_want_is_read_once() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want(&places(&["vault:a", "aws:b"]), now);
        reading.want(&places(&["vault:a"]), now);
        assert_eq!(reading.begin(now), [places(&["aws:b"]), places(&["vault:a"])]);
        assert!(reading.begin(now).is_empty());
        reading.end(values(&["vault:a"]));
        assert!(reading.is_settled(&places(&["vault:a"])) && !reading.is_settled(&places(&["aws:b"])));
        assert!(reading.values(&places(&["vault:a", "aws:b"])).is_none());
        reading.end(values(&["aws:b"]));
        assert!(reading.values(&places(&["vault:a", "aws:b"])).is_some());
        assert!(reading.begin(now).is_empty());
    }

    #[test]
    fn who_asks_while_a_read_is_under_way_is_served_by_the_next() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        let key = places(&["vault:a"]);
        reading.want(&key, now);
        reading.begin(now);
        reading.want(&key, now + Duration::from_millis(1));
        reading.end(values(&["vault:a"]));
        assert!(!reading.is_settled(&key));
        assert_eq!(reading.begin(now + Duration::from_millis(2)), std::slice::from_ref(&key));
        reading.end(values(&["vault:a"]));
        assert!(reading.is_settled(&key));
    }

    #[test]
    fn what_nobody_names_any_more_is_forgotten() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want(&places(&["vault:a"]), now);
        reading.begin(now);
        reading.end(values(&["vault:a"]));
        assert_eq!(reading.retain(&BTreeSet::new()), Vec::from_iter(places(&["vault:a"])));
        assert!(reading.values(&places(&["vault:a"])).is_none());
    }
}
