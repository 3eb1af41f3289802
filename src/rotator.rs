//! Writes the pull secret of one namespace.
//!
//! In go the Secret as observed and its desired content, out comes at most one write. A Secret is changed
//! in place and never deleted and recreated: the kubelet trusts images on the node while namespace, name
//! and UID stay the same. A Secret that regcred did not create is refused, unless the ClusterPullSecret
//! adopts existing Secrets.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, Preconditions};
use secrecy::ExposeSecret;
use serde_json::json;
use tracing::debug;

use crate::cluster;
use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::ownership::Ownership;
use crate::cluster::{
    DOCKER_CONFIG_KEY, DockerConfigBytes, PULL_SECRET_TYPE, Secret, SecretBody, VERSIONS, params,
};
use crate::docker_config::versions;
use crate::manifest::cluster_pull_secret::Existing;
use crate::manifest::status::reason::AppliedReason;
use crate::object_name::NamespaceName;

/// The desired content of a pull secret.
#[derive(Debug)]
pub struct Content {
    /// The bytes of `.dockerconfigjson`.
    pub docker_config: DockerConfigBytes,
    /// The versions annotation: `ghcr.io=vault:7,…`.
    pub versions: String,
}

/// The decision about the Secret of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The Secret is in sync.
    Unchanged,
    /// The Secret does not exist.
    Create,
    /// Only the metadata of the Secret was observed: the Secret has to be read before the decision.
    Read,
    /// The Secret is managed by regcred, or may be adopted, and differs.
    Update {
        /// The precondition of the write.
        resource_version: String,
        /// The whole new list of owner references, where the list changes.
        owners: Option<Vec<OwnerReference>>,
    },
    /// The Secret must not be changed.
    Refuse(Refusal),
}

/// The reason why a Secret is not changed, with the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// regcred did not create the Secret, and may not adopt it.
    #[error(
        "regcred did not create this Secret. {}choose another `secretName`",
        if *is_adoptable { "Set `existing: Adopt` to take it over, or " } else { "Delete it, or " }
    )]
    Foreign {
        /// True if its type is right, and the Secret is not immutable.
        is_adoptable: bool,
    },
    /// The Secret belongs to another ClusterPullSecret.
    #[error(
        "this Secret belongs to ClusterPullSecret {0}. Choose another `secretName` or other namespaces for one of the two"
    )]
    ClaimedBy(String),
    /// The kubelet does not read this type as a docker config, and a type cannot be changed.
    #[error("this Secret has type {0}, which cannot be changed. Delete it, or choose another `secretName`")]
    WrongType(String),
    /// The data of the Secret cannot be changed.
    #[error("this Secret is immutable. Delete it, or choose another `secretName`")]
    Immutable,
}

impl Refusal {
    /// Suggests adoption only where the Secret can be adopted.
    fn foreign(body: &SecretBody) -> Self {
        Self::Foreign { is_adoptable: body.type_ == PULL_SECRET_TYPE && !body.immutable }
    }

    /// Returns the reason in a report.
    #[must_use]
    pub fn reason(&self) -> AppliedReason {
        match self {
            Self::Foreign { .. } | Self::ClaimedBy(_) => AppliedReason::Conflict,
            Self::WrongType(_) => AppliedReason::WrongType,
            Self::Immutable => AppliedReason::Immutable,
        }
    }
}

/// The result for the Secret of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Secret was in sync.
    Unchanged,
    /// The Secret was created.
    Created,
    /// The Secret was changed in place.
    Updated,
    /// The Secret was not changed.
    Refused(Refusal),
}

/// Decides by the observed Secret. A Secret that was created for `take_over_from` is taken over in place.
#[must_use]
pub fn decide(
    observed: Option<&Secret>,
    content: &Content,
    owner: &Ownership,
    take_over_from: Option<&str>,
) -> Decision {
    let Some(secret) = observed else {
        return Decision::Create;
    };
    let created_for = secret.cluster_pull_secret.as_deref().filter(|_| secret.managed);
    if let Some(other) = created_for
        && other != owner.cluster_pull_secret
        && take_over_from != Some(other)
    {
        return Decision::Refuse(Refusal::ClaimedBy(other.to_owned()));
    }
    let Some(body) = &secret.body else {
        return Decision::Read;
    };
    if !secret.managed && owner.existing == Existing::Refuse {
        return Decision::Refuse(Refusal::foreign(body));
    }
    if body.type_ != PULL_SECRET_TYPE {
        return Decision::Refuse(Refusal::WrongType(body.type_.clone()));
    }
    let owners = owner.owner_references(&secret.owners);
    let is_ours = secret.is_created_for(&owner.cluster_pull_secret);
    if is_ours && owners.is_none() && has_content(secret, body, content) {
        return Decision::Unchanged;
    }
    if body.immutable {
        return Decision::Refuse(Refusal::Immutable);
    }
    Decision::Update { resource_version: secret.resource_version.clone(), owners }
}

/// Returns true if a Secret holds the content. The same bytes under another version of the same stores are
/// the same credentials: the annotation alone is not worth a write in every namespace. Two replicas may
/// each read a different version, as with files that are mounted into both.
fn has_content(secret: &Secret, body: &SecretBody, content: &Content) -> bool {
    body.docker_config.as_ref().is_some_and(|held| has_bytes(held, content))
        && secret.versions.as_ref().is_some_and(|held| {
            *held == content.versions || versions::stores(held) == versions::stores(&content.versions)
        })
}

fn has_bytes(held: &DockerConfigBytes, content: &Content) -> bool {
    Arc::ptr_eq(held, &content.docker_config) || held.expose_secret() == content.docker_config.expose_secret()
}

/// Applies the desired content in at most one write; afterwards `observed` is the state in the cluster.
/// After a conflict with another writer the Secret is read and decided again.
pub async fn apply(
    client: &Client,
    namespace: &NamespaceName,
    observed: &mut Option<Secret>,
    content: &Content,
    owner: &Ownership,
    take_over_from: Option<&str>,
) -> Result<Outcome, Error> {
    let secrets = Api::<core::Secret>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    loop {
        let written = match decide(observed.as_ref(), content, owner, take_over_from) {
            Decision::Unchanged => return Ok(Outcome::Unchanged),
            Decision::Refuse(refusal) => return Ok(Outcome::Refused(refusal)),
            Decision::Read => {
                *observed = cluster::get_secret(client, namespace, &owner.secret_name).await?;
                continue;
            }
            Decision::Create => (create(&secrets, content, owner).await, Outcome::Created),
            Decision::Update { resource_version, owners } => {
                (update(&secrets, &resource_version, owners, content, owner).await, Outcome::Updated)
            }
        };
        match (written, backoff.next()) {
            ((Ok(metadata), outcome), _) => {
                *observed = Some(as_written(metadata, content, owner));
                return Ok(outcome);
            }
            ((Err(Error::Changed(_) | Error::AlreadyExists(_)), _), Some(pause)) => {
                debug!(
                    namespace = namespace.as_str(),
                    secret = owner.secret_name.as_str(),
                    "conflict with another writer"
                );
                tokio::time::sleep(pause).await;
                *observed = cluster::get_secret(client, namespace, &owner.secret_name).await?;
            }
            ((Err(error), _), _) => return Err(error),
        }
    }
}

/// Deletes a Secret of this ClusterPullSecret as observed. A Secret that was changed since is read again, and
/// kept if it no longer belongs to this ClusterPullSecret. Afterwards `observed` is the state in the cluster.
pub async fn remove(
    client: &Client,
    namespace: &NamespaceName,
    observed: &mut Option<Secret>,
    owner: &Ownership,
) -> Result<(), Error> {
    let secrets = Api::<core::Secret>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    while let Some(secret) =
        observed.as_ref().filter(|secret| secret.is_created_for(&owner.cluster_pull_secret))
    {
        let resource_version = Some(secret.resource_version.clone());
        let preconditions = Some(Preconditions { resource_version, uid: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match (with_timeout(secrets.delete(&owner.secret_name, &params)).await, backoff.next()) {
            (Ok(_) | Err(Error::NotFound(_)), _) => *observed = None,
            (Err(Error::Changed(_)), Some(pause)) => {
                tokio::time::sleep(pause).await;
                *observed = cluster::get_secret(client, namespace, &owner.secret_name).await?;
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the state of a Secret that was just written with this content.
fn as_written(metadata: ObjectMeta, content: &Content, owner: &Ownership) -> Secret {
    Secret {
        managed: true,
        cluster_pull_secret: Some(owner.cluster_pull_secret.clone()),
        versions: Some(content.versions.clone()),
        body: Some(SecretBody {
            type_: PULL_SECRET_TYPE.to_owned(),
            immutable: false,
            docker_config: Some(Arc::clone(&content.docker_config)),
        }),
        ..Secret::from_metadata(metadata)
    }
}

async fn create(
    secrets: &Api<core::Secret>,
    content: &Content,
    owner: &Ownership,
) -> Result<ObjectMeta, Error> {
    let data = BTreeMap::from([(
        DOCKER_CONFIG_KEY.to_owned(),
        ByteString(content.docker_config.expose_secret().to_vec()),
    )]);
    let secret = core::Secret {
        metadata: ObjectMeta {
            name: Some(owner.secret_name.clone().into()),
            labels: Some(owner.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            annotations: Some([(VERSIONS.to_owned(), content.versions.clone())].into()),
            owner_references: owner.owner_references(&[]),
            ..ObjectMeta::default()
        },
        type_: Some(PULL_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..core::Secret::default()
    };
    match with_timeout(secrets.create(&params::create(), &secret)).await {
        Ok(secret) => Ok(secret.metadata),
        // The namespace is missing: it was deleted since it was observed.
        Err(Error::NotFound(_)) => Err(Error::NamespaceTerminating),
        Err(error) => Err(error),
    }
}

async fn update(
    secrets: &Api<core::Secret>,
    resource_version: &str,
    owners: Option<Vec<OwnerReference>>,
    content: &Content,
    owner: &Ownership,
) -> Result<ObjectMeta, Error> {
    let mut patch = json!({
        "metadata": {
            "resourceVersion": resource_version,
            "labels": BTreeMap::from(owner.labels()),
            "annotations": { VERSIONS: content.versions },
        },
        "data": { DOCKER_CONFIG_KEY: STANDARD.encode(content.docker_config.expose_secret()) },
    });
    if let Some(owners) = owners {
        patch["metadata"]["ownerReferences"] = json!(owners);
    }
    match with_timeout(secrets.patch_metadata(&owner.secret_name, &params::patch(), &Patch::Merge(patch)))
        .await
    {
        Ok(secret) => Ok(secret.metadata),
        // The observed Secret was deleted since.
        Err(Error::NotFound(message)) => Err(Error::Changed(message)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
