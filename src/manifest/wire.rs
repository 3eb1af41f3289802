//! The manifests as written: plain data that serde reads and schemars describes.
//!
//! In: JSON that matches their schema. Out: the same as Rust types, with defaults filled in
//! and nothing else checked. The doc comments of the fields are the descriptions in the CRD
//! (`kubectl explain`), in the values schema of the chart and in the reference.

mod cluster_pull_secret;
mod config;
mod namespaces;
mod triggers;

pub use cluster_pull_secret::{
    ClusterPullSecret, ClusterPullSecretSpec, CredentialSource, Deletion, Existing, ManifestMetadata,
    PathMethod, Registry,
};
pub use config::{
    AppRoleAuth, Config, DEFAULT_MAX_POLLS_PER_SECOND, EcrStore, FileStore, KubernetesAuth,
    SecretsManagerStore, StoreSpec, VaultAuthSpec, VaultStore,
};
pub use namespaces::{LabelOperator, LabelRequirement, LabelSelector, Namespaces};
pub use triggers::{DEFAULT_LISTEN, DEFAULT_POLL_INTERVAL, SqsQueue, Tls, TriggersSpec, WebhookSpec};

/// The only version of the manifests.
pub const API_VERSION: &str = "regcred.dev/v1alpha1";

/// The kind with stores and triggers.
pub const CONFIG: &str = "Config";

/// The kind that selects namespaces and the credentials for them.
pub const CLUSTER_PULL_SECRET: &str = "ClusterPullSecret";
