//! `kind: ClusterPullSecretDocument`: which credentials go into which namespaces.
//!
//! [`ClusterPullSecretDocument`] is the document as written; [`ClusterPullSecret`] is the same after every check. The
//! bounds of lists and texts are in the schema, so that a file and the API server know the same: they
//! keep the rules of the CRD below the cost that the API server allows.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::object::Object;
use super::selection::{Namespaces, Selection};
use super::status::reason::ReadyReason;

pub use crate::docker_config::registry_source::RegistrySource;

/// Which credentials go into which namespaces.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPullSecretDocument {
    /// Always `regcred.dev/v1alpha1`.
    pub api_version: String,
    /// Always `ClusterPullSecretDocument`.
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
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// The registries and where their credentials are: at least one and at most 64, no host twice.
    #[schemars(length(max = 64))]
    pub registries: Vec<Registry>,
    /// The namespaces. Absent: every namespace but `kube-system`, `kube-public` and `kube-node-lease`.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// The ServiceAccounts of each namespace that name the pull secret, or `["*"]` for all.
    /// An empty list writes the Secret and touches no ServiceAccount.
    #[serde(default = "default_service_accounts")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub service_accounts: Vec<String>,
    /// What to do with a Secret of that name that regcred did not make.
    #[serde(default)]
    pub existing: Existing,
    /// How often `regcred run` reads the stores and the cluster anew, whatever else wakes it: hours,
    /// minutes and seconds, as in `1h`, `90m` or `1h30m`; at least `10s` and at most `720h`.
    #[serde(default = "default_refresh_interval")]
    #[schemars(length(max = 24))]
    pub refresh_interval: String,
    /// What becomes of its Secrets when the ClusterPullSecret is deleted from the cluster.
    #[serde(default)]
    pub deletion: Deletion,
    /// Leave everything of it as it is until this is `false` again. What it has, no other
    /// ClusterPullSecret may take meanwhile.
    #[serde(default)]
    pub suspend: bool,
}

/// One registry and where its credential is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// The registry as images name it: `ghcr.io`, `registry:5000/team`, `*.example.com`, `docker.io`.
    /// Absent: every entry of the docker config the store holds.
    #[schemars(length(max = 255))]
    pub host: Option<String>,
    /// Where the credential is.
    pub from: From,
    /// The username, when the store holds only the password.
    #[schemars(length(max = 256))]
    pub username: Option<String>,
}

/// Where a credential is: a key of a store, and the fields in it where they have names of their own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct From {
    /// Name of a store of the Config.
    #[schemars(length(max = 63))]
    pub store: String,
    /// Path or id of the credential inside the store.
    #[schemars(length(max = 1024))]
    pub key: String,
    /// Field that holds the username. Default: `username`.
    #[schemars(length(max = 256))]
    pub username_key: Option<String>,
    /// Field that holds the password. Default: `password` or `accessToken`, whichever is there.
    #[schemars(length(max = 256))]
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

/// What becomes of the Secrets of a ClusterPullSecret that is deleted from the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// They are removed, and first what regcred added to ServiceAccounts for them.
    #[default]
    Delete,
    /// They stay, and nobody keeps them true any more.
    Retain,
}

/// A ClusterPullSecret after every check.
#[derive(Clone, Debug)]
pub struct ClusterPullSecret {
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
    /// How often to read everything anew.
    pub refresh_interval: Duration,
    /// What becomes of the Secrets when the ClusterPullSecret is deleted.
    pub deletion: Deletion,
    /// Nothing is to be done for it, and its claims stay.
    pub suspend: bool,
    /// What the API server knows of it; `None` where it comes from a file.
    pub object: Option<Object>,
}

/// Which ServiceAccounts of a selected namespace name the pull secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAccounts {
    /// All of them.
    All,
    /// Those of these names.
    Named(Vec<String>),
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

impl ClusterPullSecret {
    /// Whether nothing may be done for it, and why: its claims stay all the same.
    #[must_use]
    pub fn at_rest(&self) -> Option<ReadyReason> {
        match &self.object {
            Some(object) if object.deleting => Some(ReadyReason::Deleting),
            _ => self.suspend.then_some(ReadyReason::Suspended),
        }
    }
}

fn default_refresh_interval() -> String {
    "1h".to_owned()
}

fn default_service_accounts() -> Vec<String> {
    vec!["default".to_owned()]
}
