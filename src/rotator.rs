//! Writes the pull secret of one namespace.
//!
//! In go the Secret as observed and its desired content, out comes at most one write. A Secret is changed
//! in place and never deleted and recreated: the kubelet trusts images on the node while namespace, name
//! and UID stay the same. A Secret that regcred did not create is refused, unless the ClusterPullSecret
//! adopts existing Secrets. Labels alone make no Secret regcred's, and their removal makes none foreign: the
//! [`Evidence`] decides.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{Api, DeleteParams, Preconditions};
use secrecy::ExposeSecret;
use tracing::debug;

use crate::cluster;
use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::{DockerConfigBytes, PULL_SECRET_TYPE, Secret, SecretBody};
use crate::docker_config::{foreign, versions};
use crate::manifest::cluster_pull_secret::Existing;
use crate::object_name::NamespaceName;

mod checked_annotation;
mod content;
mod difference;
mod refusal;
mod version_conflict;
mod write;

pub use checked_annotation::CheckedAnnotation;
pub use content::Content;
pub use difference::Difference;
pub use refusal::Refusal;
pub use version_conflict::{AcceptedOlder, FetchedVersion, FetchedVersions, OlderLastGood, VersionConflict};
use write::DesiredWrite;

/// The decision about the Secret of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The Secret is in sync.
    Unchanged,
    /// The Secret does not exist.
    Create,
    /// The bytes of the Secret are not in memory: the Secret has to be read before the decision.
    Read,
    /// The Secret is managed by regcred, or may be adopted, and differs.
    Update {
        /// The precondition of the write.
        resource_version: String,
        /// The owner references to remove.
        owners: Vec<OwnerReference>,
    },
    /// The Secret holds a later version: nothing is written before the store was read again.
    Outdated(VersionConflict),
    /// The Secret must not be changed.
    Refuse(Refusal),
}

/// The result for the Secret of one namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Secret was in sync.
    Unchanged,
    /// The Secret was created.
    Created,
    /// The Secret was changed in place.
    Updated(Difference),
    /// The Secret holds a version that the store has to be read again for, and was not changed.
    Outdated(VersionConflict),
    /// The Secret was not changed.
    Refused(Refusal),
}

/// Decides by the observed Secret. A Secret that was created for `take_over_from` is taken over in place, and so
/// is one that carries the labels without a proof: the caller claims this name in this namespace.
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
    let created_for = secret.evidence.owner();
    if let Some(other) = created_for
        && other != owner.cluster_pull_secret
        && take_over_from != Some(other)
    {
        return Decision::Refuse(Refusal::ClaimedBy(other.to_owned()));
    }
    let Some(body) = &secret.body else {
        return Decision::Read;
    };
    let is_foreign = secret.evidence == Evidence::Foreign;
    if is_foreign && owner.existing == Existing::Refuse {
        return Decision::Refuse(Refusal::foreign(body));
    }
    if body.type_ != PULL_SECRET_TYPE {
        return Decision::Refuse(Refusal::WrongType(body.type_.to_string()));
    }
    // A full list keeps no bytes where nothing claimed the name: they may be the desired ones.
    if body.is_dropped {
        return Decision::Read;
    }
    if is_foreign
        && owner.existing == Existing::Adopt
        && let Some(hosts) = foreign_hosts(body, content)
    {
        return Decision::Refuse(Refusal::ForeignEntries(hosts));
    }
    let is_marked = secret.is_created_for(&owner.cluster_pull_secret) && secret.marks.is_none();
    let desired = docker_config(Some(secret), content, owner);
    if is_marked && secret.owners.is_empty() && has_content(secret, body, &desired, content) {
        return Decision::Unchanged;
    }
    if body.immutable {
        return Decision::Refuse(Refusal::Immutable);
    }
    if let Some(conflict) = content.later_entry(secret) {
        return Decision::Outdated(conflict);
    }
    Decision::Update { resource_version: secret.resource_version.clone(), owners: secret.owners.clone() }
}

/// Returns the hosts that only a foreign Secret has; `None` where it has none.
fn foreign_hosts(body: &SecretBody, content: &Content) -> Option<Vec<String>> {
    let held = body.docker_config.as_ref()?;
    let hosts = foreign::hosts(held.expose_secret(), content.docker_config.expose_secret(), None);
    (!hosts.is_empty()).then_some(hosts)
}

/// Returns the docker config to write: with `existing: AdoptAndKeep`, the entries that regcred did not write are
/// carried along.
fn docker_config(observed: Option<&Secret>, content: &Content, owner: &Ownership) -> DockerConfigBytes {
    let kept = observed.filter(|_| owner.existing == Existing::AdoptAndKeep).and_then(|secret| {
        let held = secret.body.as_ref()?.docker_config.as_ref()?;
        // Anybody may write an annotation on a Secret that is not regcred's.
        let versions = secret.versions.as_deref().filter(|_| secret.evidence != Evidence::Foreign);
        foreign::carry_over(held.expose_secret(), content.docker_config.expose_secret(), versions)
    });
    kept.map_or_else(|| Arc::clone(&content.docker_config), Arc::new)
}

/// Returns true if a Secret holds the content. The same bytes under another version of the same stores are
/// the same credentials: the annotation alone is not worth a write in every namespace. Two replicas may
/// each read a different version, as with files that are mounted into both.
fn has_content(secret: &Secret, body: &SecretBody, desired: &DockerConfigBytes, content: &Content) -> bool {
    body.docker_config.as_ref().is_some_and(|held| has_bytes(held, desired))
        && secret.versions.as_ref().is_some_and(|held| {
            *held == content.versions || versions::stores(held) == versions::stores(&content.versions)
        })
}

fn has_bytes(held: &DockerConfigBytes, desired: &DockerConfigBytes) -> bool {
    Arc::ptr_eq(held, desired) || held.expose_secret() == desired.expose_secret()
}

/// Reads the Secret again, and judges its marks. A Secret whose UID is the same as before is as much regcred's as
/// before, whatever happened to its marks.
pub async fn read(
    client: &Client,
    namespace: &NamespaceName,
    before: Option<&Secret>,
    owner: &Ownership,
) -> Result<Option<Secret>, Error> {
    let mut secret = cluster::get_secret(client, namespace, &owner.secret_name).await?;
    if let Some(secret) = &mut secret {
        let known = before.filter(|it| !it.uid.is_empty() && it.uid == secret.uid);
        let recorded_for = known.and_then(|it| it.evidence.owner_by_uid(owner.key.is_some()));
        secret.assess(namespace, &owner.secret_name, owner.key.as_deref(), recorded_for);
    }
    Ok(secret)
}

/// Applies the desired content in at most one write; afterwards `observed` is the state in the cluster.
/// After a conflict with another writer the Secret is read and decided again; one that the other writer wrote
/// at a later or unknown version is left to a plan with another read of the store.
pub async fn apply(
    client: &Client,
    namespace: &NamespaceName,
    observed: &mut Option<Secret>,
    content: &Content,
    owner: &Ownership,
    take_over_from: Option<&str>,
) -> Result<Outcome, Error> {
    let planned_for = observed.as_ref().and_then(|secret| secret.versions.clone());
    let mut backoff = conflict_backoff();
    loop {
        let decision = decide(observed.as_ref(), content, owner, take_over_from);
        let desired = DesiredWrite {
            namespace,
            content,
            owner,
            docker_config: docker_config(observed.as_ref(), content, owner),
        };
        if matches!(decision, Decision::Update { .. })
            && let Some(conflict) = content.overtaken_since(planned_for.as_deref(), observed.as_ref())
        {
            return Ok(Outcome::Outdated(conflict));
        }
        let written = match decision {
            Decision::Unchanged => return Ok(Outcome::Unchanged),
            Decision::Outdated(conflict) => return Ok(Outcome::Outdated(conflict)),
            Decision::Refuse(refusal) => return Ok(Outcome::Refused(refusal)),
            Decision::Read => {
                *observed = read(client, namespace, observed.as_ref(), owner).await?;
                continue;
            }
            Decision::Create => (desired.create(client).await, Outcome::Created),
            Decision::Update { resource_version, owners } => {
                let marks = observed.as_ref().and_then(|it| it.marks.as_deref());
                let patch = desired.patch(&resource_version, &owners, owner.removes_signature(marks));
                let difference = Difference::between(observed.as_ref(), &desired.docker_config);
                (desired.update(client, patch).await, Outcome::Updated(difference))
            }
        };
        match (written, backoff.next()) {
            ((Ok(metadata), outcome), _) => {
                *observed = Some(desired.as_written(metadata));
                return Ok(outcome);
            }
            ((Err(Error::Changed(_) | Error::AlreadyExists(_)), _), Some(pause)) => {
                debug!(
                    namespace = namespace.as_str(),
                    secret = owner.secret_name.as_str(),
                    "conflict with another writer"
                );
                tokio::time::sleep(pause).await;
                *observed = read(client, namespace, observed.as_ref(), owner).await?;
            }
            ((Err(error), _), _) => return Err(error),
        }
    }
}

/// Deletes a Secret of this ClusterPullSecret as observed. A Secret that was changed since, or of which only the
/// metadata was observed, is read again, and kept if it no longer belongs to this ClusterPullSecret, or if another writer replaced its credentials: that writer
/// may know a later spec. Afterwards `observed` is the state in the cluster.
pub async fn remove(
    client: &Client,
    namespace: &NamespaceName,
    observed: &mut Option<Secret>,
    owner: &Ownership,
) -> Result<(), Error> {
    let secrets = Api::<core::Secret>::namespaced(client.clone(), namespace);
    let mut planned_for = observed.as_ref().and_then(|secret| secret.versions.clone());
    let mut backoff = conflict_backoff();
    while let Some(secret) =
        observed.as_ref().filter(|secret| secret.is_created_for(&owner.cluster_pull_secret))
    {
        if secret.body.is_none() {
            let current = read(client, namespace, Some(secret), owner).await?;
            let unchanged = current.as_ref().filter(|it| it.resource_version == secret.resource_version);
            if let Some(unchanged) = unchanged {
                planned_for.clone_from(&unchanged.versions);
            }
            *observed = current;
            continue;
        }
        if secret.versions != planned_for {
            return Err(Error::Changed("its credentials were replaced".into()));
        }
        let resource_version = Some(secret.resource_version.clone());
        let preconditions = Some(Preconditions { resource_version, uid: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match (with_timeout(secrets.delete(&owner.secret_name, &params)).await, backoff.next()) {
            (Ok(_) | Err(Error::NotFound(_)), _) => *observed = None,
            (Err(Error::Changed(_)), Some(pause)) => {
                tokio::time::sleep(pause).await;
                *observed = read(client, namespace, Some(secret), owner).await?;
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
