//! Whose the Secret of a namespace is, where several ClusterPullSecrets may want it.
//!
//! Pure. The one that made the Secret keeps it, else the first of the manifests has it; the others
//! are told, and go on elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cluster::Namespace;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;

/// The claims of all manifests, those that are not of the pass included.
#[derive(Debug, Default)]
pub struct Claims {
    by_secret_name: BTreeMap<String, Vec<Arc<ClusterPullSecret>>>,
    names: BTreeSet<String>,
}

/// Whose the Secret of a namespace is, as one ClusterPullSecret sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// Ours, and where another one of the manifests made it and wants it no more, ours to take over.
    Ours {
        /// The one that made it.
        take_over_from: Option<&'a str>,
    },
    /// Another one has it.
    Theirs(&'a str),
    /// We do not select the namespace, and nobody else wants a Secret of that name there.
    AfterWrite,
    /// None of our business: we do not select the namespace, and somebody else does.
    None,
}

impl Claims {
    /// The claims of `cluster_pull_secrets`, of which the first is the oldest. One that goes, and takes its
    /// Secrets with it, claims nothing any more.
    #[must_use]
    pub fn new(cluster_pull_secrets: &[Arc<ClusterPullSecret>]) -> Self {
        let mut by_secret_name: BTreeMap<String, Vec<Arc<ClusterPullSecret>>> = BTreeMap::new();
        for cluster_pull_secret in cluster_pull_secrets.iter().filter(|it| !it.is_deleting_secrets()) {
            by_secret_name
                .entry(cluster_pull_secret.secret_name.clone())
                .or_default()
                .push(Arc::clone(cluster_pull_secret));
        }
        Self { by_secret_name, names: cluster_pull_secrets.iter().map(|it| it.name.clone()).collect() }
    }

    /// Whose the Secret of the namespace is, as `mine` sees it.
    #[must_use]
    pub fn of<'a>(&'a self, mine: &ClusterPullSecret, name: &str, namespace: &'a Namespace) -> Claim<'a> {
        let maker = maker(&mine.secret_name, namespace);
        match self.holder(&mine.secret_name, name, namespace) {
            None => Claim::AfterWrite,
            Some(holder) if holder.name == mine.name => Claim::Ours {
                take_over_from: maker.filter(|maker| *maker != mine.name && self.names.contains(*maker)),
            },
            Some(holder) if !mine.is_deleting_secrets() && selects(mine, name, namespace) => {
                Claim::Theirs(&holder.name)
            }
            Some(_) => Claim::None,
        }
    }

    /// The one that has the Secret of that name in the namespace, where anyone wants it.
    #[must_use]
    pub fn holder(&self, secret_name: &str, name: &str, namespace: &Namespace) -> Option<&ClusterPullSecret> {
        let same_name = self.by_secret_name.get(secret_name).into_iter().flatten().map(Arc::as_ref);
        let mut candidates = same_name.filter(|it| selects(it, name, namespace));
        let maker = maker(secret_name, namespace);
        let first = candidates.next()?;
        Some(
            std::iter::once(first)
                .chain(candidates)
                .find(|it| Some(it.name.as_str()) == maker)
                .unwrap_or(first),
        )
    }
}

fn selects(cluster_pull_secret: &ClusterPullSecret, name: &str, namespace: &Namespace) -> bool {
    cluster_pull_secret.selection.selects(name, &namespace.labels)
}

fn maker<'a>(secret_name: &str, namespace: &'a Namespace) -> Option<&'a str> {
    let secret = namespace.secrets.get(secret_name).filter(|secret| secret.managed)?;
    secret.cluster_pull_secret.as_deref()
}
