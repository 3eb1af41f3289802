//! The reads of Secrets that no decision is possible for.
//!
//! In goes the plan of a namespace, out comes the plan with a decision about each Secret that had to be read: the list
//! keeps a bounded part of the bytes. A namespace is read when its turn comes, so that no more whole Secrets are in
//! memory than requests in flight.

use std::collections::BTreeMap;

use kube::Client;
use tracing::warn;

use super::no_content::NoContent;
use super::plan::{NamespacePlan, Plan, Planner};
use super::target::{Action, Target};
use crate::cluster::{Cluster, Namespace};
use crate::object_name::NamespaceName;
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
            let decided = if is_undecided(&target) {
                self.decide_target(target, &name, &mut namespace).await
            } else {
                Some(target)
            };
            targets.extend(decided);
        }
        NamespacePlan::new(&name, &namespace, targets)
    }

    async fn decide_target(
        &self,
        target: Target,
        namespace_name: &NamespaceName,
        namespace: &mut Namespace,
    ) -> Option<Target> {
        let (owner, secret_name) = (&target.owner, &target.owner.secret_name);
        let before = namespace.secrets.get(secret_name);
        match rotator::read(self.client, namespace_name, before, owner).await {
            Ok(Some(secret)) => drop(namespace.secrets.insert(secret_name.clone(), secret)),
            Ok(None) => drop(namespace.secrets.remove(secret_name)),
            Err(error) => {
                let unread = NoContent::Unread { secret_name: secret_name.clone(), error };
                return Some(Target { action: Action::NoContent(unread), previous: Vec::new(), ..target });
            }
        }
        self.planner.decide(target.cluster_pull_secret, namespace_name, namespace)
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
    matches!(target.action, Action::Read)
}

#[cfg(test)]
mod tests;
