//! The status of a ClusterPullSecret in one namespace, from the report of the last write there.
//!
//! Pure; times are parameters. A namespace that holds nothing of the ClusterPullSecret, and should hold nothing, has no status.

use std::time::Duration;

use tokio::time::Instant;

use super::ObjectState;
use crate::manifest::status::reason::AppliedReason;
use crate::object_name::NamespaceName;
use crate::report::{NamespaceReport, ResultKind, ServiceAccountReport, ServiceAccountResult, TargetReason};

/// The longest pause before a target with a transient failure is retried: the API server is away for
/// seconds, a quota is full for days.
const MAX_TRANSIENT_PAUSE: Duration = Duration::from_secs(15);

/// The status of a ClusterPullSecret in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// The reason and message where the namespace is out of sync.
    pub failure: Option<Box<(AppliedReason, String)>>,
    /// Requests that failed in a row.
    pub consecutive_failures: u32,
    /// Nothing is tried before this instant.
    pub not_before: Option<Instant>,
    /// ServiceAccounts that should name the Secret, and that do.
    pub service_accounts: (usize, usize),
}

/// The difference that a report makes to a target's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// Nothing that a status shows.
    None,
    /// A new failure.
    NewFailure,
    /// Something else.
    Other,
}

impl TargetStatus {
    /// Returns true if the status of the ClusterPullSecret shows both alike.
    fn is_reported_as(&self, other: &Self) -> bool {
        self.failure == other.failure && self.service_accounts == other.service_accounts
    }

    /// Returns true if the target was not written yet and is going to be retried.
    pub(super) fn is_pending(&self, now: Instant) -> bool {
        self.consecutive_failures > 0 || self.is_backing_off(now)
    }

    /// Returns true if nothing may be tried yet.
    fn is_backing_off(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|instant| instant > now)
    }

    /// Creates a status without failure and without ServiceAccounts.
    fn in_sync() -> Self {
        Self { failure: None, consecutive_failures: 0, not_before: None, service_accounts: (0, 0) }
    }

    /// Creates the status after a report; `None` where the namespace holds nothing and should hold nothing.
    fn from_report(report: &NamespaceReport, consecutive_failures: u32) -> Option<Self> {
        let service_accounts = &report.service_accounts;
        let in_sync = service_accounts.iter().filter(|it| names_secret(it)).count();
        let status = Self { service_accounts: (service_accounts.len(), in_sync), ..Self::in_sync() };
        let reason = report.reason.and_then(TargetReason::applied);
        let failure = reason.map(|reason| Box::new((reason, report.message.clone().unwrap_or_default())));
        match report.result {
            ResultKind::Created | ResultKind::Updated | ResultKind::Unchanged => Some(status),
            ResultKind::Removed | ResultKind::Skipped => None,
            ResultKind::Refused => Some(Self { failure, ..status }),
            // A target that waits for another object is requeued by its event, not by a timer.
            ResultKind::Failed if report.is_waiting() => Some(Self { failure, ..status }),
            ResultKind::Failed => {
                Some(Self { failure, consecutive_failures: consecutive_failures + 1, ..status })
            }
        }
    }
}

impl ObjectState {
    /// Updates the status of a target from a report, and returns the difference.
    pub fn update_target(
        &mut self,
        report: &NamespaceReport,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) -> TargetChange {
        let before = self.targets.get(&report.namespace);
        let consecutive_failures = before.map_or(0, |target| target.consecutive_failures);
        let known = before.and_then(|target| target.failure.as_deref()).map(|(reason, _)| *reason);
        // The end of a write that was in flight does not end a contest.
        if self.has_failure(&report.namespace, AppliedReason::Contested)
            && self.is_backing_off(&report.namespace, now)
        {
            return TargetChange::None;
        }
        let before = before.cloned();
        match TargetStatus::from_report(report, consecutive_failures) {
            None => drop(self.targets.remove(&report.namespace)),
            Some(mut target) => {
                if target.consecutive_failures > 0 {
                    let pause = pause(target.consecutive_failures);
                    let longest = if report.is_transient() { MAX_TRANSIENT_PAUSE } else { Duration::MAX };
                    target.not_before = Some(now + pause.min(longest));
                }
                self.targets.insert(report.namespace.clone(), target);
            }
        }
        match (&before, self.targets.get(&report.namespace)) {
            (_, Some(after))
                if after.failure.is_some() && report.reason.and_then(TargetReason::applied) != known =>
            {
                TargetChange::NewFailure
            }
            (Some(before), Some(after)) if before.is_reported_as(after) => TargetChange::None,
            (None, None) => TargetChange::None,
            _ => TargetChange::Other,
        }
    }

    /// Returns true if nothing may be tried in a namespace yet.
    #[must_use]
    pub fn is_backing_off(&self, namespace: &NamespaceName, now: Instant) -> bool {
        self.targets.get(namespace).is_some_and(|target| target.is_backing_off(now))
    }

    /// Returns the targets that are out of sync, each with its reason and message.
    pub fn failed_targets(&self) -> impl Iterator<Item = (&NamespaceName, &(AppliedReason, String))> {
        self.targets.iter().filter_map(|(namespace, it)| Some((namespace, it.failure.as_deref()?)))
    }

    /// Returns the number of targets that are out of sync.
    #[must_use]
    pub fn out_of_sync(&self) -> usize {
        self.failed_targets().count()
    }

    /// Returns true if a namespace is out of sync for this reason.
    #[must_use]
    pub fn has_failure(&self, namespace: &NamespaceName, reason: AppliedReason) -> bool {
        let failure = self.targets.get(namespace).and_then(|target| target.failure.as_deref());
        failure.is_some_and(|(known, _)| *known == reason)
    }

    /// Makes a namespace back off until an instant, for a reason.
    pub fn back_off(&mut self, namespace: &NamespaceName, until: Instant, failure: (AppliedReason, String)) {
        let target = self.targets.entry(namespace.clone()).or_insert_with(TargetStatus::in_sync);
        target.not_before = Some(until);
        target.failure = Some(Box::new(failure));
    }
}

fn names_secret(report: &ServiceAccountReport) -> bool {
    matches!(report.result, ServiceAccountResult::Patched | ServiceAccountResult::Unchanged)
}
