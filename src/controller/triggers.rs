//! What comes from outside: whom it concerns, and what it makes of that.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Controller;
use super::fetches::ChangeNotice;
use super::reconciliation::{Cause, Share};
use crate::credential::{StoreKey, StoreName, Version};
use crate::manifest::config::Backend;
use crate::manifest::object::{ExpectedVersion, ForwardedRequest, Object};
use crate::metrics::TriggerOutcome;
use crate::trigger::aws_event::Home;
use crate::trigger::{Ack, Trigger, TriggerEvent, TriggerScope};

/// The oldest that a request can be which was handed over and that nobody took up yet. One that seems older is
/// of another clock, or was taken up by somebody who could not say so any more.
const OLDEST: Duration = Duration::from_mins(1);

/// How long after an event a store may go on answering the version from before it.
pub(super) const STALENESS: Duration = Duration::from_secs(30);

/// The keys to look at, each with the version it should answer, where one is known.
type Looks = BTreeMap<StoreKey, Option<Version>>;

impl Controller {
    /// Something outside says to look again.
    pub(super) fn wake(&mut self, wake: TriggerEvent) {
        let concerned = self.concerned(&wake.looks);
        let TriggerEvent { trigger, since, at, before, receipt, answer, looks: _ } = wake;
        let outcome = if concerned.is_empty() { TriggerOutcome::Unconcerned } else { TriggerOutcome::Woken };
        self.settings.health.metrics.triggered(trigger, outcome);
        if !self.leads {
            // What is read only by those who lead comes to whoever leads next.
            if let Some(answer) = answer {
                let requests = concerned.iter().map(|(name, looks)| (name.clone(), request(looks, at)));
                self.hand_over(requests.collect(), answer);
            }
            return;
        }
        for (name, looks) in &concerned {
            self.look_at(name, looks, Cause { trigger, since, at }, before, receipt.as_ref());
        }
        if let Some(receipt) = receipt {
            receipt.settle();
        }
        if let Some(answer) = answer {
            // Who asked may have gone.
            let _ = answer.send(Ok(concerned.into_keys().collect()));
        }
    }

    /// Whom these looks concern, and which of their keys.
    fn concerned(&self, looks: &[TriggerScope]) -> BTreeMap<String, Looks> {
        let mut concerned: BTreeMap<String, Looks> = BTreeMap::new();
        for look in looks {
            // What one at rest misses it reads when it is no longer so.
            for (name, record) in self.records.iter().filter(|(_, record)| record.is_awake()) {
                for place in record.places() {
                    if concerns(look, name, place, |store| self.home(store)) {
                        let looks = concerned.entry(name.clone()).or_default();
                        // Of several versions the last is the one that is expected.
                        let expected: &mut Option<Version> = looks.entry(place.clone()).or_default();
                        *expected = look.version().cloned().or(expected.take());
                    }
                }
            }
        }
        concerned
    }

    /// Where the keys of a store of AWS are looked up.
    fn home(&self, store: &StoreName) -> Option<Home<'_>> {
        let settings = self.settings.stores_known.iter().find(|known| known.name == store.0)?;
        match &settings.backend {
            Backend::AwsSecretsManager(settings) => {
                Some(Home { region: &settings.region, account: self.reading.account(store) })
            }
            Backend::Vault(_) | Backend::File(_) => None,
        }
    }

    /// Keys of a ClusterPullSecret are to be read again, unless what was read last has seen what is told of.
    pub(super) fn look_at(
        &mut self,
        name: &str,
        looks: &Looks,
        cause: Cause,
        before: Instant,
        receipt: Option<&Ack>,
    ) {
        let now = Instant::now();
        let Some(record) = self.records.get_mut(name) else { return };
        let told = |(place, version): (_, &Option<Version>)| {
            let version = version.clone().map(|version| (version, cause.since + STALENESS));
            (place, ChangeNotice { before, version })
        };
        let is_new = |(place, told): &(&StoreKey, ChangeNotice)| !self.reading.has_seen(place, told);
        let new: Vec<_> = looks.iter().map(told).filter(is_new).collect();
        let share = receipt
            .map(|receipt| Share { receipt: receipt.share(), places: looks.keys().cloned().collect() });
        if new.is_empty() {
            // It waits for the pass under way, and has no say in when that began: it may be an old one.
            if let Some(pass) = &mut record.pass {
                pass.note(cause, share, now);
            } else if let Some(share) = share.filter(|_| self.is_written(name, now)) {
                share.settle(|place| self.is_read(name, place));
            }
            return;
        }
        if let Some(pass) = self.join_pass(name, cause, now) {
            pass.note(cause, share, now);
        }
        for (place, told) in new {
            self.reading.expect(place, told, now);
        }
    }

    /// What was handed over last, whoever led may not have seen.
    pub(super) fn take_over(&mut self, name: &str) {
        let object = self.records.get(name).and_then(|record| record.wanted.object.as_ref());
        if let Some(request) = object.and_then(Object::pending_request).cloned() {
            self.requested(name, &request);
        }
    }

    /// Another replica handed over what the webhook told it.
    pub(super) fn requested(&mut self, name: &str, request: &ForwardedRequest) {
        if !self.leads {
            return;
        }
        let Some(record) = self.records.get(name).filter(|record| record.is_awake()) else { return };
        let looks = record.places().map(|place| (place.clone(), expected(request, place))).collect();
        let (now, wall) = (Instant::now(), (self.settings.wall_clock)());
        let age = Duration::try_from(wall.duration_since(request.at)).ok().filter(|age| *age <= OLDEST);
        let age = age.unwrap_or_default();
        let since = now.checked_sub(age).unwrap_or(now);
        let at = wall.checked_sub(age).unwrap_or(wall);
        self.look_at(name, &looks, Cause { trigger: Trigger::Webhook, since, at }, now, None);
    }
}

/// What is handed over of looks at a ClusterPullSecret.
fn request(looks: &Looks, at: Timestamp) -> ForwardedRequest {
    let expected = looks.iter().filter_map(|(place, version)| {
        let StoreKey { store, key } = place.clone();
        Some(ExpectedVersion { store: store.0, key: key.0, version: version.clone()?.0 })
    });
    ForwardedRequest { at, expected: expected.collect() }
}

/// The version that a key should answer, by what was handed over.
fn expected(request: &ForwardedRequest, place: &StoreKey) -> Option<Version> {
    let is_of = |it: &&ExpectedVersion| it.store == place.store.0 && it.key == place.key.0;
    request.expected.iter().rev().find(is_of).map(|it| Version(it.version.clone()))
}

/// Whether a look concerns a key of a ClusterPullSecret.
fn concerns<'a>(
    look: &TriggerScope,
    name: &str,
    place: &StoreKey,
    home: impl Fn(&StoreName) -> Option<Home<'a>>,
) -> bool {
    match look {
        TriggerScope::Everything => true,
        TriggerScope::Object(wanted) => wanted == name,
        TriggerScope::Key(wanted, _) => wanted == place,
        TriggerScope::Secret(sighting) => {
            home(&place.store).is_some_and(|home| sighting.secret.is_key(&place.key, home))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::aws_event::{SecretChange, SecretId};

    fn place(text: &str) -> StoreKey {
        let (store, key) = text.split_once(':').expect("store:key");
        StoreKey { store: store.into(), key: key.into() }
    }

    /// Which of some keys, all of the ClusterPullSecret `images`, a look concerns.
    fn check(look: TriggerScope, expect: &[&str]) {
        let places = ["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"];
        let home = |store: &StoreName| {
            (store.0 == "aws").then_some(Home { region: "eu-west-1", account: Some("123456789012") })
        };
        let concerned = places.iter().filter(|it| concerns(&look, "images", &place(it), home));
        assert_eq!(concerned.copied().collect::<Vec<_>>(), expect, "{look:?}");
    }

    fn secret(account: &str, region: &str) -> TriggerScope {
        let id = format!("arn:aws:secretsmanager:{region}:{account}:secret:ci/ghcr-a1B2c3");
        let secret = SecretId { id, account: Some(account.into()), region: Some(region.into()) };
        TriggerScope::Secret(SecretChange { secret, version: None })
    }

    #[test]
    fn a_look_concerns_what_it_names() {
        check(TriggerScope::Everything, &["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"]);
        check(TriggerScope::Object("images".into()), &["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"]);
        check(TriggerScope::Object("others".into()), &[]);
        check(TriggerScope::Key(place("vault:ci/ghcr"), None), &["vault:ci/ghcr"]);
    }

    #[test]
    fn an_event_concerns_the_keys_of_its_account_and_region() {
        check(secret("123456789012", "eu-west-1"), &["aws:ci/ghcr"]);
        check(secret("999999999999", "eu-west-1"), &[]);
        check(secret("123456789012", "us-east-1"), &[]);
    }

    #[test]
    fn what_is_handed_over_comes_out_as_it_went_in() {
        let looks = Looks::from([(place("aws:ci/ghcr"), Some("v2".into())), (place("vault:ci/ghcr"), None)]);
        let written = serde_json::to_string(&request(&looks, Timestamp::UNIX_EPOCH)).expect("JSON");
        let read: ForwardedRequest = serde_json::from_str(&written).expect("a request");
        for (place, version) in &looks {
            assert_eq!(expected(&read, place), *version);
        }
        assert_eq!(read.at, Timestamp::UNIX_EPOCH);
    }
}
