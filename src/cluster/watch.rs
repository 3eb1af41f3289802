//! Watches the objects of a cluster that regcred decides on.
//!
//! In goes a client, out comes a stream of [`WatchEvent`]: namespaces, ServiceAccounts trimmed to their
//! `imagePullSecrets`, and the metadata of the Secrets of one name. No other Secret is requested, and never
//! the data of one. A watch that breaks is retried for ever, with back-off.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use kube::api::DynamicObject;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

mod list_watch;
mod restores;

use self::list_watch::ListWatch;
pub use self::restores::Restores;
use super::error::Error;
use super::list::ListRequest;
use super::object::{WireNamespace, WireSecretMetadata, WireServiceAccount};
pub use super::object_ref::ObjectRef;
use super::{Namespace, Secret, ServiceAccount, fields_of_name};
use crate::manifest::crd;
use crate::object_map::ObjectMap;
use crate::object_name::SecretName;

/// The longest silence of a watch before it resumes on another connection. The API server sends a bookmark about once
/// a minute, and nothing tells that a connection is dead.
pub const IDLE_LIMIT: Duration = Duration::from_secs(150);

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
        labels: ObjectMap<String, String>,
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
    /// A full list begins.
    ListStarted(WatchedResource),
    /// An object of a full list, from a quorum: unlike an event of the watch, it may be older than an object
    /// that was seen before, after etcd was restored from a backup.
    Listed(ObjectRef, WatchedObject),
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

/// Starts a watch, which sends to `events`; it resumes after a silence of `idle_limit`. The watches of a cluster share
/// `restores`.
#[must_use]
pub fn watch(
    client: &Client,
    resource: WatchedResource,
    idle_limit: Duration,
    events: mpsc::Sender<WatchEvent>,
    restores: &Restores,
) -> Watch {
    let (client, restores) = (client.clone(), restores.clone());
    Watch(tokio::spawn(async move {
        match &resource {
            WatchedResource::Namespaces => {
                let path = core::Namespace::url_path(&(), None);
                let request = ListRequest { path, fields: None, metadata_only: true };
                ListWatch::<WireNamespace>::new(client, resource, request, idle_limit, events, &restores)
                    .run()
                    .await;
            }
            WatchedResource::ServiceAccounts => {
                let path = core::ServiceAccount::url_path(&(), None);
                let request = ListRequest { path, fields: None, metadata_only: false };
                ListWatch::<WireServiceAccount>::new(
                    client, resource, request, idle_limit, events, &restores,
                )
                .run()
                .await;
            }
            WatchedResource::Secrets(name) => {
                let path = core::Secret::url_path(&(), None);
                let request = ListRequest { path, fields: Some(fields_of_name(name)), metadata_only: true };
                ListWatch::<WireSecretMetadata>::new(
                    client, resource, request, idle_limit, events, &restores,
                )
                .run()
                .await;
            }
            WatchedResource::ClusterPullSecrets => {
                let path = DynamicObject::url_path(&crd::api_resource(), None);
                let request = ListRequest { path, fields: None, metadata_only: false };
                ListWatch::<serde_json::Value>::new(client, resource, request, idle_limit, events, &restores)
                    .run()
                    .await;
            }
        }
    }))
}

impl From<Namespace> for WatchedObject {
    fn from(Namespace { labels, terminating, .. }: Namespace) -> Self {
        Self::Namespace { labels, terminating }
    }
}

impl From<ServiceAccount> for WatchedObject {
    fn from(service_account: ServiceAccount) -> Self {
        Self::ServiceAccount(service_account)
    }
}

impl From<Secret> for WatchedObject {
    fn from(secret: Secret) -> Self {
        Self::Secret(secret)
    }
}

impl From<serde_json::Value> for WatchedObject {
    fn from(cluster_pull_secret: serde_json::Value) -> Self {
        Self::ClusterPullSecret(cluster_pull_secret)
    }
}
