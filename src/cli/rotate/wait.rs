//! `regcred rotate --wait`: asks the controller, and waits until it has answered.
//!
//! The request is the annotation `regcred.dev/rotate`, which anybody may set by hand; the answer is
//! `status.observedRotate`. Nothing is read from a store here. `answers` is what is printed.

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

use self::answers::Answers;
use super::super::output::{self, Format};
use super::super::{Exit, Failure};
use crate::cluster::error::Error;
use crate::cluster::{cluster_pull_secret, watch};
use crate::manifest::object::{self, Object, ROTATE};
use crate::manifest::status::ConditionType;
use crate::manifest::status::reason::ReadyReason;

mod answers;

/// Requests to the API server that may be under way at once.
const AT_ONCE: usize = 16;

/// One ClusterPullSecret that is asked for.
struct Asked {
    /// As it stood before.
    before: Object,
    /// As it was last seen, at its answer or without one; none where it is gone.
    last: Option<Object>,
    /// The controller did what it was asked for, or says why it does not.
    is_answered: bool,
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
    let mut watched = Watched::of(&before);
    let in_time = tokio::time::timeout(patience, watched.until_answered(&client, value)).await;
    let answers = Answers::of(&watched.asked);
    output::print(&answers, format)?;
    match in_time {
        Ok(Ok(())) if answers.are_in_sync(names) => Ok(Exit::InSync),
        Ok(Ok(())) => Ok(Exit::NotInSync),
        Ok(Err(error)) => Err(failed("failed to watch the ClusterPullSecrets", &error)),
        Err(_) => Err(Failure::World(anyhow!(answers.silence(patience, watched.trouble.as_ref())))),
    }
}

/// What failed and why; where it was refused, the rights that are needed.
fn failed(what: &str, error: &Error) -> Failure {
    let rights = match error {
        Error::Forbidden(_) => ": --wait needs the rights list, watch and patch of clusterpullsecrets",
        _ => "",
    };
    Failure::World(anyhow!("{what}: {error}{rights}"))
}

/// The ClusterPullSecrets of these names, or all of them.
async fn asked_for(client: &Client, address: &str, names: &[String]) -> Result<Vec<Json>, Failure> {
    let listed = cluster_pull_secret::list(client).await.map_err(|error| {
        failed(&format!("failed to list the ClusterPullSecrets of the cluster at {address}"), &error)
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
        let asked = cluster_pull_secret::annotate(client, name, ROTATE, value).await;
        asked.map_err(|error| failed(&format!("failed to ask for the ClusterPullSecret {name}"), &error))
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await
}

/// What is seen of the ClusterPullSecrets that are asked for.
struct Watched {
    /// By name.
    asked: BTreeMap<String, Asked>,
    /// Why they could not be watched for a while, or still cannot: no event shows that a watch goes on.
    trouble: Option<Error>,
}

impl Watched {
    fn of(objects: &[Json]) -> Self {
        let asked = |it: &Json| (object::name(it).to_owned(), Asked::new(Object::of(it)));
        Self { asked: objects.iter().map(asked).collect(), trouble: None }
    }

    /// Waits until each was answered, or never will be, by one watch of them all; who may not watch them
    /// never will see it.
    async fn until_answered(&mut self, client: &Client, value: &str) -> Result<(), Error> {
        let config = watcher::Config::default();
        let mut events = pin!(watcher(cluster_pull_secret::api(client.clone()), config).default_backoff());
        let mut listed = BTreeSet::new();
        while !self.asked.values().all(|asked| asked.is_answered)
            && let Some(event) = events.next().await
        {
            // Only what was seen shows that it works: every try begins with `Init`.
            if !matches!(event, Err(_) | Ok(Event::Init)) {
                self.trouble = None;
            }
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(seen) | Event::Apply(seen)) => {
                    self.note(&seen.name_any(), Some(of(&seen)), value);
                    listed.insert(seen.name_any());
                }
                Ok(Event::Delete(seen)) => self.note(&seen.name_any(), None, value),
                Ok(Event::InitDone) => {
                    let unlisted = self.asked.iter_mut().filter(|(name, _)| !listed.contains(*name));
                    unlisted.for_each(|(_, asked)| asked.note(None, value));
                }
                Err(error) => {
                    let error = watch::cause(&error);
                    // Once is no answer: an API server that has just started refuses everything for an instant.
                    let is_final =
                        matches!((&self.trouble, &error), (Some(Error::Forbidden(_)), Error::Forbidden(_)));
                    if is_final {
                        return Err(error);
                    }
                    self.trouble = Some(error);
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, name: &str, seen: Option<Object>, value: &str) {
        if let Some(asked) = self.asked.get_mut(name) {
            asked.note(seen, value);
        }
    }
}

fn of(seen: &DynamicObject) -> Object {
    Object::of(&serde_json::to_value(seen).unwrap_or_default())
}

impl Asked {
    fn new(before: Object) -> Self {
        Self { last: Some(before.clone()), before, is_answered: false }
    }

    /// Takes note of how it stands, until it is answered; one that is gone never will be.
    fn note(&mut self, seen: Option<Object>, value: &str) {
        if !self.is_answered {
            self.is_answered = seen.as_ref().is_none_or(|seen| is_answered(seen, value));
            self.last = seen;
        }
    }
}

/// Whether the controller has done what it was asked for, or says why it does not.
fn is_answered(object: &Object, value: &str) -> bool {
    let ready = object.status.condition(ConditionType::Ready);
    let is_current = |generation: i64| generation == object.generation;
    let is_left_alone = ready.is_some_and(|ready| {
        let reasons = [ReadyReason::Suspended, ReadyReason::Invalid, ReadyReason::Deleting];
        is_current(ready.observed_generation) && reasons.into_iter().any(|it| ready.has_reason(it))
    });
    object.status.observed_rotate.as_deref() == Some(value) || is_left_alone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::script::{Exchange, exchange, play, refused};

    const LIST: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&limit=500";
    const WATCH: &str = "GET /apis/regcred.dev/v1alpha1/clusterpullsecrets?&watch=true&timeoutSeconds=290&allowWatchBookmarks=true&resourceVersion=7";

    impl Asked {
        /// One that was asked for with `now`, as it stood before and as it was last seen, each by its status.
        pub(super) fn example(before: &Json, last: Option<&Json>) -> Self {
            let object = |status| Object::of(&json!({"metadata": {"generation": 1}, "status": status}));
            let mut asked = Self::new(object(before));
            asked.note(last.map(object), "now");
            asked
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
    fn an_answer_is_one_to_this_request_or_the_reason_why_there_is_none() {
        let check = |generation: i64, status: Json, expect| {
            let object = Object::of(&json!({"metadata": {"generation": generation}, "status": status}));
            assert_eq!(is_answered(&object, "now"), expect, "{status}");
        };
        check(1, json!({"observedRotate": "now"}), true);
        check(1, json!({"observedRotate": "before", "conditions": ready("True", "InSync")}), false);
        check(1, json!({"conditions": ready("False", "Suspended")}), true);
        check(1, json!({"conditions": ready("False", "Invalid")}), true);
        check(2, json!({"conditions": ready("False", "Invalid")}), false);
    }

    /// One that is asked for and never answered, as this is played to its watch.
    async fn watched(script: Vec<Exchange>) -> (Watched, Result<(), Error>) {
        let mut watched = Watched::of(&[json!({"metadata": {"name": "images"}})]);
        let watching = async |client| watched.until_answered(&client, "now").await;
        let outcome = play(script, watching).await.0;
        (watched, outcome)
    }

    fn listed() -> Exchange {
        let images = json!({"metadata": {"name": "images", "resourceVersion": "7"}});
        exchange(LIST, 200, json!({"metadata": {"resourceVersion": "7"}, "items": [images]}))
    }

    #[tokio::test(start_paused = true)]
    async fn who_may_not_list_or_watch_is_told_so_when_it_is_refused_twice() {
        let forbidden = Err(Error::Forbidden("Forbidden".to_owned()));
        let refused = |request| refused(request, 403, "Forbidden");
        assert_eq!(watched(vec![refused(LIST), refused(LIST)]).await.1, forbidden);
        assert_eq!(watched(vec![listed(), refused(WATCH), refused(WATCH)]).await.1, forbidden);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_breaks_is_taken_up_again_and_remembered() {
        let script = vec![
            refused(LIST, 500, "InternalError"),
            listed(),
            refused(WATCH, 403, "Forbidden"),
            refused(WATCH, 500, "InternalError"),
            refused(WATCH, 403, "Forbidden"),
            refused(WATCH, 403, "Forbidden"),
        ];
        let (watched, outcome) = watched(script).await;
        let forbidden = Error::Forbidden("Forbidden".to_owned());
        assert_eq!((watched.trouble, outcome), (Some(forbidden.clone()), Err(forbidden)));
    }

    #[test]
    fn a_refusal_names_the_rights_that_are_needed() {
        let check = |error: Error| match failed("failed to watch", &error) {
            Failure::World(error) | Failure::Broken(error) => format!("{error:#}"),
        };
        assert_eq!(
            check(Error::Forbidden("may not".to_owned())),
            "failed to watch: may not: --wait needs the rights list, watch and patch of clusterpullsecrets"
        );
        assert_eq!(check(Error::Expired), "failed to watch: the list expired");
    }

    #[test]
    fn what_is_seen_after_the_answer_takes_nothing_from_it() {
        let mut asked = Asked::example(&json!({}), Some(&json!({"observedRotate": "now"})));
        asked.note(Some(Object::of(&json!({"status": {"observedRotate": "later"}}))), "now");
        assert!(asked.is_answered);
        assert_eq!(asked.last.and_then(|last| last.status.observed_rotate).as_deref(), Some("now"));
    }
}
