//! The action in one namespace for one ClusterPullSecret.
//!
//! Pure. In go the desired Secret, the claims and the namespace as observed; out comes a [`Target`]: the
//! action to take, and what is left under previous names of the Secret.

use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::desired_secret::{DesiredSecret, KnownValues, NamespaceView};
use super::entry_change::{EntryChange, entries_to_remove, has_own_secret};
use super::guards::Guards;
use super::no_content::NoContent;
use crate::cluster::Namespace;
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::key::OwnershipKey;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::{NamespaceName, SecretName};
use crate::report::Shortfall;
use crate::rotator::{AcceptedOlder, Content, Decision};

mod apply;

use apply::{apply, refuse};

/// One ClusterPullSecret with everything that decides about its targets.
pub struct TargetInput<'a> {
    /// The ClusterPullSecret.
    pub cluster_pull_secret: &'a ClusterPullSecret,
    /// The name and the marks of its Secrets.
    pub owner: Arc<Ownership>,
    /// The desired Secret; `None` where nothing was read, and nothing has to be.
    pub desired: Option<&'a DesiredSecret>,
    /// The state of all keys, for those of single namespaces.
    pub known: &'a KnownValues<'a>,
    /// The permitted actions.
    pub guards: &'a Guards,
    /// The keys at which an older version may replace the one in the Secret.
    pub accepted_older: AcceptedOlder,
}

/// The plan for one ClusterPullSecret in one namespace.
pub struct Target {
    /// The index of the ClusterPullSecret in
    /// [`Plan::cluster_pull_secrets`](super::plan::Plan::cluster_pull_secrets).
    pub cluster_pull_secret: usize,
    /// The name and the marks of its Secret.
    pub owner: Arc<Ownership>,
    /// The action to take.
    pub action: Action,
    /// The leftovers under previous names of the Secret; removed only after the action succeeded.
    pub previous: Vec<PreviousName>,
    /// The registries that the namespace lacks, whatever the action.
    pub shortfall: Option<Shortfall>,
}

/// The leftovers in a namespace under a previous name of the Secret.
pub struct PreviousName {
    /// The same ClusterPullSecret with the previous name.
    pub owner: Ownership,
    /// The changes of ServiceAccounts, before the Secret is deleted.
    pub entry_changes: Vec<EntryChange>,
}

/// The action in one namespace for one ClusterPullSecret.
pub enum Action {
    /// The namespace is being deleted: no action, and no failure.
    Terminating,
    /// There is nothing to write: the Secret, where there is one, stays as it is.
    NoContent(NoContent),
    /// The namespace is selected: write the Secret first, then the ServiceAccounts.
    Apply {
        /// The desired content of the Secret.
        content: Arc<Content>,
        /// The decision about the Secret.
        secret: Decision,
        /// The ClusterPullSecret that created the Secret and no longer claims it.
        take_over_from: Option<String>,
        /// The changes of ServiceAccounts, unless the Secret is refused.
        entry_changes: Vec<EntryChange>,
        /// The ServiceAccounts that the spec names and that do not exist.
        missing: Vec<String>,
    },
    /// The namespace left the selection: change the ServiceAccounts first, then delete the Secret.
    Prune {
        /// The changes of ServiceAccounts.
        entry_changes: Vec<EntryChange>,
    },
    /// The namespace is not selected; there may be leftovers under a previous name.
    None,
    /// A part of a Secret that decides is not in memory: a long versions annotation, or the last good entry of a
    /// registry that could not be read. Read the Secret before anything is decided.
    Read {
        /// The name of the Secret, or a previous one.
        secret_name: SecretName,
    },
}

impl<'a> TargetInput<'a> {
    /// Returns the desired Secret as a namespace may have it.
    fn view(&self, namespace_name: &NamespaceName, namespace: &Namespace) -> Option<NamespaceView<'a>> {
        self.desired.map(|desired| desired.view(namespace_name, namespace, self.known))
    }
}

/// Decides the action in one namespace for one ClusterPullSecret; `None` where the namespace does not
/// concern the ClusterPullSecret.
#[must_use]
pub fn decide(
    claims: &Claims,
    index: usize,
    input: &TargetInput<'_>,
    namespace_name: &NamespaceName,
    namespace: &Namespace,
) -> Option<Target> {
    let TargetInput { cluster_pull_secret, owner, guards, .. } = input;
    // A ClusterPullSecret that is being deleted can remove its entries even where RBAC forbids reading its
    // Secrets.
    if !guards.can_write && !cluster_pull_secret.is_deleting_secrets() {
        return None;
    }
    let mut shortfall = None;
    let action = match claims.claim(cluster_pull_secret, namespace_name, namespace) {
        Claim::Unclaimed | Claim::Unrelated if namespace.terminating => None,
        Claim::Ours { .. } | Claim::Theirs(_) if namespace.terminating => Some(Action::Terminating),
        Claim::Ours { take_over_from } => {
            let view = input.view(namespace_name, namespace);
            let applied = apply(namespace, input, view.as_ref(), take_over_from);
            let of_view = view.and_then(|view| view.shortfall);
            shortfall = applied.shortfall.or(of_view).or_else(|| applied.action.shortfall());
            Some(applied.action)
        }
        Claim::Theirs(rival) => {
            Some(refuse(namespace, input.view(namespace_name, namespace).as_ref(), rival))
        }
        Claim::Unclaimed if guards.can_prune || cluster_pull_secret.is_deleting_secrets() => {
            prune(namespace, owner)
        }
        Claim::Unclaimed | Claim::Unrelated => None,
    };
    let previous = previous_names(claims, cluster_pull_secret, owner.key.as_ref(), namespace_name, namespace);
    if action.is_none() && previous.is_empty() {
        return None;
    }
    Some(Target {
        cluster_pull_secret: index,
        owner: Arc::clone(owner),
        action: action.unwrap_or(Action::None),
        previous,
        shortfall,
    })
}

/// Removes the leftovers in a namespace that is not selected: the Secret, and the entries that the
/// annotation of a ServiceAccount records for this ClusterPullSecret. Where the annotation names no
/// ClusterPullSecret, the Secret decides.
fn prune(namespace: &Namespace, owner: &Ownership) -> Option<Action> {
    let entry_changes = entries_to_remove(namespace, owner);
    (has_own_secret(namespace, owner) || !entry_changes.is_empty()).then_some(Action::Prune { entry_changes })
}

/// Returns the leftovers under previous names that no other ClusterPullSecret takes over in place.
#[must_use]
pub fn previous_names(
    claims: &Claims,
    cluster_pull_secret: &ClusterPullSecret,
    key: Option<&Arc<OwnershipKey>>,
    namespace_name: &NamespaceName,
    namespace: &Namespace,
) -> Vec<PreviousName> {
    if namespace.terminating {
        return Vec::new();
    }
    let unclaimed = cluster_pull_secret
        .previous_names()
        .filter(|it| claims.holder(it, namespace_name, namespace).is_none());
    let leftovers = unclaimed.filter_map(|secret_name| {
        let owner = Ownership::new(cluster_pull_secret, secret_name, key);
        let entry_changes = entries_to_remove(namespace, &owner);
        (has_own_secret(namespace, &owner) || !entry_changes.is_empty())
            .then_some(PreviousName { owner, entry_changes })
    });
    leftovers.collect()
}

impl Action {
    /// Returns the shortfall of a selected namespace that may hold nothing of the ClusterPullSecret.
    fn shortfall(&self) -> Option<Shortfall> {
        let no_credential = NoContent::NoCredential;
        matches!(self, Self::Prune { .. } | Self::None)
            .then(|| Shortfall { reason: no_credential.reason(), message: no_credential.to_string() })
    }

    /// Returns the changes of ServiceAccounts.
    #[must_use]
    pub fn entry_changes(&self) -> &[EntryChange] {
        match self {
            Self::Terminating | Self::NoContent(_) | Self::None | Self::Read { .. } => &[],
            Self::Apply { entry_changes, .. } | Self::Prune { entry_changes, .. } => entry_changes,
        }
    }
}

impl Target {
    /// Returns every change of a ServiceAccount, with the Secret that the entry names.
    pub(super) fn entry_changes(&self) -> impl Iterator<Item = (&Ownership, &EntryChange)> {
        let current = self.action.entry_changes().iter().map(|it| (self.owner.as_ref(), it));
        let previous = self
            .previous
            .iter()
            .flat_map(|previous| previous.entry_changes.iter().map(|it| (&previous.owner, it)));
        current.chain(previous)
    }
}

#[cfg(test)]
mod tests;
