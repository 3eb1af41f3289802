//! The state of a ClusterPullSecret, step by step.

use serde_json::json;

use super::*;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::object::LiveObject;
use crate::manifest::status::reason::AppliedReason;
use crate::reconcile::fixture::{cluster_pull_secret, namespace, secret, service_account, store_key, values};
use crate::reconcile::resolve;
use crate::report::{NamespaceReport, ResultKind};

fn state() -> ObjectState {
    ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io"])))
}

fn report(result: ResultKind, reason: Option<AppliedReason>) -> NamespaceReport {
    let mut report = NamespaceReport::new("web".into(), result);
    (report.reason, report.message) = (reason.map(Into::into), reason.map(|reason| reason.to_string()));
    report
}

/// Checks the seconds until the namespace is retried, after each of these reports.
#[track_caller]
fn check_pauses(reports: &[NamespaceReport], expect: &[Option<u64>]) {
    let (mut state, now) = (state(), Instant::now());
    let pauses = reports.iter().map(|report| {
        state.update_target(report, now, |failures| Duration::from_secs(10 * u64::from(failures)));
        let at = state.targets.get("web").and_then(|target| target.not_before);
        at.map(|at| at.duration_since(now).as_secs())
    });
    assert_eq!(pauses.collect::<Vec<_>>(), expect);
}

/// A state in which the reads of these keys, each called like its host, have failed.
fn failed_state(hosts: &[&str], keys: &[&str]) -> ObjectState {
    let mut images = cluster_pull_secret("images", hosts);
    for (registry, key) in images.registries.iter_mut().zip(keys) {
        registry.store_key = store_key(key);
    }
    let images = Arc::new(images);
    let failed: Vec<_> = keys.iter().map(|key| (*key, "1", "")).collect();
    let mut state = ObjectState::new(Arc::clone(&images));
    let resolved = resolve::resolve(&images, &values(&failed));
    state.desired_secret = Some(DesiredSecret::new(resolved, &LastGoodValues::default()));
    state
}

#[test]
fn failure_of_an_own_key_is_none_of_a_shared_key() {
    let own = "teams/{{namespace}}";
    for (hosts, keys, expect) in [
        (&["ghcr.io"][..], &["ci"][..], true),
        (&["ghcr.io"], &[own], false),
        (&["ghcr.io", "quay.io"], &[own, "ci"], true),
    ] {
        assert_eq!(failed_state(hosts, keys).has_failed_shared_fetch(), expect, "{keys:?}");
    }
}

#[test]
fn failures_in_a_row_back_off_until_a_success() {
    let failed = report(ResultKind::Failed, Some(AppliedReason::QuotaExceeded));
    let updated = report(ResultKind::Updated, None);
    let reports = [failed.clone(), failed.clone(), updated, failed];
    check_pauses(&reports, &[Some(10), Some(20), None, Some(10)]);
}

#[test]
fn transient_failure_has_a_short_maximum_pause() {
    let unavailable = report(ResultKind::Failed, Some(AppliedReason::Unavailable));
    check_pauses(&[unavailable.clone(), unavailable.clone(), unavailable], &[Some(10), Some(15), Some(15)]);
}

#[test]
fn target_waiting_for_an_object_has_no_retry_timer() {
    for (result, reason) in [
        (ResultKind::Refused, AppliedReason::Conflict),
        (ResultKind::Failed, AppliedReason::ServiceAccountMissing),
        (ResultKind::Failed, AppliedReason::NoCredential),
        (ResultKind::Failed, AppliedReason::TooLarge),
    ] {
        check_pauses(&[report(result, Some(reason))], &[None]);
    }
}

#[test]
fn write_in_flight_does_not_end_a_contest() {
    let (mut state, now) = (state(), Instant::now());
    state.back_off(
        &"web".into(),
        now + Duration::from_secs(4),
        (AppliedReason::Contested, "another writer".into()),
    );
    let change = state.update_target(&report(ResultKind::Updated, None), now, |_| Duration::ZERO);
    assert_eq!(change, TargetChange::None);
    state.reset_backoff();
    assert!(
        state.is_backing_off(&"web".into(), now)
            && state.has_failure(&"web".into(), AppliedReason::Contested)
    );
    let later = now + Duration::from_secs(5);
    state.update_target(&report(ResultKind::Updated, None), later, |_| Duration::ZERO);
    assert!(!state.has_failure(&"web".into(), AppliedReason::Contested));
}

fn update(state: &mut ObjectState, report: NamespaceReport) -> TargetChange {
    state.update_target(&report, Instant::now(), |_| Duration::ZERO)
}

#[test]
fn repeated_report_is_no_change() {
    let mut state = state();
    assert_eq!(update(&mut state, report(ResultKind::Updated, None)), TargetChange::Other);
    assert_eq!(update(&mut state, report(ResultKind::Unchanged, None)), TargetChange::None);
    assert_eq!(
        update(&mut state, report(ResultKind::Refused, Some(AppliedReason::Conflict))),
        TargetChange::NewFailure
    );
    assert_eq!(
        update(&mut state, report(ResultKind::Refused, Some(AppliedReason::Conflict))),
        TargetChange::None
    );
    assert_eq!(update(&mut state, report(ResultKind::Removed, None)), TargetChange::Other);
    assert_eq!(update(&mut state, report(ResultKind::Removed, None)), TargetChange::None);
}

#[test]
fn namespace_is_affected_while_selected_or_with_leftovers() {
    let mut manifest = cluster_pull_secret("images", &["ghcr.io"]);
    manifest.selection.include = Some(crate::manifest::selection::Patterns::default());
    let mut state = ObjectState::new(Arc::new(manifest));
    let bare = namespace(None, service_account(&[], &[]));
    assert!(!state.can_affect(&"web".into(), Some(&bare)) && !state.can_affect(&"web".into(), None));
    let ours = namespace(Some(secret("1", &[("ghcr.io", "1", "pw")])), service_account(&[], &[]));
    assert!(state.can_affect(&"web".into(), Some(&ours)));
    let entry = namespace(None, service_account(&["regcred"], &["regcred"]));
    assert!(state.can_affect(&"web".into(), Some(&entry)));
    state.update_target(&report(ResultKind::Updated, None), Instant::now(), |_| Duration::ZERO);
    assert!(state.can_affect(&"web".into(), Some(&bare)) && state.can_affect(&"web".into(), None));
    assert!(super::tests::state().can_affect(&"web".into(), Some(&bare)));
}

/// Checks the reason of the inherited `Ready` condition, after a change of the state.
#[track_caller]
fn check_inherited(change: impl FnOnce(&mut ObjectState), expect: Option<&str>) {
    let conditions = json!([{
        "type": "Ready", "status": "False", "reason": "ApplyFailed", "message": "why",
        "observedGeneration": 2, "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]);
    let object = json!({"metadata": {"generation": 2}, "status": {"conditions": conditions}});
    let mut manifest = cluster_pull_secret("images", &["ghcr.io"]);
    manifest.object = Some(LiveObject::from_json(&object));
    let mut state = ObjectState::new(Arc::new(manifest));
    change(&mut state);
    assert_eq!(state.inherited_ready(false).map(|ready| ready.reason.as_str()), expect);
    assert_eq!(state.inherited_ready(true), None, "regcred's own namespace stays unreadable");
}

#[test]
fn previous_leaders_ready_is_inherited_until_reconciled() {
    fn manifest(state: &mut ObjectState) -> &mut ClusterPullSecret {
        Arc::make_mut(&mut state.manifest)
    }
    fn object(state: &mut ObjectState) -> &mut LiveObject {
        manifest(state).object.as_mut().expect("an object")
    }
    check_inherited(|_| (), Some("ApplyFailed"));
    check_inherited(|state| state.reconciled_generation = Some(1), None);
    check_inherited(|state| object(state).generation = 3, None);
    check_inherited(|state| object(state).status.conditions.clear(), None);
    check_inherited(|state| manifest(state).suspend = true, None);
    check_inherited(|state| manifest(state).object = None, None);
}

/// Checks the object after this report of its only target.
#[track_caller]
fn check_applied(report: &NamespaceReport, expect: bool) {
    let (mut state, now) = (state(), Instant::now());
    state.update_target(report, now, |_| Duration::from_secs(1));
    assert_eq!(state.is_applied(now), expect, "{report:?}");
}

#[test]
fn object_is_applied_unless_a_target_will_be_retried() {
    check_applied(&report(ResultKind::Updated, None), true);
    check_applied(&report(ResultKind::Refused, Some(AppliedReason::Conflict)), true);
    check_applied(&report(ResultKind::Failed, Some(AppliedReason::QuotaExceeded)), false);
}
