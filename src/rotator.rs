//! The pull secret of one namespace.
//!
//! In go the Secret as observed and the content it should have, out comes at most one write.
//! A Secret is changed in place and never deleted to be created again: the kubelet trusts images on
//! the node while namespace, name and UID stay. A Secret that regcred did not make is refused, unless
//! the ClusterPullSecret says to adopt it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, DeleteParams, ObjectMeta, Patch, PatchParams, PostParams, Preconditions};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use tracing::debug;

use crate::cluster;
use crate::cluster::error::{Error, conflict_backoff, within};
use crate::cluster::{
    DOCKER_CONFIG_KEY, FIELD_MANAGER, MANAGED_BY, PULL_SECRET, PULL_SECRET_TYPE, Secret, VERSIONS,
};
use crate::manifest::cluster_pull_secret::Existing;

/// What the pull secrets of one ClusterPullSecret are called and how they are marked.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Name of the ClusterPullSecret.
    pub pull_secret: String,
    /// Name of the Secret in every namespace.
    pub secret_name: String,
    /// What to do with a Secret that regcred did not make.
    pub existing: Existing,
}

/// What a pull secret should hold.
#[derive(Debug)]
pub struct Content {
    /// The bytes of `.dockerconfigjson`.
    pub docker_config: SecretSlice<u8>,
    /// The versions annotation: `ghcr.io=vault:7,…`.
    pub versions: String,
}

/// What to do with the Secret of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is as it should be.
    Unchanged,
    /// It is not there.
    Create,
    /// It is ours, or may be adopted, and differs.
    Update {
        /// The precondition of the write.
        resource_version: String,
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

/// What to do, given what is there. A Secret that `heir_of` made is taken over in place.
#[must_use]
pub fn decide(
    observed: Option<&Secret>,
    content: &Content,
    owner: &Owner,
    heir_of: Option<&str>,
) -> Decision {
    let Some(secret) = observed else {
        return Decision::Create;
    };
    let is_other = |name: &&str| *name != owner.pull_secret && heir_of != Some(*name);
    let claimed_by = secret.pull_secret.as_deref().filter(is_other);
    match (secret.managed, claimed_by) {
        (true, Some(other)) => return Decision::Refuse(Refusal::ClaimedBy(other.to_owned())),
        (false, _) if owner.existing == Existing::Refuse => return Decision::Refuse(foreign(secret)),
        (true, None) | (false, _) => {}
    }
    if secret.type_ != PULL_SECRET_TYPE {
        return Decision::Refuse(Refusal::WrongType(secret.type_.clone()));
    }
    if is_in_place(secret, content, owner) {
        return Decision::Unchanged;
    }
    if secret.immutable {
        return Decision::Refuse(Refusal::Immutable);
    }
    Decision::Update { resource_version: secret.resource_version.clone() }
}

/// Advises to adopt only what could be adopted.
fn foreign(secret: &Secret) -> Refusal {
    Refusal::Foreign { is_adoptable: secret.type_ == PULL_SECRET_TYPE && !secret.immutable }
}

fn is_in_place(secret: &Secret, content: &Content, owner: &Owner) -> bool {
    let bytes = secret.docker_config.as_ref().map(ExposeSecret::expose_secret);
    secret.is_made_for(&owner.pull_secret)
        && secret.versions.as_ref() == Some(&content.versions)
        && bytes == Some(content.docker_config.expose_secret())
}

/// Carries out a decision. Where another writer came first, the Secret is read and decided on anew.
pub async fn act(
    client: &Client,
    namespace: &str,
    decision: Decision,
    content: &Content,
    owner: &Owner,
    heir_of: Option<&str>,
) -> Result<Outcome, Error> {
    let secrets = Api::<core::Secret>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    let mut decision = decision;
    loop {
        let written = match decision {
            Decision::Unchanged => return Ok(Outcome::Unchanged),
            Decision::Refuse(refusal) => return Ok(Outcome::Refused(refusal)),
            Decision::Create => create(&secrets, content, owner).await.map(|()| Outcome::Created),
            Decision::Update { resource_version } => {
                update(&secrets, &resource_version, content, owner).await.map(|()| Outcome::Updated)
            }
        };
        match (written, backoff.next()) {
            (Err(Error::Changed(_) | Error::AlreadyExists(_)), Some(pause)) => {
                debug!(namespace, secret = owner.secret_name, "another writer came first");
                tokio::time::sleep(pause).await;
                let current = cluster::secret(client, namespace, &owner.secret_name).await?;
                decision = decide(current.as_ref(), content, owner, heir_of);
            }
            (result, _) => return result,
        }
    }
}

/// Deletes a Secret of ours, provided that it is still the one that was observed.
pub async fn remove(
    client: &Client,
    namespace: &str,
    secret_name: &str,
    resource_version: &str,
) -> Result<(), Error> {
    let secrets = Api::<core::Secret>::namespaced(client.clone(), namespace);
    let preconditions = Preconditions { resource_version: Some(resource_version.to_owned()), uid: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match within(secrets.delete(secret_name, &params)).await {
        Ok(_) | Err(Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn create(secrets: &Api<core::Secret>, content: &Content, owner: &Owner) -> Result<(), Error> {
    let data = BTreeMap::from([(
        DOCKER_CONFIG_KEY.to_owned(),
        ByteString(content.docker_config.expose_secret().to_vec()),
    )]);
    let secret = core::Secret {
        metadata: ObjectMeta {
            name: Some(owner.secret_name.clone()),
            labels: Some(labels(owner).map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            annotations: Some([(VERSIONS.to_owned(), content.versions.clone())].into()),
            ..ObjectMeta::default()
        },
        type_: Some(PULL_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..core::Secret::default()
    };
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match within(secrets.create(&params, &secret)).await {
        Ok(_) => Ok(()),
        // What is missing for a creation is the namespace: it was deleted since it was observed.
        Err(Error::NotFound(_)) => Err(Error::NamespaceTerminating),
        Err(error) => Err(error),
    }
}

async fn update(
    secrets: &Api<core::Secret>,
    resource_version: &str,
    content: &Content,
    owner: &Owner,
) -> Result<(), Error> {
    let patch = json!({
        "metadata": {
            "resourceVersion": resource_version,
            "labels": BTreeMap::from(labels(owner)),
            "annotations": { VERSIONS: content.versions },
        },
        "data": { DOCKER_CONFIG_KEY: STANDARD.encode(content.docker_config.expose_secret()) },
    });
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match within(secrets.patch_metadata(&owner.secret_name, &params, &Patch::Merge(patch))).await {
        Ok(_) => Ok(()),
        // It was there when it was observed, so somebody deleted it since.
        Err(Error::NotFound(message)) => Err(Error::Changed(message)),
        Err(error) => Err(error),
    }
}

fn labels(owner: &Owner) -> [(&str, &str); 2] {
    [(MANAGED_BY, FIELD_MANAGER), (PULL_SECRET, &owner.pull_secret)]
}

#[cfg(test)]
mod tests;
