//! What comes to a replica that does not lead, brought to the one that does.
//!
//! A request is stored on the ClusterPullSecret, where whoever leads sees it, and only then is it
//! answered. One round at a time: what comes meanwhile goes together with the next.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::Client;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Controller, TaskResult};
use crate::cluster::cluster_pull_secret;
use crate::cluster::error::Error;
use crate::manifest::object::{ExpectedVersion, ForwardedRequest, REQUEST};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::trigger::channel::{Answer, NotHandedOver};

/// Requests to the API server that may be under way at once.
const AT_ONCE: usize = 8;

/// Who asked, and for which ClusterPullSecrets.
type Waiting = Vec<(Vec<String>, oneshot::Sender<Answer>)>;

/// What waits to be handed over.
#[derive(Debug, Default)]
pub(super) struct ForwardedRequests {
    is_under_way: bool,
    requests: BTreeMap<String, ForwardedRequest>,
    waiting: Waiting,
    /// It was said that what comes from files cannot be handed over.
    is_said: bool,
}

/// A round of them that came to its end.
#[derive(Debug)]
pub(super) struct HandedOver {
    waiting: Waiting,
    results: BTreeMap<String, Result<(), Error>>,
}

impl ForwardedRequests {
    /// Adds what somebody asked for; of several requests for one ClusterPullSecret the oldest tells the
    /// time, and the last of each key its version.
    fn add(&mut self, name: &str, request: ForwardedRequest) {
        match self.requests.get_mut(name) {
            Some(known) => {
                let stays = |it: &ExpectedVersion| {
                    !request.expected.iter().any(|new| (&new.store, &new.key) == (&it.store, &it.key))
                };
                known.expected.retain(stays);
                known.expected.extend(request.expected);
            }
            None => drop(self.requests.insert(name.to_owned(), request)),
        }
    }
}

impl Controller {
    /// Brings requests to whoever leads; answers when they are there.
    pub(super) fn hand_over(
        &mut self,
        requests: BTreeMap<String, ForwardedRequest>,
        answer: oneshot::Sender<Answer>,
    ) {
        let names: Vec<String> = requests.keys().cloned().collect();
        for (name, request) in requests {
            if self.is_object(&name) {
                self.hand_overs.add(&name, request);
            } else if !std::mem::replace(&mut self.hand_overs.is_said, true) {
                warn!(
                    cluster_pull_secret = name,
                    "this replica does not lead and cannot hand a request over for what comes from a file: callers are told to try again, until they meet the one that leads; put the ClusterPullSecret into the cluster"
                );
            }
        }
        self.hand_overs.waiting.push((names, answer));
        self.begin_hand_over();
    }

    fn is_object(&self, name: &str) -> bool {
        self.records.get(name).is_some_and(|record| record.wanted.object.is_some())
    }

    fn begin_hand_over(&mut self) {
        if self.hand_overs.is_under_way || self.hand_overs.waiting.is_empty() {
            return;
        }
        self.hand_overs.is_under_way = true;
        let requests = std::mem::take(&mut self.hand_overs.requests);
        let waiting = std::mem::take(&mut self.hand_overs.waiting);
        let client = self.settings.unfenced_client.clone();
        self.under_way.write(async move {
            let results = store(&client, requests).await;
            TaskResult::HandedOver(HandedOver { waiting, results })
        });
    }

    /// A round came to its end.
    pub(super) fn handed_over(&mut self, HandedOver { waiting, results }: HandedOver) {
        self.hand_overs.is_under_way = false;
        let metrics = &self.settings.health.metrics;
        for (name, result) in &results {
            let outcome = if result.is_ok() { WriteOutcome::Updated } else { WriteOutcome::Failed };
            metrics.wrote(WriteKind::ClusterPullSecret, outcome);
            if let Err(error) = result {
                warn!(
                    cluster_pull_secret = name,
                    reason = error.reason(),
                    "cannot hand a request over: {error}"
                );
            }
        }
        for (names, answer) in waiting {
            // Who asked may have gone.
            let _ = answer.send(answer_to(names, &results));
        }
        self.begin_hand_over();
    }
}

/// What is answered to somebody who asked for these. One that is gone meanwhile has nothing to be told.
fn answer_to(names: Vec<String>, results: &BTreeMap<String, Result<(), Error>>) -> Answer {
    let is_lost = |name: &String| !matches!(results.get(name), Some(Ok(()) | Err(Error::NotFound(_))));
    let lost: Vec<String> = names.iter().filter(|name| is_lost(name)).cloned().collect();
    if !lost.is_empty() {
        return Err(NotHandedOver { cluster_pull_secrets: lost });
    }
    Ok(names.into_iter().filter(|name| matches!(results.get(name), Some(Ok(())))).collect())
}

async fn store(
    client: &Client,
    requests: BTreeMap<String, ForwardedRequest>,
) -> BTreeMap<String, Result<(), Error>> {
    let stored = requests.into_iter().map(|(name, request)| async move {
        // Text and a time: there is nothing in it that JSON could not hold.
        let request = serde_json::to_string(&request).unwrap_or_default();
        let result = cluster_pull_secret::annotate(client, &name, REQUEST, &request).await;
        (name, result)
    });
    stream::iter(stored).buffer_unordered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these is `key=version`.
    fn request(second: i64, versions: &[&str]) -> ForwardedRequest {
        let expected = |text: &&str| {
            let (key, version) = text.split_once('=').expect("key=version");
            ExpectedVersion { store: "aws".into(), key: key.into(), version: version.into() }
        };
        let at = jiff::Timestamp::from_second(second).expect("a time");
        ForwardedRequest { at, expected: versions.iter().map(expected).collect() }
    }

    #[test]
    fn requests_that_wait_together_are_one_with_the_oldest_time_and_the_last_version_of_each_key() {
        let mut waiting = ForwardedRequests::default();
        waiting.add("images", request(1, &["a=1", "b=1"]));
        waiting.add("images", request(2, &["a=2"]));
        waiting.add("others", request(3, &[]));
        assert_eq!(waiting.requests["images"], request(1, &["b=1", "a=2"]));
        assert_eq!(waiting.requests["others"], request(3, &[]));
    }

    #[test]
    fn who_asked_is_told_whether_every_request_was_stored() {
        let results = BTreeMap::from([
            ("stored".to_owned(), Ok(())),
            ("gone".to_owned(), Err(Error::NotFound("gone".into()))),
            ("failed".to_owned(), Err(Error::NotLeading)),
        ]);
        let check = |names: &[&str], expect: Result<&[&str], &[&str]>| {
            let text = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let expect = expect.map(text).map_err(|lost| NotHandedOver { cluster_pull_secrets: text(lost) });
            assert_eq!(answer_to(text(names), &results), expect, "{names:?}");
        };
        check(&["stored", "gone"], Ok(&["stored"]));
        check(&["stored", "failed"], Err(&["failed"]));
        // One of a file was never sent.
        check(&["stored", "of-a-file"], Err(&["of-a-file"]));
        check(&[], Ok(&[]));
    }
}
