//! What a person reads in the status, case by case.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::cluster::Cluster;
use crate::reconcile::desired_secret::DesiredSecret;
use crate::reconcile::fixture::{cluster_pull_secret, values};
use crate::reconcile::resolve::resolve;
use crate::report::{NamespaceReport, Problem, ResultKind};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A ClusterPullSecret of generation 2 with two registries, that was read as told and looked at everywhere.
fn record(read: &[(&str, &str, &str)]) -> ObjectState {
    let mut wanted = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
    wanted.object = Some(Object::of(&json!({"metadata": {"uid": "u-1", "generation": 2}})));
    let wanted = Arc::new(wanted);
    let mut record = ObjectState::new(Arc::clone(&wanted));
    record.contents = Some(DesiredSecret::new(resolve(&wanted, &values(read)), &Cluster::default()));
    record.passed = Some(2);
    stand(&mut record, "db", ResultKind::Unchanged, None);
    stand(&mut record, "web", ResultKind::Unchanged, None);
    record
}

const GOOD: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "1", "pw")];

fn stand(record: &mut ObjectState, namespace: &str, result: ResultKind, reason: Option<AppliedReason>) {
    let mut report = NamespaceReport::new(namespace.into(), result);
    (report.reason, report.message) =
        (reason.map(Into::into), reason.map(|reason| format!("because of {reason}")));
    record.stands(&report, Instant::now(), |_| Duration::ZERO);
}

/// `Type Status Reason: message` for each condition.
fn conditions(record: &ObjectState) -> Vec<String> {
    let status = of(record, true, NOW);
    let line = |it: &Condition| format!("{} {} {}: {}", it.type_, it.status, it.reason, it.message);
    status.conditions.iter().map(line).collect()
}

#[test]
fn all_is_well() {
    let status = of(&record(&GOOD), true, NOW);
    assert_eq!((status.summary.registries.as_str(), status.summary.namespaces.as_str()), ("2/2", "2/2"));
    assert_eq!(status.secret_names, ["regcred"]);
    assert_eq!(
        conditions(&record(&GOOD)),
        [
            "Ready True InSync: 2 namespaces hold what they should",
            "Fetched True Fetched: every registry's credential was read",
            "Applied True Applied: 2 namespaces hold what they should",
        ]
    );
}

#[test]
fn a_registry_that_cannot_be_read_is_told_with_store_and_key() {
    let conditions = conditions(&record(&[("ghcr.io", "7", "pw"), ("quay.io", "1", "")]));
    let sealed = "quay.io: store vault, key quay.io: the Vault is sealed; what the cluster has of it stays";
    assert_eq!(
        conditions[..2],
        [format!("Ready False FetchFailed: {sealed}"), format!("Fetched False Sealed: {sealed}")]
    );
}

#[test]
fn a_registry_that_cannot_be_read_keeps_the_version_that_was_read_last() {
    const FAILING: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "1", "")];
    const ROTATED: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "2", "pw")];
    let read = |record: &mut ObjectState, values: &[(&str, &str, &str)]| {
        record.contents = super::tests::record(values).contents;
        record.note_versions()
    };
    let versions = |record: &ObjectState| {
        of(record, true, NOW).registries.into_iter().map(|it| it.version.unwrap()).collect::<Vec<_>>()
    };
    let mut record = record(&GOOD);
    assert!(!read(&mut record, &GOOD) && !read(&mut record, &FAILING));
    assert_eq!(versions(&record), ["7", "1"]);
    // Another process goes on from the status.
    let status = of(&record, true, NOW);
    let mut next = super::tests::record(&FAILING);
    let mut wanted = (*next.wanted).clone();
    *wanted.object.as_mut().unwrap().status = status;
    next.wanted = Arc::new(wanted);
    assert_eq!(versions(&next), ["7", "1"]);
    for record in [&mut record, &mut next] {
        assert!(read(record, &ROTATED) && !read(record, &ROTATED));
        assert_eq!(versions(record), ["7", "2"]);
    }
}

#[test]
fn what_is_read_while_nobody_wants_it_is_told_when_somebody_does() {
    let mut record = record(&GOOD);
    assert!(!record.note_versions());
    record.contents = self::record(&[("ghcr.io", "8", "pw"), ("quay.io", "1", "pw")]).contents;
    let awake = Arc::clone(&record.wanted);
    let mut resting = (*awake).clone();
    resting.suspend = true;
    record.wanted = Arc::new(resting);
    assert!(!record.note_versions());
    record.wanted = awake;
    assert!(record.note_versions());
    // A key that comes back to the spec was nobody's meanwhile.
    let mut other = (*record.wanted).clone();
    other.registries.clear();
    let wanted = std::mem::replace(&mut record.wanted, Arc::new(other));
    record.forget_keys();
    record.wanted = wanted;
    record.contents = self::record(&[("ghcr.io", "9", "pw"), ("quay.io", "1", "pw")]).contents;
    assert!(!record.note_versions());
}

#[test]
fn a_namespace_in_trouble_is_named_and_the_others_are_counted() {
    let mut record = record(&GOOD);
    stand(&mut record, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    stand(&mut record, "api", ResultKind::Failed, Some(AppliedReason::QuotaExceeded));
    assert_eq!(
        conditions(&record)[2],
        "Applied False QuotaExceeded: namespace api: because of QuotaExceeded (and 1 other namespace)"
    );
    let status = of(&record, true, NOW);
    assert_eq!(status.namespaces, NamespaceCounts { selected: 3, in_sync: 1, failed: 2 });
    let failures: Vec<_> = status.failures.iter().map(|it| it.namespace.as_str()).collect();
    assert_eq!(failures, ["api", "web"]);
}

#[test]
fn at_most_ten_failures_are_named() {
    let mut record = record(&GOOD);
    for n in 0..30 {
        stand(&mut record, &format!("ns-{n:02}"), ResultKind::Refused, Some(AppliedReason::Conflict));
    }
    let status = of(&record, true, NOW);
    assert_eq!((status.failures.len(), status.namespaces.failed), (10, 30));
}

#[test]
fn what_is_wrong_with_all_of_it_goes_before_what_is_wrong_in_one_namespace() {
    let mut record = record(&GOOD);
    record.problems =
        vec![Problem { reason: AppliedReason::NothingSelected.into(), message: "a typo".into() }];
    stand(&mut record, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    assert_eq!(conditions(&record)[2], "Applied False NothingSelected: a typo");
}

#[test]
fn the_first_pass_over_a_spec_is_progress_and_after_a_change_of_leader_it_is_not() {
    let mut record = record(&GOOD);
    record.passed = None;
    assert_eq!(
        conditions(&record)[0],
        "Ready Unknown Progressing: the first pass over this spec is under way"
    );
    let told = of(&self::record(&GOOD), true, NOW);
    let wanted = Arc::make_mut(&mut record.wanted);
    *wanted.object.as_mut().expect("an object").status = told;
    assert!(conditions(&record)[0].starts_with("Ready True InSync"));
}

#[test]
fn one_that_is_suspended_keeps_what_was_told_of_it() {
    let mut record = record(&GOOD);
    let told = of(&record, true, NOW);
    let wanted = Arc::make_mut(&mut record.wanted);
    wanted.suspend = true;
    *wanted.object.as_mut().expect("an object").status = told;
    record.standings.clear();
    record.contents = None;
    let status = of(&record, false, NOW);
    assert_eq!((status.namespaces.selected, status.registries.len()), (2, 2));
    assert!(conditions(&record)[0].starts_with("Ready False Suspended"));
}

#[test]
fn names_of_before_are_remembered_until_their_secrets_are_gone() {
    let mut record = record(&GOOD);
    let wanted = Arc::make_mut(&mut record.wanted);
    wanted.object.as_mut().expect("an object").secret_names = vec!["was".into(), "regcred".into()];
    assert_eq!(of(&record, false, NOW).secret_names, ["was", "regcred"]);
    assert_eq!(of(&record, true, NOW).secret_names, ["regcred"]);
}

#[test]
fn a_status_that_differs_in_times_only_is_the_same() {
    let mut record = record(&GOOD);
    let before = of(&record, true, NOW);
    let place = record.places().next().expect("a key").clone();
    record.fetched_at.insert(place, Timestamp::MAX);
    let after = of(&record, true, Timestamp::from_second(9).expect("a time"));
    assert!(is_same(&before, &after));
    stand(&mut record, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    assert!(!is_same(&before, &of(&record, true, NOW)));
}

#[test]
fn a_change_of_ready_is_worth_an_event_and_progress_is_not() {
    let empty = ClusterPullSecretStatus::default();
    let good = of(&record(&GOOD), true, NOW);
    let bad = of(&record(&[("ghcr.io", "7", "pw"), ("quay.io", "1", "")]), true, NOW);
    let reason = |before, after| change(before, after).map(|ready| (ready.reason.clone(), is_bad(ready)));
    assert_eq!(reason(&empty, &good), Some(("InSync".into(), false)));
    assert_eq!(reason(&good, &good), None);
    assert_eq!(reason(&good, &bad), Some(("FetchFailed".into(), true)));
    let mut progressing = record(&GOOD);
    progressing.passed = None;
    assert_eq!(reason(&empty, &of(&progressing, true, NOW)), None);
}

#[test]
fn what_is_suspended_is_neither_ready_nor_not() {
    let check = |record: &ObjectState, expect| assert_eq!(is_ready(&ready(record)), expect);
    let mut record = record(&GOOD);
    check(&record, Some(true));
    record.passed = None;
    check(&record, Some(false));
    Arc::make_mut(&mut record.wanted).suspend = true;
    check(&record, None);
}

#[test]
fn a_mistake_is_told_once_and_what_was_told_before_stays() {
    let mut object = Object::of(&json!({"metadata": {"generation": 3}}));
    *object.status = of(&record(&GOOD), true, NOW);
    let told = of_invalid(&object, "spec.x: a mistake", NOW).expect("news");
    assert_eq!(told.condition(ConditionType::Ready).map(|it| it.reason.as_str()), Some("Invalid"));
    assert_eq!(told.registries.len(), 2);
    *object.status = told;
    assert_eq!(of_invalid(&object, "spec.x: a mistake", NOW), None);
}
