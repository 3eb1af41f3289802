//! The status of a ClusterPullSecret, from the state of the controller.
//!
//! Pure. In go the state and the time, out come the status, and whether it differs from the published one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object_state::ObjectState;
use crate::credential::StoreKey;
use crate::manifest::object::LiveObject;
use crate::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason, Reason};
use crate::manifest::status::{
    ClusterPullSecretStatus, Condition, ConditionStatus, ConditionType, LastRotation, NamespaceCounts,
    RegistryStatus, ServiceAccountCounts, Summary, TargetFailure,
};
use crate::named;
use crate::report::RegistryReport;

/// The begin of a message about a target that is out of sync, before the name of its namespace.
const FIRST_NAMESPACE: &str = "namespace ";
/// The begin of the number of other targets that are out of sync.
const OTHERS: &str = " (and ";

/// Builds the status; `has_current_name_only` means that no Secret under a previous name is left.
#[must_use]
pub(super) fn build(
    state: &ObjectState,
    has_current_name_only: bool,
    now: Timestamp,
) -> ClusterPullSecretStatus {
    let Some(object) = &state.manifest.object else { return ClusterPullSecretStatus::default() };
    if state.manifest.inactive_reason() == Some(ReadyReason::Suspended) {
        return build_suspended(state, object, now);
    }
    let mut status = ClusterPullSecretStatus {
        observed_generation: object.generation,
        registries: registries(state),
        namespaces: namespaces(state),
        service_accounts: service_accounts(state),
        failures: failures(state),
        conditions: object.status.conditions.clone(),
        last_rotation: object.status.last_rotation.clone(),
        observed_rotate: state.observed_rotate.clone().or_else(|| object.status.observed_rotate.clone()),
        observed_request: state.observed_request.clone().or_else(|| object.status.observed_request.clone()),
        secret_names: if has_current_name_only {
            vec![state.manifest.secret_name.clone()]
        } else {
            object.secret_names.clone()
        },
        summary: Summary::default(),
    };
    if let Some(rotation) = &state.last_rotation {
        status.last_rotation = Some(LastRotation {
            trigger: rotation.cause.trigger.to_string(),
            // A status holds whole seconds: the value written must equal the value read back.
            started_at: Time(whole_seconds(rotation.cause.at)),
            propagation: seconds(rotation.took),
            fetch: seconds(rotation.fetch),
            first_write: seconds(rotation.first_write),
            last_write: seconds(rotation.last_write),
        });
    }
    let fetched = status.registries.iter().filter(|it| it.result == FetchedReason::Fetched).count();
    status.summary = Summary {
        registries: format!("{fetched}/{}", state.manifest.registries.len()),
        namespaces: format!("{}/{}", status.namespaces.in_sync, status.namespaces.selected),
    };
    let conditions = [fetched_condition(state), Some(applied_condition(state)), Some(ready_condition(state))];
    for (reason, message) in conditions.into_iter().flatten() {
        status.set_condition(Condition::new(reason, message, object.generation, Time(now)));
    }
    status
}

/// Builds the status of a suspended one: everything but `Ready` stays as published.
fn build_suspended(state: &ObjectState, object: &LiveObject, now: Timestamp) -> ClusterPullSecretStatus {
    let mut status = (*object.status).clone();
    status.observed_generation = object.generation;
    let (reason, message) = ready_condition(state);
    status.set_condition(Condition::new(reason, message, object.generation, Time(now)));
    status
}

/// Builds the status of an invalid one; `None` where it is published already.
#[must_use]
pub(super) fn build_invalid(
    object: &LiveObject,
    message: &str,
    now: Timestamp,
) -> Option<ClusterPullSecretStatus> {
    let mut status = (*object.status).clone();
    status.observed_generation = object.generation;
    let reason = ReadyReason::Invalid.into();
    status.set_condition(Condition::new(reason, message.to_owned(), object.generation, Time(now)));
    (!is_same(&status, &object.status)).then_some(status)
}

/// Returns true if two statuses differ in timestamps only.
#[must_use]
pub(super) fn is_same(one: &ClusterPullSecretStatus, other: &ClusterPullSecretStatus) -> bool {
    without_times(one) == without_times(other)
}

fn without_times(status: &ClusterPullSecretStatus) -> ClusterPullSecretStatus {
    let mut status = status.clone();
    status.registries.iter_mut().for_each(|registry| registry.fetched_at = None);
    status.conditions.iter_mut().for_each(|it| it.last_transition_time = Time(Timestamp::UNIX_EPOCH));
    status
}

/// Returns `Ready`, if it changed in a way that deserves an Event.
#[must_use]
pub(super) fn ready_change<'a>(
    before: &ClusterPullSecretStatus,
    after: &'a ClusterPullSecretStatus,
) -> Option<&'a Condition> {
    let ready = after.condition(ConditionType::Ready)?;
    let is_known = before.condition(ConditionType::Ready).is_some_and(|before| is_same_ready(before, ready));
    let is_final = !ready.has_reason(ReadyReason::Progressing);
    (!is_known && is_final).then_some(ready)
}

/// Returns true if `Ready` did not change. The message counts only where it describes a problem, and then without the
/// number of namespaces and the name of the first: a problem that spreads or shrinks is still the same.
#[must_use]
pub(super) fn is_same_ready(before: &Condition, ready: &Condition) -> bool {
    before.reason == ready.reason && (!is_problem(ready) || cause(&before.message) == cause(&ready.message))
}

/// Returns the message of a problem without what changes with the number of its namespaces.
fn cause(message: &str) -> Vec<&str> {
    let message = match message.strip_prefix(FIRST_NAMESPACE).and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message,
        None => message,
    };
    let message = message.split_once(OTHERS).map_or(message, |(message, _)| message);
    message.split(' ').filter(|word| word.parse::<usize>().is_err()).collect()
}

/// Returns the value of the metric on which alerts depend; none for a suspended one.
#[must_use]
pub(super) fn is_ready(ready: &Condition) -> Option<bool> {
    let is_suspended = ready.has_reason(ReadyReason::Suspended);
    (!is_suspended).then_some(ready.status == ConditionStatus::True)
}

/// Returns true if `Ready` reports a problem that needs a fix.
#[must_use]
pub(super) fn is_problem(ready: &Condition) -> bool {
    let fine = [ReadyReason::InSync, ReadyReason::Suspended, ReadyReason::Deleting];
    !fine.into_iter().any(|reason| ready.has_reason(reason))
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// Formats a duration as `0.84s`.
#[must_use]
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.2}s", took.as_secs_f64())
}

/// Formats a number of namespaces as `1 namespace` or `2 namespaces`.
#[must_use]
pub(super) fn namespaces_counted(count: usize) -> String {
    format!("{count} namespace{}", if count == 1 { "" } else { "s" })
}

/// Formats a number of namespaces that something reached: all as `2 namespaces`, else as `1 of 2 namespaces`.
#[must_use]
pub(super) fn namespaces_reached(reached: usize, all: usize) -> String {
    if reached == all { namespaces_counted(all) } else { format!("{reached} of {}", namespaces_counted(all)) }
}

/// Returns the `Ready` condition, also of a ClusterPullSecret without a status, as from a file.
#[must_use]
pub(super) fn ready(state: &ObjectState) -> Condition {
    let (reason, message) = ready_condition(state);
    Condition::new(reason, message, state.generation(), Time(Timestamp::UNIX_EPOCH))
}

fn registries(state: &ObjectState) -> Vec<RegistryStatus> {
    let Some(desired_secret) = &state.desired_secret else { return Vec::new() };
    let reports = desired_secret.registries().into_iter().zip(&state.manifest.registries);
    reports.map(|(report, source)| registry(state, report, &source.store_key)).collect()
}

fn registry(state: &ObjectState, report: RegistryReport, store_key: &StoreKey) -> RegistryStatus {
    RegistryStatus {
        // The last version that was read, even if this read failed: a rotation is detected by comparing the
        // next one with it.
        version: report.version.clone().or_else(|| state.last_version(store_key).cloned()),
        host: report.host,
        store: report.store,
        key: report.key,
        fetched_at: state.fetched_at.get(store_key).map(|at| Time(whole_seconds(*at))),
        result: report.result,
        message: report.message,
        poll_interval: state.poll_intervals.get(&store_key.store).map(|it| format!("{}s", it.as_secs())),
    }
}

fn namespaces(state: &ObjectState) -> NamespaceCounts {
    let failed = state.out_of_sync();
    NamespaceCounts {
        selected: count(state.targets.len()),
        in_sync: count(state.targets.len() - failed),
        failed: count(failed),
    }
}

fn service_accounts(state: &ObjectState) -> ServiceAccountCounts {
    ServiceAccountCounts {
        selected: count(state.targets.values().map(|it| it.service_accounts.0).sum()),
        in_sync: count(state.targets.values().map(|it| it.service_accounts.1).sum()),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn failures(state: &ObjectState) -> Vec<TargetFailure> {
    let failures = state.failed_targets().map(|(namespace, (reason, message))| TargetFailure {
        namespace: namespace.clone(),
        reason: *reason,
        message: message.clone(),
    });
    failures.take(named::MAX_NAMED).collect()
}

/// Returns `None` until every key was read once.
fn fetched_condition(state: &ObjectState) -> Option<(Reason, String)> {
    let reports = state.desired_secret.as_ref()?.registries();
    let failed: Vec<_> = reports.iter().filter(|it| it.result != FetchedReason::Fetched).collect();
    let Some(first) = failed.first() else {
        return Some((FetchedReason::Fetched.into(), "every registry's credential was read".to_owned()));
    };
    let messages =
        failed.iter().map(|it| format!("{}: {}", it.host, it.message.as_deref().unwrap_or(it.result.into())));
    let messages = named::join(messages, "; ");
    // Without a credential there is no entry to keep.
    let has_entries = !state.failed_targets().any(|(_, (reason, _))| *reason == AppliedReason::NoCredential);
    let kept = match failed.iter().filter(|it| it.keeps_entries()).count() {
        0 => "",
        _ if !has_entries => "",
        count if count < failed.len() => "; other existing entries are kept",
        _ => "; existing entries are kept",
    };
    Some((first.result.into(), format!("{messages}{kept}")))
}

fn applied_condition(state: &ObjectState) -> (Reason, String) {
    if let Some(problem) = state.problems.first() {
        return (problem.reason, problem.message.clone());
    }
    match state.failed_targets().next() {
        Some((namespace, (reason, message))) => {
            let others = match state.out_of_sync() - 1 {
                0 => String::new(),
                1 => format!("{OTHERS}1 other namespace)"),
                others => format!("{OTHERS}{others} other namespaces)"),
            };
            ((*reason).into(), format!("{FIRST_NAMESPACE}{namespace}: {message}{others}"))
        }
        None if state.is_progressing() => (
            AppliedReason::Progressing.into(),
            "the first reconciliation of this spec is in progress".to_owned(),
        ),
        None => {
            (AppliedReason::Applied.into(), format!("{} in sync", namespaces_counted(state.targets.len())))
        }
    }
}

fn ready_condition(state: &ObjectState) -> (Reason, String) {
    let object = state.manifest.object.as_ref();
    let (applied, applied_message) = applied_condition(state);
    let (reason, message) = if object.is_some_and(|object| object.deleting) {
        let remaining = namespaces_counted(state.targets.len());
        let cause =
            state.problems.first().map(|problem| format!(": {}", problem.message)).unwrap_or_default();
        let message = format!("deleting managed Secrets: {remaining} remaining{cause}");
        (ReadyReason::Deleting, message)
    } else if state.manifest.inactive_reason() == Some(ReadyReason::Suspended) {
        (ReadyReason::Suspended, "nothing is read or written while `suspend` is true".to_owned())
    } else if let Some((_, message)) = fetched_condition(state).filter(|_| state.has_failed_fetch()) {
        (ReadyReason::FetchFailed, message)
    } else if applied == AppliedReason::Progressing.into() {
        (ReadyReason::Progressing, applied_message)
    } else if applied == AppliedReason::Applied.into() {
        (ReadyReason::InSync, applied_message)
    } else {
        (ReadyReason::ApplyFailed, applied_message)
    };
    match object.and_then(LiveObject::unknown_fields_message) {
        Some(ignored) => (reason.into(), format!("{message}; {ignored}")),
        None => (reason.into(), message),
    }
}

#[cfg(test)]
mod tests;
