//! `kind: Config`: a file with stores and triggers.
//!
//! A Config never holds a secret, only the names of files that do.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::namespaces::LabelSelector;
use super::triggers::TriggersSpec;

/// Versions that the poll reads from a store in a second.
pub const DEFAULT_MAX_POLLS_PER_SECOND: u32 = 20;

/// The Config defines stores and triggers. It is never a Kubernetes object and never holds a secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Version of the manifest format: always `regcred.dev/v1alpha1`.
    pub api_version: String,
    /// Kind of the manifest: always `Config`.
    pub kind: String,
    /// Stores that a ClusterPullSecret may read from, each with a unique name.
    /// If no Config defines any, there is one called `files`, a directory given on the command line.
    pub stores: Vec<StoreSpec>,
    /// Triggers of `regcred run`, in addition to `refreshInterval`; at most one Config has them.
    #[serde(default)]
    pub triggers: TriggersSpec,
}

/// One store: a name and exactly one of `vault`, `awsSecretsManager`, `awsEcr` and `file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSpec {
    /// Name of the store in `from.store` of a ClusterPullSecret.
    pub name: String,
    /// HashiCorp Vault or OpenBao.
    pub vault: Option<VaultStore>,
    /// AWS Secrets Manager in one region.
    pub aws_secrets_manager: Option<SecretsManagerStore>,
    /// Amazon ECR in one region.
    pub aws_ecr: Option<EcrStore>,
    /// Directory with one file per key.
    pub file: Option<FileStore>,
    /// Keys that a ClusterPullSecret may name: names or globs, in which `*` stops at a slash and `**` does not.
    /// An empty list admits none. Default: any key.
    pub keys: Option<Vec<String>>,
    /// Namespaces that may hold credentials of the store: names or globs with `*`, `?` and `{one,other}`. An
    /// empty list admits none. Default: any namespace.
    pub namespaces: Option<Vec<String>>,
    /// Label selector that the labels of a namespace must match to hold credentials of the store, in addition
    /// to `namespaces`. Default: any labels.
    pub namespace_selector: Option<LabelSelector>,
    /// Registries that the store may serve: hosts as in `host` of a ClusterPullSecret, or globs with `*`, `?`
    /// and `{one,other}`, in which `*` stops at a slash and `**` does not. Docker Hub is `docker.io`. An empty
    /// list admits none. Default: any registry.
    pub hosts: Option<Vec<String>>,
    /// Versions that the poll may read from the store in a second: with more keys than that allows within
    /// `pollInterval`, each is polled less often. From 1 to 1000.
    #[serde(default = "default_max_polls_per_second")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_polls_per_second: u32,
}

/// A HashiCorp Vault or OpenBao.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultStore {
    /// URL of the Vault: `https://vault.vault:8200`, or `https://gateway.example.com/vault` behind a gateway, with
    /// the path before `/v1`. An `http` URL of another machine requires `allowHttp`.
    pub address: String,
    /// Permits an `http` address that is not on loopback: everybody on the network between can then read the
    /// token and the passwords. Default: `false`.
    #[serde(default)]
    pub allow_http: bool,
    /// Mount path of the KV engine; slashes are part of its name.
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
    /// Hosts that the Vault may redirect requests to, such as its nodes where standbys redirect to the active
    /// one: `node-1.example.com` for any port, or `node-1.example.com:8200`. Default: the host of `address` only.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
    /// Login method: at most one of its fields. Default: the token in the `VAULT_TOKEN` environment variable.
    #[serde(default)]
    pub auth: VaultAuthSpec,
}

/// The login method of a Vault: at most one of these.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VaultAuthSpec {
    /// Kubernetes auth method, with the ServiceAccount token of the pod regcred runs in.
    pub kubernetes: Option<KubernetesAuth>,
    /// AppRole auth method, with a role id and a secret id, each in a file.
    pub app_role: Option<AppRoleAuth>,
    /// File that holds a Vault token, read again when the token is no longer valid.
    pub token_file: Option<PathBuf>,
}

/// Vault's Kubernetes auth method.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesAuth {
    /// Vault role to log in as.
    pub role: String,
    /// Mount path of the auth method.
    #[serde(default = "default_kubernetes_mount")]
    pub mount: String,
    /// File that holds the ServiceAccount token, read at every login.
    #[serde(default = "default_service_account_token_file")]
    pub token_file: PathBuf,
}

/// Vault's AppRole auth method.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AppRoleAuth {
    /// File that holds the role id.
    pub role_id_file: PathBuf,
    /// File that holds the secret id, read at every login.
    pub secret_id_file: PathBuf,
    /// Mount path of the auth method.
    #[serde(default = "default_app_role_mount")]
    pub mount: String,
}

/// AWS Secrets Manager in one region, with credentials from the SDK's default chain.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretsManagerStore {
    /// Name of the region, such as `eu-west-1`.
    pub region: String,
    /// URL of a VPC endpoint or of LocalStack. Default: the endpoint of the region.
    pub endpoint_url: Option<String>,
    /// ARN of a role to assume with these credentials, such as one of another account. Default: none.
    pub role_arn: Option<String>,
}

/// Amazon ECR in one region, with credentials from the SDK's default chain. A key is a registry id: the 12 digits of an
/// AWS account.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EcrStore {
    /// Name of the region, such as `eu-west-1`.
    pub region: String,
    /// Registry ids that a ClusterPullSecret may name, such as `"123456789012"`.
    pub registry_ids: Vec<String>,
    /// URL of a VPC endpoint of the API. Default: the endpoint of the region.
    pub endpoint_url: Option<String>,
    /// ARN of a role to assume with these credentials, such as one of another account. Default: none.
    pub role_arn: Option<String>,
}

/// A directory with one file per key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileStore {
    /// Path of the directory; a relative one starts at the working directory of regcred.
    pub directory: PathBuf,
}

fn default_max_polls_per_second() -> u32 {
    DEFAULT_MAX_POLLS_PER_SECOND
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
