//! Reads, their order, and the values that are held.

use super::*;
use crate::provider::{ErrorKind, SealedPart};
use std::time::Duration;

/// Each of these is `store:key`.
fn store_keys(keys: &[&str]) -> BTreeSet<StoreKey> {
    let pairs = keys.iter().map(|key| key.split_once(':').expect("store:key"));
    pairs.map(|(store, key)| StoreKey { store: store.into(), key: key.into() }).collect()
}

fn value() -> StoredValue {
    StoredValue { version: "1".into(), bytes: b"pw".to_vec().into(), expiry: None, account: None }
}

fn values(keys: &[&str]) -> Values {
    store_keys(keys).into_iter().map(|store_key| (store_key, Ok(value()))).collect()
}

#[test]
fn key_with_many_requests_is_read_once() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    fetches.request(&store_keys(&["vault:a", "aws:b"]), now);
    fetches.request(&store_keys(&["vault:a"]), now);
    assert_eq!(fetches.start_due(now), [store_keys(&["aws:b"]), store_keys(&["vault:a"])]);
    assert!(fetches.start_due(now).is_empty());
    fetches.finish(values(&["vault:a"]), (now, now), |_| None);
    assert!(fetches.is_settled(&store_keys(&["vault:a"])));
    assert!(!fetches.is_settled(&store_keys(&["aws:b"])));
    assert!(fetches.values(&store_keys(&["vault:a", "aws:b"])).is_none());
    fetches.finish(values(&["aws:b"]), (now, now), |_| None);
    assert!(fetches.values(&store_keys(&["vault:a", "aws:b"])).is_some());
    assert!(fetches.start_due(now).is_empty());
}

#[test]
fn request_during_read_is_served_by_the_next() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    let key = store_keys(&["vault:a"]);
    fetches.request(&key, now);
    fetches.start_due(now);
    fetches.request(&key, now + Duration::from_millis(1));
    fetches.finish(values(&["vault:a"]), (now, now), |_| None);
    assert!(!fetches.is_settled(&key));
    let later = now + Duration::from_millis(2);
    assert_eq!(fetches.start_due(later), std::slice::from_ref(&key));
    fetches.finish(values(&["vault:a"]), (later, later), |_| None);
    assert!(fetches.is_settled(&key));
}

#[test]
fn unused_key_is_forgotten() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    fetches.request(&store_keys(&["vault:a"]), now);
    fetches.start_due(now);
    fetches.finish(values(&["vault:a"]), (now, now), |_| None);
    assert_eq!(fetches.retain(&BTreeSet::new()), Vec::from_iter(store_keys(&["vault:a"])));
    assert!(fetches.values(&store_keys(&["vault:a"])).is_none());
}

/// Reads `vault:a` at a version; an empty one fails.
fn read(fetches: &mut Fetches, version: &str, now: Instant) -> Result<AnswerVerdict, FetchedReason> {
    let key = store_keys(&["vault:a"]);
    fetches.request(&key, now);
    assert_eq!(fetches.start_due(now), std::slice::from_ref(&key));
    let answer = match version {
        "" => Err(ErrorKind::Sealed(SealedPart::Vault).at(key.first().expect("a key").clone())),
        version => Ok(StoredValue { version: version.into(), ..value() }),
    };
    let verdicts = fetches.finish(key.into_iter().zip([answer]).collect(), (now, now), |_| None);
    verdicts.into_iter().next().expect("a verdict").1
}

/// The version of the value of `vault:a`, or the reason of its failure.
fn held(fetches: &Fetches) -> String {
    let values = fetches.values(&store_keys(&["vault:a"])).expect("a value");
    match values.values().next().expect("a value") {
        Ok(value) => value.version.to_string(),
        Err(error) => error.reason().to_string(),
    }
}

#[test]
fn older_answer_leaves_the_held_value() {
    let (mut now, mut fetches) = (Instant::now(), Fetches::default());
    assert_eq!(read(&mut fetches, "2", now), Ok(AnswerVerdict::Taken));
    now += Duration::from_secs(1);
    assert_eq!(read(&mut fetches, "1", now), Ok(AnswerVerdict::HeldBack { is_first: true }));
    let key = store_keys(&["vault:a"]);
    let order = fetches.order(key.first().expect("a key"));
    assert_eq!((held(&fetches), order.held_back), ("2".to_owned(), Some("1".into())));
    assert_eq!(fetches.older_taken_at(&key, now), Some(now + HOLD_BACK));
    now += HOLD_BACK;
    assert_eq!(read(&mut fetches, "1", now), Ok(AnswerVerdict::TakenOlder));
    let order = fetches.order(key.first().expect("a key"));
    assert_eq!((held(&fetches), order.given_up), ("1".to_owned(), Some("2".into())));
}

#[test]
fn older_answer_after_a_failed_read_is_an_error() {
    let (mut now, mut fetches) = (Instant::now(), Fetches::default());
    for (version, expect) in [("2", "2"), ("", "Sealed"), ("1", "OlderVersion"), ("2", "2")] {
        now += Duration::from_secs(1);
        let _ = read(&mut fetches, version, now);
        assert_eq!(held(&fetches), expect, "{version:?}");
    }
}

#[test]
fn first_answer_older_than_the_recorded_value_is_held_back() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    let key = store_keys(&["vault:a"]);
    fetches.request(&key, now);
    fetches.start_due(now);
    let verdicts = fetches.finish(values(&["vault:a"]), (now, now), |_| Some("2".into()));
    let verdicts: Vec<_> = verdicts.into_iter().map(|(_, verdict)| verdict).collect();
    assert_eq!(verdicts, [Ok(AnswerVerdict::HeldBack { is_first: true })]);
    assert_eq!(held(&fetches), "OlderVersion");
    assert_eq!(fetches.older_taken_at(&key, now), Some(now + HOLD_BACK));
    // The record is asked once: later answers are compared with those of this process.
    assert_eq!(read(&mut fetches, "3", now), Ok(AnswerVerdict::Taken));
    assert_eq!(read(&mut fetches, "2", now), Ok(AnswerVerdict::HeldBack { is_first: true }));
    // Another replica led since.
    fetches.forget_values();
    assert!(fetches.values(&key).is_none());
    assert_eq!(read(&mut fetches, "1", now), Ok(AnswerVerdict::Taken));
}

#[test]
fn answer_that_is_held_back_is_no_change() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    let key = StoreKey { store: "vault".into(), key: "a".into() };
    let _ = read(&mut fetches, "1", now);
    fetches.changed.insert(key.clone());
    assert_eq!(read(&mut fetches, "0", now), Ok(AnswerVerdict::HeldBack { is_first: true }));
    assert!(!fetches.has_changed(&key));
}

#[test]
fn failed_read_after_the_hold_causes_no_read_at_once() {
    let (mut now, mut fetches) = (Instant::now(), Fetches::default());
    let key = store_keys(&["vault:a"]);
    let _ = read(&mut fetches, "2", now);
    let _ = read(&mut fetches, "1", now);
    let taken_at = now + HOLD_BACK;
    now += Duration::from_secs(299);
    let _ = read(&mut fetches, "", now);
    assert_eq!(fetches.older_taken_at(&key, now), Some(taken_at));
    for seconds in [1, 2] {
        now += Duration::from_secs(seconds);
        let _ = read(&mut fetches, "", now);
        assert_eq!(fetches.older_taken_at(&key, now), None, "the back-off decides");
    }
    assert_eq!(read(&mut fetches, "1", now), Ok(AnswerVerdict::TakenOlder));
}

#[test]
fn number_without_time_is_seen_by_a_later_read_only() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    assert_eq!(read(&mut fetches, "1@2026-11-27T10:00:00Z", now), Ok(AnswerVerdict::Taken));
    let key = store_keys(&["vault:a"]).pop_first().expect("a key");
    let later = now + Duration::from_secs(1);
    for (version, before, expect) in
        [("1@2026-11-27T10:00:00Z", later, true), ("1", now, true), ("1", later, false), ("2", now, false)]
    {
        let notice = ChangeNotice { before, version: Some((version.into(), later)), can_lag: true };
        assert_eq!(fetches.has_seen(&key, &notice), expect, "{version}");
    }
}

#[test]
fn account_of_store_is_that_of_its_names() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    let keys = ["aws:arn:aws:secretsmanager:eu-west-1:2:secret:b-abcdef", "aws:a"];
    fetches.request(&store_keys(&keys), now);
    fetches.start_due(now);
    let mut read = values(&keys);
    for (store_key, value) in &mut read {
        let value = value.as_mut().expect("a value");
        value.account = Some(if store_key.key.is_arn() { "2" } else { "1" }.to_owned());
    }
    fetches.finish(read, (now, now), |_| None);
    assert_eq!(fetches.account(&"aws".into()), Some("1"));
    assert_eq!(fetches.account(&"other".into()), None);
}

#[test]
fn sealed_store_is_a_transient_failure_of_its_key() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    let keys = store_keys(&["vault:a", "vault:b", "vault:c"]);
    fetches.request(&keys, now);
    fetches.start_due(now);
    let kinds = [None, Some(ErrorKind::Sealed(SealedPart::Vault)), Some(ErrorKind::NotFound)];
    let values = keys.iter().zip(kinds).map(|(store_key, kind)| {
        (store_key.clone(), kind.map_or(Ok(value()), |kind| Err(kind.at(store_key.clone()))))
    });
    fetches.finish(values.collect(), (now, now), |_| None);
    let failures: Vec<_> = keys.iter().map(|it| fetches.has_transient_failure(it)).collect();
    assert_eq!(failures, [false, true, false]);
}

#[test]
fn only_unknown_keys_are_requested() {
    let (now, mut fetches) = (Instant::now(), Fetches::default());
    fetches.request(&store_keys(&["vault:a"]), now);
    fetches.start_due(now);
    fetches.finish(values(&["vault:a"]), (now, now), |_| None);
    fetches.request_unknown(&store_keys(&["vault:a", "vault:b"]), now);
    assert_eq!(fetches.start_due(now), [store_keys(&["vault:b"])]);
    assert!(fetches.has_read(&store_keys(&["vault:a"]).pop_first().expect("a key")));
    fetches.request_unknown(&store_keys(&["vault:b"]), now);
    assert!(fetches.start_due(now).is_empty(), "it is in flight");
}

#[test]
fn held_version_after_a_failed_read_brings_no_news() {
    let key = store_keys(&["vault:a"]).pop_first().expect("a key");
    for (held, found, expect) in [("1", "1", false), ("1", "2", true), ("unversioned", "unversioned", true)] {
        let (mut now, mut fetches) = (Instant::now(), Fetches::default());
        for version in [held, "", found] {
            now += Duration::from_secs(1);
            let _ = read(&mut fetches, version, now);
        }
        let notice = ChangeNotice { before: now, version: None, can_lag: true };
        assert_eq!(fetches.has_brought_news(&key, &notice), expect, "{held} {found}");
    }
}
