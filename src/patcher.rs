//! The `imagePullSecrets` of one ServiceAccount.
//!
//! In goes the ServiceAccount as observed and whether it should name a pull secret, out comes at most
//! one write. The list is atomic: every kind of patch replaces it as a whole, so it is read, changed
//! and written back under the `resourceVersion` it was read at, and every other entry keeps its place
//! ([kubernetes#91250]). What regcred added stands in an annotation, and only that is ever removed.
//!
//! [kubernetes#91250]: https://github.com/kubernetes/kubernetes/issues/91250

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch};
use serde_json::json;
use tracing::debug;

use crate::cluster;
use crate::cluster::error::{Error, conflict_backoff, within};
use crate::cluster::{ADDED, ServiceAccount, params, render_added};
use crate::rotator::Ownership;

/// Whether a ServiceAccount should name the pull secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesiredEntry {
    /// It should.
    Present,
    /// It should not: where regcred added the name, it goes.
    Absent,
}

/// The write that puts a ServiceAccount right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The precondition of the write.
    pub resource_version: String,
    /// The whole new list.
    pub image_pull_secrets: Vec<String>,
    /// The whole new annotation.
    pub added: BTreeMap<String, Option<String>>,
}

/// What became of one ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged,
    /// Its list was changed.
    Patched,
    /// It is gone.
    Gone,
}

/// What to write, given what is there; `None` is no write.
#[must_use]
pub fn decide(observed: &ServiceAccount, owner: &Ownership, wanted: DesiredEntry) -> Option<Change> {
    let Ownership { secret_name, cluster_pull_secret, .. } = owner;
    let mut change = Change {
        resource_version: observed.resource_version.clone(),
        image_pull_secrets: observed.image_pull_secrets.clone(),
        added: observed.added.clone(),
    };
    let is_named = observed.image_pull_secrets.iter().any(|name| name == secret_name);
    match (wanted, observed.added.get(secret_name)) {
        // Somebody else's entry is as good as ours.
        (DesiredEntry::Present, None) if is_named => return None,
        (DesiredEntry::Present, Some(Some(added_for))) if is_named && added_for == cluster_pull_secret => {
            return None;
        }
        (DesiredEntry::Present, _) => {
            if !is_named {
                change.image_pull_secrets.push(secret_name.to_owned());
            }
            change.added.insert(secret_name.to_owned(), Some(cluster_pull_secret.to_owned()));
        }
        (DesiredEntry::Absent, None) => return None,
        (DesiredEntry::Absent, Some(_)) => {
            change.added.remove(secret_name);
            // Where somebody added the name a second time, ours is the last one.
            if let Some(ours) = change.image_pull_secrets.iter().rposition(|name| name == secret_name) {
                change.image_pull_secrets.remove(ours);
            }
        }
    }
    Some(change)
}

/// Makes `observed` what is wanted, in at most one write; afterwards it is what the cluster holds.
/// Where another writer came first, the ServiceAccount is read and decided on anew.
pub async fn act(
    client: &Client,
    namespace: &str,
    name: &str,
    observed: &mut ServiceAccount,
    owner: &Ownership,
    wanted: DesiredEntry,
) -> Result<Outcome, Error> {
    let service_accounts = Api::<core::ServiceAccount>::namespaced(client.clone(), namespace);
    let mut backoff = conflict_backoff();
    loop {
        let Some(change) = decide(observed, owner, wanted) else {
            return Ok(Outcome::Unchanged);
        };
        match (patch(&service_accounts, name, &change).await, backoff.next()) {
            (Ok(resource_version), _) => {
                let Change { image_pull_secrets, added, .. } = change;
                *observed = ServiceAccount { resource_version, image_pull_secrets, added };
                return Ok(Outcome::Patched);
            }
            (Err(Error::NotFound(_)), _) => return Ok(Outcome::Gone),
            (Err(Error::Changed(_)), Some(pause)) => {
                debug!(namespace, service_account = name, "another writer came first");
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

/// Writes the change; gives back the new `resourceVersion`.
async fn patch(
    service_accounts: &Api<core::ServiceAccount>,
    name: &str,
    change: &Change,
) -> Result<String, Error> {
    let added = render_added(&change.added);
    let references: Vec<_> = change.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let patch = json!({
        "metadata": {
            "resourceVersion": change.resource_version,
            // `null` takes the annotation away in a merge patch.
            "annotations": { ADDED: (!added.is_empty()).then_some(added) },
        },
        "imagePullSecrets": references,
    });
    let written =
        within(service_accounts.patch_metadata(name, &params::patch(), &Patch::Merge(patch))).await?;
    Ok(written.metadata.resource_version.unwrap_or_default())
}

#[cfg(test)]
mod tests;
