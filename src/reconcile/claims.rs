//! Resolves conflicts between ClusterPullSecrets that claim the same Secret in a namespace.
//!
//! Pure. The ClusterPullSecret that created the Secret keeps it, else the first in the manifests gets
//! it; the others report a conflict there and are served everywhere else. A ClusterPullSecret that does not exist
//! owns nothing: another one may take its Secrets over in place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::Namespace;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::{NamespaceName, SecretName};

/// The claims of all manifests, including those that are not reconciled in this run.
#[derive(Debug, Default)]
pub struct Claims {
    by_secret_name: BTreeMap<SecretName, Vec<Arc<ClusterPullSecret>>>,
    names: BTreeSet<String>,
    others: Others,
}

/// The ClusterPullSecrets beside those that claim.
#[derive(Clone, Debug, Default)]
pub enum Others {
    /// The caller knows only those of its files: others may exist.
    #[default]
    Unknown,
    /// These and no others exist. They are invalid, and their Secrets are left to them.
    Invalid(BTreeSet<String>),
}

/// The state of a claim of one ClusterPullSecret on the Secret of a namespace.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// The ClusterPullSecret holds the Secret.
    Ours {
        /// The ClusterPullSecret that created the Secret and no longer claims it.
        take_over_from: Option<&'a str>,
    },
    /// Another ClusterPullSecret, of this name, holds the Secret.
    Theirs(&'a str),
    /// The namespace is not selected, and no other ClusterPullSecret claims a Secret of that name there.
    Unclaimed,
    /// The namespace is not selected, and another ClusterPullSecret holds the Secret.
    Unrelated,
}

impl Claims {
    /// Collects the claims of `cluster_pull_secrets`, the oldest first. A ClusterPullSecret that is being
    /// deleted together with its Secrets claims nothing.
    #[must_use]
    pub fn new(cluster_pull_secrets: &[Arc<ClusterPullSecret>], others: Others) -> Self {
        let mut by_secret_name: BTreeMap<SecretName, Vec<Arc<ClusterPullSecret>>> = BTreeMap::new();
        for cluster_pull_secret in cluster_pull_secrets.iter().filter(|it| !it.is_deleting_secrets()) {
            by_secret_name
                .entry(cluster_pull_secret.secret_name.clone())
                .or_default()
                .push(Arc::clone(cluster_pull_secret));
        }
        let names = cluster_pull_secrets.iter().map(|it| it.name.clone()).collect();
        Self { by_secret_name, names, others }
    }

    /// Returns true if a ClusterPullSecret that does not claim a Secret has no other right to it.
    fn is_free(&self, owner: &str) -> bool {
        self.names.contains(owner)
            || matches!(&self.others, Others::Invalid(invalid) if !invalid.contains(owner))
    }

    /// Returns the claim of `mine` on its Secret in a namespace.
    #[must_use]
    pub fn claim<'a>(
        &'a self,
        mine: &ClusterPullSecret,
        namespace_name: &NamespaceName,
        namespace: &'a Namespace,
    ) -> Claim<'a> {
        let secret = namespace.secrets.get(&mine.secret_name);
        let owner = secret.and_then(|it| it.evidence.owner());
        match self.holder(&mine.secret_name, namespace_name, namespace) {
            None => Claim::Unclaimed,
            Some(holder) if holder.name == mine.name => {
                Claim::Ours { take_over_from: owner.filter(|it| *it != mine.name && self.is_free(it)) }
            }
            Some(holder) if !mine.is_deleting_secrets() && selects(mine, namespace_name, namespace) => {
                Claim::Theirs(&holder.name)
            }
            Some(_) => Claim::Unrelated,
        }
    }

    /// Returns the ClusterPullSecret that holds the Secret of that name in the namespace.
    #[must_use]
    pub fn holder(
        &self,
        secret_name: &SecretName,
        namespace_name: &NamespaceName,
        namespace: &Namespace,
    ) -> Option<&ClusterPullSecret> {
        let same_name = self.by_secret_name.get(secret_name).into_iter().flatten().map(Arc::as_ref);
        let mut candidates = same_name.filter(|it| selects(it, namespace_name, namespace));
        let created_for = created_for(secret_name, namespace);
        let first = candidates.next()?;
        Some(
            std::iter::once(first)
                .chain(candidates)
                .find(|it| Some(it.name.as_str()) == created_for)
                .unwrap_or(first),
        )
    }
}

fn selects(
    cluster_pull_secret: &ClusterPullSecret,
    namespace_name: &NamespaceName,
    namespace: &Namespace,
) -> bool {
    cluster_pull_secret.selection.selects(namespace_name, &namespace.labels)
}

/// Returns the ClusterPullSecret that the Secret was created for.
fn created_for<'a>(secret_name: &SecretName, namespace: &'a Namespace) -> Option<&'a str> {
    namespace.secrets.get(secret_name)?.evidence.owner_or_label()
}
