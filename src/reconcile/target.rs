//! What to do in one namespace for one ClusterPullSecret.
//!
//! Pure. In go what the Secrets are to hold, who claims them, and the namespace as observed; out comes a
//! [`Target`]: the step to take, and what is left under names of before.

use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::desired_secret::DesiredSecret;
use super::guards::Guards;
use super::last_good;
use crate::cluster::{Namespace, ServiceAccount};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, ServiceAccounts};
use crate::patcher::DesiredEntry;
use crate::rotator::{self, Content, Decision, Ownership, Refusal};

/// One ClusterPullSecret of a pass, with what was found out about it.
pub struct Part<'a> {
    /// What is wanted.
    pub cluster_pull_secret: &'a ClusterPullSecret,
    /// How its Secrets are called and marked.
    pub owner: Arc<Ownership>,
    /// What they are to hold; `None` where nothing was read, and nothing has to be.
    pub contents: Option<&'a DesiredSecret>,
    /// How much of it may be carried out.
    pub scope: &'a Guards,
}

/// What to do in one namespace for one ClusterPullSecret.
pub struct Target {
    /// Which one, by its place in [`Plan::cluster_pull_secrets`](super::plan::Plan::pull_secrets).
    pub cluster_pull_secret: usize,
    /// How its Secret is called and marked.
    pub owner: Arc<Ownership>,
    /// What to do.
    pub step: Action,
    /// What is left under names its Secret had before; done only after the step succeeded.
    pub previous: Vec<PreviousName>,
}

/// What is left in a namespace under a name the Secret had before.
pub struct PreviousName {
    /// The same ClusterPullSecret with the name of before.
    pub owner: Ownership,
    /// What to do with the ServiceAccounts, before the Secret goes.
    pub entry_changes: Vec<EntryChange>,
}

/// What to do in one namespace for one ClusterPullSecret.
pub enum Action {
    /// It is being deleted: nothing to do, and nothing wrong.
    Terminating,
    /// No registry has a credential for it, neither a fresh one nor a last good one.
    NoCredential,
    /// It is selected: the Secret first, then the ServiceAccounts.
    Apply {
        /// What the Secret is to hold.
        content: Arc<Content>,
        /// What to do with the Secret.
        secret: Decision,
        /// The ClusterPullSecret that made the Secret and wants it no more.
        take_over_from: Option<String>,
        /// What to do with the ServiceAccounts, unless the Secret is refused.
        entry_changes: Vec<EntryChange>,
        /// ServiceAccounts that the spec names and that are not there.
        missing: Vec<String>,
    },
    /// It left the selection: the ServiceAccounts first, then the Secret.
    Prune {
        /// What to do with the ServiceAccounts.
        entry_changes: Vec<EntryChange>,
    },
    /// It is not selected; something may be left under a former name.
    None,
    /// A registry could not be read, so that its last good entry is to be kept, and the Secret that holds
    /// it was seen by its metadata only: it has to be read before anything is decided.
    Read,
}

/// What one ClusterPullSecret wants of one ServiceAccount.
pub struct EntryChange {
    /// Its name.
    pub service_account: String,
    /// Whether it should name the pull secret.
    pub wanted: DesiredEntry,
}

/// Decides what to do in one namespace for one ClusterPullSecret; `None` where they have nothing to do
/// with each other.
#[must_use]
pub fn target(
    claims: &Claims,
    index: usize,
    part: &Part<'_>,
    name: &str,
    namespace: &Namespace,
) -> Option<Target> {
    let Part { cluster_pull_secret, owner, contents, scope } = part;
    // Without the right to see its Secrets, one that goes can still take its entries back; the Secrets
    // are removed by the garbage collector.
    if !scope.can_write && !cluster_pull_secret.is_deleting_secrets() {
        return None;
    }
    let step = match claims.of(cluster_pull_secret, name, namespace) {
        Claim::AfterWrite | Claim::None if namespace.terminating => None,
        Claim::Ours { take_over_from } => Some(keep(namespace, part, take_over_from)),
        Claim::Theirs(rival) => Some(refuse(namespace, *contents, rival)),
        Claim::AfterWrite if scope.can_prune || cluster_pull_secret.is_deleting_secrets() => {
            leave(namespace, owner)
        }
        Claim::AfterWrite | Claim::None => None,
    };
    let previous = previous(claims, cluster_pull_secret, name, namespace);
    if step.is_none() && previous.is_empty() {
        return None;
    }
    Some(Target {
        cluster_pull_secret: index,
        owner: Arc::clone(owner),
        step: step.unwrap_or(Action::None),
        previous,
    })
}

fn keep(namespace: &Namespace, part: &Part<'_>, take_over_from: Option<&str>) -> Action {
    let Part { cluster_pull_secret, owner, contents, scope } = part;
    if namespace.terminating {
        return Action::Terminating;
    }
    let observed = namespace.secrets.get(&owner.secret_name);
    let is_unread = last_good::own(namespace, cluster_pull_secret).is_some_and(|it| it.body.is_none())
        && observed.is_some_and(|it| it.is_made_for(&owner.cluster_pull_secret));
    if is_unread && contents.is_some_and(|contents| !contents.is_complete()) {
        return Action::Read;
    }
    let Some(content) = contents.and_then(|contents| contents.of(namespace)) else {
        return Action::NoCredential;
    };
    let secret = rotator::decide(observed, &content, owner, take_over_from);
    let (entry_changes, missing) = match secret {
        Decision::Refuse(_) => (Vec::new(), Vec::new()),
        Decision::Unchanged | Decision::Read | Decision::Create | Decision::Update { .. } => {
            (entry_changes(namespace, cluster_pull_secret, scope), missing(namespace, cluster_pull_secret))
        }
    };
    Action::Apply {
        content,
        secret,
        take_over_from: take_over_from.map(str::to_owned),
        entry_changes,
        missing,
    }
}

fn refuse(namespace: &Namespace, contents: Option<&DesiredSecret>, rival: &str) -> Action {
    match contents.and_then(|contents| contents.of(namespace)) {
        _ if namespace.terminating => Action::Terminating,
        None => Action::NoCredential,
        Some(content) => Action::Apply {
            content,
            secret: Decision::Refuse(Refusal::ClaimedBy(rival.to_owned())),
            take_over_from: None,
            entry_changes: Vec::new(),
            missing: Vec::new(),
        },
    }
}

/// What is left of us in a namespace that is not selected: a Secret of ours, and entries that the
/// annotation of the ServiceAccount says were added for us. Where the annotation does not tell for
/// whom, the Secret has to.
fn leave(namespace: &Namespace, owner: &Ownership) -> Option<Action> {
    let has_secret = has_ours(namespace, owner);
    let entry_changes = entries_to_remove(namespace, owner);
    (has_secret || !entry_changes.is_empty()).then_some(Action::Prune { entry_changes })
}

fn has_ours(namespace: &Namespace, owner: &Ownership) -> bool {
    let secret = namespace.secrets.get(&owner.secret_name);
    secret.is_some_and(|secret| secret.is_made_for(&owner.cluster_pull_secret))
}

fn entries_to_remove(namespace: &Namespace, owner: &Ownership) -> Vec<EntryChange> {
    let has_secret = has_ours(namespace, owner);
    // Another ClusterPullSecret that made the Secret since may need the entry.
    let is_others = !has_secret && namespace.secrets.get(&owner.secret_name).is_some_and(|it| it.managed);
    let is_ours = |it: &ServiceAccount| match it.added.get(&owner.secret_name) {
        Some(Some(cluster_pull_secret)) => *cluster_pull_secret == owner.cluster_pull_secret && !is_others,
        Some(None) => has_secret,
        None => false,
    };
    let ours = namespace.service_accounts.iter().filter(|(_, it)| is_ours(it));
    ours.map(|(name, _)| EntryChange { service_account: name.clone(), wanted: DesiredEntry::Absent })
        .collect()
}

/// What is left under the names of before, unless another ClusterPullSecret takes it over in place.
#[must_use]
pub fn previous(
    claims: &Claims,
    cluster_pull_secret: &ClusterPullSecret,
    name: &str,
    namespace: &Namespace,
) -> Vec<PreviousName> {
    if namespace.terminating {
        return Vec::new();
    }
    let nobodys =
        cluster_pull_secret.previous_names().filter(|it| claims.holder(it, name, namespace).is_none());
    let left = nobodys.filter_map(|secret_name| {
        let owner = Ownership::of(cluster_pull_secret, secret_name);
        let entry_changes = entries_to_remove(namespace, &owner);
        (has_ours(namespace, &owner) || !entry_changes.is_empty())
            .then_some(PreviousName { owner, entry_changes })
    });
    left.collect()
}

/// Every ServiceAccount that is to name the Secret, and those that do because of us and should no more.
fn entry_changes(
    namespace: &Namespace,
    cluster_pull_secret: &ClusterPullSecret,
    scope: &Guards,
) -> Vec<EntryChange> {
    let entry_change = |(name, observed): (&String, &ServiceAccount)| {
        let wanted = match cluster_pull_secret.service_accounts.selects(name) {
            true => DesiredEntry::Present,
            false
                if scope.can_remove_entries
                    && observed.added.contains_key(&cluster_pull_secret.secret_name) =>
            {
                DesiredEntry::Absent
            }
            false => return None,
        };
        Some(EntryChange { service_account: name.clone(), wanted })
    };
    namespace.service_accounts.iter().filter_map(entry_change).collect()
}

fn missing(namespace: &Namespace, cluster_pull_secret: &ClusterPullSecret) -> Vec<String> {
    match &cluster_pull_secret.service_accounts {
        ServiceAccounts::All => Vec::new(),
        ServiceAccounts::Named(names) => {
            let is_missing = |name: &&String| !namespace.service_accounts.contains_key(*name);
            names.iter().filter(is_missing).cloned().collect()
        }
    }
}

impl Action {
    /// What is wanted of the ServiceAccounts.
    #[must_use]
    pub fn entry_changes(&self) -> &[EntryChange] {
        match self {
            Self::Terminating | Self::NoCredential | Self::None | Self::Read => &[],
            Self::Apply { entry_changes, .. } | Self::Prune { entry_changes, .. } => entry_changes,
        }
    }
}

impl Target {
    /// Every wish, with the name of the Secret it is about.
    pub(super) fn entry_changes(&self) -> impl Iterator<Item = (&Ownership, &EntryChange)> {
        let step = self.step.entry_changes().iter().map(|entry_change| (self.owner.as_ref(), entry_change));
        let previous = self
            .previous
            .iter()
            .flat_map(|it| it.entry_changes.iter().map(|entry_change| (&it.owner, entry_change)));
        step.chain(previous)
    }
}
