//! Patches the `imagePullSecrets` of one ServiceAccount.
//!
//! In go the ServiceAccount as observed and the desired entry, out comes at most one write: a JSON patch that
//! first tests the `resourceVersion` of the observation, then appends or removes an entry by its index, so
//! that every other entry keeps its place and a list of any length is never sent
//! ([kubernetes#91250]). An annotation records the entries that regcred added, and only these are ever
//! removed, except together with the Secret that they name: then a write removes up to 500
//! entries, and a tenant who repeats the name more often costs further writes.
//!
//! [kubernetes#91250]: https://github.com/kubernetes/kubernetes/issues/91250

use kube::Client;
use tracing::debug;

use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Detail, Error};
use crate::cluster::ownership::Ownership;
use crate::cluster::service_account::annotation::render_added;
use crate::cluster::service_account::{Annotation, MAX_ANNOTATION_BYTES};
use crate::cluster::{ADDED, ServiceAccount, service_account_api};
use crate::object_name::NamespaceName;

mod entry_patch;

pub use entry_patch::{EntryPatch, ListChange};

/// The most writes that remove the entries for one pull secret: more than the longest list of a ServiceAccount
/// needs, so that a tenant who adds entries all the while holds up nothing else.
const MAX_REMOVALS: usize = 200;

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

/// The decision about the entry of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The ServiceAccount is in sync.
    Unchanged,
    /// The kept part of the list has no answer: the ServiceAccount has to be read before the decision.
    Read,
    /// The ServiceAccount differs.
    Patch(EntryPatch),
    /// The annotation is longer than regcred writes it, or would be.
    Malformed,
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

/// Decides by the observed ServiceAccount.
#[must_use]
pub fn decide(observed: &ServiceAccount, owner: &Ownership, desired: DesiredEntry) -> Decision {
    // A tenant must not be able to hold the deletion of its pull secret: what cannot be read is removed with it.
    if observed.annotation == Annotation::Malformed && desired != DesiredEntry::Dangling {
        return Decision::Malformed;
    }
    match desired {
        DesiredEntry::Present => decide_present(observed, owner),
        DesiredEntry::Absent => decide_absent(observed, owner),
        DesiredEntry::Dangling => decide_dangling(observed, owner),
    }
}

fn decide_present(observed: &ServiceAccount, owner: &Ownership) -> Decision {
    let Ownership { secret_name, cluster_pull_secret, .. } = owner;
    let Some(is_named) = observed.image_pull_secrets.contains(secret_name) else { return Decision::Read };
    let is_recorded = !matches!(observed.annotation, Annotation::Lost { .. });
    match observed.added.get(secret_name) {
        // An entry that another writer added is as good as regcred's own.
        None if is_named => return Decision::Unchanged,
        Some(Some(added_for)) if is_named && is_recorded && added_for == cluster_pull_secret => {
            return Decision::Unchanged;
        }
        _ => {}
    }
    let list = if is_named { ListChange::None } else { ListChange::Append };
    let mut added = observed.added.clone();
    added.insert(secret_name.clone(), Some(cluster_pull_secret.to_owned()));
    if render_added(&added).len() > MAX_ANNOTATION_BYTES {
        return Decision::Malformed;
    }
    Decision::Patch(EntryPatch { resource_version: observed.resource_version.clone(), list, added })
}

fn decide_absent(observed: &ServiceAccount, owner: &Ownership) -> Decision {
    let mut added = observed.added.clone();
    if added.remove(&owner.secret_name).is_none() {
        return Decision::Unchanged;
    }
    // Where another writer added the name a second time, regcred's own is the last one.
    let list = match observed.image_pull_secrets.last_index(&owner.secret_name) {
        None => return Decision::Read,
        Some(None) => ListChange::None,
        Some(Some(index)) => ListChange::Remove(vec![index]),
    };
    Decision::Patch(EntryPatch { resource_version: observed.resource_version.clone(), list, added })
}

/// Removes the record, and the last entries for the pull secret; where there are more than fit into a patch, further
/// patches remove them.
fn decide_dangling(observed: &ServiceAccount, owner: &Ownership) -> Decision {
    let mut added = observed.added.clone();
    let is_recorded = added.remove(&owner.secret_name).is_some();
    let Some(indexes) = observed.image_pull_secrets.last_indexes(&owner.secret_name) else {
        return Decision::Read;
    };
    let list = match indexes.is_empty() {
        true if !is_recorded => return Decision::Unchanged,
        true => ListChange::None,
        false => ListChange::Remove(indexes),
    };
    Decision::Patch(EntryPatch { resource_version: observed.resource_version.clone(), list, added })
}

/// Applies the desired entry; afterwards `observed` is the state in the cluster. One write suffices, except for
/// [`DesiredEntry::Dangling`], where each write removes up to 500 entries. After a conflict with
/// another writer the ServiceAccount is read and decided again, with back-off.
pub async fn apply(
    client: &Client,
    namespace: &NamespaceName,
    name: &str,
    observed: &mut ServiceAccount,
    owner: &Ownership,
    desired: DesiredEntry,
) -> Result<Outcome, Error> {
    let secret_name = &owner.secret_name;
    let (mut backoff, mut writes) = (conflict_backoff(), 0);
    loop {
        match decide(observed, owner, desired) {
            Decision::Unchanged if writes > 0 => return Ok(Outcome::Patched),
            Decision::Unchanged => return Ok(Outcome::Unchanged),
            Decision::Malformed => return Err(malformed()),
            Decision::Patch(_) if writes == MAX_REMOVALS => return Err(added_all_the_while()),
            Decision::Read => {}
            Decision::Patch(patch) => {
                let operations = patch.operations(observed, secret_name);
                match service_account_api::patch(client, namespace, name, operations).await {
                    Ok(written) => {
                        patch.apply_to(observed, secret_name, written);
                        writes += 1;
                        if desired == DesiredEntry::Dangling {
                            continue;
                        }
                        return Ok(Outcome::Patched);
                    }
                    Err(Error::NotFound(_)) => return Ok(Outcome::Gone),
                    Err(Error::Changed(detail)) => {
                        let Some(pause) = backoff.next() else { return Err(Error::Changed(detail)) };
                        let namespace = namespace.as_str();
                        debug!(namespace, service_account = name, "conflict with another writer");
                        tokio::time::sleep(pause).await;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        match service_account_api::get(client, namespace, name, secret_name).await? {
            Some(mut current) => {
                current.keep_lost_annotation(observed);
                *observed = current;
            }
            None => return Ok(Outcome::Gone),
        }
    }
}

/// The error of a list to which another writer adds entries as fast as they are removed.
fn added_all_the_while() -> Error {
    Error::Changed("entries are added as fast as regcred removes them".into())
}

/// The error of an annotation that is too long.
pub(crate) fn malformed() -> Error {
    let what = format!("the annotation {ADDED} would be longer than {MAX_ANNOTATION_BYTES} bytes, or is");
    Error::Invalid(Detail::from_own_words(what).with_fix("Remove it, or use shorter names"))
}

#[cfg(test)]
mod tests;
