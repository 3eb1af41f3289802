//! What a pass did, and why not.
//!
//! Plain data with one meaning, printed as a table, JSON or YAML. It holds no password and no hash of
//! one; every reason is from a closed list, every message says what to do.

use std::collections::BTreeMap;

use serde::Serialize;
use strum::EnumMessage;

use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::field::{FieldError, FieldErrors};
use crate::manifest::status::reason::ReadyReason;

pub mod diff;
pub mod event;
mod namespace;
pub mod table;

/// What one pass did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Nothing was written: the results are what would have been done.
    pub dry_run: bool,
    /// Every registry was read, and every namespace holds, or would hold, what it should.
    pub in_sync: bool,
    /// How many namespaces had which result, in one line.
    pub summary: String,
    /// One for each ClusterPullSecret, the oldest first, and those that were left alone after them.
    pub cluster_pull_secrets: Vec<ClusterPullSecretReport>,
}

/// What became of one ClusterPullSecret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPullSecretReport {
    /// Name of the ClusterPullSecret.
    pub name: String,
    /// Name of its Secret in every namespace; empty where a mistake keeps it from being known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret_name: String,
    /// Why nothing was done for it, and nothing looked at, where that is no mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<Problem>,
    /// What is wrong with it as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// One for each registry, in the order of the spec.
    pub registries: Vec<RegistryReport>,
    /// One for each namespace concerned, in the order of names.
    pub namespaces: Vec<NamespaceReport>,
}

/// What is wrong with a ClusterPullSecret as a whole, or keeps it at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// From a closed list.
    pub reason: &'static str,
    /// What it means, and how to mend it.
    pub message: String,
}

/// What became of one registry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryReport {
    /// Host key of the entry, or `*` where the store holds a whole docker config.
    pub host: String,
    /// The store.
    pub store: String,
    /// The key inside it.
    pub key: String,
    /// The version that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `Fetched`, or why not: a reason of [`crate::provider::Error`].
    pub result: &'static str,
    /// What is wrong, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Failures of a read that may pass by themselves: reasons of [`crate::provider::Error`].
const PASSING: [&str; 4] = ["Sealed", "Throttled", "TimedOut", "Unavailable"];

impl RegistryReport {
    /// The result of a registry whose credential was read.
    pub const FETCHED: &str = "Fetched";

    /// Whether what kept it from being read may pass by itself.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        PASSING.contains(&self.result)
    }
}

/// What became of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    /// The namespace.
    pub namespace: String,
    /// What was done there.
    pub result: ResultKind,
    /// Why it was not, from a closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why it was not, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The ServiceAccounts that were looked at.
    pub service_accounts: Vec<ServiceAccountReport>,
    /// ServiceAccounts that the spec names and that do not exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_service_accounts: Vec<String>,
    /// What would change; filled by a dry run only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<diff::Change>,
}

impl NamespaceReport {
    /// A report with nothing to explain.
    #[must_use]
    pub fn new(namespace: String, result: ResultKind) -> Self {
        Self {
            namespace,
            result,
            reason: None,
            message: None,
            service_accounts: Vec::new(),
            missing_service_accounts: Vec::new(),
            changes: Vec::new(),
        }
    }
}

/// What was done in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display, strum::EnumIter)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum ResultKind {
    /// The Secret was created.
    Created,
    /// The Secret or a ServiceAccount was changed.
    Updated,
    /// The namespace left the selection, and what regcred had made there was removed.
    Removed,
    /// Everything was as it should be.
    Unchanged,
    /// The namespace is being deleted.
    Skipped,
    /// The Secret must not be touched.
    Refused,
    /// A request failed.
    Failed,
}

/// What became of one ServiceAccount: `patched`, `unchanged`, `gone` or `failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAccountReport {
    /// Its name.
    pub name: String,
    /// What was done.
    pub result: &'static str,
}

impl Report {
    /// A report over these pull secrets.
    #[must_use]
    pub fn new(dry_run: bool, cluster_pull_secrets: Vec<ClusterPullSecretReport>) -> Self {
        let in_sync = cluster_pull_secrets.iter().all(ClusterPullSecretReport::is_in_sync);
        let summary = summary(dry_run, &cluster_pull_secrets);
        Self { dry_run, in_sync, summary, cluster_pull_secrets }
    }

    /// The same with those that were left alone.
    #[must_use]
    pub fn beside(self, left_alone: Vec<ClusterPullSecretReport>) -> Self {
        Self::new(self.dry_run, self.cluster_pull_secrets.into_iter().chain(left_alone).collect())
    }

    /// Whether anything was written, or would be.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let writes = [ResultKind::Created, ResultKind::Updated, ResultKind::Removed];
        let mut namespaces = self.cluster_pull_secrets.iter().flat_map(|it| &it.namespaces);
        namespaces.any(|namespace| writes.contains(&namespace.result))
    }
}

impl ClusterPullSecretReport {
    /// Of one that is suspended or being deleted: that is as it should be.
    #[must_use]
    pub fn at_rest(cluster_pull_secret: &ClusterPullSecret, reason: ReadyReason) -> Self {
        let message = reason.get_documentation().unwrap_or_default().to_owned();
        Self {
            name: cluster_pull_secret.name.clone(),
            secret_name: cluster_pull_secret.secret_name.clone(),
            left_alone: Some(Problem { reason: reason.into(), message }),
            problems: Vec::new(),
            registries: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Of an object of the cluster that holds mistakes.
    #[must_use]
    pub fn invalid(name: &str, mistakes: &FieldErrors) -> Self {
        let problem = |mistake: &FieldError| Problem {
            reason: ReadyReason::Invalid.into(),
            message: format!("{}: {}", mistake.path, mistake.detail),
        };
        Self {
            name: name.to_owned(),
            secret_name: String::new(),
            left_alone: None,
            problems: mistakes.0.iter().map(problem).collect(),
            registries: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Whether nothing was done for it: otherwise there is at least one registry.
    fn is_left_alone(&self) -> bool {
        self.registries.is_empty()
    }

    fn is_in_sync(&self) -> bool {
        let is_wrong = |it: &NamespaceReport| matches!(it.result, ResultKind::Refused | ResultKind::Failed);
        self.problems.is_empty()
            && self.registries.iter().all(|registry| registry.result == RegistryReport::FETCHED)
            && !self.namespaces.iter().any(is_wrong)
    }
}

/// `1000 namespaces: 998 updated, 2 refused`.
fn summary(dry_run: bool, cluster_pull_secrets: &[ClusterPullSecretReport]) -> String {
    let mut tally: BTreeMap<ResultKind, usize> = BTreeMap::new();
    for namespace in cluster_pull_secrets.iter().flat_map(|it| &it.namespaces) {
        *tally.entry(namespace.result).or_default() += 1;
    }
    let counts: Vec<_> = tally.iter().map(|(result, count)| format!("{count} {result}")).collect();
    let dry_run = if dry_run { "dry run, nothing was written: " } else { "" };
    let left_alone = cluster_pull_secrets.iter().filter(|it| it.is_left_alone()).count();
    let active = cluster_pull_secrets.len() - left_alone;
    // A namespace that several ClusterPullSecrets select is a target of each.
    let noun = if active > 1 { "target" } else { "namespace" };
    let targets = match tally.values().sum::<usize>() {
        0 if active == 0 => "nothing was done".to_owned(),
        0 => "no namespace is selected".to_owned(),
        1 => format!("1 {noun}: {}", counts.join(", ")),
        total => format!("{total} {noun}s: {}", counts.join(", ")),
    };
    let registries = cluster_pull_secrets.iter().flat_map(|it| &it.registries);
    let unread = match registries.filter(|registry| registry.result != RegistryReport::FETCHED).count() {
        0 => String::new(),
        1 => "; 1 registry could not be read".to_owned(),
        unread => format!("; {unread} registries could not be read"),
    };
    let left_alone = match left_alone {
        0 => String::new(),
        1 => "; 1 ClusterPullSecret was left alone".to_owned(),
        left_alone => format!("; {left_alone} ClusterPullSecrets were left alone"),
    };
    format!("{dry_run}{targets}{unread}{left_alone}")
}
