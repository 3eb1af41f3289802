//! `regcred rotate --wait`: asks the controller, and waits until it has answered.
//!
//! The request is the annotation `regcred.dev/rotate`, which anybody may set by hand; the answer is
//! `status.observedRotate`. Nothing is read from a store here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde::Serialize;
use serde_json::Value as Json;
use tracing::debug;

use super::super::output::{self, Format};
use super::super::{Exit, Failure};
use crate::cluster::pull_secret;
use crate::manifest::object::{self, Object, ROTATE};
use crate::manifest::status::reason::ReadyReason;
use crate::manifest::status::{ConditionStatus, ConditionType, LastRotation};
use crate::report::table::plain_table;

/// Requests to the API server that may be under way at once.
const AT_ONCE: usize = 16;

/// What the controller answered, one for each ClusterPullSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answers {
    pull_secrets: Vec<Answer>,
}

/// What became of one ClusterPullSecret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    name: String,
    ready: bool,
    reason: String,
    message: String,
    /// `998/1000`, as `kubectl get` shows it.
    namespaces: String,
    /// The rotation since the request; none where nothing was new.
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation: Option<LastRotation>,
}

/// Asks for these ClusterPullSecrets, or for all, and prints what the controller answered. `value` has
/// to be one that nobody asked with before.
pub(super) async fn run(
    (client, address): (Client, String),
    names: &[String],
    value: &str,
    patience: Duration,
    format: Format,
) -> Result<Exit, Failure> {
    let before = asked_for(&client, &address, names).await?;
    ask(&client, &before, value).await?;
    let answered = tokio::time::timeout(patience, answers(&client, &before, value)).await;
    let pull_secrets = answered.map_err(|_| {
        Failure::World(anyhow!(
            "no answer within {} s: does a controller run? `regcred rotate -f` does by itself what it was asked for",
            patience.as_secs()
        ))
    })?;
    // One that is suspended is fine unless it was asked for by its name.
    let is_in_sync = pull_secrets.iter().all(|it| if names.is_empty() { it.is_fine() } else { it.ready });
    output::print(&Answers { pull_secrets }, format)?;
    Ok(if is_in_sync { Exit::InSync } else { Exit::NotInSync })
}

/// The ClusterPullSecrets of these names, or all of them.
async fn asked_for(client: &Client, address: &str, names: &[String]) -> Result<Vec<Json>, Failure> {
    let listed = pull_secret::list(client).await.map_err(|error| {
        let what = format!("failed to list the ClusterPullSecrets of the cluster at {address}");
        Failure::World(anyhow::Error::new(error).context(what))
    })?;
    let all = listed.unwrap_or_default();
    let has = |name: &String| all.iter().any(|it| object::name(it) == name);
    if let Some(unknown) = names.iter().find(|name| !has(name)) {
        let known: Vec<_> = all.iter().map(object::name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::World(anyhow!(
            "the cluster at {address} has no ClusterPullSecret {unknown}, and what a controller has from files cannot be asked for; it has: {known}"
        )));
    }
    if all.is_empty() {
        return Err(Failure::World(anyhow!("the cluster at {address} has no ClusterPullSecret to ask for")));
    }
    let is_wanted = |it: &Json| names.is_empty() || names.iter().any(|name| name == object::name(it));
    Ok(all.into_iter().filter(is_wanted).collect())
}

async fn ask(client: &Client, objects: &[Json], value: &str) -> Result<(), Failure> {
    let asked = objects.iter().map(object::name).map(|name| async move {
        pull_secret::annotate(client, name, ROTATE, value).await.map_err(|error| {
            let what = format!("failed to ask for the ClusterPullSecret {name}");
            Failure::World(anyhow::Error::new(error).context(what))
        })
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await
}

/// Waits until each was answered, or never will be, by one watch of them all.
async fn answers(client: &Client, before: &[Json], value: &str) -> Vec<Answer> {
    let mut answers: BTreeMap<&str, Option<Answer>> =
        before.iter().map(|it| (object::name(it), None)).collect();
    let earlier: BTreeMap<&str, Object> =
        before.iter().map(|it| (object::name(it), Object::of(it))).collect();
    let mut events =
        pin!(watcher(pull_secret::api(client.clone()), watcher::Config::default()).default_backoff());
    let mut listed = BTreeSet::new();
    while answers.values().any(Option::is_none)
        && let Some(event) = events.next().await
    {
        let mut note = |name: &str, after: Option<&Object>| {
            if let (Some(answer), Some(before)) = (answers.get_mut(name), earlier.get(name))
                && after.is_none_or(|after| is_answered(after, value))
            {
                *answer = Some(Answer::new(name, before, after));
            }
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(seen) | Event::Apply(seen)) => {
                note(&seen.name_any(), Some(&of(&seen)));
                listed.insert(seen.name_any());
            }
            Ok(Event::Delete(seen)) => note(&seen.name_any(), None),
            Ok(Event::InitDone) => {
                before
                    .iter()
                    .map(object::name)
                    .filter(|name| !listed.contains(*name))
                    .for_each(|name| note(name, None));
            }
            // It is tried again for as long as there is patience.
            Err(error) => debug!(%error, "cannot watch the ClusterPullSecrets"),
        }
    }
    answers.into_values().flatten().collect()
}

fn of(seen: &DynamicObject) -> Object {
    Object::of(&serde_json::to_value(seen).unwrap_or_default())
}

/// Whether the controller has done what it was asked for, or says why it does not.
fn is_answered(object: &Object, value: &str) -> bool {
    let ready = object.status.condition(ConditionType::Ready);
    let is_current = |generation: i64| generation == object.generation;
    let is_left_alone = ready.is_some_and(|ready| {
        let reasons = [ReadyReason::Suspended, ReadyReason::Invalid, ReadyReason::Deleting];
        is_current(ready.observed_generation) && reasons.iter().any(|it| it.to_string() == ready.reason)
    });
    object.status.observed_rotate.as_deref() == Some(value) || is_left_alone
}

impl Answer {
    fn new(name: &str, before: &Object, after: Option<&Object>) -> Self {
        let status = after.map(|object| &object.status);
        let ready = status.and_then(|status| status.condition(ConditionType::Ready));
        let rotation = status.and_then(|status| status.last_rotation.clone());
        Self {
            name: name.to_owned(),
            ready: ready.is_some_and(|ready| ready.status == ConditionStatus::True),
            reason: ready.map_or_else(|| "Gone".to_owned(), |ready| ready.reason.clone()),
            message: ready.map_or_else(|| "it was deleted meanwhile".to_owned(), |it| it.message.clone()),
            namespaces: status.map(|status| status.summary.namespaces.clone()).unwrap_or_default(),
            rotation: rotation.filter(|rotation| Some(rotation) != before.status.last_rotation.as_ref()),
        }
    }

    /// Whether nothing is wrong with it; one that is left alone on purpose is fine.
    fn is_fine(&self) -> bool {
        self.ready || self.reason == ReadyReason::Suspended.to_string()
    }

    /// `0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last`.
    fn took(&self) -> String {
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
        for it in &self.pull_secrets {
            table.add_row([&it.name, &it.reason, &it.namespaces, &it.took()]);
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim())?;
        }
        for it in self.pull_secrets.iter().filter(|it| !it.ready) {
            writeln!(f, "! {}: {}", it.name, it.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64, status: &Json) -> Object {
        Object::of(&json!({"metadata": {"generation": generation}, "status": status}))
    }

    fn ready(status: &str, reason: &str) -> Json {
        json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "why", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    #[test]
    fn an_answer_is_one_to_this_request_or_the_reason_why_there_is_none() {
        let check = |generation, status: Json, expect| {
            assert_eq!(is_answered(&object(generation, &status), "now"), expect, "{status}");
        };
        check(1, json!({"observedRotate": "now"}), true);
        check(1, json!({"observedRotate": "before", "conditions": ready("True", "InSync")}), false);
        check(1, json!({"conditions": ready("False", "Suspended")}), true);
        check(1, json!({"conditions": ready("False", "Invalid")}), true);
        check(2, json!({"conditions": ready("False", "Invalid")}), false);
    }

    #[test]
    fn the_table_tells_how_long_each_stage_took_and_what_is_wrong() {
        let rotation = json!({
            "trigger": "Annotation", "startedAt": "2026-01-01T00:00:00Z", "propagation": "0.84s",
            "fetch": "0.02s", "firstWrite": "0.01s", "lastWrite": "0.81s",
        });
        let summary = json!({"registries": "1/1", "namespaces": "20/20"});
        let before = object(1, &json!({}));
        let rotated = object(
            1,
            &json!({"conditions": ready("True", "InSync"), "lastRotation": rotation, "summary": summary}),
        );
        let failed =
            object(1, &json!({"conditions": ready("False", "FetchFailed"), "lastRotation": rotation}));
        let pull_secrets = vec![
            Answer::new("images", &before, Some(&rotated)),
            Answer::new("others", &failed, Some(&failed)),
            Answer::new("removed", &before, None),
        ];
        insta::assert_snapshot!(Answers { pull_secrets }, @r"
        NAME     READY        NAMESPACES  ROTATION
        images   InSync       20/20       0.84s: 0.02s to the read, 0.01s to the first write, 0.81s to the last
        others   FetchFailed              nothing new
        removed  Gone                     nothing new
        ! others: why
        ! removed: it was deleted meanwhile
        ");
    }
}
