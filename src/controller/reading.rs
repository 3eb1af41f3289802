//! Which keys are to be read, which are being read, and what was read last.
//!
//! Pure. A key that several ClusterPullSecrets name is read once for all of them: who wants it as of an
//! instant is served by any read that began after it. Each store is asked by itself, so that one that
//! hangs delays no other. Events come by the thousand: after a read that brought nothing new the next
//! for their sake waits, and where one names a version, an older answer is read again for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::{Place, StoreName, Version};
use crate::provider::stores::Values;

/// The least time from the beginning of a read that brought nothing new to the next for an event's sake.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause before an answer of an older version than an event named is read again; it doubles.
const STALE_PAUSE: Duration = Duration::from_millis(200);

/// Keys and what is known of them.
#[derive(Default)]
pub struct Reading {
    slots: BTreeMap<Place, Slot>,
    values: Values,
    /// The account in which each store looks up names.
    accounts: BTreeMap<StoreName, String>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Somebody wants a read that began at this instant or later.
    wanted: Option<Instant>,
    /// It does not begin before this instant.
    not_before: Option<Instant>,
    /// When the read began that is under way.
    under_way: Option<Instant>,
    /// When the last read began, where it brought nothing new.
    fruitless: Option<Instant>,
    /// The version that an event named.
    expected: Option<Expected>,
}

/// A version that a store should answer soon.
#[derive(Debug)]
struct Expected {
    version: Version,
    /// From then on whatever it answers is taken.
    until: Instant,
    /// How often it answered an older one.
    stale: u32,
}

impl Reading {
    /// Somebody wants these keys as of an instant.
    pub fn want<'a>(&mut self, places: impl IntoIterator<Item = &'a Place>, since: Instant) {
        for place in places {
            let slot = self.slots.entry(place.clone()).or_default();
            slot.wanted = slot.wanted.max(Some(since));
            slot.not_before = None;
        }
    }

    /// An event says to look at a key again, which until an instant should answer the version it names.
    pub fn expect(&mut self, place: &Place, version: Option<(Version, Instant)>, now: Instant) {
        let slot = self.slots.entry(place.clone()).or_default();
        if let Some((version, until)) = version.filter(|(_, until)| *until > now) {
            slot.expected = Some(Expected { version, until, stale: 0 });
        }
        if slot.wanted.is_none() {
            slot.not_before = slot.fruitless.map(|began| began + PAUSE).filter(|at| *at > now);
        }
        slot.wanted = slot.wanted.max(Some(now));
    }

    /// Whether a key was last read at this version.
    #[must_use]
    pub fn is_at(&self, place: &Place, version: &Version) -> bool {
        matches!(self.values.get(place), Some(Ok(value)) if value.version == *version)
    }

    /// Every key with the version it was last read at; none where it could not be read.
    pub fn held(&self) -> impl Iterator<Item = (&Place, Option<&Version>)> {
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
        let waits =
            |slot: &Slot| slot.not_before.filter(|_| slot.wanted.is_some() && slot.under_way.is_none());
        self.slots.values().filter_map(waits).min()
    }

    /// The reads to begin now, one for each store; they are under way from now on.
    pub fn begin(&mut self, now: Instant) -> Vec<BTreeSet<Place>> {
        let mut reads: BTreeMap<String, BTreeSet<Place>> = BTreeMap::new();
        for (place, slot) in &mut self.slots {
            let is_early = slot.not_before.is_some_and(|at| at > now);
            if slot.wanted.is_some() && slot.under_way.is_none() && !is_early {
                (slot.under_way, slot.not_before) = (Some(now), None);
                reads.entry(place.store.0.clone()).or_default().insert(place.clone());
            }
        }
        reads.into_values().collect()
    }

    /// A read came to its end.
    pub fn end(&mut self, values: Values, now: Instant) {
        for (place, value) in values {
            // Nobody names it any more.
            let Some(slot) = self.slots.get_mut(&place) else { continue };
            let began = slot.under_way.take();
            // Who asked after it began is not served by it.
            slot.wanted = slot.wanted.filter(|since| began.is_none_or(|began| *since > began));
            let version = value.as_ref().ok().map(|value| &value.version);
            let before = self.values.get(&place).and_then(|it| it.as_ref().ok()).map(|value| &value.version);
            let is_new = version != before;
            slot.fruitless = began.filter(|_| !is_new);
            slot.wait_for_expected(version, is_new, now);
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

impl Slot {
    /// Where a store still answers the version from before the event, it is asked again.
    fn wait_for_expected(&mut self, version: Option<&Version>, is_new: bool, now: Instant) {
        let Some(expected) = &mut self.expected else { return };
        // What could not be read is tried again by those who want it.
        let is_stale = version.is_some_and(|version| *version != expected.version) && !is_new;
        if !is_stale || expected.until <= now {
            self.expected = None;
            return;
        }
        let pause = STALE_PAUSE.saturating_mul(1 << expected.stale.min(16));
        expected.stale += 1;
        if self.wanted.is_none() {
            self.not_before = Some((now + pause).min(expected.until));
            self.wanted = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::StoredValue;

    fn places(keys: &[&str]) -> BTreeSet<Place> {
        let place = |key: &&str| {
            let (store, key) = key.split_once(':').expect("store:key");
            Place { store: store.into(), key: key.into() }
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
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want(&places(&["vault:a", "aws:b"]), now);
        reading.want(&places(&["vault:a"]), now);
        assert_eq!(reading.begin(now), [places(&["aws:b"]), places(&["vault:a"])]);
        assert!(reading.begin(now).is_empty());
        reading.end(values(&["vault:a"]), now);
        assert!(reading.is_settled(&places(&["vault:a"])) && !reading.is_settled(&places(&["aws:b"])));
        assert!(reading.values(&places(&["vault:a", "aws:b"])).is_none());
        reading.end(values(&["aws:b"]), now);
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
        reading.end(values(&["vault:a"]), now);
        assert!(!reading.is_settled(&key));
        assert_eq!(reading.begin(now + Duration::from_millis(2)), std::slice::from_ref(&key));
        reading.end(values(&["vault:a"]), now);
        assert!(reading.is_settled(&key));
    }

    #[test]
    fn what_nobody_names_any_more_is_forgotten() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want(&places(&["vault:a"]), now);
        reading.begin(now);
        reading.end(values(&["vault:a"]), now);
        assert_eq!(reading.retain(&BTreeSet::new()), Vec::from_iter(places(&["vault:a"])));
        assert!(reading.values(&places(&["vault:a"])).is_none());
    }

    fn at(version: &str) -> Values {
        let mut values = values(&["aws:a"]);
        for value in values.values_mut().flatten() {
            value.version = version.into();
        }
        values
    }

    /// One read that ends at once.
    fn read(reading: &mut Reading, version: &str, now: Instant) {
        assert_eq!(reading.begin(now).len(), 1, "a read begins");
        reading.end(at(version), now);
    }

    fn place() -> Place {
        places(&["aws:a"]).pop_first().expect("a place")
    }

    #[test]
    fn an_older_answer_than_an_event_named_is_read_again_for_a_while() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want([&place()], now);
        read(&mut reading, "1", now);
        let until = now + Duration::from_secs(30);
        reading.expect(&place(), Some(("2".into(), until)), now);
        let mut at = now;
        let mut reads = 0;
        loop {
            read(&mut reading, "1", at);
            reads += 1;
            if reading.is_settled([&place()]) {
                break;
            }
            at = reading.next().expect("it is read again");
        }
        assert_eq!((at, reads), (until, 9));
        assert!(reading.is_at(&place(), &"1".into()));
    }

    #[test]
    fn the_version_that_an_event_named_ends_the_waiting() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want([&place()], now);
        read(&mut reading, "1", now);
        for answered in ["2", "3"] {
            reading.expect(&place(), Some((answered.into(), now + Duration::from_secs(30))), now);
            let at = reading.next().unwrap_or(now);
            read(&mut reading, answered, at);
            assert!(reading.is_settled([&place()]), "{answered}");
        }
    }

    #[test]
    fn another_version_than_before_is_no_older_answer() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want([&place()], now);
        read(&mut reading, "1", now);
        reading.expect(&place(), Some(("2".into(), now + Duration::from_secs(30))), now);
        let at = reading.next().unwrap_or(now);
        read(&mut reading, "3", at);
        assert!(reading.is_settled([&place()]));
    }

    #[test]
    fn after_a_read_that_brought_nothing_new_an_event_waits_and_a_person_does_not() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        reading.want([&place()], now);
        read(&mut reading, "1", now);
        reading.expect(&place(), None, now);
        assert_eq!(reading.next(), None, "the first read brought something");
        read(&mut reading, "1", now);
        reading.expect(&place(), None, now);
        assert!(reading.begin(now).is_empty());
        assert_eq!(reading.next(), Some(now + PAUSE));
        reading.want([&place()], now);
        assert_eq!(reading.begin(now).len(), 1);
    }

    #[test]
    fn the_account_of_a_store_is_that_of_its_names() {
        let (now, mut reading) = (Instant::now(), Reading::default());
        let keys = ["aws:arn:aws:secretsmanager:eu-west-1:2:secret:b-abcdef", "aws:a"];
        reading.want(&places(&keys), now);
        reading.begin(now);
        let mut read = values(&keys);
        for (place, value) in &mut read {
            let value = value.as_mut().expect("a value");
            value.account = Some(if place.key.is_arn() { "2" } else { "1" }.to_owned());
        }
        reading.end(read, now);
        assert_eq!(reading.account(&"aws".into()), Some("1"));
        assert_eq!(reading.account(&"other".into()), None);
    }
}
