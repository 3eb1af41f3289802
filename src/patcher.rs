//! Patches the `imagePullSecrets` of one ServiceAccount.
//!
//! In go the ServiceAccount as observed and the desired entry, out comes at most one write: a JSON patch that
//! first tests the `resourceVersion` of the observation, then appends or removes one entry by its index, so
//! that every other entry keeps its place and a list of any length is never sent
//! ([kubernetes#91250]). An annotation records the entries that regcred added, and only these are ever
//! removed, except together with the Secret that they name.
//!
//! [kubernetes#91250]: https://github.com/kubernetes/kubernetes/issues/91250

use std::collections::BTreeMap;

use kube::Client;
use serde_json::{Value as Json, json};
use tracing::debug;

use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::{Detail, Error};
use crate::cluster::ownership::Ownership;
use crate::cluster::service_account::annotation::render_added;
use crate::cluster::service_account::{Annotation, MAX_ANNOTATION_BYTES};
use crate::cluster::{ADDED, ServiceAccount, service_account_api};
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

/// The patch that adds or removes an entry of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPatch {
    /// The precondition of the write.
    pub resource_version: String,
    /// The change of the list.
    pub list: ListChange,
    /// The whole new annotation.
    pub added: BTreeMap<SecretName, Option<String>>,
}

/// The change of the list of a ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// The list stays; only the annotation changes.
    None,
    /// The entry is appended.
    Append,
    /// The entry at this index is removed.
    Remove(usize),
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
    if observed.annotation == Annotation::Malformed {
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
        Some(Some(index)) => ListChange::Remove(index),
    };
    Decision::Patch(EntryPatch { resource_version: observed.resource_version.clone(), list, added })
}

/// Removes the last entry for the pull secret, and the record; further ones are removed by further patches.
fn decide_dangling(observed: &ServiceAccount, owner: &Ownership) -> Decision {
    let mut added = observed.added.clone();
    let is_recorded = added.remove(&owner.secret_name).is_some();
    let list = match observed.image_pull_secrets.last_index(&owner.secret_name) {
        None => return Decision::Read,
        Some(None) if !is_recorded => return Decision::Unchanged,
        Some(None) => ListChange::None,
        Some(Some(index)) => ListChange::Remove(index),
    };
    Decision::Patch(EntryPatch { resource_version: observed.resource_version.clone(), list, added })
}

impl EntryPatch {
    /// Returns the operations of the JSON patch of the observed ServiceAccount.
    fn operations(&self, observed: &ServiceAccount, secret_name: &SecretName) -> Vec<Json> {
        const LIST: &str = "/imagePullSecrets";
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version});
        let reference = json!({ "name": secret_name });
        let list = match self.list {
            ListChange::None => Vec::new(),
            // The API server omits an empty list.
            ListChange::Append if observed.image_pull_secrets.is_empty() => {
                vec![json!({"op": "add", "path": LIST, "value": [reference]})]
            }
            ListChange::Append => vec![json!({"op": "add", "path": format!("{LIST}/-"), "value": reference})],
            ListChange::Remove(index) => vec![
                json!({"op": "test", "path": format!("{LIST}/{index}/name"), "value": secret_name}),
                json!({"op": "remove", "path": format!("{LIST}/{index}")}),
            ],
        };
        [test].into_iter().chain(list).chain(self.annotation_operation(observed)).collect()
    }

    fn annotation_operation(&self, observed: &ServiceAccount) -> Option<Json> {
        const ANNOTATIONS: &str = "/metadata/annotations";
        let path = format!("{ANNOTATIONS}/{}", ADDED.replace('/', "~1"));
        let added = render_added(&self.added);
        let is_present =
            matches!(observed.annotation, Annotation::Present | Annotation::Lost { is_present: true });
        match added.is_empty() {
            true => is_present.then(|| json!({"op": "remove", "path": path})),
            false if observed.has_annotations => Some(json!({"op": "add", "path": path, "value": added})),
            false => Some(json!({"op": "add", "path": ANNOTATIONS, "value": { ADDED: added }})),
        }
    }

    /// Applies the patch to the ServiceAccount in memory.
    pub(crate) fn apply_to(
        self,
        observed: &mut ServiceAccount,
        secret_name: &SecretName,
        (resource_version, has_annotations): (String, bool),
    ) {
        match self.list {
            ListChange::None => {}
            ListChange::Append => observed.image_pull_secrets.push(secret_name.clone()),
            ListChange::Remove(index) => observed.image_pull_secrets.remove(index),
        }
        let annotation = if self.added.is_empty() { Annotation::Absent } else { Annotation::Present };
        (observed.resource_version, observed.added) = (resource_version, self.added);
        (observed.annotation, observed.has_annotations) = (annotation, has_annotations);
    }
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
    let secret_name = &owner.secret_name;
    let mut backoff = conflict_backoff();
    loop {
        match decide(observed, owner, desired) {
            Decision::Unchanged => return Ok(Outcome::Unchanged),
            Decision::Malformed => return Err(malformed()),
            Decision::Read => {}
            Decision::Patch(patch) => {
                let operations = patch.operations(observed, secret_name);
                let sent = service_account_api::patch(client, namespace, name, operations).await;
                match (sent, backoff.next()) {
                    (Ok(written), _) => {
                        patch.apply_to(observed, secret_name, written);
                        let is_left = desired == DesiredEntry::Dangling
                            && decide(observed, owner, desired) != Decision::Unchanged;
                        if !is_left {
                            return Ok(Outcome::Patched);
                        }
                        continue;
                    }
                    (Err(Error::NotFound(_)), _) => return Ok(Outcome::Gone),
                    (Err(Error::Changed(_)), Some(pause)) => {
                        let namespace = namespace.as_str();
                        debug!(namespace, service_account = name, "conflict with another writer");
                        tokio::time::sleep(pause).await;
                    }
                    (Err(error), _) => return Err(error),
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

/// The error of an annotation that is too long.
pub(crate) fn malformed() -> Error {
    let what = format!("the annotation {ADDED} would be longer than {MAX_ANNOTATION_BYTES} bytes, or is");
    Error::Invalid(Detail::from_own_words(what).with_fix("Remove it, or use shorter names"))
}

#[cfg(test)]
mod tests;
