//! What came of a request, as it is printed: a row for each ClusterPullSecret, and why not.
//!
//! Pure: what was asked for and seen goes in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Asked;
use crate::cluster::error::Error;
use crate::manifest::status::reason::ReadyReason;
use crate::manifest::status::{Condition, ConditionStatus, ConditionType, LastRotation};
use crate::provider::READ_TIMEOUT;
use crate::report::table::plain_table;

/// Where the controller runs: in whichever namespace it was installed.
const PODS: &str =
    "`kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs";
/// What it says there.
const LOG: &str = "`kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100`";

/// What the controller answered, one for each ClusterPullSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answers {
    cluster_pull_secrets: Vec<Answer>,
}

/// What became of one ClusterPullSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    name: String,
    /// The controller answered; without that, the rest is what it last said.
    answered: bool,
    ready: bool,
    reason: String,
    message: String,
    /// `998/1000`, as `kubectl get` shows it.
    namespaces: String,
    /// The rotation since the request; none where nothing was new.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<LastRotation>,
    /// Somebody wrote its status since the request.
    #[serde(skip)]
    is_told: bool,
    /// The condition `Ready` as last seen.
    #[serde(skip)]
    condition: Option<Condition>,
}

impl Answers {
    pub(super) fn of(asked: &BTreeMap<String, Asked>) -> Self {
        Self { cluster_pull_secrets: asked.iter().map(|(name, asked)| Answer::new(name, asked)).collect() }
    }

    /// Whether all is well. One that is suspended is fine unless it was asked for by its name.
    pub(super) fn are_in_sync(&self, names: &[String]) -> bool {
        self.cluster_pull_secrets.iter().all(|it| if names.is_empty() { it.is_fine() } else { it.ready })
    }

    /// Who did not answer in time, and what to look at: where no status changed, nobody may be there
    /// to answer. What became of the watch may be why nothing was seen, and may be over.
    pub(super) fn silence(&self, patience: Duration, trouble: Option<&Error>) -> String {
        let silent = self.cluster_pull_secrets.iter().filter(|it| !it.answered);
        let silent: Vec<_> = silent.map(|it| it.name.as_str()).collect();
        let silence = format!("no answer within {} s from {}", patience.as_secs(), silent.join(", "));
        let hint = if self.cluster_pull_secrets.iter().any(|it| it.is_told) {
            format!(
                ": a controller is at work and not done, and --timeout waits longer; {PODS}, {LOG} tells what it waits for"
            )
        } else {
            let longest = READ_TIMEOUT.as_secs();
            format!(
                ", and no status changed meanwhile: a store that does not answer is waited for up to {longest} s; does a controller run, and does it lead? {PODS}, `kubectl get lease regcred -n NAMESPACE` names who leads, {LOG} tells why not; `regcred rotate -f` does by itself what it was asked for"
            )
        };
        let blind =
            trouble.map(|error| format!("; the watch of the ClusterPullSecrets broke meanwhile: {error}"));
        format!("{silence}{hint}{}", blind.unwrap_or_default())
    }
}

impl Answer {
    fn new(name: &str, Asked { before, last, is_answered }: &Asked) -> Self {
        let status = last.as_ref().map(|object| &object.status);
        let ready = status.and_then(|status| status.condition(ConditionType::Ready));
        let rotation = status.and_then(|status| status.last_rotation.clone());
        let (reason, message) = match (status, ready) {
            (_, Some(ready)) => (ready.reason.as_str(), ready.message.as_str()),
            (Some(_), None) => ("Unknown", "nothing was ever said of it"),
            (None, None) => ("Gone", "it was deleted meanwhile"),
        };
        Self {
            name: name.to_owned(),
            answered: *is_answered,
            ready: ready.is_some_and(|ready| ready.status == ConditionStatus::True),
            reason: reason.to_owned(),
            message: message.to_owned(),
            namespaces: status.map(|status| status.summary.namespaces.clone()).unwrap_or_default(),
            rotation: rotation.filter(|rotation| Some(rotation) != before.status.last_rotation.as_ref()),
            is_told: status.is_some_and(|status| *status != before.status),
            condition: ready.cloned(),
        }
    }

    /// Whether nothing is wrong with it; one that is left alone on purpose is fine.
    fn is_fine(&self) -> bool {
        self.ready || self.condition.as_ref().is_some_and(|ready| ready.has_reason(ReadyReason::Suspended))
    }

    /// `0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last`.
    fn took(&self) -> String {
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

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = plain_table();
        table.set_header(["NAME", "READY", "NAMESPACES", "ROTATION"]);
        for it in &self.cluster_pull_secrets {
            table.add_row([&it.name, &it.reason, &it.namespaces, &it.took()]);
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        for it in self.cluster_pull_secrets.iter().filter(|it| !it.ready || !it.answered) {
            let Answer { name, reason, message, .. } = it;
            if it.answered {
                writeln!(f, "! {name}: {message}")?;
            } else {
                writeln!(f, "! {name}: no answer; last seen as {reason}: {message}")?;
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

    fn answers<const N: usize>(asked: [(&str, Json, Option<Json>); N]) -> Answers {
        let asked =
            asked.map(|(name, before, last)| (name.to_owned(), Asked::example(&before, last.as_ref())));
        Answers::of(&asked.into())
    }

    #[test]
    fn the_table_tells_how_long_each_stage_took_and_what_is_wrong() {
        let rotation = json!({
            "trigger": "Annotation", "startedAt": "2026-01-01T00:00:00Z", "propagation": "0.84s",
            "fetch": "0.02s", "firstWrite": "0.01s", "lastWrite": "0.81s",
        });
        let rotated = json!({
            "conditions": ready("True", "InSync"), "lastRotation": rotation, "observedRotate": "now",
            "summary": {"registries": "1/1", "namespaces": "20/20"},
        });
        let failed = |observed| json!({"conditions": ready("False", "FetchFailed"), "lastRotation": rotation, "observedRotate": observed});
        let answers = answers([
            ("images", json!({}), Some(rotated)),
            ("late", failed("before"), Some(failed("before"))),
            ("new", json!({}), Some(json!({}))),
            ("others", failed("before"), Some(failed("now"))),
            ("removed", json!({}), None),
        ]);
        insta::assert_snapshot!(answers, @r"
        NAME     READY        NAMESPACES  ROTATION
        images   InSync       20/20       0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last
        late     FetchFailed              no answer
        new      Unknown                  no answer
        others   FetchFailed              nothing new
        removed  Gone                     nothing new
        ! late: no answer; last seen as FetchFailed: why
        ! new: no answer; last seen as Unknown: nothing was ever said of it
        ! others: why
        ! removed: it was deleted meanwhile
        ");
    }

    #[test]
    fn who_did_not_answer_is_named_with_the_mend() {
        let check = |before: &Json, last: Json, error: Option<&Error>| {
            let unseen = ("a", json!({}), Some(json!({})));
            answers([unseen, ("b", before.clone(), Some(last))]).silence(Duration::from_mins(1), error)
        };
        let working = json!({"conditions": ready("Unknown", "Progressing")});
        insta::assert_snapshot!(check(&working, working.clone(), None), @"no answer within 60 s from a, b, and no status changed meanwhile: a store that does not answer is waited for up to 30 s; does a controller run, and does it lead? `kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs, `kubectl get lease regcred -n NAMESPACE` names who leads, `kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100` tells why not; `regcred rotate -f` does by itself what it was asked for");
        let slow = "a controller is at work and not done, and --timeout waits longer; `kubectl get pods -A -l app.kubernetes.io/name=regcred` shows the NAMESPACE in which it runs, `kubectl logs -n NAMESPACE -l app.kubernetes.io/name=regcred --prefix --tail=100` tells what it waits for";
        let answered = json!({"observedRotate": "now"});
        assert_eq!(
            check(&json!({}), working.clone(), None),
            format!("no answer within 60 s from a, b: {slow}")
        );
        assert_eq!(check(&json!({}), answered, None), format!("no answer within 60 s from a: {slow}"));
        let error = Error::Unavailable("etcd".to_owned());
        assert_eq!(
            check(&json!({}), working, Some(&error)),
            format!(
                "no answer within 60 s from a, b: {slow}; the watch of the ClusterPullSecrets broke meanwhile: the API server is unavailable: etcd"
            )
        );
    }
}
