//! The stores of the Configs after validation.
//!
//! [`Config`] is the document as written; [`Store`] is one store after validation, with the choices that
//! exactly one field may make as enums, and [`triggers`] is the same for the triggers. A Config never
//! holds a secret, only the names of files that do.

use std::path::PathBuf;
use std::sync::Arc;

pub mod triggers;

use globset::GlobSet;

use super::admission::{Admission, StoreAdmission};
use crate::credential::StoreName;

pub use super::wire::{AppRoleAuth, Config, EcrStore, FileStore, KubernetesAuth, SecretsManagerStore};

/// A store after validation.
#[derive(Clone, Debug)]
pub struct Store {
    /// The name that ClusterPullSecrets refer to.
    pub name: String,
    /// The only keys that may be read; `None` admits any.
    pub keys: Option<GlobSet>,
    /// The only namespaces and registries that the store may serve.
    pub admission: Arc<StoreAdmission>,
    /// The versions that the poll may read in a second.
    pub max_polls_per_second: u32,
    /// The source of the values.
    pub backend: Backend,
}

/// Returns the allow-lists of these stores.
#[must_use]
pub fn admission(stores: &[Store]) -> Arc<Admission> {
    let each = stores.iter().map(|store| (StoreName(store.name.clone()), Arc::clone(&store.admission)));
    Arc::new(Admission::new(each))
}

/// The one backend of a store.
#[derive(Clone, Debug)]
pub enum Backend {
    /// A Vault.
    Vault(Box<VaultSettings>),
    /// A region of AWS Secrets Manager.
    AwsSecretsManager(SecretsManagerStore),
    /// A region of Amazon ECR.
    AwsEcr(EcrStore),
    /// A directory.
    File(FileStore),
    /// The directory that the command line names, where no Config defines a store.
    DefaultDirectory(PathBuf),
}

impl Backend {
    /// Returns true if the store keeps versions, so that it is polled.
    #[must_use]
    pub fn has_versions(&self) -> bool {
        match self {
            Self::Vault(settings) => settings.kv == KvVersion::V2,
            Self::AwsSecretsManager(_) => true,
            // Each read makes ECR issue another token.
            Self::AwsEcr(_) | Self::File(_) | Self::DefaultDirectory(_) => false,
        }
    }
}

/// A Vault after validation.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// URL of the Vault, `http` or `https`; a path is the part before `/v1`.
    pub address: url::Url,
    /// KV mount, without slashes at its ends.
    pub mount: String,
    /// The KV engine at `mount`.
    pub kv: KvVersion,
    /// Namespace, if there is one.
    pub namespace: Option<String>,
    /// PEM file of a certificate authority.
    pub ca_file: Option<PathBuf>,
    /// Hosts that the Vault may redirect to, in addition to that of `address`.
    pub redirect_hosts: Vec<RedirectHost>,
    /// Permits requests without encryption to another machine.
    pub allow_http: bool,
    /// The login method.
    pub auth: VaultAuth,
}

/// A host that a Vault may redirect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectHost {
    /// The name or the address of the host.
    pub host: url::Host,
    /// The only port; `None` admits any.
    pub port: Option<u16>,
}

/// Returns true if the host of a URL is this machine.
#[must_use]
pub fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// The two KV engines of Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvVersion {
    /// KV v1: keeps no versions.
    V1,
    /// KV v2.
    V2,
}

/// The one login method of a Vault.
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
