//! Triggers from outside: the ClusterPullSecrets and keys each of them affects, and the reads it causes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Controller;
use super::reconciliation::{Cause, PendingAck};
use crate::credential::{StoreKey, StoreName, Version};
use crate::fetches::{ChangeNotice, STALENESS};
use crate::manifest::config::Backend;
use crate::manifest::object::{ExpectedVersion, ForwardedKey, ForwardedRequest, LiveObject};
use crate::metrics::TriggerOutcome;
use crate::trigger::aws_event::AwsLocation;
use crate::trigger::{Ack, AckOutcome, Trigger, TriggerEvent, TriggerScope};

/// The age up to which the time of a forwarded request counts. One that seems older has the time of another
/// clock, or was taken up by a leader that could not record it.
const MAX_REQUEST_AGE: Duration = Duration::from_mins(1);

/// The keys that a forwarded request names; one for more keys asks for all of them, so that the annotation stays
/// small.
const MAX_FORWARDED_KEYS: usize = 100;

/// The keys to read, each with the version it should reply, where one is known.
type ExpectedVersions = BTreeMap<StoreKey, Option<Version>>;

impl Controller {
    /// Handles a trigger from outside.
    pub(super) fn on_trigger(&mut self, event: TriggerEvent) {
        let affected = self.affected_by(&event.scopes);
        let TriggerEvent { trigger, since, at, before, ack, reply, scopes: _ } = event;
        let outcome = if affected.is_empty() { TriggerOutcome::Ignored } else { TriggerOutcome::Accepted };
        self.context.health.metrics.triggered(trigger, outcome);
        if !self.is_leading {
            // Sources that only the leader reads deliver to the next leader.
            if let Some(reply) = reply {
                let requests = affected.iter().map(|(name, expected)| {
                    let keys =
                        self.objects.get(name).map(|state| state.store_keys().collect::<BTreeSet<_>>());
                    let is_all = keys.is_none_or(|keys| keys.len() == expected.len());
                    (name.clone(), request(expected, at, is_all))
                });
                self.forward(requests.collect(), reply);
            }
            return;
        }
        for (name, expected) in &affected {
            self.fetch_for(name, expected, Cause { trigger, since, at }, before, ack.as_ref());
        }
        if let Some(ack) = ack {
            ack.ack(AckOutcome::NoNewerVersion);
        }
        if let Some(reply) = reply {
            // The caller may have gone.
            let _ = reply.send(Ok(affected.into_keys().collect()));
        }
    }

    /// Returns the ClusterPullSecrets that a trigger affects, with their affected keys.
    fn affected_by(&self, scopes: &[TriggerScope]) -> BTreeMap<String, ExpectedVersions> {
        let mut affected: BTreeMap<String, ExpectedVersions> = BTreeMap::new();
        for scope in scopes {
            // An inactive ClusterPullSecret reads its keys once it is active again.
            for (name, state) in self.objects.iter().filter(|(_, state)| state.is_active()) {
                for store_key in state.store_keys() {
                    if is_affected(scope, name, store_key, |store| self.home(store)) {
                        let expected = affected.entry(name.clone()).or_default();
                        // Of several versions the last is expected.
                        let version: &mut Option<Version> = expected.entry(store_key.clone()).or_default();
                        *version = scope.version().cloned().or(version.take());
                    }
                }
            }
        }
        affected
    }

    /// Returns the region and account in which an AWS store looks up its keys.
    fn home(&self, store: &StoreName) -> Option<AwsLocation<'_>> {
        let config = self.context.store_configs.iter().find(|config| config.name == store.0)?;
        match &config.backend {
            Backend::AwsSecretsManager(settings) => {
                Some(AwsLocation { region: &settings.region, account: self.fetches.account(store) })
            }
            Backend::Vault(_) | Backend::AwsEcr(_) | Backend::File(_) | Backend::DefaultDirectory(_) => None,
        }
    }

    /// Reads keys of a ClusterPullSecret again, unless the last read has seen the change.
    pub(super) fn fetch_for(
        &mut self,
        name: &str,
        expected: &ExpectedVersions,
        cause: Cause,
        before: Instant,
        ack: Option<&Ack>,
    ) {
        let now = Instant::now();
        let Some(state) = self.objects.get_mut(name) else { return };
        let notices = expected.iter().map(|(store_key, version)| {
            let version = version.clone().map(|version| (version, cause.since + STALENESS));
            let can_lag = self.context.stores.can_lag(&store_key.store);
            (store_key.clone(), ChangeNotice { before, version, can_lag })
        });
        let notices: Vec<_> = notices.collect();
        let pending_ack = ack.map(|ack| PendingAck { ack: ack.fork(), notices: notices.clone() });
        let unseen: Vec<_> = notices
            .into_iter()
            .filter(|(store_key, notice)| !self.fetches.has_seen(store_key, notice))
            .collect();
        if unseen.is_empty() {
            // The event waits for the reconciliation in progress and does not set its time: it may be an old
            // one.
            if let Some(reconciliation) = &mut state.reconciliation {
                reconciliation.add_event(cause, pending_ack, now);
            } else if let Some(pending_ack) = pending_ack.filter(|_| self.is_applied(name, now)) {
                pending_ack.ack(|store_key, notice| self.outcome(store_key, notice));
            }
            return;
        }
        if let Some(reconciliation) = self.join_reconciliation(name, cause, now) {
            reconciliation.add_event(cause, pending_ack, now);
        }
        for (store_key, notice) in unseen {
            self.fetches.on_change_notice(&store_key, notice, now);
        }
    }

    /// Handles a forwarded request that the previous leader may not have seen.
    pub(super) fn resume_request(&mut self, name: &str) {
        let object = self.objects.get(name).and_then(|state| state.manifest.object.as_ref());
        if let Some(request) = object.and_then(LiveObject::pending_request).cloned() {
            self.on_request(name, &request);
        }
    }

    /// Handles a webhook request that another replica forwarded.
    pub(super) fn on_request(&mut self, name: &str, request: &ForwardedRequest) {
        if !self.is_leading {
            return;
        }
        let Some(state) = self.objects.get(name).filter(|state| state.is_active()) else { return };
        let expected = state
            .store_keys()
            .filter(|store_key| is_requested(request, store_key))
            .map(|store_key| (store_key.clone(), expected_version(request, store_key)))
            .collect();
        let (now, wall) = (Instant::now(), (self.context.wall_clock)());
        let age = Duration::try_from(wall.duration_since(request.at)).ok();
        let age = age.filter(|age| *age <= MAX_REQUEST_AGE).unwrap_or_default();
        let since = now.checked_sub(age).unwrap_or(now);
        let at = wall.checked_sub(age).unwrap_or(wall);
        self.fetch_for(name, &expected, Cause { trigger: Trigger::Webhook, since, at }, now, None);
    }
}

/// Returns the request to forward for the affected keys of a ClusterPullSecret.
fn request(expected: &ExpectedVersions, at: Timestamp, is_all: bool) -> ForwardedRequest {
    let keys = expected
        .keys()
        .map(|StoreKey { store, key }| ForwardedKey { store: store.0.clone(), key: key.0.clone() });
    let keys = (!is_all && expected.len() <= MAX_FORWARDED_KEYS).then(|| keys.collect());
    let expected = expected.iter().filter_map(|(store_key, version)| {
        let StoreKey { store, key } = store_key.clone();
        Some(ExpectedVersion { store: store.0, key: key.0, version: version.clone()?.to_string() })
    });
    ForwardedRequest { at, expected: expected.collect(), keys }
}

/// Returns true if a forwarded request is about this key.
fn is_requested(request: &ForwardedRequest, StoreKey { store, key }: &StoreKey) -> bool {
    let keys = request.keys.as_ref();
    keys.is_none_or(|keys| keys.iter().any(|it| it.store == store.0 && it.key == key.0))
}

/// Returns the version that a key should reply by a forwarded request.
fn expected_version(request: &ForwardedRequest, store_key: &StoreKey) -> Option<Version> {
    let mut latest_first = request.expected.iter().rev();
    let expected = latest_first.find(|it| it.store == store_key.store.0 && it.key == store_key.key.0)?;
    Some(expected.version.as_str().into())
}

/// Returns true if a trigger affects a key of a ClusterPullSecret.
fn is_affected<'a>(
    scope: &TriggerScope,
    name: &str,
    store_key: &StoreKey,
    home: impl Fn(&StoreName) -> Option<AwsLocation<'a>>,
) -> bool {
    match scope {
        TriggerScope::All => true,
        TriggerScope::Object(affected) => affected == name,
        TriggerScope::Key(affected, _) => affected == store_key,
        TriggerScope::Secret(change) => {
            home(&store_key.store).is_some_and(|home| change.secret.is_key(&store_key.key, home))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trigger::aws_event::{SecretChange, SecretId};

    fn store_key(text: &str) -> StoreKey {
        let (store, key) = text.split_once(':').expect("store:key");
        StoreKey { store: store.into(), key: key.into() }
    }

    fn home(store: &StoreName) -> Option<AwsLocation<'static>> {
        (store.0 == "aws").then_some(AwsLocation { region: "eu-west-1", account: Some("123456789012") })
    }

    /// Checks which of some keys, all of the ClusterPullSecret `images`, a trigger affects.
    fn check(scope: TriggerScope, expect: &[&str]) {
        let keys = ["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"];
        let affected = keys.iter().filter(|it| is_affected(&scope, "images", &store_key(it), home));
        assert_eq!(affected.copied().collect::<Vec<_>>(), expect, "{scope:?}");
    }

    fn secret(account: &str, region: &str) -> TriggerScope {
        let id = format!("arn:aws:secretsmanager:{region}:{account}:secret:ci/ghcr-a1B2c3");
        let secret = SecretId { id, account: Some(account.into()), region: Some(region.into()) };
        TriggerScope::Secret(SecretChange { secret, version: None })
    }

    #[test]
    fn scope_affects_the_keys_it_names() {
        check(TriggerScope::All, &["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"]);
        check(TriggerScope::Object("images".into()), &["aws:ci/ghcr", "aws:prod/hub", "vault:ci/ghcr"]);
        check(TriggerScope::Object("others".into()), &[]);
        check(TriggerScope::Key(store_key("vault:ci/ghcr"), None), &["vault:ci/ghcr"]);
    }

    #[test]
    fn event_affects_keys_of_its_account_and_region() {
        check(secret("123456789012", "eu-west-1"), &["aws:ci/ghcr"]);
        check(secret("999999999999", "eu-west-1"), &[]);
        check(secret("123456789012", "us-east-1"), &[]);
    }

    #[test]
    fn forwarded_request_round_trips() {
        let expected = ExpectedVersions::from([
            (store_key("aws:ci/ghcr"), Some("v2".into())),
            (store_key("vault:ci/ghcr"), None),
        ]);
        let written = serde_json::to_string(&request(&expected, Timestamp::UNIX_EPOCH, true)).expect("JSON");
        let read: ForwardedRequest = serde_json::from_str(&written).expect("a request");
        for (store_key, version) in &expected {
            assert_eq!(expected_version(&read, store_key), *version);
        }
        assert_eq!(read.at, Timestamp::UNIX_EPOCH);
    }

    /// Checks which keys a request for `vault:0` to `vault:N` is about, after it was forwarded.
    #[track_caller]
    fn check_forwarded(keys: usize, is_all: bool, others: bool) {
        let expected = (0..keys).map(|n| (store_key(&format!("vault:{n}")), None)).collect();
        let forwarded = request(&expected, Timestamp::UNIX_EPOCH, is_all);
        let read: ForwardedRequest =
            serde_json::from_str(&serde_json::to_string(&forwarded).expect("JSON")).expect("a request");
        assert!(is_requested(&read, &store_key("vault:0")));
        assert_eq!(is_requested(&read, &store_key("vault:others")), others);
    }

    #[test]
    fn forwarded_request_names_few_keys_or_all() {
        check_forwarded(1, false, false);
        check_forwarded(100, false, false);
        check_forwarded(101, false, true);
        check_forwarded(1, true, true);
    }
}
