//! The wait for the ServiceAccount `default` of a new namespace.
//!
//! Pure; times are parameters. Kubernetes creates the ServiceAccount milliseconds after the namespace, and its event
//! requeues the target: only one that stays away is worth a report.

use std::time::Duration;

use tokio::time::Instant;

use super::ObjectState;
use crate::manifest::status::reason::AppliedReason;
use crate::report::{NamespaceReport, Problem, TargetReason};

/// The time from the first missing ServiceAccount `default` of a namespace to its report.
const REPORT_AFTER: Duration = Duration::from_secs(5);

impl ObjectState {
    /// Leaves out the problem that no namespace has a ServiceAccount while one is so new that its `default` may appear
    /// any moment. What was reported before has another cause, and stays.
    #[must_use]
    pub fn without_awaited_account(&self, mut problems: Vec<Problem>, now: Instant) -> Vec<Problem> {
        let is_awaited = self.awaited_accounts.values().any(|since| now < *since + REPORT_AFTER);
        problems.retain(|it| {
            !(is_awaited && is_missing_account(it)) || self.problems.iter().any(is_missing_account)
        });
        problems
    }

    /// Returns the instant before which a missing ServiceAccount `default` is not reported; `None` where the report
    /// stands.
    pub fn awaits_service_account(&mut self, report: &NamespaceReport, now: Instant) -> Option<Instant> {
        let namespace = &report.namespace;
        let reason = report.reason.and_then(TargetReason::applied);
        if reason != Some(AppliedReason::ServiceAccountMissing) {
            self.awaited_accounts.remove(namespace);
            return None;
        }
        let since = *self.awaited_accounts.entry(namespace.clone()).or_insert(now);
        let report_at = since + REPORT_AFTER;
        (now < report_at).then_some(report_at)
    }
}

fn is_missing_account(problem: &Problem) -> bool {
    problem.reason == AppliedReason::ServiceAccountMissing.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reconcile::fixture::cluster_pull_secret;
    use crate::report::ResultKind;

    fn report(is_missing: bool) -> NamespaceReport {
        let mut report = NamespaceReport::new("web".into(), ResultKind::Created);
        report.set_missing_service_accounts(is_missing.then(|| "default".to_owned()).into_iter().collect());
        report
    }

    #[test]
    fn missing_default_is_reported_after_five_seconds() {
        let mut state = ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io"])));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.awaits_service_account(&report(true), at(0)), Some(at(5)));
        assert_eq!(state.awaits_service_account(&report(true), at(4)), Some(at(5)));
        assert_eq!(state.awaits_service_account(&report(true), at(5)), None);
        assert_eq!(state.awaits_service_account(&report(true), at(9)), None, "it stays reported");
    }

    #[test]
    fn problem_is_left_out_while_the_account_is_awaited() {
        let missing = Problem { reason: AppliedReason::ServiceAccountMissing.into(), message: String::new() };
        let mut state = ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io"])));
        let start = Instant::now();
        state.awaits_service_account(&report(true), start);
        for (seconds, before, expect) in [(4, vec![], 0), (5, vec![], 1), (4, vec![missing.clone()], 1)] {
            state.problems = before;
            let now = start + Duration::from_secs(seconds);
            let left = state.without_awaited_account(vec![missing.clone()], now);
            assert_eq!(left.len(), expect, "{seconds} s, before: {}", state.problems.len());
        }
    }

    #[test]
    fn wait_begins_anew_after_the_account_appeared() {
        let mut state = ObjectState::new(Arc::new(cluster_pull_secret("images", &["ghcr.io"])));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.awaits_service_account(&report(true), at(0)), Some(at(5)));
        assert_eq!(state.awaits_service_account(&report(false), at(1)), None);
        assert_eq!(state.awaits_service_account(&report(true), at(9)), Some(at(14)));
    }
}
