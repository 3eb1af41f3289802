//! `kind: Config`: how to reach the stores, and what wakes the controller.
//!
//! [`Config`] is the document as written; [`Store`] is one store after every check, with the choices
//! that exactly one field may make turned into enums, and [`triggers`] has the same of what wakes. A
//! Config never holds a secret, only the names of files that do.

use std::path::PathBuf;

pub mod triggers;

use globset::GlobSet;
use schemars::JsonSchema;
use serde::Deserialize;

use triggers::TriggersDocument;

/// How to reach the stores, and what wakes the controller. Never a Kubernetes object, never holds a secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Always `regcred.dev/v1alpha1`.
    pub api_version: String,
    /// Always `Config`.
    pub kind: String,
    /// The stores a ClusterPullSecret may read from, each under a name of its own.
    /// Where no Config has any, there is one called `files`, a directory that the command line names.
    pub stores: Vec<StoreDocument>,
    /// What makes `regcred run` look again, beside the refresh; at most one Config has it.
    #[serde(default)]
    pub triggers: TriggersDocument,
}

/// One store: a name and exactly one of `vault`, `awsSecretsManager` and `file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreDocument {
    /// What ClusterPullSecrets call this store.
    pub name: String,
    /// A HashiCorp Vault or OpenBao.
    pub vault: Option<VaultStore>,
    /// AWS Secrets Manager in one region.
    pub aws_secrets_manager: Option<SecretsManagerStore>,
    /// A directory with one file per key.
    pub file: Option<FileStore>,
    /// The only keys a ClusterPullSecret may name: names or globs, in which `*` stops at a slash and `**` does not.
    /// Absent: any key; an empty list: none.
    pub keys: Option<Vec<String>>,
}

/// A HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultStore {
    /// URL of the Vault: `https://vault.vault:8200`.
    pub address: String,
    /// KV mount; slashes are part of its name.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// Version of the KV engine at `mount`: 1 or 2.
    #[serde(default = "default_kv_version")]
    #[schemars(range(min = 1, max = 2))]
    pub kv_version: u8,
    /// Namespace of Vault Enterprise or OpenBao.
    pub namespace: Option<String>,
    /// PEM file of the certificate authority that signed the Vault's certificate.
    pub ca_file: Option<PathBuf>,
    /// How to log in: at most one of its fields. Absent: the `VAULT_TOKEN` environment variable.
    #[serde(default)]
    pub auth: VaultAuthDocument,
}

/// How to log in at a Vault: at most one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultAuthDocument {
    /// The ServiceAccount token of the pod regcred runs in.
    pub kubernetes: Option<KubernetesAuth>,
    /// A role id and a secret id, each in a file.
    pub app_role: Option<AppRoleAuth>,
    /// A file that holds a Vault token, read anew when the token no longer works.
    pub token_file: Option<PathBuf>,
}

/// Vault's Kubernetes auth method.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesAuth {
    /// The Vault role to log in as.
    pub role: String,
    /// Where the auth method is mounted.
    #[serde(default = "default_kubernetes_mount")]
    pub mount: String,
    /// The ServiceAccount token, read anew at every login.
    #[serde(default = "default_service_account_token_file")]
    pub token_file: PathBuf,
}

/// Vault's AppRole auth method.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppRoleAuth {
    /// File that holds the role id.
    pub role_id_file: PathBuf,
    /// File that holds the secret id, read anew at every login.
    pub secret_id_file: PathBuf,
    /// Where the auth method is mounted.
    #[serde(default = "default_app_role_mount")]
    pub mount: String,
}

/// AWS Secrets Manager in one region, with credentials from the SDK's default chain.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretsManagerStore {
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// Another endpoint than the region's own: a VPC endpoint, LocalStack.
    pub endpoint_url: Option<String>,
}

/// A directory with one file per key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileStore {
    /// The directory; a relative one is looked up from where regcred runs.
    pub directory: PathBuf,
}

/// A store after every check.
#[derive(Clone, Debug)]
pub struct Store {
    /// What ClusterPullSecrets call it.
    pub name: String,
    /// The only keys that may be read; `None` admits any.
    pub keys: Option<GlobSet>,
    /// Where the values are.
    pub backend: Backend,
}

/// The one backend a store has.
#[derive(Clone, Debug)]
pub enum Backend {
    /// A Vault.
    Vault(VaultSettings),
    /// A region of AWS Secrets Manager.
    AwsSecretsManager(SecretsManagerStore),
    /// A directory.
    File(FileStore),
}

/// A Vault after every check.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// URL of the Vault, `http` or `https`, without a path.
    pub address: url::Url,
    /// KV mount, without slashes at its ends.
    pub mount: String,
    /// The KV engine at `mount`.
    pub kv: KvVersion,
    /// Namespace, where there is one.
    pub namespace: Option<String>,
    /// PEM file of a certificate authority.
    pub ca_file: Option<PathBuf>,
    /// How to log in.
    pub auth: VaultAuth,
}

/// The two KV engines of Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// KV v1: keeps no versions.
    V1,
    /// KV v2.
    V2,
}

/// The one way to log in at a Vault.
#[derive(Clone, Debug)]
pub enum VaultAuth {
    /// The Kubernetes auth method.
    Kubernetes(KubernetesAuth),
    /// The AppRole auth method.
    AppRole(AppRoleAuth),
    /// A token in a file.
    TokenFile(PathBuf),
    /// The token in the `VAULT_TOKEN` environment variable.
    Environment,
}

fn default_mount() -> String {
    "secret".to_owned()
}

fn default_kv_version() -> u8 {
    2
}

fn default_kubernetes_mount() -> String {
    "kubernetes".to_owned()
}

fn default_app_role_mount() -> String {
    "approle".to_owned()
}

fn default_service_account_token_file() -> PathBuf {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".into()
}
