//! Whose a pull secret is: how the Secrets of one ClusterPullSecret are called and marked.
//!
//! Pure. By its marks a Secret is known again, and the garbage collector knows when it goes.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

use super::Content;
use crate::cluster::{Body, CLUSTER_PULL_SECRET_LABEL, FIELD_MANAGER, MANAGED_BY, PULL_SECRET_TYPE, Secret};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, Deletion, Existing};
use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};

/// What the pull secrets of one ClusterPullSecret are called and how they are marked.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Name of the ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// Name of the Secret in every namespace.
    pub secret_name: String,
    /// What to do with a Secret that regcred did not make.
    pub existing: Existing,
    /// Whether the garbage collector is to remove the Secrets with the ClusterPullSecret.
    pub collection: GarbageCollection,
}

/// Whether the garbage collector is to remove a Secret together with its ClusterPullSecret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GarbageCollection {
    /// It is: the ClusterPullSecret is the object with this UID.
    With(String),
    /// It is not: `deletion: Retain`.
    Never,
    /// The ClusterPullSecret comes from a file, so that nobody knows its UID: what is there stays.
    Unknown,
}

impl Ownership {
    /// Of the Secrets of a ClusterPullSecret that have this name.
    #[must_use]
    pub fn of(cluster_pull_secret: &ClusterPullSecret, secret_name: &str) -> Self {
        Self {
            cluster_pull_secret: cluster_pull_secret.name.clone(),
            secret_name: secret_name.to_owned(),
            existing: cluster_pull_secret.existing,
            collection: match (&cluster_pull_secret.object, cluster_pull_secret.deletion) {
                (None, _) => GarbageCollection::Unknown,
                (Some(object), Deletion::Delete) => GarbageCollection::With(object.uid.clone()),
                (Some(_), Deletion::Retain) => GarbageCollection::Never,
            },
        }
    }

    /// The owner references that a Secret with these should have, where they differ. Those of other
    /// kinds keep their places; of ClusterPullSecrets there is at most the one that owns it now.
    pub(crate) fn references(&self, observed: &[OwnerReference]) -> Option<Vec<OwnerReference>> {
        let ours = match &self.collection {
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
        let is_other = |it: &&OwnerReference| it.kind != CLUSTER_PULL_SECRET || it.api_version != API_VERSION;
        let wanted: Vec<_> = observed.iter().filter(is_other).cloned().chain(ours).collect();
        (wanted != observed).then_some(wanted)
    }

    /// What a Secret is that was just written with this content.
    pub(super) fn written(&self, metadata: ObjectMeta, content: &Content) -> Secret {
        Secret {
            managed: true,
            cluster_pull_secret: Some(self.cluster_pull_secret.clone()),
            versions: Some(content.versions.clone()),
            body: Some(Body {
                type_: PULL_SECRET_TYPE.to_owned(),
                immutable: false,
                docker_config: Some(Arc::clone(&content.docker_config)),
            }),
            ..Secret::from_metadata(metadata)
        }
    }

    /// The labels by which its Secrets are known.
    pub(super) fn labels(&self) -> [(&str, &str); 2] {
        [(MANAGED_BY, FIELD_MANAGER), (CLUSTER_PULL_SECRET_LABEL, &self.cluster_pull_secret)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pull_secret_that_is_an_object_owns_its_secrets_beside_other_owners() {
        let reference = |kind: &str, uid: &str| OwnerReference {
            api_version: if kind == CLUSTER_PULL_SECRET { API_VERSION.into() } else { "v1".into() },
            kind: kind.into(),
            name: "images".into(),
            uid: uid.into(),
            ..OwnerReference::default()
        };
        let other = reference("ConfigMap", "c");
        let owned = |uid: &str| vec![other.clone(), reference(CLUSTER_PULL_SECRET, uid)];
        let of = |collection: GarbageCollection| Ownership {
            cluster_pull_secret: "images".into(),
            secret_name: "regcred".into(),
            existing: Existing::Refuse,
            collection,
        };
        let with = |uid: &str| of(GarbageCollection::With(uid.into()));
        assert_eq!(with("u").references(std::slice::from_ref(&other)), Some(owned("u")));
        assert_eq!(with("u").references(&owned("u")), None);
        assert_eq!(with("u").references(&owned("an older one")), Some(owned("u")));
        assert_eq!(of(GarbageCollection::Never).references(&owned("u")), Some(vec![other.clone()]));
        assert_eq!(of(GarbageCollection::Unknown).references(&owned("u")), None);
    }
}
