//! Fetches from the stores: keys that are due, reads in flight, and the last values.
//!
//! Pure. A key that several ClusterPullSecrets name is read once for all of them: a request as of an
//! instant is served by any read that started after it. Each store is read on its own, so that one that
//! hangs delays no other. `key_state` decides for each key when the next read starts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::time::Instant;

use self::held_version::HeldVersion;
pub use self::held_version::{AnswerVerdict, HOLD_BACK};
pub use self::key_state::{ChangeNotice, StaleAnswer};
use self::key_state::{FetchState, KeyState};
use self::lives::Lives;
pub use self::lives::{KeyLife, expiries, reject_expired};
use self::unconfirmed::ReadGain;
use crate::credential::{StoreKey, StoreName, StoredValue, Version};
use crate::manifest::status::reason::FetchedReason;
use crate::provider::stores::Values;
use crate::provider::{Error, ErrorKind};
use crate::reconcile::version_order::{KeyOrder, older_version};

mod held_version;
mod key_state;
mod lives;
mod unconfirmed;
mod values;

/// The time after an event in which a store may still reply the version before it.
pub const STALENESS: Duration = Duration::from_secs(30);

/// The keys in use, their state and their last values.
#[derive(Default)]
pub struct Fetches {
    keys: BTreeMap<StoreKey, KeyState>,
    /// Those of which a read is requested or in flight: nearly always few, however many there are.
    waiting: BTreeSet<StoreKey>,
    /// The version of each key that is held, and whether an older one waits.
    held: BTreeMap<StoreKey, HeldVersion>,
    values: Values,
    /// The keys of which the last read returned other bytes than the one before.
    changed: BTreeSet<StoreKey>,
    /// The account in which each store looks up names.
    accounts: BTreeMap<StoreName, String>,
    lives: Lives,
}

impl Fetches {
    /// Requests a read of these keys that starts at `since` or later, without any pause.
    pub fn request<'a>(&mut self, store_keys: impl IntoIterator<Item = &'a StoreKey>, since: Instant) {
        for store_key in store_keys {
            self.keys.entry(store_key.clone()).or_default().request(since);
            self.waiting.insert(store_key.clone());
        }
    }

    /// Requests those of these keys that were never read and never requested.
    pub fn request_unknown<'a>(
        &mut self,
        store_keys: impl IntoIterator<Item = &'a StoreKey>,
        since: Instant,
    ) {
        let unknown: Vec<_> =
            store_keys.into_iter().filter(|store_key| !self.keys.contains_key(*store_key)).collect();
        self.request(unknown, since);
    }

    /// Handles an event regarding a key.
    pub fn on_change_notice(&mut self, store_key: &StoreKey, notice: ChangeNotice, now: Instant) {
        self.keys.entry(store_key.clone()).or_default().on_change_notice(notice, now);
        self.waiting.insert(store_key.clone());
    }

    /// Returns true if the reads of a key have seen the change: the last one returned that version, or, where the
    /// event names none, they serve it.
    #[must_use]
    pub fn has_seen(&self, store_key: &StoreKey, notice: &ChangeNotice) -> bool {
        match &notice.version {
            Some((version, _)) if version.is_exact() => self.version(store_key) == Some(version),
            // A number alone may be that of a key that was created again.
            Some((version, _)) => {
                self.version(store_key).is_some_and(|it| it.is_same(version))
                    && self.has_read_since(store_key, notice.before)
            }
            None => self.has_read_since(store_key, notice.before),
        }
    }

    /// Returns true if a read of a key started at `since` or later, with whatever result.
    #[must_use]
    pub fn has_started_since(&self, store_key: &StoreKey, since: Instant) -> bool {
        self.keys.get(store_key).is_some_and(|key| key.has_started_since(since))
    }

    /// Returns true if an event since was served, and the last read was answered.
    fn has_read_since(&self, store_key: &StoreKey, since: Instant) -> bool {
        self.keys.get(store_key).is_some_and(|key| key.has_read_since(since))
    }

    /// Returns the instant at which the next delayed read may start.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().filter_map(|store_key| self.keys.get(store_key));
        waiting.filter_map(KeyState::next_due).min()
    }

    /// Starts the reads that are due, one for each store, and returns their keys.
    pub fn start_due(&mut self, now: Instant) -> Vec<BTreeSet<StoreKey>> {
        let mut reads: BTreeMap<String, BTreeSet<StoreKey>> = BTreeMap::new();
        for store_key in &self.waiting {
            if self.keys.get_mut(store_key).is_some_and(|key| key.start(now)) {
                reads.entry(store_key.store.0.clone()).or_default().insert(store_key.clone());
            }
        }
        reads.into_values().collect()
    }

    /// Records the result of the read that started at `started`; returns the decision about each value. Before the
    /// first answer of a key, its recorded last good value has the version that is held.
    pub fn finish(
        &mut self,
        values: Values,
        (started, now): (Instant, Instant),
        recorded: impl Fn(&StoreKey) -> Option<Version>,
    ) -> Vec<(StoreKey, Result<AnswerVerdict, FetchedReason>)> {
        let mut verdicts = Vec::new();
        for (store_key, value) in values {
            let version = value.as_ref().ok().map(|value| &value.version);
            // The key is no longer in use, or it was dropped and added again during the read.
            let Some(key) = self.keys.get_mut(&store_key) else { continue };
            if !key.is_in_flight(started) {
                continue;
            }
            let held = self.held.entry(store_key.clone());
            let held = held.or_insert_with_key(|store_key| HeldVersion::recorded(recorded(store_key)));
            let is_held = version.is_some_and(|version| held.is(version));
            let verdict = match &value {
                Ok(value) => Ok(held.on_answer(&value.version, now)),
                Err(error) => Err(error.reason()),
            };
            let gain = gain((verdict, is_held), self.values.get(&store_key), &value);
            key.finish(started, version, gain, now);
            if key.state() == FetchState::Settled {
                self.waiting.remove(&store_key);
            }
            verdicts.push((store_key.clone(), verdict));
            // An ARN may be in a foreign account.
            if let Some(account) = value.as_ref().ok().and_then(|value| value.account.as_ref())
                && !store_key.key.is_arn()
            {
                self.accounts.insert(store_key.store.clone(), account.clone());
            }
            match (verdict, self.values.get(&store_key)) {
                (Ok(AnswerVerdict::HeldBack { .. }), Some(Ok(_))) => {
                    self.changed.remove(&store_key);
                }
                (Ok(AnswerVerdict::HeldBack { .. }), _) => {
                    self.changed.remove(&store_key);
                    let what = held.held_back().map(|(held, found)| older_version(held, found));
                    let kind = ErrorKind::OlderVersion(what.unwrap_or_default());
                    self.values.insert(store_key.clone(), Err(kind.at(store_key)));
                }
                (_, before) => {
                    if before.is_some_and(|before| is_changed(before, &value)) {
                        self.changed.insert(store_key.clone());
                    } else {
                        self.changed.remove(&store_key);
                    }
                    self.values.insert(store_key, value);
                }
            }
        }
        verdicts
    }

    /// Returns the versions of a key that reports and writes depend on, besides the one that is held.
    #[must_use]
    pub fn order(&self, store_key: &StoreKey) -> KeyOrder {
        let Some(held) = self.held.get(store_key) else { return KeyOrder::default() };
        KeyOrder {
            held_back: held.held_back().map(|(_, found)| found.clone()),
            given_up: held.given_up().cloned(),
        }
    }

    /// Returns the next instant from which an older answer for one of these keys is taken. Once that has passed, the key
    /// was read without success, and is retried as any other.
    #[must_use]
    pub fn older_taken_at<'a>(
        &self,
        store_keys: impl IntoIterator<Item = &'a StoreKey>,
        now: Instant,
    ) -> Option<Instant> {
        let taken_at = store_keys.into_iter().filter_map(|store_key| self.held.get(store_key)?.taken_at());
        taken_at.filter(|taken_at| *taken_at > now).min()
    }

    /// Returns true if no read of these keys is requested or in flight.
    #[must_use]
    pub fn is_settled<'a>(&self, store_keys: impl IntoIterator<Item = &'a StoreKey>) -> bool {
        self.states(store_keys).all(|state| state == FetchState::Settled)
    }

    /// Returns true if every one of these keys was read for a reconciliation that started at `started`,
    /// even if later requests need another read.
    #[must_use]
    pub fn has_served<'a>(
        &self,
        store_keys: impl IntoIterator<Item = &'a StoreKey>,
        started: Instant,
    ) -> bool {
        self.states(store_keys).all(|state| match state {
            FetchState::Settled => true,
            FetchState::Deferred(served) => served >= started,
            FetchState::Pending => false,
        })
    }

    /// Returns the instant up to which events are served, of keys that will be read again: later ones wait for
    /// another read.
    #[must_use]
    pub fn served_until<'a>(&self, store_keys: impl IntoIterator<Item = &'a StoreKey>) -> Option<Instant> {
        self.states(store_keys).filter_map(FetchState::served_until).min()
    }

    /// Returns the stale answer to report for a key that was just read at an older version than an event
    /// named.
    #[must_use]
    pub fn stale_answer(&self, store_key: &StoreKey) -> Option<&StaleAnswer> {
        self.keys.get(store_key)?.stale_answer()
    }

    /// Returns true if the store never answered the version that an event named.
    #[must_use]
    pub fn has_given_up(&self, store_key: &StoreKey) -> bool {
        self.stale_answer(store_key).is_some_and(|answer| answer.is_final)
    }

    /// Returns true if the reads for an event about a key returned something new: the version that it names, or
    /// any change.
    #[must_use]
    pub fn has_brought_news(&self, store_key: &StoreKey, notice: &ChangeNotice) -> bool {
        match notice.version {
            Some(_) => self.has_seen(store_key, notice),
            None => self.keys.get(store_key).is_some_and(|key| key.has_news_since(notice.before)),
        }
    }

    /// Returns true if the reads of a key for an event have just ended, and all of them brought nothing new.
    #[must_use]
    pub fn was_read_in_vain(&self, store_key: &StoreKey) -> bool {
        self.keys.get(store_key).is_some_and(KeyState::is_in_vain)
    }

    fn states<'a>(
        &self,
        store_keys: impl IntoIterator<Item = &'a StoreKey>,
    ) -> impl Iterator<Item = FetchState> {
        store_keys
            .into_iter()
            .map(|store_key| self.keys.get(store_key).map_or(FetchState::Settled, KeyState::state))
    }

    /// Forgets all values and versions: another replica may have read later ones. Every key has to be read again.
    pub fn forget_values(&mut self) {
        self.held.clear();
        self.lives.clear();
        self.values.clear();
    }

    /// Forgets every key but these, and returns the forgotten ones.
    pub fn retain(&mut self, store_keys: &BTreeSet<StoreKey>) -> Vec<StoreKey> {
        let forgotten: Vec<_> =
            self.keys.keys().filter(|store_key| !store_keys.contains(*store_key)).cloned().collect();
        for store_key in &forgotten {
            self.keys.remove(store_key);
            self.held.remove(store_key);
            self.waiting.remove(store_key);
            self.changed.remove(store_key);
            self.values.remove(store_key);
            self.lives.remove(store_key);
        }
        forgotten
    }
}

/// Returns the gain of a read after the one before; `is_held` if it answered the version that was held. A replica that
/// lags behind may answer that a new key is not found.
fn gain(
    (verdict, is_held): (Result<AnswerVerdict, FetchedReason>, bool),
    before: Option<&Result<StoredValue, Error>>,
    after: &Result<StoredValue, Error>,
) -> ReadGain {
    match (verdict, before, after) {
        (Ok(AnswerVerdict::HeldBack { .. }) | Err(FetchedReason::NotFound | FetchedReason::Deleted), ..) => {
            ReadGain::Nothing
        }
        (Err(_), ..) => ReadGain::Failed,
        (_, Some(before @ Ok(_)), _) if is_held && !is_changed(before, after) => ReadGain::Nothing,
        // After a failed read, or a restart. A store without versions may have another value.
        (_, None | Some(Err(_)), Ok(found)) if is_held && !found.version.is_unversioned() => {
            ReadGain::Nothing
        }
        _ => ReadGain::New,
    }
}

/// Returns true if two successful reads returned other bytes.
fn is_changed(before: &Result<StoredValue, Error>, after: &Result<StoredValue, Error>) -> bool {
    let [Ok(before), Ok(after)] = [before, after] else { return false };
    before.bytes.expose_secret() != after.bytes.expose_secret()
}

#[cfg(test)]
mod tests;
