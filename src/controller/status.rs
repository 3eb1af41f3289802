//! The status of a ClusterPullSecret, by what the controller knows.
//!
//! Pure: the record and the time go in, the status comes out, and whether it says anything new.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object_state::{ObjectState, TargetStatus};
use crate::manifest::object::Object;
use crate::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason, Reason};
use crate::manifest::status::{
    ClusterPullSecretStatus, Condition, ConditionStatus, ConditionType, LastRotation, NamespaceCounts,
    RegistryStatus, ServiceAccountCounts, Summary, TargetFailure,
};
use crate::report::RegistryReport;

/// Failures that a status names.
const MOST_FAILURES: usize = 10;

/// The status; `are_former_gone` says that nothing is left under earlier names of its Secrets.
#[must_use]
pub(super) fn of(record: &ObjectState, are_former_gone: bool, now: Timestamp) -> ClusterPullSecretStatus {
    let Some(object) = &record.wanted.object else { return ClusterPullSecretStatus::default() };
    if record.wanted.inactive_reason() == Some(ReadyReason::Suspended) {
        return of_suspended(record, object, now);
    }
    let mut status = ClusterPullSecretStatus {
        observed_generation: object.generation,
        registries: registries(record),
        namespaces: namespaces(record),
        service_accounts: service_accounts(record),
        failures: failures(record),
        conditions: object.status.conditions.clone(),
        last_rotation: object.status.last_rotation.clone(),
        observed_rotate: record.observed_rotate.clone().or_else(|| object.status.observed_rotate.clone()),
        observed_request: record.observed_request.clone().or_else(|| object.status.observed_request.clone()),
        secret_names: if are_former_gone {
            vec![record.wanted.secret_name.clone()]
        } else {
            object.secret_names.clone()
        },
        summary: Summary::default(),
    };
    if let Some(rotation) = &record.last_rotation {
        status.last_rotation = Some(LastRotation {
            trigger: rotation.cause.trigger.to_string(),
            // Statuses tell seconds: what is told is to be what is read back.
            started_at: Time(whole_seconds(rotation.cause.at)),
            propagation: seconds(rotation.took),
            fetch: seconds(rotation.fetch),
            first_write: seconds(rotation.first_write),
            last_write: seconds(rotation.last_write),
        });
    }
    let fetched = status.registries.iter().filter(|it| it.result == FetchedReason::Fetched).count();
    status.summary = Summary {
        registries: format!("{fetched}/{}", record.wanted.registries.len()),
        namespaces: format!("{}/{}", status.namespaces.in_sync, status.namespaces.selected),
    };
    let conditions =
        [fetched_condition(record), Some(applied_condition(record)), Some(ready_condition(record))];
    for (reason, message) in conditions.into_iter().flatten() {
        status.set_condition(Condition::new(reason, message, object.generation, Time(now)));
    }
    status
}

/// The status of one that is left alone: what was told of it before stays.
fn of_suspended(record: &ObjectState, object: &Object, now: Timestamp) -> ClusterPullSecretStatus {
    let mut status = (*object.status).clone();
    status.observed_generation = object.generation;
    let (reason, message) = ready_condition(record);
    status.set_condition(Condition::new(reason, message, object.generation, Time(now)));
    status
}

/// The status of one in which something is wrong; `None` where it says so already.
#[must_use]
pub(super) fn of_invalid(object: &Object, message: &str, now: Timestamp) -> Option<ClusterPullSecretStatus> {
    let mut status = (*object.status).clone();
    status.observed_generation = object.generation;
    let reason = ReadyReason::Invalid.into();
    status.set_condition(Condition::new(reason, message.to_owned(), object.generation, Time(now)));
    (!is_same(&status, &object.status)).then_some(status)
}

/// Whether two statuses differ in nothing but when a key was read.
#[must_use]
pub(super) fn is_same(one: &ClusterPullSecretStatus, other: &ClusterPullSecretStatus) -> bool {
    let timeless = |status: &ClusterPullSecretStatus| {
        let mut status = status.clone();
        status.registries.iter_mut().for_each(|registry| registry.fetched_at = None);
        status.conditions.iter_mut().for_each(|it| it.last_transition_time = Time(Timestamp::UNIX_EPOCH));
        status
    };
    timeless(one) == timeless(other)
}

/// `Ready`, where it says something else than before that is worth an Event.
#[must_use]
pub(super) fn change<'a>(
    before: &ClusterPullSecretStatus,
    after: &'a ClusterPullSecretStatus,
) -> Option<&'a Condition> {
    let ready = after.condition(ConditionType::Ready)?;
    let is_known = before.condition(ConditionType::Ready).is_some_and(|before| says_the_same(before, ready));
    let is_worth_it = ready.reason != ReadyReason::Progressing.to_string();
    (!is_known && is_worth_it).then_some(ready)
}

/// Whether `Ready` is no news. How many namespaces are well is none; what is wrong, and where, is.
#[must_use]
pub(super) fn says_the_same(before: &Condition, ready: &Condition) -> bool {
    before.reason == ready.reason && (!is_bad(ready) || before.message == ready.message)
}

/// Whether it is ready, for those who are alerted: of one that is suspended nobody wants it to be.
#[must_use]
pub(super) fn is_ready(ready: &Condition) -> Option<bool> {
    let is_suspended = ready.reason == ReadyReason::Suspended.to_string();
    (!is_suspended).then_some(ready.status == ConditionStatus::True)
}

/// Whether `Ready` tells of something that somebody has to mend.
#[must_use]
pub(super) fn is_bad(ready: &Condition) -> bool {
    let fine = [ReadyReason::InSync, ReadyReason::Suspended, ReadyReason::Deleting];
    !fine.iter().any(|reason| reason.to_string() == ready.reason)
}

fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// `0.84s`.
#[must_use]
pub(super) fn seconds(took: Duration) -> String {
    format!("{:.2}s", took.as_secs_f64())
}

/// What `Ready` says, for those whose status nobody writes too.
#[must_use]
pub(super) fn ready(record: &ObjectState) -> Condition {
    let (reason, message) = ready_condition(record);
    Condition::new(reason, message, record.generation(), Time(Timestamp::UNIX_EPOCH))
}

fn registries(record: &ObjectState) -> Vec<RegistryStatus> {
    let Some(contents) = &record.contents else { return Vec::new() };
    let reports = contents.registries();
    let sources = &record.wanted.registries;
    let of_one = |(report, place): (RegistryReport, &crate::credential::StoreKey)| RegistryStatus {
        // The one that was read last, though it could not be this time: what is new when it can be again is
        // told by it.
        version: report.version.clone().or_else(|| record.last_version(place).cloned()),
        host: report.host,
        store: report.store,
        key: report.key,
        fetched_at: record.fetched_at.get(place).map(|at| Time(whole_seconds(*at))),
        result: report.result.parse().unwrap_or(FetchedReason::Unavailable),
        message: report.message,
    };
    reports.into_iter().zip(sources.iter().map(|source| &source.store_key)).map(of_one).collect()
}

fn namespaces(record: &ObjectState) -> NamespaceCounts {
    let troubled = record.behind();
    NamespaceCounts {
        selected: count(record.standings.len()),
        in_sync: count(record.standings.len() - troubled),
        failed: count(troubled),
    }
}

fn service_accounts(record: &ObjectState) -> ServiceAccountCounts {
    let sum = |of: fn(&TargetStatus) -> usize| record.standings.values().map(of).sum();
    ServiceAccountCounts {
        selected: count(sum(|it| it.service_accounts.0)),
        in_sync: count(sum(|it| it.service_accounts.1)),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn failures(record: &ObjectState) -> Vec<TargetFailure> {
    let troubles = record.standings.iter().filter_map(|(ns, it)| Some((ns, it.trouble.as_ref()?)));
    let failure = |(namespace, (reason, message)): (&String, &(&str, String))| TargetFailure {
        namespace: namespace.clone(),
        reason: applied_reason(reason),
        message: message.clone(),
    };
    troubles.map(failure).take(MOST_FAILURES).collect()
}

fn applied_reason(reason: &str) -> AppliedReason {
    reason.parse().unwrap_or(AppliedReason::Invalid)
}

/// `None` until every key was read once.
fn fetched_condition(record: &ObjectState) -> Option<(Reason, String)> {
    let reports = record.contents.as_ref()?.registries();
    let failed: Vec<_> = reports.iter().filter(|it| it.result != RegistryReport::FETCHED).collect();
    let Some(first) = failed.first() else {
        return Some((FetchedReason::Fetched.into(), "every registry's credential was read".to_owned()));
    };
    let reason: FetchedReason = first.result.parse().unwrap_or(FetchedReason::Unavailable);
    let messages: Vec<_> = failed
        .iter()
        .map(|it| format!("{}: {}", it.host, it.message.as_deref().unwrap_or(it.result)))
        .collect();
    Some((reason.into(), format!("{}; what the cluster has of it stays", messages.join("; "))))
}

fn applied_condition(record: &ObjectState) -> (Reason, String) {
    if let Some(problem) = record.problems.first() {
        return (applied_reason(problem.reason).into(), problem.message.clone());
    }
    let troubles: Vec<_> =
        record.standings.iter().filter_map(|(ns, it)| Some((ns, it.trouble.as_ref()?))).collect();
    match troubles.first() {
        Some((namespace, (reason, message))) => {
            let others = match troubles.len() - 1 {
                0 => String::new(),
                1 => " (and 1 other namespace)".to_owned(),
                others => format!(" (and {others} other namespaces)"),
            };
            (applied_reason(reason).into(), format!("namespace {namespace}: {message}{others}"))
        }
        None if record.is_progressing() => {
            (AppliedReason::Progressing.into(), "the first pass over this spec is under way".to_owned())
        }
        None => {
            let message = format!("{} namespaces hold what they should", record.standings.len());
            (AppliedReason::Applied.into(), message)
        }
    }
}

fn ready_condition(record: &ObjectState) -> (Reason, String) {
    let object = record.wanted.object.as_ref();
    let (applied, applied_message) = applied_condition(record);
    let (reason, message) = if object.is_some_and(|object| object.deleting) {
        let left = record.standings.len();
        let why = record.problems.first().map(|problem| format!(": {}", problem.message)).unwrap_or_default();
        let message = format!("waiting until what was made for it is gone; {left} namespaces left{why}");
        (ReadyReason::Deleting, message)
    } else if record.wanted.inactive_reason() == Some(ReadyReason::Suspended) {
        (ReadyReason::Suspended, "nothing is read or written while `suspend` is true".to_owned())
    } else if let Some((_, message)) = fetched_condition(record).filter(|_| record.has_failed_read()) {
        (ReadyReason::FetchFailed, message)
    } else if applied == AppliedReason::Progressing.into() {
        (ReadyReason::Progressing, applied_message)
    } else if applied == AppliedReason::Applied.into() {
        (ReadyReason::InSync, applied_message)
    } else {
        (ReadyReason::ApplyFailed, applied_message)
    };
    (reason.into(), message)
}

#[cfg(test)]
mod tests;
