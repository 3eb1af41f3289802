//! The name, labels and owner references of the Secrets of one ClusterPullSecret.
//!
//! Pure. regcred recognises its Secrets by the labels; the garbage collector deletes them by the owner
//! references.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{CLUSTER_PULL_SECRET_LABEL, FIELD_MANAGER, MANAGED_BY};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, Deletion, Existing};
use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};
use crate::object_name::SecretName;

/// The name and the marks of the Secrets of one ClusterPullSecret.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Name of the ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// Name of the Secret in every namespace.
    pub secret_name: SecretName,
    /// The policy for a Secret that regcred did not create.
    pub existing: Existing,
    /// The part of the garbage collector in the deletion of the Secrets.
    pub garbage_collection: GarbageCollection,
}

/// The part of the garbage collector in the deletion of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// The Secret is deleted together with the object of this UID.
    With(String),
    /// The Secret stays: `deletion: Retain`.
    Never,
    /// The ClusterPullSecret comes from a file and has no UID: the owner references stay as they are.
    Unknown,
}

impl Ownership {
    /// Describes the Secrets of a ClusterPullSecret under this name.
    #[must_use]
    pub fn new(cluster_pull_secret: &ClusterPullSecret, secret_name: &SecretName) -> Self {
        Self {
            cluster_pull_secret: cluster_pull_secret.name.clone(),
            secret_name: secret_name.clone(),
            existing: cluster_pull_secret.existing,
            garbage_collection: match (&cluster_pull_secret.object, cluster_pull_secret.deletion) {
                (None, _) => GarbageCollection::Unknown,
                (Some(object), Deletion::Delete) => GarbageCollection::With(object.uid.clone()),
                (Some(_), Deletion::Retain) => GarbageCollection::Never,
            },
        }
    }

    /// Returns the desired owner references of a Secret that has the `observed` ones, where they differ. The
    /// references to other kinds keep their places; at most one ClusterPullSecret, the current one, is a reference.
    pub(crate) fn owner_references(&self, observed: &[OwnerReference]) -> Option<Vec<OwnerReference>> {
        let ours = match &self.garbage_collection {
            GarbageCollection::Unknown => return None,
            GarbageCollection::Never => None,
            GarbageCollection::With(uid) => Some(OwnerReference {
                api_version: API_VERSION.to_owned(),
                kind: CLUSTER_PULL_SECRET.to_owned(),
                name: self.cluster_pull_secret.clone(),
                uid: uid.clone(),
                block_owner_deletion: None,
                controller: None,
            }),
        };
        let others =
            observed.iter().filter(|it| it.kind != CLUSTER_PULL_SECRET || it.api_version != API_VERSION);
        let desired: Vec<_> = others.cloned().chain(ours).collect();
        (desired != observed).then_some(desired)
    }

    /// Returns the labels by which regcred recognises the Secrets.
    pub(crate) fn labels(&self) -> [(&str, &str); 2] {
        [(MANAGED_BY, FIELD_MANAGER), (CLUSTER_PULL_SECRET_LABEL, &self.cluster_pull_secret)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(kind: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: if kind == CLUSTER_PULL_SECRET { API_VERSION.into() } else { "v1".into() },
            kind: kind.into(),
            name: "images".into(),
            uid: uid.into(),
            ..OwnerReference::default()
        }
    }

    fn owner_references(
        garbage_collection: GarbageCollection,
        observed: &[OwnerReference],
    ) -> Option<Vec<OwnerReference>> {
        let ownership = Ownership {
            cluster_pull_secret: "images".into(),
            secret_name: "regcred".into(),
            existing: Existing::Refuse,
            garbage_collection,
        };
        ownership.owner_references(observed)
    }

    #[test]
    fn cluster_pull_secret_owns_its_secrets_next_to_other_owners() {
        let other = reference("ConfigMap", "c");
        let owned = [other.clone(), reference(CLUSTER_PULL_SECRET, "u")];
        let owned_before = [other.clone(), reference(CLUSTER_PULL_SECRET, "an older one")];
        let with = GarbageCollection::With("u".into());
        assert_eq!(owner_references(with.clone(), std::slice::from_ref(&other)), Some(owned.to_vec()));
        assert_eq!(owner_references(with.clone(), &owned), None);
        assert_eq!(owner_references(with, &owned_before), Some(owned.to_vec()));
        assert_eq!(owner_references(GarbageCollection::Never, &owned), Some(vec![other]));
        assert_eq!(owner_references(GarbageCollection::Unknown, &owned), None);
    }
}
