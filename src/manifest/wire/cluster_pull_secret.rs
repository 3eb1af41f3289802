//! `kind: ClusterPullSecret`, as a file or the API server holds it.
//!
//! The bounds of lists and texts are in the schema, so that files and the API server apply the same
//! ones: they keep the rules of the CRD below the cost that the API server allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::namespaces::Namespaces;

/// A ClusterPullSecret distributes registry credentials from stores to namespaces, as one pull secret in each.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPullSecret {
    /// Version of the manifest format: always `regcred.dev/v1alpha1`.
    pub api_version: String,
    /// Kind of the manifest: always `ClusterPullSecret`.
    pub kind: String,
    /// Standard object metadata.
    pub metadata: ManifestMetadata,
    /// Specification of the desired state.
    pub spec: ClusterPullSecretSpec,
}

/// The part of an object's metadata that regcred reads; the rest is the API server's.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestMetadata {
    /// Name of the ClusterPullSecret: a DNS subdomain of at most 63 characters.
    pub name: String,
}

/// The desired state of a ClusterPullSecret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterPullSecretSpec {
    /// Name of the pull secret in every namespace. Default: the name of the ClusterPullSecret.
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Registries and the sources of their credentials: at least one and at most 64, no host twice.
    #[schemars(length(max = 64))]
    pub registries: Vec<Registry>,
    /// Namespaces to serve. Default: every namespace except `kube-system`, `kube-public`, `kube-node-lease`
    /// and that of regcred.
    #[serde(default)]
    pub namespaces: Namespaces,
    /// Names of the ServiceAccounts in each namespace that get the pull secret in `imagePullSecrets`, or
    /// `["*"]` for all. At most 256. An empty list writes the Secret and changes no ServiceAccount.
    /// Default: `["default"]`.
    #[serde(default = "default_service_accounts")]
    #[schemars(length(max = 256), inner(length(max = 253)))]
    pub service_accounts: Vec<String>,
    /// Policy for a Secret of that name that regcred did not create. Default: `Refuse`.
    #[serde(default)]
    pub existing: Existing,
    /// Interval between full reads of the stores and the cluster by `regcred run`, independent of other
    /// triggers: hours, minutes and seconds, as in `1h`, `90m` or `1h30m`; at least `10s` and at most `720h`.
    /// Default: `1h`.
    #[serde(default = "default_refresh_interval")]
    #[schemars(length(max = 24))]
    pub refresh_interval: String,
    /// Policy for the managed Secrets when the ClusterPullSecret is deleted from the cluster.
    /// Default: `Delete`.
    #[serde(default)]
    pub deletion: Deletion,
    /// Pauses reconciliation until this is `false` again. Its Secrets stay, and no other ClusterPullSecret
    /// can claim them. Default: `false`.
    #[serde(default)]
    pub suspend: bool,
}

/// One registry and the source of its credential.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// Registry host as in image names: `ghcr.io`, `registry:5000/team`, `*.example.com`, `docker.io`.
    /// Default: every entry of the docker config in the store.
    #[schemars(length(max = 255))]
    pub host: Option<String>,
    /// Source of the credential.
    pub from: CredentialSource,
    /// Username, if the store holds only the password.
    #[schemars(length(max = 256))]
    pub username: Option<String>,
}

/// The source of a credential: a key of a store, and the names of fields in its value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialSource {
    /// Name of a store in a Config.
    #[schemars(length(max = 63))]
    pub store: String,
    /// Path or id of the credential inside the store. With `{{namespace}}` in it, which stands for the name of
    /// the namespace, every namespace has a key of its own: `teams/{{namespace}}/ghcr`.
    #[schemars(length(max = 1024))]
    pub key: Option<String>,
    /// Path of a Vault at which an engine issues a credential for each request, instead of `key`:
    /// `artifactory/token/puller`. An entry of `keys` of the store must name it with its mount. `{{namespace}}` as in
    /// `key`.
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// Method of the request of `path`: `read` (GET) or `write` (POST). Default: `read`.
    #[serde(default)]
    pub method: PathMethod,
    /// Field that holds the username. Default: `username`.
    #[schemars(length(max = 256))]
    pub username_key: Option<String>,
    /// Field that holds the password. Default: `password` or `accessToken`, whichever is present.
    #[schemars(length(max = 256))]
    pub password_key: Option<String>,
    /// Field that holds a docker config, as an object, as text or as base64. Default: `.dockerconfigjson`,
    /// `dockerconfigjson`, `DOCKER_CONFIG` or `value`, if it holds one.
    #[schemars(length(max = 256))]
    pub config_key: Option<String>,
}

/// The method of the request of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathMethod {
    /// Reads the path.
    #[default]
    Read,
    /// Writes to the path, as engines need that issue on a write.
    Write,
}

/// The policy for a Secret that regcred did not create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Existing {
    /// Leaves the Secret unchanged and reports `Conflict`.
    #[default]
    Refuse,
    /// Takes the Secret over, if its type is right, it is not immutable, and it has no entries for other
    /// registries.
    Adopt,
    /// Takes the Secret over like `Adopt`, and keeps its entries for other registries.
    AdoptAndKeep,
}

/// The policy for the Secrets of a ClusterPullSecret that is deleted from the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Deletion {
    /// Removes the ServiceAccount entries that regcred added, then the Secrets.
    #[default]
    Delete,
    /// Keeps the Secrets, which are no longer updated.
    Retain,
}

fn default_refresh_interval() -> String {
    "1h".to_owned()
}

fn default_service_accounts() -> Vec<String> {
    vec!["default".to_owned()]
}
