//! The writes of a run: design rules 2 to 9 as a pure function.
//!
//! In go the results of the reads and the observed cluster, out comes a [`Plan`]: for every namespace
//! concerned the decision about its Secrets and the changes of `imagePullSecrets` entries. No clock, no
//! IO. A [`Planner`] can be asked again about a namespace of which more was read.

use std::sync::Arc;

use super::claims::Claims;
use super::desired_secret::{DesiredSecret, KnownValues};
use super::entry_change::EntryChange;
use super::guards::Guards;
use super::target::{self, Action, Target, TargetInput};
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::key::OwnershipKey;
use crate::cluster::{Cluster, Namespace, Secret, ServiceAccount};
use crate::object_map::ObjectMap;
use crate::object_name::{NamespaceName, SecretName};
use crate::patcher;
use crate::report::{Problem, RegistryReport};
use crate::rotator::Decision;

/// The plan of a run.
pub struct Plan {
    /// The ClusterPullSecrets of the run, in their order.
    pub cluster_pull_secrets: Vec<ClusterPullSecretPlan>,
    /// The namespaces concerned, in the order of names.
    pub namespaces: Vec<NamespacePlan>,
}

/// The part of a plan that concerns one ClusterPullSecret as a whole.
pub struct ClusterPullSecretPlan {
    /// The name and the marks of its Secrets.
    pub owner: Arc<Ownership>,
    /// The results of the reads.
    pub registries: Vec<RegistryReport>,
    /// The problems of the ClusterPullSecret as a whole.
    pub problems: Vec<Problem>,
}

/// The plan for one namespace.
pub struct NamespacePlan {
    /// The namespace.
    pub name: NamespaceName,
    /// The Secrets of the targets, as observed.
    pub secrets: ObjectMap<SecretName, Secret>,
    /// The ServiceAccounts that a target may change, as observed.
    pub service_accounts: ObjectMap<String, ServiceAccount>,
    /// The targets, one for each ClusterPullSecret concerned.
    pub targets: Vec<Target>,
}

/// Decides about the ClusterPullSecrets that were resolved into `desired`. The others only hold their `claims`: of
/// several that claim the same Secret, the one that created it keeps it, else the first gets it.
pub struct Planner<'a> {
    claims: &'a Claims,
    desired: &'a [DesiredSecret],
    known: &'a KnownValues<'a>,
    guards: Vec<Guards>,
    owners: Vec<Arc<Ownership>>,
}

impl<'a> Planner<'a> {
    /// Collects what is the same for all namespaces.
    #[must_use]
    pub fn new(
        claims: &'a Claims,
        desired: &'a [DesiredSecret],
        known: &'a KnownValues<'a>,
        cluster: &Cluster,
        key: Option<&Arc<OwnershipKey>>,
    ) -> Self {
        let guards = desired.iter().map(|it| Guards::new(it.cluster_pull_secret(), cluster)).collect();
        let owners = desired.iter().map(|it| {
            let cluster_pull_secret = it.cluster_pull_secret();
            Arc::new(Ownership::new(cluster_pull_secret, &cluster_pull_secret.secret_name, key))
        });
        Self { claims, desired, known, guards, owners: owners.collect() }
    }

    /// Plans every namespace.
    #[must_use]
    pub fn plan(&self, cluster: &Cluster) -> Plan {
        let namespaces = cluster.namespaces.iter().filter_map(|(name, namespace)| {
            let targets = (0..self.desired.len()).filter_map(|index| self.decide(index, name, namespace));
            let targets: Vec<_> = targets.collect();
            (!targets.is_empty()).then(|| NamespacePlan::new(name, namespace, targets))
        });
        let namespaces = namespaces.collect();
        let parts = self.desired.iter().zip(&self.guards).zip(&self.owners);
        let cluster_pull_secrets = parts.map(|((desired, guards), owner)| ClusterPullSecretPlan {
            owner: Arc::clone(owner),
            registries: desired.registries(),
            problems: guards.problems.iter().cloned().chain(desired.problem()).collect(),
        });
        Plan { cluster_pull_secrets: cluster_pull_secrets.collect(), namespaces }
    }

    /// Decides about one ClusterPullSecret in a namespace as it was observed; `None` where the two are unrelated.
    #[must_use]
    pub fn decide(
        &self,
        index: usize,
        namespace_name: &NamespaceName,
        namespace: &Namespace,
    ) -> Option<Target> {
        let desired = &self.desired[index];
        let input = TargetInput {
            cluster_pull_secret: desired.cluster_pull_secret(),
            owner: Arc::clone(&self.owners[index]),
            desired: Some(desired),
            known: self.known,
            guards: &self.guards[index],
            accepted_older: desired.accepted_older().clone(),
        };
        target::decide(self.claims, index, &input, namespace_name, namespace)
    }
}

impl NamespacePlan {
    /// Builds the plan for a namespace, with the objects of the targets as observed there.
    #[must_use]
    pub fn new(namespace_name: &NamespaceName, namespace: &Namespace, targets: Vec<Target>) -> Self {
        let mut plan = Self {
            name: namespace_name.clone(),
            secrets: ObjectMap::default(),
            service_accounts: ObjectMap::default(),
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

    /// Returns true if this target needs a request.
    #[must_use]
    pub fn has_work(&self, target: &Target) -> bool {
        let writes_secret = match &target.action {
            Action::Terminating | Action::NoContent(_) | Action::None => false,
            Action::Apply { secret, .. } => {
                matches!(secret, Decision::Create | Decision::Read | Decision::Update { .. })
            }
            Action::Prune { .. } | Action::Read { .. } => true,
        };
        writes_secret
            || !target.previous.is_empty()
            || target.action.entry_changes().iter().any(|entry_change| {
                self.decide_entry(entry_change, &target.owner) != patcher::Decision::Unchanged
            })
    }

    /// Returns true if any target needs a request.
    pub(super) fn has_any_work(&self) -> bool {
        self.targets.iter().any(|target| self.has_work(target))
    }

    /// Decides about this change by the observed ServiceAccount.
    #[must_use]
    pub fn decide_entry(&self, entry_change: &EntryChange, owner: &Ownership) -> patcher::Decision {
        match self.service_accounts.get(&entry_change.service_account) {
            Some(observed) => patcher::decide(observed, owner, entry_change.desired),
            None => patcher::Decision::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests;
