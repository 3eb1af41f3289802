//! The published status, case by case.

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::cluster::Namespace;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::admission::tests::admission;
use crate::provider::ErrorKind;
use crate::provider::stores::Values;
use crate::reconcile::desired_secret::DesiredSecret;
use crate::reconcile::fixture::{cluster_pull_secret, store_key, values};
use crate::reconcile::namespace_keys;
use crate::reconcile::resolve::resolve;
use crate::report::{NamespaceReport, Problem, ResultKind};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// A ClusterPullSecret of generation 2 with two registries, read at these values and in sync everywhere.
fn state(read: &[(&str, &str, &str)]) -> ObjectState {
    let mut manifest = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
    manifest.object = Some(LiveObject::from_json(&json!({"metadata": {"uid": "u-1", "generation": 2}})));
    let manifest = Arc::new(manifest);
    let mut state = ObjectState::new(Arc::clone(&manifest));
    state.desired_secret =
        Some(DesiredSecret::new(resolve(&manifest, &values(read)), &LastGoodValues::default()));
    state.reconciled_generation = Some(2);
    report_target(&mut state, "db", ResultKind::Unchanged, None);
    report_target(&mut state, "web", ResultKind::Unchanged, None);
    state
}

const GOOD: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "1", "pw")];

fn report_target(
    state: &mut ObjectState,
    namespace: &str,
    result: ResultKind,
    reason: Option<AppliedReason>,
) {
    let mut report = NamespaceReport::new(namespace.into(), result);
    (report.reason, report.message) =
        (reason.map(Into::into), reason.map(|reason| format!("because of {reason}")));
    state.update_target(&report, Instant::now(), |_| Duration::ZERO);
}

/// `Type Status Reason: message` for each condition.
fn conditions(state: &ObjectState) -> Vec<String> {
    let conditions = build(state, true, NOW).conditions;
    let lines =
        conditions.iter().map(|it| format!("{} {} {}: {}", it.type_, it.status, it.reason, it.message));
    lines.collect()
}

#[test]
fn unknown_fields_are_named_in_the_ready_message() {
    let mut state = state(&GOOD);
    let object = Arc::make_mut(&mut state.manifest).object.as_mut().expect("an object");
    object.unknown_fields = vec!["spec.verify".to_owned()];
    let ready = "Ready True InSync: 2 namespaces in sync; ignored what only a newer regcred knows: spec.verify. \
                 Upgrade regcred to the version of the CRD";
    assert!(conditions(&state).contains(&ready.to_owned()), "{:?}", conditions(&state));
}

#[test]
fn everything_in_sync_is_ready() {
    let status = build(&state(&GOOD), true, NOW);
    assert_eq!((status.summary.registries.as_str(), status.summary.namespaces.as_str()), ("2/2", "2/2"));
    assert_eq!(status.secret_names, ["regcred"]);
    assert_eq!(
        conditions(&state(&GOOD)),
        [
            "Ready True InSync: 2 namespaces in sync",
            "Fetched True Fetched: every registry's credential was read",
            "Applied True Applied: 2 namespaces in sync",
        ]
    );
}

#[test]
fn unreadable_registry_is_reported_with_store_and_key() {
    let conditions = conditions(&state(&[("ghcr.io", "7", "pw"), ("quay.io", "1", "")]));
    let sealed = "quay.io: store vault, key quay.io: the Vault is sealed; existing entries are kept";
    assert_eq!(
        conditions[..2],
        [format!("Ready False FetchFailed: {sealed}"), format!("Fetched False Sealed: {sealed}")]
    );
}

fn read(state: &mut ObjectState, values: &[(&str, &str, &str)]) -> bool {
    state.desired_secret = self::state(values).desired_secret;
    state.record_versions()
}

fn versions(state: &ObjectState) -> Vec<String> {
    build(state, true, NOW).registries.into_iter().map(|it| it.version.unwrap()).collect()
}

#[test]
fn unreadable_registry_keeps_its_last_version() {
    const FAILING: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "1", "")];
    const ROTATED: [(&str, &str, &str); 2] = [("ghcr.io", "7", "pw"), ("quay.io", "2", "pw")];
    let mut state = state(&GOOD);
    assert!(!read(&mut state, &GOOD) && !read(&mut state, &FAILING));
    assert_eq!(versions(&state), ["7", "1"]);
    // Another process continues from the status.
    let status = build(&state, true, NOW);
    let mut next = self::state(&FAILING);
    let mut manifest = (*next.manifest).clone();
    *manifest.object.as_mut().unwrap().status = status;
    next.manifest = Arc::new(manifest);
    assert_eq!(versions(&next), ["7", "1"]);
    for state in [&mut state, &mut next] {
        assert!(read(state, &ROTATED) && !read(state, &ROTATED));
        assert_eq!(versions(state), ["7", "2"]);
    }
}

#[test]
fn version_read_while_inactive_is_recorded_when_active() {
    let mut state = state(&GOOD);
    assert!(!state.record_versions());
    state.desired_secret = self::state(&[("ghcr.io", "8", "pw"), ("quay.io", "1", "pw")]).desired_secret;
    let active = Arc::clone(&state.manifest);
    let mut suspended = (*active).clone();
    suspended.suspend = true;
    state.manifest = Arc::new(suspended);
    assert!(!state.record_versions());
    state.manifest = active;
    assert!(state.record_versions());
    // A key that returns to the spec was unused in between.
    let mut other = (*state.manifest).clone();
    other.registries.clear();
    let manifest = std::mem::replace(&mut state.manifest, Arc::new(other));
    state.forget_unused_keys();
    state.manifest = manifest;
    state.desired_secret = self::state(&[("ghcr.io", "9", "pw"), ("quay.io", "1", "pw")]).desired_secret;
    assert!(!state.record_versions());
}

#[test]
fn failed_namespace_is_named_and_the_others_counted() {
    let mut state = state(&GOOD);
    report_target(&mut state, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    report_target(&mut state, "api", ResultKind::Failed, Some(AppliedReason::QuotaExceeded));
    assert_eq!(
        conditions(&state)[2],
        "Applied False QuotaExceeded: namespace api: because of QuotaExceeded (and 1 other namespace)"
    );
    let status = build(&state, true, NOW);
    assert_eq!(status.namespaces, NamespaceCounts { selected: 3, in_sync: 1, failed: 2 });
    let failures: Vec<_> = status.failures.iter().map(|it| it.namespace.as_str()).collect();
    assert_eq!(failures, ["api", "web"]);
}

#[test]
fn at_most_ten_failures_are_named() {
    let mut state = state(&GOOD);
    for n in 0..30 {
        report_target(&mut state, &format!("ns-{n:02}"), ResultKind::Refused, Some(AppliedReason::Conflict));
    }
    let status = build(&state, true, NOW);
    assert_eq!((status.failures.len(), status.namespaces.failed), (10, 30));
}

#[test]
fn object_problem_goes_before_namespace_failure() {
    let mut state = state(&GOOD);
    state.problems =
        vec![Problem { reason: AppliedReason::NothingSelected.into(), message: "a typo".into() }];
    report_target(&mut state, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    assert_eq!(conditions(&state)[2], "Applied False NothingSelected: a typo");
}

#[test]
fn first_reconciliation_is_progress_unless_inherited() {
    let mut state = state(&GOOD);
    state.reconciled_generation = None;
    assert_eq!(
        conditions(&state)[0],
        "Ready Unknown Progressing: the first reconciliation of this spec is in progress"
    );
    let published = build(&self::state(&GOOD), true, NOW);
    let manifest = Arc::make_mut(&mut state.manifest);
    *manifest.object.as_mut().expect("an object").status = published;
    assert!(conditions(&state)[0].starts_with("Ready True InSync"));
}

#[test]
fn suspended_object_keeps_its_published_status() {
    let mut state = state(&GOOD);
    let published = build(&state, true, NOW);
    let manifest = Arc::make_mut(&mut state.manifest);
    manifest.suspend = true;
    *manifest.object.as_mut().expect("an object").status = published;
    state.targets.clear();
    state.desired_secret = None;
    let status = build(&state, false, NOW);
    assert_eq!((status.namespaces.selected, status.registries.len()), (2, 2));
    assert!(conditions(&state)[0].starts_with("Ready False Suspended"));
}

#[test]
fn previous_names_stay_until_their_secrets_are_removed() {
    let mut state = state(&GOOD);
    let manifest = Arc::make_mut(&mut state.manifest);
    manifest.object.as_mut().expect("an object").secret_names = vec!["was".into(), "regcred".into()];
    assert_eq!(build(&state, false, NOW).secret_names, ["was", "regcred"]);
    assert_eq!(build(&state, true, NOW).secret_names, ["regcred"]);
}

#[test]
fn status_that_differs_in_times_only_is_the_same() {
    let mut state = state(&GOOD);
    let before = build(&state, true, NOW);
    let store_key = state.store_keys().next().expect("a key").clone();
    state.fetched_at.insert(store_key, Timestamp::MAX);
    let after = build(&state, true, Timestamp::from_second(9).expect("a time"));
    assert!(is_same(&before, &after));
    report_target(&mut state, "web", ResultKind::Refused, Some(AppliedReason::Conflict));
    assert!(!is_same(&before, &build(&state, true, NOW)));
}

/// Checks the reason of the Event regarding a change, and whether it is a warning.
#[track_caller]
fn check_event(
    before: &ClusterPullSecretStatus,
    after: &ClusterPullSecretStatus,
    expect: Option<(&str, bool)>,
) {
    let ready = ready_change(before, after);
    assert_eq!(ready.map(|ready| (ready.reason.as_str(), is_problem(ready))), expect);
}

#[test]
fn ready_change_is_an_event_and_progress_is_not() {
    let empty = ClusterPullSecretStatus::default();
    let good = build(&state(&GOOD), true, NOW);
    let bad = build(&state(&[("ghcr.io", "7", "pw"), ("quay.io", "1", "")]), true, NOW);
    check_event(&empty, &good, Some(("InSync", false)));
    check_event(&good, &good, None);
    check_event(&good, &bad, Some(("FetchFailed", true)));
    let mut progressing = state(&GOOD);
    progressing.reconciled_generation = None;
    check_event(&empty, &build(&progressing, true, NOW), None);
}

/// The status with these namespaces out of sync.
fn out_of_sync(failing: &[&str], reason: AppliedReason) -> ClusterPullSecretStatus {
    let mut state = state(&GOOD);
    for namespace in failing {
        report_target(&mut state, namespace, ResultKind::Failed, Some(reason));
    }
    build(&state, true, NOW)
}

/// The status with a selection that matches nothing.
fn nothing_selected(left: usize) -> ClusterPullSecretStatus {
    let mut state = state(&GOOD);
    let message = format!("the selection matches no namespace, but {left} still hold the Secret");
    state.problems.push(Problem { reason: AppliedReason::NothingSelected.into(), message });
    build(&state, true, NOW)
}

#[test]
fn problem_that_spreads_or_shrinks_is_one_event() {
    let one = out_of_sync(&["web"], AppliedReason::Forbidden);
    for failing in [&["a", "web"][..], &["a", "b", "c", "web"], &["db"]] {
        let other = out_of_sync(failing, AppliedReason::Forbidden);
        check_event(&one, &other, None);
        check_event(&other, &one, None);
    }
    let unavailable = out_of_sync(&["web"], AppliedReason::Unavailable);
    check_event(&one, &unavailable, Some(("ApplyFailed", true)));
    check_event(&one, &out_of_sync(&[], AppliedReason::Forbidden), Some(("InSync", false)));
    check_event(&nothing_selected(17), &nothing_selected(16), None);
}

#[test]
fn rotation_counts_the_namespaces_it_reached() {
    for (reached, all, expect) in [
        (2, 2, "2 namespaces"),
        (1, 1, "1 namespace"),
        (1, 2, "1 of 2 namespaces"),
        (0, 1, "0 of 1 namespace"),
    ] {
        assert_eq!(namespaces_reached(reached, all), expect);
    }
}

#[test]
fn suspended_object_has_no_readiness() {
    let mut state = state(&GOOD);
    assert_eq!(is_ready(&ready(&state)), Some(true));
    state.reconciled_generation = None;
    assert_eq!(is_ready(&ready(&state)), Some(false));
    Arc::make_mut(&mut state.manifest).suspend = true;
    assert_eq!(is_ready(&ready(&state)), None);
}

#[test]
fn invalid_status_is_published_once_and_keeps_the_rest() {
    let mut object = LiveObject::from_json(&json!({"metadata": {"generation": 3}}));
    *object.status = build(&state(&GOOD), true, NOW);
    let published = build_invalid(&object, "spec.x: invalid", NOW).expect("a new status");
    assert_eq!(published.condition(ConditionType::Ready).map(|it| it.reason.as_str()), Some("Invalid"));
    assert_eq!(published.registries.len(), 2);
    *object.status = published;
    assert_eq!(build_invalid(&object, "spec.x: invalid", NOW), None);
}

#[test]
fn one_namespace_is_counted_in_the_singular() {
    let counted = [0, 1, 2].map(namespaces_counted);
    assert_eq!(counted, ["0 namespaces", "1 namespace", "2 namespaces"]);
}

#[test]
fn no_entry_is_kept_without_a_credential() {
    let mut state = state(&[("ghcr.io", "7", ""), ("quay.io", "1", "")]);
    report_target(&mut state, "web", ResultKind::Failed, Some(AppliedReason::NoCredential));
    let conditions = conditions(&state).join("\n");
    assert!(conditions.contains("the Vault is sealed") && !conditions.contains("are kept"), "{conditions}");
}

#[test]
fn entries_are_removed_where_the_store_denies_the_host() {
    let denied = "ghcr.io: store vault, key ghcr.io: not allowed by the store's `hosts`: ghcr.io; \
                  its entries are removed. Add it to `hosts` of the store";
    let sealed = "quay.io: store vault, key quay.io: the Vault is sealed; other existing entries are kept";
    for (password, expect) in [("pw", denied.to_owned()), ("", format!("{denied}; {sealed}"))] {
        let mut state = state(&GOOD);
        let manifest = Arc::make_mut(&mut state.manifest);
        manifest.admission = admission(None, Some(&["quay.io"]));
        let values = values(&[("ghcr.io", "7", "pw"), ("quay.io", "1", password)]);
        let resolved = resolve(&state.manifest, &values);
        state.desired_secret = Some(DesiredSecret::new(resolved, &LastGoodValues::default()));
        assert_eq!(conditions(&state)[1], format!("Fetched False NotAllowed: {expect}"));
    }
}

#[test]
fn poll_interval_is_shown_for_stores_with_a_longer_one() {
    let mut state = state(&GOOD);
    assert_eq!(build(&state, true, NOW).registries[0].poll_interval, None);
    state.poll_intervals = Arc::new([("vault".into(), Duration::from_secs(50))].into());
    assert_eq!(build(&state, true, NOW).registries[0].poll_interval.as_deref(), Some("50s"));
    state.poll_intervals = Arc::new([("aws".into(), Duration::from_secs(50))].into());
    assert_eq!(build(&state, true, NOW).registries[0].poll_interval, None);
}

#[test]
fn status_stays_small_with_a_thousand_failed_keys() {
    let mut teams = cluster_pull_secret("images", &["ghcr.io"]);
    teams.registries[0].store_key = store_key("teams/{{namespace}}");
    teams.object = state(&GOOD).manifest.object.clone();
    let mut state = ObjectState::new(Arc::new(teams));
    let (names, mut values): (Vec<_>, Values) =
        ((0..1000).map(|n| format!("ns-{n:03}")).collect(), Values::new());
    for name in &names {
        let own = Namespace::default();
        let keys = namespace_keys::keys_in(&state.manifest, &name.as_str().into(), &own);
        for (_, store_key) in &keys {
            values.insert(store_key.clone(), Err(ErrorKind::NotFound.at(store_key.clone())));
        }
        state.namespace_fetches.set(&name.as_str().into(), keys);
        report_target(&mut state, name, ResultKind::Failed, Some(AppliedReason::FetchFailed));
    }
    let mut desired = DesiredSecret::new(resolve(&state.manifest, &values), &LastGoodValues::default());
    desired.summarise(state.namespace_fetches.all(), &values);
    state.desired_secret = Some(desired);
    let status = build(&state, true, NOW);
    assert_eq!((status.namespaces.failed, status.failures.len()), (1000, 10));
    let registry = &status.registries[0];
    let message = "1000 of 1000 keys could not be read, such as store vault, key teams/ns-000: not found";
    assert_eq!((registry.result, registry.message.as_deref()), (FetchedReason::NotFound, Some(message)));
    let size = serde_json::to_string(&status).expect("JSON").len();
    assert!(size < 4096, "{size} bytes");
}
