//! The source of one registry's credential, after validation.

use super::host_key::HostKey;
use crate::credential::StoreKey;
use crate::object_name::NamespaceName;

/// One registry of a ClusterPullSecret, and the source of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySource {
    /// The host key; `None` takes every entry of the docker config in the store.
    pub host: Option<HostKey>,
    /// The key of the stored credential.
    pub store_key: StoreKey,
    /// The username of the spec, which takes precedence over one in the store.
    pub username: Option<String>,
    /// Field that holds the username, if the spec names one.
    pub username_key: Option<String>,
    /// Field that holds the password, if the spec names one.
    pub password_key: Option<String>,
    /// Field that holds a docker config, if the spec names one.
    pub config_key: Option<String>,
}

impl RegistrySource {
    /// Returns the source in a namespace: the same, with the key of the namespace.
    #[must_use]
    pub fn in_namespace(&self, name: &NamespaceName) -> Self {
        Self { store_key: self.store_key.in_namespace(name), ..self.clone() }
    }
}
