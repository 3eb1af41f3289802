//! What to write where: design rules 2 to 9 as a pure function.
//!
//! In go what the stores said and what the cluster holds, out comes a [`Plan`]: for every namespace
//! concerned the decision about its Secrets and the wishes for its ServiceAccounts. No clock, no IO.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::contents::Contents;
use super::resolve::Resolved;
use super::scope::Scope;
use crate::cluster::{Cluster, Namespace, ServiceAccount};
use crate::manifest::cluster_pull_secret::{PullSecret, ServiceAccounts};
use crate::patcher::{self, Wanted};
use crate::report::{Problem, RegistryReport};
use crate::rotator::{self, Content, Decision, Owner, Refusal};

/// What a pass is to do.
pub struct Plan {
    /// One for each ClusterPullSecret of the pass, in their order.
    pub pull_secrets: Vec<PullSecretPlan>,
    /// Every namespace concerned, in the order of names.
    pub namespaces: Vec<NamespacePlan>,
}

/// One ClusterPullSecret of a pass.
pub struct PullSecretPlan {
    /// How its Secrets are called and marked.
    pub owner: Owner,
    /// What the stores said.
    pub registries: Vec<RegistryReport>,
    /// What is wrong with it as a whole.
    pub problems: Vec<Problem>,
}

/// What to do in one namespace.
pub struct NamespacePlan {
    /// The namespace.
    pub name: String,
    /// The ServiceAccounts that somebody has a wish for, as observed.
    pub service_accounts: BTreeMap<String, ServiceAccount>,
    /// What to do for each ClusterPullSecret that has to do with it.
    pub targets: Vec<Target>,
}

/// What to do in one namespace for one ClusterPullSecret.
pub struct Target {
    /// Which one, by its place in [`Plan::pull_secrets`].
    pub pull_secret: usize,
    /// What to do.
    pub step: Step,
}

/// What to do in one namespace for one ClusterPullSecret.
pub enum Step {
    /// It is being deleted: nothing to do, and nothing wrong.
    Terminating,
    /// No registry has a credential for it, neither a fresh one nor a last good one.
    NoCredential,
    /// It is selected: the Secret first, then the ServiceAccounts.
    Keep {
        /// What the Secret is to hold.
        content: Arc<Content>,
        /// What to do with the Secret.
        secret: Decision,
        /// The ClusterPullSecret that made the Secret and wants it no more.
        heir_of: Option<String>,
        /// What to do with the ServiceAccounts, unless the Secret is refused.
        wishes: Vec<Wish>,
        /// ServiceAccounts that the spec names and that are not there.
        missing: Vec<String>,
    },
    /// It left the selection: the ServiceAccounts first, then the Secret.
    Leave {
        /// The precondition of the deletion.
        resource_version: String,
        /// What to do with the ServiceAccounts.
        wishes: Vec<Wish>,
    },
}

/// What one ClusterPullSecret wants of one ServiceAccount.
pub struct Wish {
    /// Its name.
    pub service_account: String,
    /// Whether it should name the pull secret.
    pub wanted: Wanted,
}

/// Decides what to write for those of `pull_secrets` that were `resolved`. The others are there for
/// their claims: of several that want the same Secret, the one that made it keeps it, else the first
/// has it.
#[must_use]
pub fn plan(pull_secrets: &[PullSecret], resolved: &[Resolved<'_>], cluster: &Cluster) -> Plan {
    let claims = Claims::new(pull_secrets);
    let scopes: Vec<_> = resolved.iter().map(|it| Scope::of(it.pull_secret, cluster)).collect();
    let contents: Vec<_> = resolved.iter().map(|resolved| Contents::new(resolved, cluster)).collect();
    let namespaces = cluster.namespaces.iter().filter_map(|(name, namespace)| {
        let parts = resolved.iter().zip(&contents).zip(&scopes).enumerate();
        let steps = parts.filter(|(_, (_, scope))| scope.may_write).filter_map(
            |(index, ((resolved, contents), scope))| {
                let pull_secret = resolved.pull_secret;
                let step = match claims.of(pull_secret, name, namespace) {
                    Claim::Ours { heir_of } => Some(keep(namespace, pull_secret, contents, scope, heir_of)),
                    Claim::Theirs(rival) => Some(refuse(namespace, contents, rival)),
                    Claim::Left if scope.may_leave => leave(namespace, pull_secret),
                    Claim::Left | Claim::None => None,
                };
                step.map(|step| Target { pull_secret: index, step })
            },
        );
        let targets: Vec<_> = steps.collect();
        let service_accounts = wished_for(namespace, &targets);
        (!targets.is_empty()).then(|| NamespacePlan { name: name.clone(), service_accounts, targets })
    });
    let namespaces = namespaces.collect();
    let of_one = |(resolved, scope): (&Resolved<'_>, Scope)| PullSecretPlan {
        owner: owner(resolved.pull_secret),
        registries: resolved.registries.iter().map(|registry| registry.report.clone()).collect(),
        problems: scope.problems,
    };
    Plan { pull_secrets: resolved.iter().zip(scopes).map(of_one).collect(), namespaces }
}

fn owner(pull_secret: &PullSecret) -> Owner {
    Owner {
        pull_secret: pull_secret.name.clone(),
        secret_name: pull_secret.secret_name.clone(),
        existing: pull_secret.existing,
    }
}

fn keep(
    namespace: &Namespace,
    pull_secret: &PullSecret,
    contents: &Contents<'_>,
    scope: &Scope,
    heir_of: Option<&str>,
) -> Step {
    if namespace.terminating {
        return Step::Terminating;
    }
    let Some(content) = contents.of(namespace) else {
        return Step::NoCredential;
    };
    let observed = namespace.secrets.get(&pull_secret.secret_name);
    let secret = rotator::decide(observed, &content, &owner(pull_secret), heir_of);
    let (wishes, missing) = match secret {
        Decision::Refuse(_) => (Vec::new(), Vec::new()),
        Decision::Unchanged | Decision::Create | Decision::Update { .. } => {
            (wishes(namespace, pull_secret, scope), missing(namespace, pull_secret))
        }
    };
    Step::Keep { content, secret, heir_of: heir_of.map(str::to_owned), wishes, missing }
}

fn refuse(namespace: &Namespace, contents: &Contents<'_>, rival: &str) -> Step {
    match contents.of(namespace) {
        _ if namespace.terminating => Step::Terminating,
        None => Step::NoCredential,
        Some(content) => Step::Keep {
            content,
            secret: Decision::Refuse(Refusal::ClaimedBy(rival.to_owned())),
            heir_of: None,
            wishes: Vec::new(),
            missing: Vec::new(),
        },
    }
}

/// What is left of us in a namespace that is not selected: nothing, unless the Secret is there and
/// ours. Without it nobody can tell whose an entry is: manifests that are not of this pass may name
/// their Secrets alike.
fn leave(namespace: &Namespace, pull_secret: &PullSecret) -> Option<Step> {
    let secret = namespace.secrets.get(&pull_secret.secret_name)?;
    if namespace.terminating || !secret.is_made_for(&pull_secret.name) {
        return None;
    }
    let ours = |(_, it): &(&String, &ServiceAccount)| it.added.contains(&pull_secret.secret_name);
    let wish = |(name, _): (&String, _)| Wish { service_account: name.clone(), wanted: Wanted::Absent };
    let wishes = namespace.service_accounts.iter().filter(ours).map(wish).collect();
    Some(Step::Leave { resource_version: secret.resource_version.clone(), wishes })
}

/// Every ServiceAccount that is to name the Secret, and those that do because of us and should no more.
fn wishes(namespace: &Namespace, pull_secret: &PullSecret, scope: &Scope) -> Vec<Wish> {
    let wish = |(name, observed): (&String, &ServiceAccount)| {
        let wanted = match pull_secret.service_accounts.selects(name) {
            true => Wanted::Named,
            false if scope.may_strip && observed.added.contains(&pull_secret.secret_name) => Wanted::Absent,
            false => return None,
        };
        Some(Wish { service_account: name.clone(), wanted })
    };
    namespace.service_accounts.iter().filter_map(wish).collect()
}

fn missing(namespace: &Namespace, pull_secret: &PullSecret) -> Vec<String> {
    match &pull_secret.service_accounts {
        ServiceAccounts::All => Vec::new(),
        ServiceAccounts::Named(names) => {
            let is_missing = |name: &&String| !namespace.service_accounts.contains_key(*name);
            names.iter().filter(is_missing).cloned().collect()
        }
    }
}

fn wished_for(namespace: &Namespace, targets: &[Target]) -> BTreeMap<String, ServiceAccount> {
    let wishes = targets.iter().flat_map(|target| target.step.wishes());
    let observed = |wish: &Wish| namespace.service_accounts.get_key_value(&wish.service_account);
    wishes.filter_map(observed).map(|(name, it)| (name.clone(), it.clone())).collect()
}

impl Step {
    /// What is wanted of the ServiceAccounts.
    #[must_use]
    pub fn wishes(&self) -> &[Wish] {
        match self {
            Self::Terminating | Self::NoCredential => &[],
            Self::Keep { wishes, .. } | Self::Leave { wishes, .. } => wishes,
        }
    }
}

impl NamespacePlan {
    /// Whether carrying out this target makes a request.
    #[must_use]
    pub fn has_work(&self, target: &Target, pull_secrets: &[PullSecretPlan]) -> bool {
        let owner = &pull_secrets[target.pull_secret].owner;
        let writes_secret = match &target.step {
            Step::Terminating | Step::NoCredential => false,
            Step::Keep { secret, .. } => matches!(secret, Decision::Create | Decision::Update { .. }),
            Step::Leave { .. } => true,
        };
        writes_secret || target.step.wishes().iter().any(|wish| self.change(wish, owner).is_some())
    }

    /// The write that grants a wish, by what was observed.
    #[must_use]
    pub fn change(&self, wish: &Wish, owner: &Owner) -> Option<patcher::Change> {
        let observed = self.service_accounts.get(&wish.service_account)?;
        patcher::decide(observed, &owner.secret_name, wish.wanted)
    }
}

#[cfg(test)]
mod tests;
