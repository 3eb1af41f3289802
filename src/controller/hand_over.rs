//! What comes to a replica that does not lead, brought to the one that does.
//!
//! A request is stored on the ClusterPullSecret, where whoever leads sees it, and only then is it
//! answered. One round at a time: what comes meanwhile goes together with the next.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, stream};
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::oneshot;
use tracing::warn;

use super::{Controller, Done};
use crate::cluster::error::{Error, within};
use crate::cluster::{FIELD_MANAGER, pull_secret};
use crate::manifest::object::{REQUEST, Request};
use crate::metrics::{WriteKind, WriteOutcome};
use crate::trigger::bell::{Answer, NotHandedOver};

/// Requests to the API server that may be under way at once.
const AT_ONCE: usize = 8;

/// What waits to be handed over.
#[derive(Debug, Default)]
pub(super) struct HandOvers {
    is_under_way: bool,
    requests: BTreeMap<String, Request>,
    waiting: Vec<(Vec<String>, oneshot::Sender<Answer>)>,
}

/// A round of them that came to its end.
#[derive(Debug)]
pub(super) struct HandedOver {
    waiting: Vec<(Vec<String>, oneshot::Sender<Answer>)>,
    failed: BTreeMap<String, Error>,
    stored: usize,
}

impl Controller {
    /// Brings a request to whoever leads; answers when it is there.
    pub(super) fn hand_over(
        &mut self,
        names: Vec<String>,
        request: Request,
        answer: oneshot::Sender<Answer>,
    ) {
        let is_object = |name: &&String| self.records.get(*name).is_some_and(|it| it.wanted.object.is_some());
        for name in names.iter().filter(is_object) {
            // The oldest tells the time.
            self.hand_overs.requests.entry(name.clone()).or_insert(request);
        }
        self.hand_overs.waiting.push((names, answer));
        self.begin_hand_over();
    }

    fn begin_hand_over(&mut self) {
        if self.hand_overs.is_under_way || self.hand_overs.waiting.is_empty() {
            return;
        }
        self.hand_overs.is_under_way = true;
        let requests = std::mem::take(&mut self.hand_overs.requests);
        let waiting = std::mem::take(&mut self.hand_overs.waiting);
        let client = self.settings.messenger.clone();
        self.write(async move { Done::HandedOver(store(&client, requests, waiting).await) });
    }

    /// A round came to its end.
    pub(super) fn handed_over(&mut self, handed_over: HandedOver) {
        self.hand_overs.is_under_way = false;
        let HandedOver { waiting, failed, stored } = handed_over;
        let metrics = &self.settings.vitals.metrics;
        for _ in 0..stored {
            metrics.wrote(WriteKind::ClusterPullSecret, WriteOutcome::Updated);
        }
        for (name, error) in &failed {
            metrics.wrote(WriteKind::ClusterPullSecret, WriteOutcome::Failed);
            warn!(pull_secret = name, reason = error.reason(), "cannot hand a trigger over: {error}");
        }
        // Where it comes from a file, the one that leads cannot see it there.
        let is_lost = |name: &String| {
            failed.contains_key(name) || self.records.get(name).is_some_and(|it| it.wanted.object.is_none())
        };
        for (names, answer) in waiting {
            let lost: BTreeSet<String> = names.iter().filter(|name| is_lost(name)).cloned().collect();
            let outcome = if lost.is_empty() {
                Ok(names)
            } else {
                Err(NotHandedOver { pull_secrets: lost.into_iter().collect() })
            };
            // Who asked may have gone.
            let _ = answer.send(outcome);
        }
        self.begin_hand_over();
    }
}

async fn store(
    client: &Client,
    requests: BTreeMap<String, Request>,
    waiting: Vec<(Vec<String>, oneshot::Sender<Answer>)>,
) -> HandedOver {
    let count = requests.len();
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let api = pull_secret::api(client.clone());
    let stored = requests.into_iter().map(|(name, request)| {
        let (api, params) = (&api, &params);
        async move {
            let patch =
                Patch::Merge(json!({ "metadata": { "annotations": { REQUEST: request.to_string() } } }));
            let result = within(api.patch(&name, params, &patch)).await;
            // One that is gone has nothing to be told.
            result.err().filter(|error| !matches!(error, Error::NotFound(_))).map(|error| (name, error))
        }
    });
    let failed: BTreeMap<String, Error> =
        stream::iter(stored).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
    HandedOver { waiting, stored: count - failed.len(), failed }
}
