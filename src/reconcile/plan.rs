//! What to write where: design rules 2 to 9 as a pure function.
//!
//! In go what the stores said and what the cluster holds, out comes a [`Plan`]: for every namespace
//! concerned the decision about its Secrets and the wishes for its ServiceAccounts. No clock, no IO.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::Claims;
use super::desired_secret::DesiredSecret;
use super::guards::Guards;
use super::target::{Action, EntryChange, Part, Target, target};
use crate::cluster::ownership::Ownership;
use crate::cluster::{Cluster, Namespace, Secret, ServiceAccount};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::patcher;
use crate::report::{Problem, RegistryReport};
use crate::rotator::Decision;

/// What a pass is to do.
pub struct Plan {
    /// One for each ClusterPullSecret of the pass, in their order.
    pub cluster_pull_secrets: Vec<ClusterPullSecretPlan>,
    /// Every namespace concerned, in the order of names.
    pub namespaces: Vec<NamespacePlan>,
}

/// One ClusterPullSecret of a pass.
pub struct ClusterPullSecretPlan {
    /// How its Secrets are called and marked.
    pub owner: Arc<Ownership>,
    /// What the stores said.
    pub registries: Vec<RegistryReport>,
    /// What is wrong with it as a whole.
    pub problems: Vec<Problem>,
}

/// What to do in one namespace.
pub struct NamespacePlan {
    /// The namespace.
    pub name: String,
    /// The Secrets that a target is about, as observed.
    pub secrets: BTreeMap<String, Secret>,
    /// The ServiceAccounts that somebody has a wish for, as observed.
    pub service_accounts: BTreeMap<String, ServiceAccount>,
    /// What to do for each ClusterPullSecret that has to do with it.
    pub targets: Vec<Target>,
}

/// Decides what to write for those of `cluster_pull_secrets` that were resolved into `contents`. The others are
/// there for their claims: of several that want the same Secret, the one that made it keeps it, else
/// the first has it.
#[must_use]
pub fn plan(
    cluster_pull_secrets: &[Arc<ClusterPullSecret>],
    contents: &[DesiredSecret],
    cluster: &Cluster,
) -> Plan {
    let claims = Claims::new(cluster_pull_secrets);
    let scopes: Vec<_> = contents.iter().map(|it| Guards::of(it.cluster_pull_secret(), cluster)).collect();
    let part = |(contents, scope)| {
        let cluster_pull_secret = DesiredSecret::cluster_pull_secret(contents);
        let owner = Arc::new(Ownership::of(cluster_pull_secret, &cluster_pull_secret.secret_name));
        Part { cluster_pull_secret, owner, contents: Some(contents), scope }
    };
    let parts: Vec<_> = contents.iter().zip(&scopes).map(part).collect();
    let namespaces = cluster.namespaces.iter().filter_map(|(name, namespace)| {
        let parts = parts.iter().enumerate();
        let targets: Vec<_> =
            parts.filter_map(|(index, part)| target(&claims, index, part, name, namespace)).collect();
        (!targets.is_empty()).then(|| NamespacePlan::new(name, namespace, targets))
    });
    let namespaces = namespaces.collect();
    let of_one = |(part, contents): (&Part<'_>, &DesiredSecret)| ClusterPullSecretPlan {
        owner: Arc::clone(&part.owner),
        registries: contents.registries(),
        problems: part.scope.problems.clone(),
    };
    Plan { cluster_pull_secrets: parts.iter().zip(contents).map(of_one).collect(), namespaces }
}

impl NamespacePlan {
    /// The plan for a namespace, with what the targets are about as it is observed there.
    #[must_use]
    pub fn new(name: &str, namespace: &Namespace, targets: Vec<Target>) -> Self {
        let mut plan = Self {
            name: name.to_owned(),
            secrets: BTreeMap::new(),
            service_accounts: BTreeMap::new(),
            targets: Vec::new(),
        };
        for target in &targets {
            let previous = target.previous.iter().map(|previous| &previous.owner);
            for owner in previous.chain([target.owner.as_ref()]) {
                let secret = namespace.secrets.get_key_value(&owner.secret_name);
                plan.secrets.extend(secret.map(|(name, it)| (name.clone(), it.clone())));
            }
            for (_, entry_change) in target.entry_changes() {
                let observed = namespace.service_accounts.get_key_value(&entry_change.service_account);
                plan.service_accounts.extend(observed.map(|(name, it)| (name.clone(), it.clone())));
            }
        }
        plan.targets = targets;
        plan
    }

    /// Whether carrying out this target makes a request.
    #[must_use]
    pub fn has_work(&self, target: &Target) -> bool {
        let writes_secret = match &target.step {
            Action::Terminating | Action::NoCredential | Action::None => false,
            Action::Apply { secret, .. } => {
                matches!(secret, Decision::Create | Decision::Read | Decision::Update { .. })
            }
            Action::Prune { .. } | Action::Read => true,
        };
        writes_secret
            || !target.previous.is_empty()
            || target
                .step
                .entry_changes()
                .iter()
                .any(|entry_change| self.change(entry_change, &target.owner).is_some())
    }

    /// The write that grants a wish, by what was observed.
    #[must_use]
    pub fn change(&self, entry_change: &EntryChange, owner: &Ownership) -> Option<patcher::Change> {
        let observed = self.service_accounts.get(&entry_change.service_account)?;
        patcher::decide(observed, owner, entry_change.wanted)
    }
}

#[cfg(test)]
mod tests;
