//! The changes of `imagePullSecrets` entries in one namespace for one ClusterPullSecret.
//!
//! Pure. In go the ServiceAccounts and the Secret as observed, out come the entries to add and to remove.
//! An entry that regcred did not add is removed only together with the Secret that it names.

use super::guards::Guards;
use crate::cluster::ownership::Ownership;
use crate::cluster::{Namespace, ServiceAccount};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, ServiceAccounts};
use crate::patcher::DesiredEntry;

/// The change of one ServiceAccount for one ClusterPullSecret.
pub struct EntryChange {
    /// The name of the ServiceAccount.
    pub service_account: String,
    /// The desired entry for the pull secret.
    pub desired: DesiredEntry,
}

/// Adds the entry to every selected ServiceAccount, and removes regcred's entries from the others.
pub(super) fn entry_changes(
    namespace: &Namespace,
    cluster_pull_secret: &ClusterPullSecret,
    guards: &Guards,
) -> Vec<EntryChange> {
    let entry_changes = namespace.service_accounts.iter().filter_map(|(name, observed)| {
        let is_added = observed.added.contains_key(&cluster_pull_secret.secret_name);
        let desired = match cluster_pull_secret.service_accounts.selects(name) {
            true => DesiredEntry::Present,
            false if guards.can_remove_entries && is_added => DesiredEntry::Absent,
            false => return None,
        };
        Some(EntryChange { service_account: name.clone(), desired })
    });
    entry_changes.collect()
}

/// Returns the ServiceAccounts that the spec names and that do not exist.
pub(super) fn missing(namespace: &Namespace, cluster_pull_secret: &ClusterPullSecret) -> Vec<String> {
    match &cluster_pull_secret.service_accounts {
        ServiceAccounts::All => Vec::new(),
        ServiceAccounts::Named(names) => {
            names.iter().filter(|name| !namespace.service_accounts.contains_key(*name)).cloned().collect()
        }
    }
}

/// Returns true if the namespace holds the Secret, created for this ClusterPullSecret.
pub(super) fn has_own_secret(namespace: &Namespace, owner: &Ownership) -> bool {
    let secret = namespace.secrets.get(&owner.secret_name);
    secret.is_some_and(|secret| secret.is_created_for(&owner.cluster_pull_secret))
}

/// Removes every entry that was added for this ClusterPullSecret. Where its Secret is going to be deleted, every
/// entry that names the Secret goes with it: pods would report it missing.
pub(super) fn entries_to_remove(namespace: &Namespace, owner: &Ownership) -> Vec<EntryChange> {
    let has_secret = has_own_secret(namespace, owner);
    let changes = namespace.service_accounts.iter().filter_map(|(name, it)| {
        let desired = if has_secret && it.image_pull_secrets.contains(&owner.secret_name) != Some(false) {
            DesiredEntry::Dangling
        } else if is_own_entry(it, namespace, owner) {
            DesiredEntry::Absent
        } else {
            return None;
        };
        Some(EntryChange { service_account: name.clone(), desired })
    });
    changes.collect()
}

/// Returns true if the entry in a ServiceAccount was added for this ClusterPullSecret, and no other one needs
/// the entry.
fn is_own_entry(service_account: &ServiceAccount, namespace: &Namespace, owner: &Ownership) -> bool {
    match service_account.added.get(&owner.secret_name) {
        Some(Some(added_for)) => {
            // Another ClusterPullSecret that has created the Secret since may need the entry.
            let secret = namespace.secrets.get(&owner.secret_name);
            let created_for = secret.and_then(|it| it.evidence.owner());
            *added_for == owner.cluster_pull_secret
                && created_for.is_none_or(|it| it == owner.cluster_pull_secret)
        }
        Some(None) => has_own_secret(namespace, owner),
        None => false,
    }
}
