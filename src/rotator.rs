//! The pull secret of one namespace.
//!
//! In go the Secret as observed and the content it should have, out comes at most one write.
//! A Secret is changed in place and never deleted to be created again: the kubelet trusts images on
//! the node while namespace, name and UID stay. A Secret that regcred did not make is refused, unless
//! the ClusterPullSecret says to adopt it.

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
use crate::cluster::error::{Error, conflict_backoff, within};
use crate::cluster::{
    Body, DOCKER_CONFIG_KEY, DockerConfigBytes, PULL_SECRET_TYPE, Secret, VERSIONS, params,
};
use crate::docker_config::versions;
use crate::manifest::cluster_pull_secret::Existing;

mod owner;

pub use owner::{GarbageCollection, Ownership};

/// What a pull secret should hold.
#[derive(Debug)]
pub struct Content {
    /// The bytes of `.dockerconfigjson`.
    pub docker_config: DockerConfigBytes,
    /// The versions annotation: `ghcr.io=vault:7,…`.
    pub versions: String,
}

/// What to do with the Secret of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is as it should be.
    Unchanged,
    /// It is not there.
    Create,
    /// Only its metadata was seen: it has to be read before anything is decided.
    Read,
    /// It is ours, or may be adopted, and differs.
    Update {
        /// The precondition of the write.
        resource_version: String,
        /// The whole new list of owner references, where that changes.
        owners: Option<Vec<OwnerReference>>,
    },
    /// It must not be touched.
    Refuse(Refusal),
}

/// Why a Secret is not touched, and how to mend that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// regcred did not make it, and may not adopt it.
    #[error(
        "regcred did not make this Secret: {}choose another `secretName`",
        if *is_adoptable { "set `existing: Adopt` to take it over, or " } else { "delete it, or " }
    )]
    Foreign {
        /// Its type is right, and it is not immutable.
        is_adoptable: bool,
    },
    /// It belongs to another ClusterPullSecret.
    #[error(
        "this Secret belongs to ClusterPullSecret {0}: choose another `secretName` or other namespaces for one of the two"
    )]
    ClaimedBy(String),
    /// It has a type that the kubelet does not read as a docker config, and a type cannot be changed.
    #[error("this Secret has type {0}, which cannot be changed: delete it, or choose another `secretName`")]
    WrongType(String),
    /// Its data cannot be changed.
    #[error("this Secret is immutable: delete it, or choose another `secretName`")]
    Immutable,
}

impl Refusal {
    /// The reason in a report, from a closed list.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Foreign { .. } | Self::ClaimedBy(_) => "Conflict",
            Self::WrongType(_) => "WrongType",
            Self::Immutable => "Immutable",
        }
    }
}

/// What became of the Secret of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged,
    /// It was created.
    Created,
    /// It was changed in place.
    Updated,
    /// It was not touched.
    Refused(Refusal),
}

/// What to do, given what is there. A Secret that `take_over_from` made is taken over in place.
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
    let is_other = |name: &&str| *name != owner.cluster_pull_secret && take_over_from != Some(*name);
    if let Some(other) = secret.cluster_pull_secret.as_deref().filter(|_| secret.managed).filter(is_other) {
        return Decision::Refuse(Refusal::ClaimedBy(other.to_owned()));
    }
    let Some(body) = &secret.body else {
        return Decision::Read;
    };
    if !secret.managed && owner.existing == Existing::Refuse {
        return Decision::Refuse(foreign(body));
    }
    if body.type_ != PULL_SECRET_TYPE {
        return Decision::Refuse(Refusal::WrongType(body.type_.clone()));
    }
    let owners = owner.references(&secret.owners);
    let is_ours = secret.is_created_for(&owner.cluster_pull_secret);
    if is_ours && owners.is_none() && is_held(secret, body, content) {
        return Decision::Unchanged;
    }
    if body.immutable {
        return Decision::Refuse(Refusal::Immutable);
    }
    Decision::Update { resource_version: secret.resource_version.clone(), owners }
}

/// Whether a Secret holds the content. The same bytes under another version of the same stores are the
/// same credentials: the annotation alone is not worth a write in every namespace. Two replicas may
/// each see a version of their own, as with files that are mounted into both.
fn is_held(secret: &Secret, body: &Body, content: &Content) -> bool {
    body.docker_config.as_ref().is_some_and(|held| is_same(held, content))
        && secret.versions.as_ref().is_some_and(|held| {
            *held == content.versions || versions::stores(held) == versions::stores(&content.versions)
        })
}

/// Advises to adopt only what could be adopted.
fn foreign(body: &Body) -> Refusal {
    Refusal::Foreign { is_adoptable: body.type_ == PULL_SECRET_TYPE && !body.immutable }
}

fn is_same(held: &DockerConfigBytes, content: &Content) -> bool {
    Arc::ptr_eq(held, &content.docker_config) || held.expose_secret() == content.docker_config.expose_secret()
}

/// Makes the Secret what it should be, in at most one write; afterwards `observed` is what the cluster
/// holds. Where another writer came first, the Secret is read and decided on anew.
pub async fn act(
    client: &Client,
    namespace: &str,
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
                *observed = Some(owner.written(metadata, content));
                return Ok(outcome);
            }
            ((Err(Error::Changed(_) | Error::AlreadyExists(_)), _), Some(pause)) => {
                debug!(namespace, secret = owner.secret_name, "another writer came first");
                tokio::time::sleep(pause).await;
                *observed = cluster::get_secret(client, namespace, &owner.secret_name).await?;
            }
            ((Err(error), _), _) => return Err(error),
        }
    }
}

/// Deletes a Secret of ours as it was observed; one that was changed since is read again, and stays
/// where it is not ours any more. Afterwards `observed` is what the cluster holds.
pub async fn remove(
    client: &Client,
    namespace: &str,
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
        match (within(secrets.delete(&owner.secret_name, &params)).await, backoff.next()) {
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
            name: Some(owner.secret_name.clone()),
            labels: Some(owner.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            annotations: Some([(VERSIONS.to_owned(), content.versions.clone())].into()),
            owner_references: owner.references(&[]),
            ..ObjectMeta::default()
        },
        type_: Some(PULL_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..core::Secret::default()
    };
    match within(secrets.create(&params::create(), &secret)).await {
        Ok(secret) => Ok(secret.metadata),
        // What is missing for a creation is the namespace: it was deleted since it was observed.
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
    match within(secrets.patch_metadata(&owner.secret_name, &params::patch(), &Patch::Merge(patch))).await {
        Ok(secret) => Ok(secret.metadata),
        // It was there when it was observed, so somebody deleted it since.
        Err(Error::NotFound(message)) => Err(Error::Changed(message)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
