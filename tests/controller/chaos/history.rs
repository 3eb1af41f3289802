//! The record of every version of every pull secret, and the rules that hold at each instant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use harness::{SECRET, TestCluster, text};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::checker::{Violation, credentials};

/// The host of an entry that only tenants write.
pub(crate) const TENANT_HOST: &str = "tenant.test";
/// The pause before a watch that broke is resumed: the API server may be away for seconds.
const RESUME: Duration = Duration::from_millis(50);

/// One version of a Secret under the name of the pull secret.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    namespace: String,
    uid: String,
    is_deleted: bool,
    content: Result<BTreeMap<String, String>, String>,
}

/// The versions in the order of their `resourceVersion`, and the deletions that others than regcred caused.
#[derive(Debug, Default)]
pub(crate) struct History {
    seen: Vec<Seen>,
    /// The namespaces that were deleted or left the selection once.
    pruned: BTreeSet<String>,
    /// The UIDs of Secrets that a tenant created or deleted.
    tenants: BTreeSet<String>,
}

/// Records the history by a watch of its own, until it is dropped.
pub(crate) struct Recorder {
    history: Arc<Mutex<History>>,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn new(cluster: &TestCluster) -> Self {
        let config = Kubeconfig::read_from(cluster.kube.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        let history = Arc::new(Mutex::new(History::default()));
        let prefix = format!("{}-", cluster.name);
        Self { task: tokio::spawn(record(Api::all(client), Arc::clone(&history), prefix)), history }
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        assert!(!self.task.is_finished(), "the recorder has ended");
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Watches the namespaces with this prefix for ever: those of earlier tests may still be deleted. A watch that broke is resumed at its last version; one that is too old is listed again.
async fn record(api: Api<Secret>, history: Arc<Mutex<History>>, prefix: String) {
    let selector = format!("metadata.name={SECRET}");
    let mut version = None;
    loop {
        let from = match &version {
            Some(version) => Ok(String::clone(version)),
            None => list(&api, &selector, &history, &prefix).await,
        };
        if let Ok(from) = from {
            version = watch(&api, &selector, from, &history, &prefix).await;
        }
        tokio::time::sleep(RESUME).await;
    }
}

async fn list(
    api: &Api<Secret>,
    selector: &str,
    history: &Mutex<History>,
    prefix: &str,
) -> Result<String, kube::Error> {
    let list = api.list(&ListParams::default().fields(selector)).await?;
    let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = list.items.into_iter().map(|secret| Seen::new(secret, false));
    history.seen.extend(seen.filter(|seen| seen.namespace.starts_with(prefix)));
    Ok(list.metadata.resource_version.unwrap_or_default())
}

/// Returns the version to resume at; `None` if it is too old.
async fn watch(
    api: &Api<Secret>,
    selector: &str,
    mut version: String,
    history: &Mutex<History>,
    prefix: &str,
) -> Option<String> {
    let Ok(events) = api.watch(&WatchParams::default().fields(selector), &version).await else {
        return Some(version);
    };
    let mut events = events.boxed();
    while let Some(event) = events.next().await {
        let (secret, is_deleted) = match event {
            Ok(WatchEvent::Added(secret) | WatchEvent::Modified(secret)) => (secret, false),
            Ok(WatchEvent::Deleted(secret)) => (secret, true),
            Ok(WatchEvent::Bookmark(bookmark)) => {
                version = bookmark.metadata.resource_version;
                continue;
            }
            Ok(WatchEvent::Error(_)) => return None,
            Err(_) => break,
        };
        version = secret.metadata.resource_version.clone().unwrap_or_default();
        let seen = Seen::new(secret, is_deleted);
        if seen.namespace.starts_with(prefix) {
            history.lock().unwrap_or_else(PoisonError::into_inner).seen.push(seen);
        }
    }
    Some(version)
}

impl Seen {
    fn new(secret: Secret, is_deleted: bool) -> Self {
        let secret = serde_json::to_value(secret).unwrap_or(Value::Null);
        let metadata = &secret["metadata"];
        let (namespace, uid) = (text(&metadata["namespace"]), text(&metadata["uid"]));
        Self { namespace, uid, is_deleted, content: credentials(&secret) }
    }
}

impl History {
    /// Records that a namespace is being deleted, or leaves the selection.
    pub(crate) fn prune(&mut self, namespace: &str) {
        self.pruned.insert(namespace.to_owned());
    }

    /// Records a Secret that a tenant created or is about to delete.
    pub(crate) fn tenant(&mut self, uid: String) {
        self.tenants.insert(uid);
    }

    /// Returns the number of recorded versions.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Returns every violation: a docker config that is malformed or empty, an older credential after a newer one, a
    /// Secret that regcred deleted where it had to stay.
    pub(crate) fn violations(&self) -> Vec<Violation> {
        let mut newest: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let mut found = Vec::new();
        for seen in &self.seen {
            let Seen { namespace, uid, is_deleted, content } = seen;
            if self.tenants.contains(uid) {
                continue;
            }
            if *is_deleted {
                if !self.pruned.contains(namespace) {
                    found.push(Violation(format!("{namespace}: Secret {uid} was deleted")));
                }
                continue;
            }
            let credentials = match content {
                Ok(credentials) if credentials.contains_key(TENANT_HOST) => continue,
                Ok(credentials) if credentials.is_empty() => {
                    found.push(Violation(format!("{namespace}: Secret {uid} was empty")));
                    continue;
                }
                Ok(credentials) => credentials,
                Err(what) => {
                    found.push(Violation(format!("{namespace}: Secret {uid} was malformed: {what}")));
                    continue;
                }
            };
            for (host, credential) in credentials {
                let rotation = rotation_of(credential);
                let newest = newest.entry((uid, host)).or_insert(rotation);
                if rotation < *newest {
                    let what = format!("{host} went from rotation {newest} back to {rotation}");
                    found.push(Violation(format!("{namespace}: Secret {uid}: {what}")));
                }
                *newest = (*newest).max(rotation);
            }
        }
        found
    }
}

/// Returns the number of the rotation, the end of each password.
fn rotation_of(credential: &str) -> usize {
    credential.rsplit_once('-').and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(credentials: &[(&str, &str)]) -> Seen {
        let content = credentials.iter().map(|(host, it)| ((*host).to_owned(), (*it).to_owned())).collect();
        Seen { namespace: "web".to_owned(), uid: "u".to_owned(), is_deleted: false, content: Ok(content) }
    }

    fn violations(seen: Vec<Seen>) -> Vec<String> {
        let history = History { seen, ..History::default() };
        history.violations().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn newer_credentials_in_turn_are_no_violation() {
        let versions = ["robot:pw-1", "robot:pw-2", "robot:pw-2", "robot:pw-10"];
        assert_eq!(violations(versions.map(|it| seen(&[("ghcr.io", it)])).into()), Vec::<String>::new());
    }

    #[test]
    fn older_credential_after_a_newer_one_is_a_violation() {
        let found = violations(vec![seen(&[("a", "r:p-10")]), seen(&[("a", "r:p-9")])]);
        assert_eq!(found, ["web: Secret u: a went from rotation 10 back to 9"]);
    }

    #[test]
    fn malformed_empty_and_deleted_secrets_are_violations() {
        let malformed = Seen { content: Err("torn".to_owned()), ..seen(&[]) };
        let deleted = Seen { is_deleted: true, ..seen(&[("a", "r:p-1")]) };
        let found = violations(vec![malformed, seen(&[]), deleted.clone()]);
        assert!(
            found[0].contains("torn") && found[1].contains("empty") && found[2].contains("deleted"),
            "{found:?}"
        );
        let mut history = History { seen: vec![deleted], ..History::default() };
        history.prune("web");
        assert_eq!(history.violations(), []);
    }

    #[test]
    fn edits_and_deletions_by_tenants_are_no_violation() {
        let edited = [seen(&[("a", "r:p-2")]), seen(&[(TENANT_HOST, "t:t-0")]), seen(&[("a", "r:p-2")])];
        assert_eq!(violations(edited.into()), Vec::<String>::new());
        let older = [seen(&[("a", "r:p-2")]), seen(&[(TENANT_HOST, "t:t-0")]), seen(&[("a", "r:p-1")])];
        assert_eq!(violations(older.into()), ["web: Secret u: a went from rotation 2 back to 1"]);
        let deleted = Seen { is_deleted: true, ..seen(&[]) };
        let mut history = History { seen: vec![deleted], ..History::default() };
        history.tenant("u".to_owned());
        assert_eq!(history.violations(), []);
    }
}
