//! `kind: ClusterPullSecret`: which credentials go into which namespaces.
//!
//! [`ClusterPullSecret`] is the document as written; [`PullSecret`] is the same after every check.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selection::{Namespaces, Selection};
use crate::credential::Place;
use crate::docker_config::host_key::HostKey;

/// Which credentials go into which namespaces.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPullSecret {
    /// Always `regcred.dev/v1alpha1`.
    pub api_version: String,
    /// Always `ClusterPullSecret`.
    pub kind: String,
    /// The name, and what else an object of the API server may carry.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: ClusterPullSecretSpec,
}

/// The part of an object's metadata that regcred reads; the rest is the API server's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The name of the ClusterPullSecret.
    pub name: String,
}

/// What a ClusterPullSecret wants.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPullSecretSpec {
    /// Name of the pull secret in every namespace. Default: the name of the ClusterPullSecret.
    pub secret_name: Option<String>,
    /// The registries and where their credentials are: at least one, no host twice.
    pub registries: Vec<Registry>,
    /// The namespaces. Absent: every namespace but `kube-system`, `kube-public` and `kube-node-lease`.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// The ServiceAccounts of each namespace that name the pull secret, or `["*"]` for all.
    /// An empty list writes the Secret and touches no ServiceAccount.
    #[serde(default = "default_service_accounts")]
    pub service_accounts: Vec<String>,
    /// What to do with a Secret of that name that regcred did not make.
    #[serde(default)]
    pub existing: Existing,
}

/// One registry and where its credential is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// The registry as images name it: `ghcr.io`, `registry:5000/team`, `*.example.com`, `docker.io`.
    /// Absent: every entry of the docker config the store holds.
    pub host: Option<String>,
    /// Where the credential is.
    pub from: From,
    /// The username, when the store holds only the password.
    pub username: Option<String>,
}

/// Where a credential is: a key of a store, and the fields in it where they have names of their own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct From {
    /// Name of a store of the Config.
    pub store: String,
    /// Path or id of the credential inside the store.
    pub key: String,
    /// Field that holds the username. Default: `username`.
    pub username_key: Option<String>,
    /// Field that holds the password. Default: `password` or `accessToken`, whichever is there.
    pub password_key: Option<String>,
}

/// What to do with a Secret of the wanted name that regcred did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Existing {
    /// Leave it alone and say so.
    #[default]
    Refuse,
    /// Take it over, when its type is right and it is not immutable.
    Adopt,
}

/// A ClusterPullSecret after every check.
#[derive(Clone, Debug)]
pub struct PullSecret {
    /// Name of the ClusterPullSecret.
    pub name: String,
    /// Name of the Secret in every namespace.
    pub secret_name: String,
    /// The registries, no host key twice.
    pub registries: Vec<RegistrySource>,
    /// Which namespaces.
    pub selection: Selection,
    /// Which ServiceAccounts.
    pub service_accounts: ServiceAccounts,
    /// What to do with a foreign Secret.
    pub existing: Existing,
    /// How often every key is read again, triggers or not.
    pub refresh_interval: Duration,
    /// What becomes of its Secrets when it is deleted.
    pub deletion: Deletion,
    /// Nothing is read or written for it.
    pub suspend: bool,
    /// What the API server knows of it; `None` where it comes from a file.
    pub object: Option<Object>,
}

/// What the API server knows of a ClusterPullSecret.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Its UID, by which owner references know it.
    pub uid: String,
    /// It is being deleted.
    pub deleting: bool,
    /// `status.secretNames`: the names under which Secrets of it may exist.
    pub secret_names: Vec<String>,
}

/// What becomes of the Secrets of a ClusterPullSecret that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// They go with it, after the entries in the ServiceAccounts.
    #[default]
    Delete,
    /// They stay, and so do the entries.
    Retain,
}

/// One registry of a [`PullSecret`].
#[derive(Clone, Debug)]
pub struct RegistrySource {
    /// The host key; `None` takes every entry of the docker config in the store.
    pub host: Option<HostKey>,
    /// Where the credential is.
    pub place: Place,
    /// The username of the spec, which goes before one in the store.
    pub username: Option<String>,
    /// Field that holds the username, where the spec names one.
    pub username_key: Option<String>,
    /// Field that holds the password, where the spec names one.
    pub password_key: Option<String>,
}

/// Which ServiceAccounts of a selected namespace name the pull secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAccounts {
    /// All of them.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl PullSecret {
    /// Whether it is being deleted and takes its Secrets with it.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.deletion == Deletion::Delete && self.object.as_ref().is_some_and(|object| object.deleting)
    }

    /// The names its Secrets had before and that may still be there.
    pub fn former_names(&self) -> impl Iterator<Item = &String> {
        let names = self.object.iter().flat_map(|object| &object.secret_names);
        names.filter(|name| **name != self.secret_name)
    }
}

impl ServiceAccounts {
    /// Whether the ServiceAccount of that name is one of them.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|it| it == name),
        }
    }
}

fn default_service_accounts() -> Vec<String> {
    vec!["default".to_owned()]
}
