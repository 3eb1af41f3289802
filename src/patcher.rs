//! Patches the `imagePullSecrets` of one ServiceAccount.
//!
//! In go the ServiceAccount as observed and the desired entry, out comes at most one write. The list is
//! atomic: every kind of patch replaces the list as a whole, so the list is read, changed and written back
//! under the `resourceVersion` it was read at, and every other entry keeps its place ([kubernetes#91250]).
//! An annotation records the entries that regcred added, and only these are ever removed, except together with
//! the Secret that they name.
//!
//! [kubernetes#91250]: https://github.com/kubernetes/kubernetes/issues/91250

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::json;
use tracing::debug;

use crate::cluster;
use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Error, with_timeout};
use crate::cluster::ownership::Ownership;
use crate::cluster::{ADDED, ServiceAccount, params, render_added};
use crate::object_name::{NamespaceName, SecretName};

/// The desired state of the entry for a pull secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredEntry {
    /// The ServiceAccount names the pull secret.
    Present,
    /// The ServiceAccount has no entry that regcred added for the pull secret.
    Absent,
    /// The pull secret is going to be deleted: the ServiceAccount has no entry for it, whoever added one.
    Dangling,
}

/// The patch that adds or removes an entry of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPatch {
    /// The precondition of the write.
    pub resource_version: String,
    /// The whole new list.
    pub image_pull_secrets: Vec<SecretName>,
    /// The whole new annotation.
    pub added: BTreeMap<SecretName, Option<String>>,
}

/// The result for one ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The ServiceAccount was in sync.
    Unchanged,
    /// The list was changed.
    Patched,
    /// The ServiceAccount is gone.
    Gone,
}

/// Decides by the observed ServiceAccount; `None` is no write.
#[must_use]
pub fn decide(observed: &ServiceAccount, owner: &Ownership, desired: DesiredEntry) -> Option<EntryPatch> {
    let Ownership { secret_name, cluster_pull_secret, .. } = owner;
    let mut patch = EntryPatch {
        resource_version: observed.resource_version.clone(),
        image_pull_secrets: observed.image_pull_secrets.clone(),
        added: observed.added.clone(),
    };
    let is_named = observed.image_pull_secrets.iter().any(|name| name == secret_name);
    match (desired, observed.added.get(secret_name)) {
        // An entry that another writer added is as good as regcred's own.
        (DesiredEntry::Present, None) if is_named => return None,
        (DesiredEntry::Present, Some(Some(added_for))) if is_named && added_for == cluster_pull_secret => {
            return None;
        }
        (DesiredEntry::Present, _) => {
            if !is_named {
                patch.image_pull_secrets.push(secret_name.clone());
            }
            patch.added.insert(secret_name.clone(), Some(cluster_pull_secret.to_owned()));
        }
        (DesiredEntry::Dangling, _) if is_named => {
            patch.added.remove(secret_name);
            patch.image_pull_secrets.retain(|name| name != secret_name);
        }
        (DesiredEntry::Absent | DesiredEntry::Dangling, None) => return None,
        (DesiredEntry::Absent | DesiredEntry::Dangling, Some(_)) => {
            patch.added.remove(secret_name);
            // Where another writer added the name a second time, regcred's own is the last one.
            if let Some(ours) = patch.image_pull_secrets.iter().rposition(|name| name == secret_name) {
                patch.image_pull_secrets.remove(ours);
            }
        }
    }
    Some(patch)
}

/// Applies the desired entry in at most one write; afterwards `observed` is the state in the cluster.
/// After a conflict with another writer the ServiceAccount is read and decided again.
pub async fn apply(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
    observed: &mut ServiceAccount,
    owner: &Ownership,
    desired: DesiredEntry,
) -> Result<Outcome, Error> {
    let service_accounts = Api::<core::ServiceAccount>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    loop {
        let Some(patch) = decide(observed, owner, desired) else {
            return Ok(Outcome::Unchanged);
        };
        match (send(&service_accounts, name, &patch).await, backoff.next()) {
            (Ok(resource_version), _) => {
                let EntryPatch { image_pull_secrets, added, .. } = patch;
                *observed = ServiceAccount { resource_version, image_pull_secrets, added };
                return Ok(Outcome::Patched);
            }
            (Err(Error::NotFound(_)), _) => return Ok(Outcome::Gone),
            (Err(Error::Changed(_)), Some(pause)) => {
                debug!(
                    namespace = namespace.as_str(),
                    service_account = name,
                    "conflict with another writer"
                );
                tokio::time::sleep(pause).await;
            }
            (Err(error), _) => return Err(error),
        }
        match cluster::get_service_account(client, namespace, name).await? {
            Some(current) => *observed = current,
            None => return Ok(Outcome::Gone),
        }
    }
}

/// Sends the patch; returns the new `resourceVersion`.
async fn send(
    service_accounts: &Api<core::ServiceAccount>,
    name: &str,
    patch: &EntryPatch,
) -> Result<String, Error> {
    let added = render_added(&patch.added);
    let references: Vec<_> = patch.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let body = json!({
        "metadata": {
            "resourceVersion": patch.resource_version,
            // `null` removes the annotation in a merge patch.
            "annotations": { ADDED: (!added.is_empty()).then_some(added) },
        },
        "imagePullSecrets": references,
    });
    let written =
        with_timeout(service_accounts.patch_metadata(name, &params::patch(), &Patch::Merge(body))).await?;
    Ok(written.metadata.resource_version.unwrap_or_default())
}

#[cfg(test)]
mod tests;
