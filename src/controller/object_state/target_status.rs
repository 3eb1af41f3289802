//! The status of a ClusterPullSecret in one namespace, from the report of the last write there.
//!
//! Pure. A namespace that holds nothing of the ClusterPullSecret, and should hold nothing, has no status.

use tokio::time::Instant;

use crate::manifest::status::reason::AppliedReason;
use crate::report::{NamespaceReport, ResultKind, ServiceAccountReport, ServiceAccountResult, TargetReason};

/// The status of a ClusterPullSecret in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// The reason and message where the namespace is out of sync.
    pub failure: Option<(AppliedReason, String)>,
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
    pub(super) fn is_reported_as(&self, other: &Self) -> bool {
        self.failure == other.failure && self.service_accounts == other.service_accounts
    }

    /// Returns true if the target was not written yet and is going to be retried.
    pub(super) fn is_pending(&self, now: Instant) -> bool {
        self.consecutive_failures > 0 || self.is_backing_off(now)
    }

    /// Returns true if nothing may be tried yet.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|instant| instant > now)
    }

    /// Creates a status without failure and without ServiceAccounts.
    pub(super) fn in_sync() -> Self {
        Self { failure: None, consecutive_failures: 0, not_before: None, service_accounts: (0, 0) }
    }

    /// Creates the status after a report; `None` where the namespace holds nothing and should hold nothing.
    pub(super) fn from_report(report: &NamespaceReport, consecutive_failures: u32) -> Option<Self> {
        let service_accounts = &report.service_accounts;
        let in_sync = service_accounts.iter().filter(|it| names_secret(it)).count();
        let status = Self { service_accounts: (service_accounts.len(), in_sync), ..Self::in_sync() };
        let reason = report.reason.and_then(TargetReason::applied);
        let failure = reason.map(|reason| (reason, report.message.clone().unwrap_or_default()));
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

fn names_secret(report: &ServiceAccountReport) -> bool {
    matches!(report.result, ServiceAccountResult::Patched | ServiceAccountResult::Unchanged)
}
