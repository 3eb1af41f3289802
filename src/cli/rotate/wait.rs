//! `regcred rotate --wait`: requests a rotation from the controller, and waits for its result.
//!
//! The request is the annotation `regcred.dev/rotate`, which users may also set by hand; the answer is
//! `status.observedRotate`. No store is read here. `report` is the printed result.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use anyhow::anyhow;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::Value as Json;

use self::report::WaitReport;
use super::super::cluster_pull_secrets::{crd_missing, not_found};
use super::super::connection::request_failed;
use super::super::output::{self, Format};
use super::super::{Exit, Failure};
use super::is_selected;
use crate::cluster::cluster_pull_secret;
use crate::cluster::error::Error;
use crate::manifest::object::{self, LiveObject, ROTATE};
use crate::manifest::status::ConditionType;
use crate::manifest::status::reason::ReadyReason;

mod report;

/// The maximum number of concurrent requests to the API server.
const CONCURRENCY: usize = 16;

/// One ClusterPullSecret with a requested rotation.
struct RequestedRotation {
    /// The object before the request.
    before: LiveObject,
    /// The object as last observed, answered or not; `None` if it is deleted.
    last: Option<LiveObject>,
    /// The controller has rotated it, or reports why it does not.
    is_answered: bool,
}

/// Requests the rotation of these ClusterPullSecrets, or of all, and prints the answers. `value` must not
/// have been used in an earlier request.
pub(super) async fn run(
    (client, address): (Client, String),
    names: &[String],
    value: &str,
    timeout: Duration,
    format: Format,
) -> Result<Exit, Failure> {
    let before = select(&client, &address, names).await?;
    request(&client, &before, value).await?;
    let mut watch = RotationWatch::new(&before);
    let in_time = tokio::time::timeout(timeout, watch.until_answered(&client, value)).await;
    let report = WaitReport::new(&watch.rotations);
    output::print(&report, format)?;
    match in_time {
        Ok(Ok(())) if report.is_in_sync(names) => Ok(Exit::InSync),
        Ok(Ok(())) => Ok(Exit::NotInSync),
        Ok(Err(error)) => Err(failed("failed to watch the ClusterPullSecrets", &error)),
        Err(_) => Err(report.timed_out(timeout, watch.failure.as_ref())),
    }
}

/// Creates a failure with its cause; if the request was forbidden, the hint names the required RBAC.
fn failed(what: &str, error: &Error) -> Failure {
    let failure = request_failed(what, error);
    match error {
        Error::Forbidden(_) => {
            failure.with_hint("allow list, watch and patch of clusterpullsecrets: --wait requires them")
        }
        _ => failure,
    }
}

/// Lists the ClusterPullSecrets of these names, or all of them.
async fn select(client: &Client, address: &str, names: &[String]) -> Result<Vec<Json>, Failure> {
    let listed = cluster_pull_secret::list(client).await.map_err(|error| {
        failed(&format!("failed to list the ClusterPullSecrets of the cluster at {address}"), &error)
    })?;
    let Some(all) = listed else { return Err(crd_missing("the CRD", address)) };
    let known: Vec<_> = all.iter().map(object::name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let origin =
            format!("the cluster at {address} (--wait does not reach those from the controller's files)");
        return Err(not_found(unknown, &origin, &known));
    }
    if all.is_empty() {
        return Err(Failure::external(anyhow!("no ClusterPullSecret in the cluster at {address}"))
            .with_hint("rotate those in manifests with `regcred rotate -f`"));
    }
    Ok(all.into_iter().filter(|it| is_selected(names, object::name(it))).collect())
}

async fn request(client: &Client, objects: &[Json], value: &str) -> Result<(), Failure> {
    let requests = objects.iter().map(object::name).map(|name| async move {
        let annotated = cluster_pull_secret::annotate(client, name, ROTATE, value).await;
        annotated.map_err(|error| failed(&format!("failed to annotate the ClusterPullSecret {name}"), &error))
    });
    stream::iter(requests).buffer_unordered(CONCURRENCY).try_collect().await
}

/// The requested rotations, as one watch observes them.
struct RotationWatch {
    /// By name.
    rotations: BTreeMap<String, RequestedRotation>,
    /// The last failure of the watch, which may be over: no event shows that a watch works again.
    failure: Option<Error>,
}

impl RotationWatch {
    fn new(objects: &[Json]) -> Self {
        let rotations = objects
            .iter()
            .map(|it| (object::name(it).to_owned(), RequestedRotation::new(LiveObject::from_json(it))));
        Self { rotations: rotations.collect(), failure: None }
    }

    /// Waits until each rotation is answered, or never will be, by one watch of them all. Fails if the watch
    /// is forbidden.
    async fn until_answered(&mut self, client: &Client, value: &str) -> Result<(), Error> {
        let config = watcher::Config::default();
        let mut events = pin!(watcher(cluster_pull_secret::api(client.clone()), config).default_backoff());
        let mut listed = BTreeSet::new();
        while !self.rotations.values().all(|rotation| rotation.is_answered)
            && let Some(event) = events.next().await
        {
            // Only an object or a complete list proves that the watch works: each attempt starts with `Init`.
            if !matches!(event, Err(_) | Ok(Event::Init)) {
                self.failure = None;
            }
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object) | Event::Apply(object)) => {
                    self.update(&object.name_any(), Some(parse(&object)), value);
                    listed.insert(object.name_any());
                }
                Ok(Event::Delete(object)) => self.update(&object.name_any(), None, value),
                Ok(Event::InitDone) => {
                    let deleted = self.rotations.iter_mut().filter(|(name, _)| !listed.contains(*name));
                    deleted.for_each(|(_, rotation)| rotation.update(None, value));
                }
                Err(error) => {
                    let error = Error::from(&error);
                    // One rejection is not final: an API server that has just started rejects everything for an instant.
                    let is_final =
                        matches!((&self.failure, &error), (Some(Error::Forbidden(_)), Error::Forbidden(_)));
                    if is_final {
                        return Err(error);
                    }
                    self.failure = Some(error);
                }
            }
        }
        Ok(())
    }

    fn update(&mut self, name: &str, object: Option<LiveObject>, value: &str) {
        if let Some(rotation) = self.rotations.get_mut(name) {
            rotation.update(object, value);
        }
    }
}

fn parse(object: &DynamicObject) -> LiveObject {
    LiveObject::from_json(&serde_json::to_value(object).unwrap_or_default())
}

impl RequestedRotation {
    fn new(before: LiveObject) -> Self {
        Self { last: Some(before.clone()), before, is_answered: false }
    }

    /// Records the object until it is answered; a deleted one never will be.
    fn update(&mut self, object: Option<LiveObject>, value: &str) {
        if !self.is_answered {
            self.is_answered = object.as_ref().is_none_or(|object| is_answered(object, value));
            self.last = object;
        }
    }
}

/// Returns true if the controller has done the requested rotation, or reports why it does not.
fn is_answered(object: &LiveObject, value: &str) -> bool {
    let ready = object.status.condition(ConditionType::Ready);
    let is_left_alone = ready.is_some_and(|ready| {
        let reasons = [ReadyReason::Suspended, ReadyReason::Invalid, ReadyReason::Deleting];
        ready.observed_generation == object.generation && reasons.into_iter().any(|it| ready.has_reason(it))
    });
    // A later request of another process replaces the annotation, and its answer includes this one. No state from
    // before this request is seen: the watch began after it.
    let answered = object.status.observed_rotate.as_deref();
    answered.is_some_and(|it| it == value || object.rotate.as_deref() == Some(it)) || is_left_alone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::error::ErrorReason;
    use crate::cluster::script::{Exchange, exchange, play, refused};

    const LIST: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=500";
    const WATCH: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=7";

    fn object(generation: i64, status: &Json) -> LiveObject {
        LiveObject::from_json(&json!({"metadata": {"generation": generation}, "status": status}))
    }

    impl RequestedRotation {
        /// A rotation requested with `now`, with the status before and the last one.
        pub(super) fn example(before: &Json, last: Option<&Json>) -> Self {
            let mut rotation = Self::new(object(1, before));
            rotation.update(last.map(|last| object(1, last)), "now");
            rotation
        }
    }

    /// A condition of generation 1.
    pub(super) fn ready(status: &str, reason: &str) -> Json {
        json!([{
            "type": "Ready", "status": status, "reason": reason, "message": "why", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }])
    }

    #[test]
    fn answer_is_to_this_request_or_a_reason_for_none() {
        for (generation, status, expect) in [
            (1, json!({"observedRotate": "now"}), true),
            (1, json!({"observedRotate": "before", "conditions": ready("True", "InSync")}), false),
            (1, json!({"conditions": ready("False", "Suspended")}), true),
            (1, json!({"conditions": ready("False", "Invalid")}), true),
            (2, json!({"conditions": ready("False", "Invalid")}), false),
        ] {
            assert_eq!(is_answered(&object(generation, &status), "now"), expect, "{status}");
        }
    }

    #[test]
    fn answer_to_a_later_request_is_one_to_this() {
        for (rotate, observed, expect) in [
            ("later", "later", true),
            ("later", "now", true),
            ("later", "before", false),
            ("now", "before", false),
        ] {
            let mut object = object(1, &json!({"observedRotate": observed}));
            object.rotate = Some(rotate.to_owned());
            assert_eq!(is_answered(&object, "now"), expect, "{rotate} {observed}");
        }
    }

    /// A rotation that is requested and never answered, as this script is played to its watch.
    async fn watched(script: Vec<Exchange>) -> (RotationWatch, Result<(), Error>) {
        let mut watch = RotationWatch::new(&[json!({"metadata": {"name": "images"}})]);
        let outcome = play(script, async |client| watch.until_answered(&client, "now").await).await.0;
        (watch, outcome)
    }

    fn listed() -> Exchange {
        let images = json!({"metadata": {"name": "images", "resourceVersion": "7"}});
        exchange(LIST, 200, json!({"metadata": {"resourceVersion": "7"}, "items": [images]}))
    }

    fn forbidden(request: &'static str) -> Exchange {
        refused(request, 403, "Forbidden")
    }

    #[tokio::test(start_paused = true)]
    async fn forbidden_list_or_watch_fails_at_the_second_rejection() {
        for script in
            [vec![forbidden(LIST), forbidden(LIST)], vec![listed(), forbidden(WATCH), forbidden(WATCH)]]
        {
            let outcome = watched(script).await.1;
            assert_eq!(outcome.map_err(|error| error.reason()), Err(ErrorReason::Forbidden));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn broken_watch_is_retried_and_recorded() {
        let script = vec![
            refused(LIST, 500, "InternalError"),
            listed(),
            forbidden(WATCH),
            refused(WATCH, 500, "InternalError"),
            forbidden(WATCH),
            forbidden(WATCH),
        ];
        let (watch, outcome) = watched(script).await;
        assert_eq!(watch.failure.map(|error| error.reason()), Some(ErrorReason::Forbidden));
        assert_eq!(outcome.map_err(|error| error.reason()), Err(ErrorReason::Forbidden));
    }

    #[test]
    fn forbidden_request_hints_at_the_required_rbac() {
        let failure = failed("failed to watch", &Error::Forbidden("may not".into()));
        assert_eq!(
            failure.to_string(),
            "error: failed to watch: may not\nhint: allow list, watch and patch of clusterpullsecrets: --wait requires them"
        );
        let failure = failed("failed to watch", &Error::Expired);
        assert_eq!(failure.to_string(), "error: failed to watch: the list expired");
    }

    #[test]
    fn events_after_the_answer_are_ignored() {
        let mut rotation = RequestedRotation::example(&json!({}), Some(&json!({"observedRotate": "now"})));
        rotation.update(Some(object(1, &json!({"observedRotate": "later"}))), "now");
        assert!(rotation.is_answered);
        assert_eq!(rotation.last.and_then(|last| last.status.observed_rotate).as_deref(), Some("now"));
    }
}
