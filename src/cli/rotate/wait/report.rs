//! The printed result of requested rotations: a row for each ClusterPullSecret, and the reasons of failures.
//!
//! In go the requested rotations as observed, out come the report and, after a timeout, the failure. Reads
//! nothing by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::anyhow;
use serde::Serialize;

use super::super::super::Failure;
use super::RequestedRotation;
use crate::cluster::error::Error;
use crate::manifest::status::reason::ReadyReason;
use crate::manifest::status::{Condition, ConditionStatus, ConditionType, LastRotation};
use crate::provider::READ_TIMEOUT;
use crate::report::table::plain_table;

/// The command that finds the controller: in the namespace it was installed in.
const PODS: &str =
    "`kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs";
/// The command that shows its log.
const LOG: &str = "`kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100`";

/// The results of all requested rotations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaitReport {
    cluster_pull_secrets: Vec<RotationResult>,
}

/// The result of one requested rotation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RotationResult {
    name: String,
    /// The controller answered; if not, the rest is the last status.
    answered: bool,
    ready: bool,
    reason: String,
    message: String,
    /// `998/1000`, as `kubectl get` shows it.
    namespaces: String,
    /// The rotation since the request; `None` if no version was new.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<LastRotation>,
    /// The status was written since the request.
    #[serde(skip)]
    is_status_changed: bool,
    /// The condition `Ready` as last observed.
    #[serde(skip)]
    condition: Option<Condition>,
}

impl WaitReport {
    pub(super) fn new(rotations: &BTreeMap<String, RequestedRotation>) -> Self {
        let results = rotations.iter().map(|(name, rotation)| RotationResult::new(name, rotation));
        Self { cluster_pull_secrets: results.collect() }
    }

    /// Returns true if all are in sync. A suspended one is fine unless it was requested by name.
    pub(super) fn is_in_sync(&self, names: &[String]) -> bool {
        self.cluster_pull_secrets.iter().all(|it| if names.is_empty() { it.is_fine() } else { it.ready })
    }

    /// Creates the failure of a timeout: names those without an answer, and hints at what to look at. If no
    /// status changed, there may be no controller. `watch_failure` may explain why no answer was observed,
    /// and may be over.
    pub(super) fn timed_out(&self, timeout: Duration, watch_failure: Option<&Error>) -> Failure {
        let missing = self.cluster_pull_secrets.iter().filter(|it| !it.answered);
        let missing: Vec<_> = missing.map(|it| it.name.as_str()).collect();
        let what = format!("no answer within {} s from {}", timeout.as_secs(), missing.join(", "));
        let (state, hint) = if self.cluster_pull_secrets.iter().any(|it| it.is_status_changed) {
            let hint = format!("wait longer with --timeout; {PODS}, {LOG} shows what it waits for");
            ("a controller is working on it".to_owned(), hint)
        } else {
            let longest = READ_TIMEOUT.as_secs();
            let hint = format!(
                "check that a controller runs and leads: {PODS}, `kubectl get lease regcred -n NAMESPACE` names the leader, {LOG} shows its failures; or rotate without it: `regcred rotate -f`"
            );
            (format!("no status changed (a store that does not answer takes up to {longest} s)"), hint)
        };
        let watch_failure = watch_failure
            .map(|error| format!("; the watch of the ClusterPullSecrets failed: {error}"))
            .unwrap_or_default();
        Failure::external(anyhow!("{what}: {state}{watch_failure}")).with_hint(hint)
    }
}

impl RotationResult {
    fn new(name: &str, RequestedRotation { before, last, is_answered }: &RequestedRotation) -> Self {
        let status = last.as_ref().map(|object| &object.status);
        let ready = status.and_then(|status| status.condition(ConditionType::Ready));
        let rotation = status.and_then(|status| status.last_rotation.clone());
        let (reason, message) = match (status, ready) {
            (_, Some(ready)) => (ready.reason.as_str(), ready.message.as_str()),
            (Some(_), None) => ("Unknown", "it has no status yet"),
            (None, None) => ("Gone", "it was deleted"),
        };
        Self {
            name: name.to_owned(),
            answered: *is_answered,
            ready: ready.is_some_and(|ready| ready.status == ConditionStatus::True),
            reason: reason.to_owned(),
            message: message.to_owned(),
            namespaces: status.map(|status| status.summary.namespaces.clone()).unwrap_or_default(),
            rotation: rotation.filter(|rotation| Some(rotation) != before.status.last_rotation.as_ref()),
            is_status_changed: status.is_some_and(|status| *status != before.status),
            condition: ready.cloned(),
        }
    }

    /// Returns true if it has no problem; a suspended one has none.
    fn is_fine(&self) -> bool {
        self.ready || self.condition.as_ref().is_some_and(|ready| ready.has_reason(ReadyReason::Suspended))
    }

    /// `0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last`.
    fn stages(&self) -> String {
        if !self.answered {
            return "no answer".to_owned();
        }
        let Some(LastRotation { propagation, fetch, first_write, last_write, .. }) = &self.rotation else {
            return "nothing new".to_owned();
        };
        format!(
            "{propagation}: {fetch} to the read, {first_write} to the first write, {last_write} to the last"
        )
    }
}

impl fmt::Display for WaitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = plain_table();
        table.set_header(["NAME", "READY", "NAMESPACES", "ROTATION"]);
        for it in &self.cluster_pull_secrets {
            table.add_row([&it.name, &it.reason, &it.namespaces, &it.stages()]);
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        for it in self.cluster_pull_secrets.iter().filter(|it| !it.ready || !it.answered) {
            let RotationResult { name, reason, message, .. } = it;
            if it.answered {
                writeln!(f, "! {name}: {message}")?;
            } else {
                writeln!(f, "! {name}: no answer; last status {reason}: {message}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::super::tests::ready;
    use super::*;

    fn report<const N: usize>(rotations: [(&str, Json, Option<Json>); N]) -> WaitReport {
        let rotations = rotations.map(|(name, before, last)| {
            (name.to_owned(), RequestedRotation::example(&before, last.as_ref()))
        });
        WaitReport::new(&rotations.into())
    }

    #[test]
    fn table_shows_the_time_of_each_stage_and_the_failures() {
        let rotation = json!({
            "trigger": "Annotation", "startedAt": "2026-01-01T00:00:00Z", "propagation": "0.84s",
            "fetch": "0.02s", "firstWrite": "0.01s", "lastWrite": "0.81s",
        });
        let rotated = json!({
            "conditions": ready("True", "InSync"), "lastRotation": rotation, "observedRotate": "now",
            "summary": {"registries": "1/1", "namespaces": "20/20"},
        });
        let mut failed = json!({
            "conditions": ready("False", "FetchFailed"), "lastRotation": rotation, "observedRotate": "before",
        });
        let before = failed.clone();
        failed["observedRotate"] = json!("now");
        let report = report([
            ("images", json!({}), Some(rotated)),
            ("late", before.clone(), Some(before.clone())),
            ("new", json!({}), Some(json!({}))),
            ("others", before, Some(failed)),
            ("removed", json!({}), None),
        ]);
        insta::assert_snapshot!(report, @r"
        NAME     READY        NAMESPACES  ROTATION
        images   InSync       20/20       0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last
        late     FetchFailed              no answer
        new      Unknown                  no answer
        others   FetchFailed              nothing new
        removed  Gone                     nothing new
        ! late: no answer; last status FetchFailed: why
        ! new: no answer; last status Unknown: it has no status yet
        ! others: why
        ! removed: it was deleted
        ");
    }

    /// The failure of a timeout without an answer from `a`, and from `b` if it has this last status.
    fn timed_out(before: &Json, last: Json, error: Option<&Error>) -> String {
        let unchanged = ("a", json!({}), Some(json!({})));
        let report = report([unchanged, ("b", before.clone(), Some(last))]);
        report.timed_out(Duration::from_mins(1), error).to_string()
    }

    #[test]
    fn timeout_names_the_missing_answers_and_the_fix() {
        let working = json!({"conditions": ready("Unknown", "Progressing")});
        insta::assert_snapshot!(timed_out(&working, working.clone(), None), @r"
        error: no answer within 60 s from a, b: no status changed (a store that does not answer takes up to 30 s)
        hint: check that a controller runs and leads: `kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs, `kubectl get lease regcred -n NAMESPACE` names the leader, `kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100` shows its failures; or rotate without it: `regcred rotate -f`
        ");
        let hint = "hint: wait longer with --timeout; `kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs, `kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100` shows what it waits for";
        assert_eq!(
            timed_out(&json!({}), working.clone(), None),
            format!("error: no answer within 60 s from a, b: a controller is working on it\n{hint}")
        );
        assert_eq!(
            timed_out(&json!({}), json!({"observedRotate": "now"}), None),
            format!("error: no answer within 60 s from a: a controller is working on it\n{hint}")
        );
        let error = Error::Unavailable("etcd".into());
        assert_eq!(
            timed_out(&json!({}), working, Some(&error)),
            format!(
                "error: no answer within 60 s from a, b: a controller is working on it; the watch of the ClusterPullSecrets failed: the API server is unavailable: etcd\n{hint}"
            )
        );
    }
}
