//! What to do in one namespace for one ClusterPullSecret.
//!
//! Pure. In go what the Secrets are to hold, who claims them, and the namespace as observed; out comes a
//! [`Target`]: the step to take, and what is left under names of before.

use std::sync::Arc;

use super::claims::{Claim, Claims};
use super::contents::Contents;
use super::last_good;
use super::scope::Scope;
use crate::cluster::{Namespace, ServiceAccount};
use crate::manifest::cluster_pull_secret::{PullSecret, ServiceAccounts};
use crate::patcher::Wanted;
use crate::rotator::{self, Content, Decision, Owner, Refusal};

/// One ClusterPullSecret of a pass, with what was found out about it.
pub struct Part<'a> {
    /// What is wanted.
    pub pull_secret: &'a PullSecret,
    /// How its Secrets are called and marked.
    pub owner: Arc<Owner>,
    /// What they are to hold; `None` where nothing was read, and nothing has to be.
    pub contents: Option<&'a Contents>,
    /// How much of it may be carried out.
    pub scope: &'a Scope,
}

/// What to do in one namespace for one ClusterPullSecret.
pub struct Target {
    /// Which one, by its place in [`Plan::pull_secrets`](super::plan::Plan::pull_secrets).
    pub pull_secret: usize,
    /// How its Secret is called and marked.
    pub owner: Arc<Owner>,
    /// What to do.
    pub step: Step,
    /// What is left under names its Secret had before; done only after the step succeeded.
    pub former: Vec<Former>,
}

/// What is left in a namespace under a name the Secret had before.
pub struct Former {
    /// The same ClusterPullSecret with the name of before.
    pub owner: Owner,
    /// What to do with the ServiceAccounts, before the Secret goes.
    pub wishes: Vec<Wish>,
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
        /// What to do with the ServiceAccounts.
        wishes: Vec<Wish>,
    },
    /// It is not selected; something may be left under a former name.
    Absent,
    /// A registry could not be read, so that its last good entry is to be kept, and the Secret that holds
    /// it was seen by its metadata only: it has to be read before anything is decided.
    Look,
}

/// What one ClusterPullSecret wants of one ServiceAccount.
pub struct Wish {
    /// Its name.
    pub service_account: String,
    /// Whether it should name the pull secret.
    pub wanted: Wanted,
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
    let Part { pull_secret, owner, contents, scope } = part;
    // Without the right to see its Secrets, one that goes can still take its entries back; the Secrets
    // are removed by the garbage collector.
    if !scope.may_write && !pull_secret.is_going() {
        return None;
    }
    let step = match claims.of(pull_secret, name, namespace) {
        Claim::Left | Claim::None if namespace.terminating => None,
        Claim::Ours { heir_of } => Some(keep(namespace, part, heir_of)),
        Claim::Theirs(rival) => Some(refuse(namespace, *contents, rival)),
        Claim::Left if scope.may_leave || pull_secret.is_going() => leave(namespace, owner),
        Claim::Left | Claim::None => None,
    };
    let former = former(claims, pull_secret, name, namespace);
    if step.is_none() && former.is_empty() {
        return None;
    }
    Some(Target { pull_secret: index, owner: Arc::clone(owner), step: step.unwrap_or(Step::Absent), former })
}

fn keep(namespace: &Namespace, part: &Part<'_>, heir_of: Option<&str>) -> Step {
    let Part { pull_secret, owner, contents, scope } = part;
    if namespace.terminating {
        return Step::Terminating;
    }
    let observed = namespace.secrets.get(&owner.secret_name);
    let is_unread = last_good::own(namespace, pull_secret).is_some_and(|it| it.body.is_none())
        && observed.is_some_and(|it| it.is_made_for(&owner.pull_secret));
    if is_unread && contents.is_some_and(|contents| !contents.is_complete()) {
        return Step::Look;
    }
    let Some(content) = contents.and_then(|contents| contents.of(namespace)) else {
        return Step::NoCredential;
    };
    let secret = rotator::decide(observed, &content, owner, heir_of);
    let (wishes, missing) = match secret {
        Decision::Refuse(_) => (Vec::new(), Vec::new()),
        Decision::Unchanged | Decision::Read | Decision::Create | Decision::Update { .. } => {
            (wishes(namespace, pull_secret, scope), missing(namespace, pull_secret))
        }
    };
    Step::Keep { content, secret, heir_of: heir_of.map(str::to_owned), wishes, missing }
}

fn refuse(namespace: &Namespace, contents: Option<&Contents>, rival: &str) -> Step {
    match contents.and_then(|contents| contents.of(namespace)) {
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

/// What is left of us in a namespace that is not selected: a Secret of ours, and entries that the
/// annotation of the ServiceAccount says were added for us. Where the annotation does not tell for
/// whom, the Secret has to.
fn leave(namespace: &Namespace, owner: &Owner) -> Option<Step> {
    let has_secret = has_ours(namespace, owner);
    let wishes = farewells(namespace, owner);
    (has_secret || !wishes.is_empty()).then_some(Step::Leave { wishes })
}

fn has_ours(namespace: &Namespace, owner: &Owner) -> bool {
    let secret = namespace.secrets.get(&owner.secret_name);
    secret.is_some_and(|secret| secret.is_made_for(&owner.pull_secret))
}

fn farewells(namespace: &Namespace, owner: &Owner) -> Vec<Wish> {
    let has_secret = has_ours(namespace, owner);
    // Another ClusterPullSecret that made the Secret since may need the entry.
    let is_others = !has_secret && namespace.secrets.get(&owner.secret_name).is_some_and(|it| it.managed);
    let is_ours = |it: &ServiceAccount| match it.added.get(&owner.secret_name) {
        Some(Some(pull_secret)) => *pull_secret == owner.pull_secret && !is_others,
        Some(None) => has_secret,
        None => false,
    };
    let ours = namespace.service_accounts.iter().filter(|(_, it)| is_ours(it));
    ours.map(|(name, _)| Wish { service_account: name.clone(), wanted: Wanted::Absent }).collect()
}

/// What is left under the names of before, unless another ClusterPullSecret takes it over in place.
#[must_use]
pub fn former(claims: &Claims, pull_secret: &PullSecret, name: &str, namespace: &Namespace) -> Vec<Former> {
    if namespace.terminating {
        return Vec::new();
    }
    let nobodys = pull_secret.former_names().filter(|it| claims.holder(it, name, namespace).is_none());
    let left = nobodys.filter_map(|secret_name| {
        let owner = Owner::of(pull_secret, secret_name);
        let wishes = farewells(namespace, &owner);
        (has_ours(namespace, &owner) || !wishes.is_empty()).then_some(Former { owner, wishes })
    });
    left.collect()
}

/// Every ServiceAccount that is to name the Secret, and those that do because of us and should no more.
fn wishes(namespace: &Namespace, pull_secret: &PullSecret, scope: &Scope) -> Vec<Wish> {
    let wish = |(name, observed): (&String, &ServiceAccount)| {
        let wanted = match pull_secret.service_accounts.selects(name) {
            true => Wanted::Named,
            false if scope.may_strip && observed.added.contains_key(&pull_secret.secret_name) => {
                Wanted::Absent
            }
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

impl Step {
    /// What is wanted of the ServiceAccounts.
    #[must_use]
    pub fn wishes(&self) -> &[Wish] {
        match self {
            Self::Terminating | Self::NoCredential | Self::Absent | Self::Look => &[],
            Self::Keep { wishes, .. } | Self::Leave { wishes, .. } => wishes,
        }
    }
}

impl Target {
    /// Every wish, with the name of the Secret it is about.
    pub(super) fn wishes(&self) -> impl Iterator<Item = (&Owner, &Wish)> {
        let step = self.step.wishes().iter().map(|wish| (self.owner.as_ref(), wish));
        let former = self.former.iter().flat_map(|it| it.wishes.iter().map(|wish| (&it.owner, wish)));
        step.chain(former)
    }
}
