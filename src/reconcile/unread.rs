//! The reads of Secrets that no decision is possible for.
//!
//! In goes the plan of a namespace, out comes the plan with a decision about each Secret that had to be read: the list
//! keeps a bounded part of the bytes. A namespace is read when its turn comes, so that no more whole Secrets are in
//! memory than requests in flight.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use tracing::warn;

use super::no_content::NoContent;
use super::plan::{NamespacePlan, Plan, Planner};
use super::target::{Action, Target};
use crate::cluster::ownership::Ownership;
use crate::cluster::{Cluster, Namespace};
use crate::object_name::{NamespaceName, SecretName};
use crate::rotator::{self, Decision};

/// The namespaces with a Secret that has to be read before anything is decided, and who decides.
pub(super) struct Unread<'a> {
    client: &'a Client,
    planner: &'a Planner<'a>,
    namespaces: BTreeMap<NamespaceName, Namespace>,
}

impl<'a> Unread<'a> {
    /// Keeps those namespaces of the cluster that the plan has no decision for.
    pub(super) fn new(client: &'a Client, planner: &'a Planner<'a>, plan: &Plan, cluster: Cluster) -> Self {
        let mut namespaces = cluster.namespaces;
        let undecided = plan.namespaces.iter().filter(|plan| plan.targets.iter().any(is_undecided));
        let undecided = undecided.filter_map(|plan| namespaces.remove_entry(&plan.name)).collect();
        Self { client, planner, namespaces: undecided }
    }

    /// Reads the Secrets that no decision is possible for, and decides.
    pub(super) async fn decide(&self, plan: NamespacePlan) -> NamespacePlan {
        let Some(observed) = self.namespaces.get(&plan.name) else { return plan };
        let (name, mut namespace, mut targets) = (plan.name, observed.clone(), Vec::new());
        for target in plan.targets {
            targets.extend(self.decide_target(target, &name, &mut namespace).await);
        }
        NamespacePlan::new(&name, &namespace, targets)
    }

    /// Reads the Secrets that a decision needs, each once, and decides.
    async fn decide_target(
        &self,
        mut target: Target,
        namespace_name: &NamespaceName,
        namespace: &mut Namespace,
    ) -> Option<Target> {
        let mut read = BTreeSet::new();
        while let Action::Read { secret_name } = &target.action
            && read.insert(secret_name.clone())
        {
            target = match self.read(&target, secret_name, namespace_name, namespace).await {
                Ok(()) => self.planner.decide(target.cluster_pull_secret, namespace_name, namespace)?,
                Err(unread) => Target { action: Action::NoContent(unread), previous: Vec::new(), ..target },
            };
        }
        Some(target)
    }

    async fn read(
        &self,
        target: &Target,
        secret_name: &SecretName,
        namespace_name: &NamespaceName,
        namespace: &mut Namespace,
    ) -> Result<(), NoContent> {
        let owner = &Ownership { secret_name: secret_name.clone(), ..target.owner.as_ref().clone() };
        let before = namespace.secrets.get(secret_name);
        let secret = rotator::read(self.client, namespace_name, before, owner)
            .await
            .map_err(|error| NoContent::Unread { secret_name: secret_name.clone(), error })?;
        match secret {
            Some(secret) => drop(namespace.secrets.insert(secret_name.clone(), secret)),
            None => drop(namespace.secrets.remove(secret_name)),
        }
        Ok(())
    }

    /// Reads the other Secrets whose bytes a dry run compares; a run that writes reads them right before the write.
    pub(super) async fn compare(&self, plan: NamespacePlan) -> NamespacePlan {
        let mut plan = self.decide(plan).await;
        let NamespacePlan { name, secrets, targets, .. } = &mut plan;
        for target in targets {
            let owner = &target.owner;
            let Action::Apply { content, secret: secret @ Decision::Read, take_over_from, .. } =
                &mut target.action
            else {
                continue;
            };
            match rotator::read(self.client, name, secrets.get(&owner.secret_name), owner).await {
                Ok(read) => {
                    *secret = rotator::decide(read.as_ref(), content, owner, take_over_from.as_deref());
                    match read {
                        Some(read) => drop(secrets.insert(owner.secret_name.clone(), read)),
                        None => drop(secrets.remove(&owner.secret_name)),
                    }
                }
                Err(error) => warn!(
                    namespace = name.as_str(),
                    secret = owner.secret_name.as_str(),
                    "cannot read the Secret, a change is assumed: {error}"
                ),
            }
        }
        plan
    }
}

fn is_undecided(target: &Target) -> bool {
    matches!(target.action, Action::Read { .. })
}

#[cfg(test)]
mod tests;
