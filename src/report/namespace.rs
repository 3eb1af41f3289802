//! Builds the report about one namespace, outcome by outcome.
//!
//! Pure. In go the outcomes of rotator and patcher in their order; of several failures the first is
//! reported.

use super::{
    NamespaceReport, ResultKind, ServiceAccountReport, ServiceAccountResult, Shortfall, TargetReason,
};
use crate::cluster::error::Error;
use crate::manifest::status::reason::AppliedReason;
use crate::message;
use crate::object_name::NamespaceName;
use crate::patcher;
use crate::rotator::{OlderLastGood, Outcome};

/// The ServiceAccount that the controller manager creates in every namespace.
const DEFAULT: &str = "default";

impl NamespaceReport {
    /// Returns true if the target waits for an object or another credential, not for another request.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(
            self.reason.and_then(TargetReason::applied),
            Some(
                AppliedReason::ServiceAccountMissing
                    | AppliedReason::NoCredential
                    | AppliedReason::OlderLastGood
                    | AppliedReason::TooLarge
                    | AppliedReason::NotAdmitted
                    | AppliedReason::FetchFailed
            )
        )
    }

    /// Returns true if there was nothing to write: no registry could be read, and no entry existed.
    #[must_use]
    pub fn has_no_credential(&self) -> bool {
        self.reason.and_then(TargetReason::applied) == Some(AppliedReason::NoCredential)
    }

    /// Returns true if the failure may pass by itself: the API server was unavailable, or another writer
    /// wrote at the same time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.reason.and_then(TargetReason::applied),
            Some(
                AppliedReason::AlreadyExists
                    | AppliedReason::Changed
                    | AppliedReason::NotFound
                    | AppliedReason::TimedOut
                    | AppliedReason::Unavailable
            )
        )
    }

    /// Returns true if nothing failed so far.
    pub(crate) fn is_ok(&self) -> bool {
        !matches!(self.result, ResultKind::Refused | ResultKind::Failed | ResultKind::Skipped)
    }

    pub(crate) fn terminating(namespace: &NamespaceName) -> Self {
        let mut report = Self::new(namespace.clone(), ResultKind::Skipped);
        report.explain(TargetReason::Terminating, "the namespace is being deleted".to_owned());
        report
    }

    /// Reports a target with nothing to write.
    pub(crate) fn no_content(namespace: &NamespaceName, reason: AppliedReason, message: String) -> Self {
        let mut report = Self::new(namespace.clone(), ResultKind::Failed);
        report.explain(reason, message);
        report
    }

    pub(crate) fn from_outcome(namespace: &NamespaceName, outcome: Result<Outcome, Error>) -> Self {
        let mut report = Self::new(namespace.clone(), ResultKind::Unchanged);
        match outcome {
            Ok(Outcome::Unchanged) => {}
            Ok(Outcome::Created) => report.result = ResultKind::Created,
            Ok(Outcome::Updated(_)) => report.result = ResultKind::Updated,
            Ok(Outcome::Refused(refusal)) => {
                report.result = ResultKind::Refused;
                report.explain(refusal.reason(), refusal.to_string());
            }
            Ok(Outcome::Outdated(conflict)) => {
                report.result = ResultKind::Refused;
                report.explain(AppliedReason::OlderVersion, conflict.to_string());
                report.version_conflict = Some(conflict);
            }
            Err(error) => report.fail(&error, &error.to_string()),
        }
        report
    }

    /// Records a failure, unless one is recorded already. A terminating namespace is no failure, even when
    /// the termination began during the request.
    pub(crate) fn fail(&mut self, error: &Error, message: &str) {
        if self.result == ResultKind::Failed {
            return;
        }
        self.result = match error {
            Error::NamespaceTerminating => ResultKind::Skipped,
            _ => ResultKind::Failed,
        };
        self.explain(error, message.to_owned());
    }

    /// Reports the entries that are left out, after everything else was written.
    pub(crate) fn withhold(&mut self, withheld: &[OlderLastGood]) {
        if let Some(first) = withheld.first()
            && self.is_ok()
        {
            self.result = ResultKind::Failed;
            self.explain(AppliedReason::OlderLastGood, first.to_string());
        }
    }

    /// Records the reason, and the message within its bounds.
    pub(crate) fn explain(&mut self, reason: impl Into<TargetReason>, message: String) {
        self.reason = Some(reason.into());
        self.message = Some(message::bounded(&message));
    }

    /// Records the registries that the namespace lacks, unless a request failed: the others were written.
    pub(crate) fn set_shortfall(&mut self, shortfall: Option<&Shortfall>) {
        if let Some(Shortfall { reason, message }) = shortfall
            && (self.is_ok() || self.has_no_credential())
        {
            self.result = ResultKind::Failed;
            self.explain(*reason, message.clone());
        }
    }

    pub(crate) fn add_service_account(&mut self, name: &str, outcome: Result<patcher::Outcome, Error>) {
        let result = match outcome {
            Ok(patcher::Outcome::Unchanged) => ServiceAccountResult::Unchanged,
            Ok(patcher::Outcome::Gone) => ServiceAccountResult::Gone,
            Ok(patcher::Outcome::Patched) => {
                if self.result == ResultKind::Unchanged {
                    self.result = ResultKind::Updated;
                }
                ServiceAccountResult::Patched
            }
            Err(error) => {
                self.fail(&error, &format!("ServiceAccount {name}: {error}"));
                ServiceAccountResult::Failed
            }
        };
        self.service_accounts.push(ServiceAccountReport { name: name.to_owned(), result });
    }

    /// Records the missing ServiceAccounts. Every namespace has a ServiceAccount `default` a moment after its
    /// creation; any other one may be meant for some namespaces only.
    pub(crate) fn set_missing_service_accounts(&mut self, missing: Vec<String>) {
        let is_explained = self.result == ResultKind::Failed || self.version_conflict.is_some();
        if missing.iter().any(|name| name == DEFAULT) && !is_explained {
            self.result = ResultKind::Failed;
            let message = "the namespace has no ServiceAccount default yet".to_owned();
            self.explain(AppliedReason::ServiceAccountMissing, message);
        }
        self.missing_service_accounts = missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explanation_is_bounded_whatever_its_source() {
        let mut report = NamespaceReport::new("web".into(), ResultKind::Failed);
        report.explain(AppliedReason::Invalid, format!("\u{1b}[2J{}", "x".repeat(600 << 10)));
        let message = report.message.expect("a message");
        assert!(message.len() <= 1000 && !message.contains('\u{1b}'), "{} bytes", message.len());
    }
}
