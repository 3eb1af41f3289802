//! Whose the Secret of a namespace is, where several ClusterPullSecrets may want it.
//!
//! Pure. The one that made the Secret keeps it, else the first of the manifests has it; the others
//! are told, and go on elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Namespace;
use crate::manifest::cluster_pull_secret::PullSecret;

/// The claims of all manifests, those that are not of the pass included.
pub struct Claims<'a> {
    by_secret_name: BTreeMap<&'a str, Vec<&'a PullSecret>>,
    names: BTreeSet<&'a str>,
}

/// Whose the Secret of a namespace is, as one ClusterPullSecret sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// Ours, and where another one of the manifests made it and wants it no more, ours to take over.
    Ours {
        /// The one that made it.
        heir_of: Option<&'a str>,
    },
    /// Another one has it.
    Theirs(&'a str),
    /// We do not select the namespace, and nobody else wants a Secret of that name there.
    Left,
    /// None of our business: we do not select the namespace, and somebody else does.
    None,
}

impl<'a> Claims<'a> {
    /// The claims of `pull_secrets`, of which the first is the oldest.
    #[must_use]
    pub fn new(pull_secrets: &'a [PullSecret]) -> Self {
        let mut by_secret_name: BTreeMap<&str, Vec<&PullSecret>> = BTreeMap::new();
        for pull_secret in pull_secrets {
            by_secret_name.entry(&pull_secret.secret_name).or_default().push(pull_secret);
        }
        Self { by_secret_name, names: pull_secrets.iter().map(|it| it.name.as_str()).collect() }
    }

    /// Whose the Secret of the namespace is, as `mine` sees it.
    #[must_use]
    pub fn of(&self, mine: &PullSecret, name: &str, namespace: &'a Namespace) -> Claim<'a> {
        let selects = |it: &PullSecret| it.selection.selects(name, &namespace.labels);
        let same_name = self.by_secret_name.get(mine.secret_name.as_str()).into_iter().flatten();
        let candidates: Vec<_> = same_name.filter(|it| selects(it)).collect();
        let secret = namespace.secrets.get(&mine.secret_name).filter(|secret| secret.managed);
        let maker = secret.and_then(|secret| secret.pull_secret.as_deref());
        let holder = candidates.iter().find(|it| Some(it.name.as_str()) == maker).or(candidates.first());
        match holder {
            None => Claim::Left,
            Some(holder) if holder.name == mine.name => Claim::Ours {
                heir_of: maker.filter(|maker| *maker != mine.name && self.names.contains(maker)),
            },
            Some(holder) if selects(mine) => Claim::Theirs(&holder.name),
            Some(_) => Claim::None,
        }
    }
}
