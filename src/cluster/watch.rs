//! Watches the objects of a cluster that regcred decides on.
//!
//! In goes a client, out comes a stream of [`WatchEvent`]: namespaces, ServiceAccounts trimmed to their
//! `imagePullSecrets`, and the metadata of the Secrets of one name. No other Secret is requested, and never
//! the data of one. A watch that breaks is retried for ever, with back-off.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::object_name::{NamespaceName, SecretName};

/// A reference to an object of a kind that the context names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectRef {
    /// The namespace; `None` for a cluster-scoped object.
    pub namespace: Option<NamespaceName>,
    /// The name.
    pub name: String,
}

impl ObjectRef {
    /// Refers to an object of a namespace.
    #[must_use]
    pub fn namespaced(namespace: NamespaceName, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace), name: name.into() }
    }

    /// Refers to a cluster-scoped object.
    #[must_use]
    pub fn cluster_scoped(name: impl Into<String>) -> Self {
        Self { namespace: None, name: name.into() }
    }
}

/// The subject of one watch.
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
    Secrets(SecretName),
    /// All ClusterPullSecrets.
    #[strum(to_string = "ClusterPullSecrets")]
    ClusterPullSecrets,
}

/// A watched object, reduced to the parts that decisions need.
#[derive(Debug)]
pub enum WatchedObject {
    /// A namespace.
    Namespace {
        /// Its labels.
        labels: BTreeMap<String, String>,
        /// It is being deleted.
        terminating: bool,
    },
    /// A ServiceAccount.
    ServiceAccount(ServiceAccount),
    /// A Secret, its metadata only.
    Secret(Secret),
    /// A ClusterPullSecret as the API server sends it.
    ClusterPullSecret(serde_json::Value),
}

/// An event of a watch.
#[derive(Debug)]
pub enum WatchEvent {
    /// An object exists, or has changed.
    Applied(ObjectRef, WatchedObject),
    /// An object is deleted, as of this `resourceVersion`.
    Deleted(WatchedResource, ObjectRef, String),
    /// A full list is complete; an object that is not in it is deleted.
    Relisted(WatchedResource, BTreeSet<ObjectRef>),
    /// The watch could not start or broke, and will be retried.
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

/// Starts a watch, which sends to `events`.
#[must_use]
pub fn watch(client: &Client, resource: WatchedResource, events: mpsc::Sender<WatchEvent>) -> Watch {
    let client = client.clone();
    Watch(tokio::spawn(async move {
        let config = watcher::Config::default().page_size(PAGE_SIZE);
        match &resource {
            WatchedResource::Namespaces => {
                let stream = watcher::watcher(Api::<PartialObjectMeta<core::Namespace>>::all(client), config);
                forward(resource, stream, &events).await;
            }
            WatchedResource::ServiceAccounts => {
                let stream = watcher::watcher(Api::<core::ServiceAccount>::all(client), config);
                forward(resource, stream, &events).await;
            }
            WatchedResource::Secrets(name) => {
                let config = config.fields(&format!("metadata.name={name}"));
                let stream = watcher::watcher(Api::<PartialObjectMeta<core::Secret>>::all(client), config);
                forward(resource, stream, &events).await;
            }
            WatchedResource::ClusterPullSecrets => {
                let stream = watcher::watcher(super::cluster_pull_secret::api(client), config);
                forward(resource, stream, &events).await;
            }
        }
    }))
}

/// The longest back-off before a failed watch is retried.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Returns the back-off between attempts to watch, without end. The library's own starts over with each
/// attempt.
fn watch_backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Sends the events of a watch, reduced, until the receiver is gone.
async fn forward<K: Resource + Into<WatchedObject> + 'static>(
    resource: WatchedResource,
    stream: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    events: &mpsc::Sender<WatchEvent>,
) {
    let mut stream = std::pin::pin!(stream);
    let mut listed = BTreeSet::new();
    let mut backoff = watch_backoff();
    while let Some(event) = stream.next().await {
        // Only an object or a complete list proves that the watch works: each attempt starts with `Init`.
        if !matches!(event, Err(_) | Ok(Event::Init)) {
            backoff = watch_backoff();
        }
        let event = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                let object_ref = ObjectRef::from(object.meta());
                listed.insert(object_ref.clone());
                WatchEvent::Applied(object_ref, object.into())
            }
            Ok(Event::InitDone) => {
                debug!(%resource, objects = listed.len(), "watching");
                WatchEvent::Relisted(resource.clone(), std::mem::take(&mut listed))
            }
            Ok(Event::Apply(object)) => WatchEvent::Applied(object.meta().into(), object.into()),
            Ok(Event::Delete(object)) => {
                let metadata = object.meta();
                let version = metadata.resource_version.clone().unwrap_or_default();
                WatchEvent::Deleted(resource.clone(), metadata.into(), version)
            }
            Err(error) => {
                let error = Error::from(&error);
                log_failure(&resource, &error);
                WatchEvent::Failed(resource.clone(), error)
            }
        };
        let is_failure = matches!(event, WatchEvent::Failed(..));
        if events.send(event).await.is_err() {
            return;
        }
        if is_failure {
            tokio::time::sleep(backoff.next().unwrap_or(MAX_BACKOFF)).await;
        }
    }
}

fn log_failure(resource: &WatchedResource, error: &Error) {
    match error {
        // The CRD is not installed, or the snapshot of a list is too old: neither is a fault.
        Error::NotFound(_) | Error::Expired => debug!(%resource, "watch ended: {error}"),
        error => warn!(%resource, reason = %error.reason(), "watch failed, retrying: {error}"),
    }
}

impl From<&watcher::Error> for Error {
    fn from(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Self::from(error),
            watcher::Error::WatchError(status) => Self::from(status.as_ref()),
            watcher::Error::NoResourceVersion => {
                Self::Invalid("the API server sent a list without a resourceVersion".into())
            }
        }
    }
}

impl From<&ObjectMeta> for ObjectRef {
    fn from(metadata: &ObjectMeta) -> Self {
        let namespace = metadata.namespace.clone().map(NamespaceName::from);
        Self { namespace, name: metadata.name.clone().unwrap_or_default() }
    }
}

impl From<PartialObjectMeta<core::Namespace>> for WatchedObject {
    fn from(PartialObjectMeta { metadata, .. }: PartialObjectMeta<core::Namespace>) -> Self {
        Self::Namespace {
            labels: metadata.labels.unwrap_or_default(),
            terminating: metadata.deletion_timestamp.is_some(),
        }
    }
}

impl From<core::ServiceAccount> for WatchedObject {
    fn from(service_account: core::ServiceAccount) -> Self {
        let core::ServiceAccount { metadata, image_pull_secrets, .. } = service_account;
        let added = metadata.annotations.as_ref().and_then(|annotations| annotations.get(ADDED));
        Self::ServiceAccount(ServiceAccount {
            resource_version: metadata.resource_version.unwrap_or_default(),
            image_pull_secrets: image_pull_secrets.into_iter().flatten().map(|it| it.name.into()).collect(),
            added: added.map(|names| parse_added(names)).unwrap_or_default(),
        })
    }
}

impl From<PartialObjectMeta<core::Secret>> for WatchedObject {
    fn from(secret: PartialObjectMeta<core::Secret>) -> Self {
        Self::Secret(Secret::from_metadata(secret.metadata))
    }
}

impl From<DynamicObject> for WatchedObject {
    fn from(cluster_pull_secret: DynamicObject) -> Self {
        // It was parsed from JSON, so it can be written as JSON.
        Self::ClusterPullSecret(serde_json::to_value(cluster_pull_secret).unwrap_or_default())
    }
}
