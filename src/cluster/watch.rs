//! What changes in the cluster, as it changes.
//!
//! In goes a client, out comes a stream of [`WatchEvent`]: namespaces, ServiceAccounts trimmed to their pull
//! secrets, and of Secrets the metadata of those with one name. No other Secret is asked for, and of
//! none are the bytes. A watch that breaks off is taken up again, with pauses, for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use super::error::Error;
use super::object::parse_added;
use super::{ADDED, PAGE_SIZE, Secret, ServiceAccount};

/// An object by its namespace, empty where it has none, and its name.
pub type ObjectRef = (String, String);

/// What one watch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display)]
pub enum WatchedResource {
    /// All namespaces.
    #[strum(to_string = "namespaces")]
    Namespaces,
    /// All ServiceAccounts.
    #[strum(to_string = "ServiceAccounts")]
    ServiceAccounts,
    /// The Secrets of this name in all namespaces.
    #[strum(to_string = "Secrets named {0}")]
    Secrets(String),
    /// All ClusterPullSecrets.
    #[strum(to_string = "ClusterPullSecrets")]
    ClusterPullSecrets,
}

/// An object that was seen, reduced to what is decided on.
#[derive(Debug)]
pub enum Object {
    /// A namespace.
    Namespace {
        /// Its labels.
        labels: std::collections::BTreeMap<String, String>,
        /// It is being deleted.
        terminating: bool,
    },
    /// A ServiceAccount.
    ServiceAccount(ServiceAccount),
    /// A Secret, its metadata only.
    Secret(Secret),
    /// A ClusterPullSecret as the API server shows it.
    ClusterPullSecret(serde_json::Value),
}

/// What a watch saw.
#[derive(Debug)]
pub enum WatchEvent {
    /// An object is there, or was changed.
    Applied(ObjectRef, Object),
    /// An object is gone, as of this `resourceVersion`.
    Deleted(WatchedResource, ObjectRef, String),
    /// Everything there is was told; what is not among it is gone.
    Relisted(WatchedResource, BTreeSet<ObjectRef>),
    /// The watch could not be begun or broke off, and will be tried again.
    Failed(WatchedResource, Error),
}

/// A watch that ends when it is dropped.
#[derive(Debug)]
pub struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to watch; what is seen goes to `seen`.
#[must_use]
pub fn watch(client: &Client, subject: WatchedResource, seen: mpsc::Sender<WatchEvent>) -> Watch {
    let client = client.clone();
    Watch(tokio::spawn(async move {
        let config = watcher::Config::default().page_size(PAGE_SIZE);
        match &subject {
            WatchedResource::Namespaces => {
                let events = watcher::watcher(Api::<PartialObjectMeta<core::Namespace>>::all(client), config);
                tell(subject, events, of_namespace, &seen).await;
            }
            WatchedResource::ServiceAccounts => {
                let events = watcher::watcher(Api::<core::ServiceAccount>::all(client), config);
                tell(subject, events, of_service_account, &seen).await;
            }
            WatchedResource::Secrets(name) => {
                let config = config.fields(&format!("metadata.name={name}"));
                let events = watcher::watcher(Api::<PartialObjectMeta<core::Secret>>::all(client), config);
                tell(subject, events, of_secret, &seen).await;
            }
            WatchedResource::ClusterPullSecrets => {
                let events = watcher::watcher(super::cluster_pull_secret::api(client), config);
                tell(subject, events, of_pull_secret, &seen).await;
            }
        }
    }))
}

/// The longest pause before a watch that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pauses before a watch is tried again, for ever. The one of the library begins anew with each try.
fn watch_backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

async fn tell<K: Resource + 'static>(
    subject: WatchedResource,
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    of: impl Fn(K) -> Object,
    seen: &mpsc::Sender<WatchEvent>,
) {
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeSet::new();
    let mut pauses = watch_backoff();
    while let Some(event) = events.next().await {
        // Only what was seen shows that it works: every try begins with `Init`.
        if !matches!(event, Err(_) | Ok(Event::Init)) {
            pauses = watch_backoff();
        }
        let news = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                let address = address(object.meta());
                listed.insert(address.clone());
                WatchEvent::Applied(address, of(object))
            }
            Ok(Event::InitDone) => {
                debug!(%subject, objects = listed.len(), "watching");
                WatchEvent::Relisted(subject.clone(), std::mem::take(&mut listed))
            }
            Ok(Event::Apply(object)) => WatchEvent::Applied(address(object.meta()), of(object)),
            Ok(Event::Delete(object)) => {
                let metadata = object.meta();
                let version = metadata.resource_version.clone().unwrap_or_default();
                WatchEvent::Deleted(subject.clone(), address(metadata), version)
            }
            Err(error) => {
                let error = cause(&error);
                report(&subject, &error);
                WatchEvent::Failed(subject.clone(), error)
            }
        };
        let is_failure = matches!(news, WatchEvent::Failed(..));
        if seen.send(news).await.is_err() {
            return;
        }
        if is_failure {
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }
}

fn report(subject: &WatchedResource, error: &Error) {
    match error {
        // The CRD is not installed, or the snapshot of a list is too old: neither is a fault.
        Error::NotFound(_) | Error::Expired => debug!(%subject, "watch ended: {error}"),
        error => warn!(%subject, reason = error.reason(), "watch failed, will be tried again: {error}"),
    }
}

/// Why a watch failed, as a decision.
pub(crate) fn cause(error: &watcher::Error) -> Error {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Error::from(error),
        watcher::Error::WatchError(status) => Error::from(status.as_ref()),
        watcher::Error::NoResourceVersion => {
            Error::Invalid("the API server sent a list without a resourceVersion".to_owned())
        }
    }
}

fn address(metadata: &ObjectMeta) -> ObjectRef {
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn of_namespace(namespace: PartialObjectMeta<core::Namespace>) -> Object {
    let metadata = namespace.metadata;
    Object::Namespace {
        labels: metadata.labels.unwrap_or_default(),
        terminating: metadata.deletion_timestamp.is_some(),
    }
}

fn of_service_account(service_account: core::ServiceAccount) -> Object {
    let core::ServiceAccount { metadata, image_pull_secrets, .. } = service_account;
    let added = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADDED));
    Object::ServiceAccount(ServiceAccount {
        resource_version: metadata.resource_version.unwrap_or_default(),
        image_pull_secrets: image_pull_secrets.into_iter().flatten().map(|it| it.name).collect(),
        added: added.map(|names| parse_added(names)).unwrap_or_default(),
    })
}

fn of_secret(secret: PartialObjectMeta<core::Secret>) -> Object {
    Object::Secret(Secret::of_metadata(secret.metadata))
}

fn of_pull_secret(cluster_pull_secret: DynamicObject) -> Object {
    // What came as JSON goes as JSON.
    Object::ClusterPullSecret(serde_json::to_value(cluster_pull_secret).unwrap_or_default())
}
