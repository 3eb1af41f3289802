//! Forwards requests from a replica that does not lead to the one that does.
//!
//! A request is stored on the ClusterPullSecret, where the leader sees it, and only then answered. One
//! batch at a time: requests that arrive during a batch go with the next.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::Client;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Controller, TaskResult};
use crate::cluster::cluster_pull_secret;
use crate::cluster::error::Error;
use crate::manifest::object::{ForwardedRequest, REQUEST};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::repeated_failure::RepeatedFailure;
use crate::trigger::channel::{ForwardError, TriggerReply};

/// Requests to the API server that may be in flight at once.
const CONCURRENCY: usize = 8;

/// The callers to answer, each with the ClusterPullSecrets of its request.
type Callers = Vec<(Vec<String>, oneshot::Sender<TriggerReply>)>;

/// Requests that wait to be forwarded.
#[derive(Debug, Default)]
pub(super) struct ForwardedRequests {
    is_in_flight: bool,
    requests: BTreeMap<String, ForwardedRequest>,
    callers: Callers,
    /// True once the log says that requests regarding files cannot be forwarded.
    is_logged: bool,
    failure: RepeatedFailure,
}

/// A batch of requests that was stored, or could not be.
#[derive(Debug)]
pub(super) struct ForwardedBatch {
    callers: Callers,
    results: BTreeMap<String, Result<(), Error>>,
}

impl ForwardedRequests {
    /// Adds a request. Several for one ClusterPullSecret become one, with the oldest time, the keys of all, and
    /// the last version of each key.
    fn add(&mut self, name: &str, request: ForwardedRequest) {
        match self.requests.get_mut(name) {
            Some(known) => {
                known.expected.retain(|it| {
                    !request.expected.iter().any(|new| (&new.store, &new.key) == (&it.store, &it.key))
                });
                known.expected.extend(request.expected);
                let keys = known.keys.take().zip(request.keys);
                known.keys = keys.map(|(known, more)| known.into_iter().chain(more).collect());
            }
            None => drop(self.requests.insert(name.to_owned(), request)),
        }
    }
}

impl Controller {
    /// Forwards requests to the leader; answers once they are stored.
    pub(super) fn forward(
        &mut self,
        requests: BTreeMap<String, ForwardedRequest>,
        answer: oneshot::Sender<TriggerReply>,
    ) {
        let names: Vec<String> = requests.keys().cloned().collect();
        for (name, request) in requests {
            if self.is_in_cluster(&name) {
                self.forwarded.add(&name, request);
            } else if !std::mem::replace(&mut self.forwarded.is_logged, true) {
                warn!(
                    cluster_pull_secret = name,
                    "cannot forward a request to the leader: the ClusterPullSecret is from a file; callers have to retry until they reach the leader. Create the ClusterPullSecret in the cluster"
                );
            }
        }
        self.forwarded.callers.push((names, answer));
        self.start_forwarding();
    }

    fn is_in_cluster(&self, name: &str) -> bool {
        self.objects.get(name).is_some_and(|state| state.manifest.object.is_some())
    }

    fn start_forwarding(&mut self) {
        if self.forwarded.is_in_flight || self.forwarded.callers.is_empty() {
            return;
        }
        self.forwarded.is_in_flight = true;
        let requests = std::mem::take(&mut self.forwarded.requests);
        let callers = std::mem::take(&mut self.forwarded.callers);
        let client = self.context.unfenced_client.clone();
        self.tasks.spawn_write(async move {
            let results = store(&client, requests).await;
            TaskResult::Forwarded(ForwardedBatch { callers, results })
        });
    }

    /// Answers the callers of a batch.
    pub(super) fn on_forwarded(&mut self, ForwardedBatch { callers, results }: ForwardedBatch) {
        self.forwarded.is_in_flight = false;
        let metrics = &self.context.health.metrics;
        for (name, result) in &results {
            let outcome = if result.is_ok() { WriteOutcome::Updated } else { WriteOutcome::Failed };
            metrics.wrote(WriteKind::ClusterPullSecret, outcome);
            match result {
                Ok(()) => drop(self.forwarded.failure.ends()),
                // A ClusterPullSecret that was deleted since has nothing to rotate.
                Err(Error::NotFound(_)) => {}
                Err(error) => {
                    if self.forwarded.failure.begins(&error.to_string()) {
                        warn!(
                            cluster_pull_secret = name,
                            reason = %error.reason(),
                            "cannot forward requests to the leader, their callers have to retry: {error}"
                        );
                    }
                }
            }
        }
        for (names, answer) in callers {
            // The caller may have gone.
            let _ = answer.send(answer_to(names, &results));
        }
        self.start_forwarding();
    }
}

/// Returns the answer to a request for these ClusterPullSecrets, without those deleted since.
fn answer_to(names: Vec<String>, results: &BTreeMap<String, Result<(), Error>>) -> TriggerReply {
    let lost = names
        .iter()
        .filter(|name| !matches!(results.get(*name), Some(Ok(()) | Err(Error::NotFound(_)))))
        .cloned()
        .collect::<Vec<_>>();
    if !lost.is_empty() {
        return Err(ForwardError { cluster_pull_secrets: lost });
    }
    Ok(names.into_iter().filter(|name| matches!(results.get(name), Some(Ok(())))).collect())
}

async fn store(
    client: &Client,
    requests: BTreeMap<String, ForwardedRequest>,
) -> BTreeMap<String, Result<(), Error>> {
    let stored = requests.into_iter().map(|(name, request)| async move {
        // Text and a time: nothing that JSON could not hold.
        let request = serde_json::to_string(&request).unwrap_or_default();
        let result = cluster_pull_secret::annotate(client, &name, REQUEST, &request).await;
        (name, result)
    });
    stream::iter(stored).buffer_unordered(CONCURRENCY).collect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::object::{ExpectedVersion, ForwardedKey};

    /// Each of these is `key=version`.
    fn request(second: i64, versions: &[&str]) -> ForwardedRequest {
        let pairs = versions.iter().map(|text| text.split_once('=').expect("key=version"));
        let expected = pairs.map(|(key, version)| ExpectedVersion {
            store: "aws".into(),
            key: key.into(),
            version: version.into(),
        });
        let at = jiff::Timestamp::from_second(second).expect("a time");
        ForwardedRequest { at, expected: expected.collect(), keys: None }
    }

    /// A request regarding these keys.
    fn request_for_keys(keys: &[&str]) -> ForwardedRequest {
        let keys = keys.iter().map(|key| ForwardedKey { store: "aws".into(), key: (*key).into() });
        ForwardedRequest { keys: Some(keys.collect()), ..request(1, &[]) }
    }

    #[test]
    fn merged_request_has_the_keys_of_both() {
        let mut forwarded = ForwardedRequests::default();
        forwarded.add("images", request_for_keys(&["a"]));
        forwarded.add("images", request_for_keys(&["b"]));
        assert_eq!(forwarded.requests["images"], request_for_keys(&["a", "b"]));
        forwarded.add("images", request(2, &[]));
        assert_eq!(forwarded.requests["images"].keys, None, "all of them");
        forwarded.add("images", request_for_keys(&["c"]));
        assert_eq!(forwarded.requests["images"].keys, None);
    }

    #[test]
    fn requests_merge_to_oldest_time_and_last_versions() {
        let mut forwarded = ForwardedRequests::default();
        forwarded.add("images", request(1, &["a=1", "b=1"]));
        forwarded.add("images", request(2, &["a=2"]));
        forwarded.add("others", request(3, &[]));
        assert_eq!(forwarded.requests["images"], request(1, &["b=1", "a=2"]));
        assert_eq!(forwarded.requests["others"], request(3, &[]));
    }

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check(names: &[&str], expect: Result<&[&str], &[&str]>) {
        let results = BTreeMap::from([
            ("stored".to_owned(), Ok(())),
            ("gone".to_owned(), Err(Error::NotFound("gone".into()))),
            ("failed".to_owned(), Err(Error::NotLeading)),
        ]);
        let expect = expect.map(strings);
        let expect = expect.map_err(|lost| ForwardError { cluster_pull_secrets: strings(lost) });
        assert_eq!(answer_to(strings(names), &results), expect, "{names:?}");
    }

    #[test]
    fn answer_says_whether_every_request_was_stored() {
        check(&["stored", "gone"], Ok(&["stored"]));
        check(&["stored", "failed"], Err(&["failed"]));
        // One from a file was never sent.
        check(&["stored", "of-a-file"], Err(&["of-a-file"]));
        check(&[], Ok(&[]));
    }
}
