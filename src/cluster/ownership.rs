//! The name and the marks of the Secrets of one ClusterPullSecret, and the evidence that a Secret is one of them.
//!
//! Pure. The labels are for people and for selectors; the annotation holds a signature, by which regcred
//! recognises its Secrets. No Secret has a ClusterPullSecret as its owner reference: after a restore from a
//! backup the owner has another UID, and the garbage collector would delete every Secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CLUSTER_PULL_SECRET_LABEL, FIELD_MANAGER, MANAGED_BY, OWNER};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, Existing};
use crate::object_name::{NamespaceName, SecretName};

pub mod evidence;
pub mod key;
pub mod owned_secrets;

use evidence::Marks;
use key::OwnershipKey;

/// The name and the marks of the Secrets of one ClusterPullSecret.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Name of the ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// Name of the Secret in every namespace.
    pub secret_name: SecretName,
    /// The policy for a Secret that regcred did not create.
    pub existing: Existing,
    /// The key that signs the Secrets; `None` where regcred has no access to its own namespace.
    pub key: Option<Arc<OwnershipKey>>,
}

impl Ownership {
    /// Describes the Secrets of a ClusterPullSecret under this name.
    #[must_use]
    pub fn new(
        cluster_pull_secret: &ClusterPullSecret,
        secret_name: &SecretName,
        key: Option<&Arc<OwnershipKey>>,
    ) -> Self {
        Self {
            cluster_pull_secret: cluster_pull_secret.name.clone(),
            secret_name: secret_name.clone(),
            existing: cluster_pull_secret.existing,
            key: key.cloned(),
        }
    }

    /// Returns the labels of the Secrets.
    pub(crate) fn labels(&self) -> BTreeMap<&str, &str> {
        [(MANAGED_BY, FIELD_MANAGER), (CLUSTER_PULL_SECRET_LABEL, &self.cluster_pull_secret)].into()
    }

    /// Returns the annotation with the signature of the Secret in a namespace, if there is a key.
    pub(crate) fn signature(&self, namespace: &NamespaceName) -> Option<(&'static str, String)> {
        let key = self.key.as_ref()?;
        Some((OWNER, key.sign(&self.cluster_pull_secret, namespace, &self.secret_name)))
    }

    /// Returns true if the annotation with a signature has to be removed, because there is no key to renew it and
    /// it names another ClusterPullSecret.
    pub(crate) fn removes_signature(&self, observed: Option<&Marks>) -> bool {
        let signature = observed.and_then(|marks| marks.signature.as_deref());
        let signed_for = signature.map(|it| it.split_once('/').map_or(it, |(name, _)| name));
        self.key.is_none() && signed_for.is_some_and(|it| it != self.cluster_pull_secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_of_another_owner_is_removed_without_a_key() {
        let mut ownership = Ownership {
            cluster_pull_secret: "images".into(),
            secret_name: "regcred".into(),
            existing: Existing::Refuse,
            key: None,
        };
        let marks = |signature: &str| Marks { signature: Some(signature.to_owned()), ..Marks::default() };
        assert!(ownership.removes_signature(Some(&marks("other/AQ"))));
        assert!(
            !ownership.removes_signature(Some(&marks("images/AQ"))) && !ownership.removes_signature(None)
        );
        ownership.key = Some(Arc::new(OwnershipKey::new("a", &[1; 32], None)));
        assert!(!ownership.removes_signature(Some(&marks("other/AQ"))), "it is replaced");
    }
}
