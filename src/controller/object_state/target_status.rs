//! How a ClusterPullSecret stands in one namespace, by what became of the last write there.
//!
//! Pure. Where there is nothing of it, and nothing to be, there is no standing.

use tokio::time::Instant;

use crate::manifest::status::reason::AppliedReason;
use crate::report::{NamespaceReport, ResultKind, ServiceAccountReport, ServiceAccountResult};

/// How a ClusterPullSecret stands in one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetStatus {
    /// Why it is not as it should be: reason and message.
    pub trouble: Option<(AppliedReason, String)>,
    /// Requests that failed in a row.
    pub failures: u32,
    /// Nothing is tried before this instant.
    pub not_before: Option<Instant>,
    /// ServiceAccounts that should name the Secret, and that do.
    pub service_accounts: (usize, usize),
}

/// What of a standing is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that a status tells.
    None,
    /// A trouble that was not there.
    Trouble,
    /// Something else.
    Other,
}

impl TargetStatus {
    /// Whether a status tells the same of both.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.trouble == other.trouble && self.service_accounts == other.service_accounts
    }

    /// Nothing is wrong, and nothing is known of ServiceAccounts.
    pub(super) fn in_sync() -> Self {
        Self { trouble: None, failures: 0, not_before: None, service_accounts: (0, 0) }
    }

    /// `None` where there is nothing of it in the namespace, and nothing to be.
    pub(super) fn of(report: &NamespaceReport, failures: u32) -> Option<Self> {
        let named = |it: &&ServiceAccountReport| {
            matches!(it.result, ServiceAccountResult::Patched | ServiceAccountResult::Unchanged)
        };
        let service_accounts = &report.service_accounts;
        let trouble = || Some((report.reason?.applied()?, report.message.clone().unwrap_or_default()));
        let standing = Self {
            service_accounts: (service_accounts.len(), service_accounts.iter().filter(named).count()),
            ..Self::in_sync()
        };
        match report.result {
            ResultKind::Created | ResultKind::Updated | ResultKind::Unchanged => Some(standing),
            ResultKind::Removed | ResultKind::Skipped => None,
            ResultKind::Refused => Some(Self { trouble: trouble(), ..standing }),
            // What waits for something else is looked at again when that comes, not by the clock.
            ResultKind::Failed if report.is_waiting() => Some(Self { trouble: trouble(), ..standing }),
            ResultKind::Failed => Some(Self { trouble: trouble(), failures: failures + 1, ..standing }),
        }
    }
}
