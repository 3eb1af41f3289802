//! How a ClusterPullSecret stands, step by step.

use serde_json::json;

use super::*;
use crate::cluster::Cluster;
use crate::manifest::object::Object;
use crate::reconcile::fixture::{cluster_pull_secret, namespace, secret, service_account, store_key, values};
use crate::reconcile::resolve::resolve;
use crate::report::ResultKind;

fn record() -> ObjectState {
    ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io"])))
}

fn report(result: ResultKind, reason: Option<AppliedReason>) -> NamespaceReport {
    let mut report = NamespaceReport::new("web".into(), result);
    (report.reason, report.message) = (reason.map(Into::into), reason.map(|reason| reason.to_string()));
    report
}

/// The seconds until the namespace is tried again, after each of these reports.
#[track_caller]
fn check_pauses(reports: &[NamespaceReport], expect: &[Option<u64>]) {
    let (mut record, now) = (record(), Instant::now());
    let pauses = reports.iter().map(|report| {
        record.stands(report, now, |failures| Duration::from_secs(10 * u64::from(failures)));
        let at = record.standings.get("web").and_then(|standing| standing.not_before);
        at.map(|at| at.duration_since(now).as_secs())
    });
    assert_eq!(pauses.collect::<Vec<_>>(), expect);
}

#[test]
fn every_failure_in_a_row_is_waited_for_longer_and_success_begins_anew() {
    let failed = || report(ResultKind::Failed, Some(AppliedReason::QuotaExceeded));
    let fine = || report(ResultKind::Updated, None);
    check_pauses(&[failed(), failed(), fine(), failed()], &[Some(10), Some(20), None, Some(10)]);
}

#[test]
fn what_may_pass_by_itself_is_never_waited_for_long() {
    let away = || report(ResultKind::Failed, Some(AppliedReason::Unavailable));
    check_pauses(&[away(), away(), away()], &[Some(10), Some(15), Some(15)]);
}

#[test]
fn what_waits_for_something_else_is_not_tried_by_the_clock() {
    for (result, reason) in [
        (ResultKind::Refused, AppliedReason::Conflict),
        (ResultKind::Failed, AppliedReason::ServiceAccountMissing),
        (ResultKind::Failed, AppliedReason::NoCredential),
    ] {
        check_pauses(&[report(result, Some(reason))], &[None]);
    }
}

#[test]
fn a_contest_is_not_ended_by_a_write_that_was_under_way() {
    let (mut record, now) = (record(), Instant::now());
    record.hold("web", now + Duration::from_secs(4), (AppliedReason::Contested, "somebody".into()));
    let change = record.stands(&report(ResultKind::Updated, None), now, |_| Duration::ZERO);
    assert_eq!(change, Change::None);
    record.release();
    assert!(record.is_held("web", now) && record.is_in_trouble("web", AppliedReason::Contested));
    let later = now + Duration::from_secs(5);
    record.stands(&report(ResultKind::Updated, None), later, |_| Duration::ZERO);
    assert!(!record.is_in_trouble("web", AppliedReason::Contested));
}

#[test]
fn only_what_is_new_is_a_change() {
    let (mut record, now) = (record(), Instant::now());
    let mut change = |report: NamespaceReport| record.stands(&report, now, |_| Duration::ZERO);
    assert_eq!(change(report(ResultKind::Updated, None)), Change::Other);
    assert_eq!(change(report(ResultKind::Unchanged, None)), Change::None);
    assert_eq!(change(report(ResultKind::Refused, Some(AppliedReason::Conflict))), Change::Trouble);
    assert_eq!(change(report(ResultKind::Refused, Some(AppliedReason::Conflict))), Change::None);
    assert_eq!(change(report(ResultKind::Removed, None)), Change::Other);
    assert_eq!(change(report(ResultKind::Removed, None)), Change::None);
}

#[test]
fn a_namespace_is_of_concern_while_it_is_selected_or_something_is_left_there() {
    let mut wanted = cluster_pull_secret("images", &["ghcr.io"]);
    wanted.selection.include = Some(crate::manifest::selection::Patterns::default());
    let mut record = ObjectState::new(Arc::new(wanted));
    let bare = namespace(None, service_account(&[], &[]));
    assert!(!record.is_concerned("web", Some(&bare)) && !record.is_concerned("web", None));
    let ours = namespace(Some(secret("1", &[("ghcr.io", "1", "pw")])), service_account(&[], &[]));
    assert!(record.is_concerned("web", Some(&ours)));
    let entry = namespace(None, service_account(&["regcred"], &["regcred"]));
    assert!(record.is_concerned("web", Some(&entry)));
    record.stands(&report(ResultKind::Updated, None), Instant::now(), |_| Duration::ZERO);
    assert!(record.is_concerned("web", Some(&bare)) && record.is_concerned("web", None));
    assert!(super::tests::record().is_concerned("web", Some(&bare)));
}

/// Why it was not ready under the leader before, in the words of its status, where only that is known.
#[track_caller]
fn check_hearsay(change: impl FnOnce(&mut ObjectState), expect: Option<&str>) {
    let told = json!([{
        "type": "Ready", "status": "False", "reason": "ApplyFailed", "message": "why",
        "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let object = json!({"metadata": {"generation": 2}, "status": {"conditions": told}});
    let mut wanted = cluster_pull_secret("images", &["ghcr.io"]);
    wanted.object = Some(Object::of(&object));
    let mut record = ObjectState::new(Arc::new(wanted));
    change(&mut record);
    assert_eq!(record.hearsay().map(|told| told.reason.as_str()), expect);
}

#[test]
fn what_the_leader_before_told_is_believed_until_it_was_looked_at() {
    fn wanted(record: &mut ObjectState) -> &mut ClusterPullSecret {
        Arc::make_mut(&mut record.wanted)
    }
    fn object(record: &mut ObjectState) -> &mut Object {
        wanted(record).object.as_mut().expect("an object")
    }
    check_hearsay(|_| (), Some("ApplyFailed"));
    check_hearsay(|record| record.passed = Some(1), None);
    check_hearsay(|record| object(record).generation = 3, None);
    check_hearsay(|record| object(record).status.conditions.clear(), None);
    check_hearsay(|record| wanted(record).suspend = true, None);
    check_hearsay(|record| wanted(record).object = None, None);
}

/// Whether a pass that left this behind wrote every namespace.
#[track_caller]
fn check_written(left: &NamespaceReport, expect: bool) {
    let (mut record, now) = (record(), Instant::now());
    record.stands(left, now, |_| Duration::from_secs(1));
    assert_eq!(record.is_written(now), expect, "{left:?}");
}

#[test]
fn all_is_written_where_nothing_is_left_that_may_be() {
    check_written(&report(ResultKind::Updated, None), true);
    check_written(&report(ResultKind::Refused, Some(AppliedReason::Conflict)), true);
    check_written(&report(ResultKind::Failed, Some(AppliedReason::QuotaExceeded)), false);
}

#[test]
fn a_key_whose_store_is_sealed_is_not_read_yet_and_the_others_are() {
    let mut record = ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io", "quay.io"])));
    let values = values(&[("ghcr.io", "7", "pw"), ("quay.io", "", "")]);
    record.contents = Some(DesiredSecret::new(resolve(&record.wanted, &values), &Cluster::default()));
    let unread = ["ghcr.io", "quay.io"].map(|key| record.is_unread(&store_key(key)));
    assert_eq!(unread, [false, true]);
}
