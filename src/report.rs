//! The report of a run: results, reasons and messages.
//!
//! Plain data with one meaning, printed as a table, JSON or YAML. A report holds no password and no hash
//! of one; every reason is from a closed list, every message names the fix.

use std::collections::BTreeMap;

use serde::Serialize;
use strum::EnumMessage;

use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::field::FieldErrors;
use crate::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason, Reason};
use crate::object_name::{NamespaceName, SecretName};
use crate::rotator::VersionConflict;

pub mod diff;
mod namespace;
mod reason;
mod rounds;
pub mod table;

pub use reason::TargetReason;

/// The report of one run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// True if nothing was written: the results are those that a write would have.
    pub dry_run: bool,
    /// True if every registry was read, and every namespace is, or would be, in sync.
    pub in_sync: bool,
    /// The number of namespaces by result, in one line.
    pub summary: String,
    /// The ClusterPullSecrets, the oldest first, followed by those that were left alone.
    pub cluster_pull_secrets: Vec<ClusterPullSecretReport>,
}

/// The report about one ClusterPullSecret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterPullSecretReport {
    /// The name of the ClusterPullSecret.
    pub name: String,
    /// The name of its Secret in every namespace; empty where an error in the object hides it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub secret_name: SecretName,
    /// The reason why the ClusterPullSecret was not reconciled, where that is no error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<Problem>,
    /// The problems of the ClusterPullSecret as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// The registries, in the order of the spec.
    pub registries: Vec<RegistryReport>,
    /// The namespaces concerned, in the order of names.
    pub namespaces: Vec<NamespaceReport>,
}

/// A problem of a ClusterPullSecret as a whole, or the reason why it is at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// From a closed list.
    pub reason: Reason,
    /// The meaning, with the fix.
    pub message: String,
}

/// The registries that a namespace lacks although other namespaces may have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The reason why the target is not in sync.
    pub reason: AppliedReason,
    /// The store and the key or the namespace, with the fix.
    pub message: String,
}

/// The report about one registry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryReport {
    /// The host key of the entry, or `*` where the store holds a whole docker config.
    pub host: String,
    /// The store.
    pub store: String,
    /// The key in the store.
    pub key: String,
    /// The version that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `Fetched`, or the reason why not.
    pub result: FetchedReason,
    /// The error, where the read failed; or the keys and entries that are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// True if the store may not serve the host, so that not even an earlier entry stays.
    #[serde(skip)]
    pub is_host_denied: bool,
}

impl RegistryReport {
    /// Returns true if the read failed and the entries that exist are kept.
    #[must_use]
    pub fn keeps_entries(&self) -> bool {
        self.result != FetchedReason::Fetched && !self.is_host_denied
    }

    /// Returns true if the read failed for a reason that may pass by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.result.is_transient()
    }
}

/// The report about one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceReport {
    /// The namespace.
    pub namespace: NamespaceName,
    /// The result.
    pub result: ResultKind,
    /// The reason why the namespace is not in sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<TargetReason>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The version in the Secret that asks for another read of the store.
    #[serde(skip)]
    pub version_conflict: Option<VersionConflict>,
    /// The ServiceAccounts that were processed.
    pub service_accounts: Vec<ServiceAccountReport>,
    /// The ServiceAccounts that the spec names and that do not exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_service_accounts: Vec<String>,
    /// The planned changes; filled by a dry run only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<diff::PlannedChange>,
}

impl NamespaceReport {
    /// Creates a report with nothing to explain.
    #[must_use]
    pub fn new(namespace: NamespaceName, result: ResultKind) -> Self {
        Self {
            namespace,
            result,
            reason: None,
            message: None,
            version_conflict: None,
            service_accounts: Vec::new(),
            missing_service_accounts: Vec::new(),
            changes: Vec::new(),
        }
    }
}

/// The result in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display, strum::EnumIter)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum ResultKind {
    /// The Secret was created.
    Created,
    /// The Secret or a ServiceAccount was changed.
    Updated,
    /// The namespace left the selection, and regcred's objects in it were removed.
    Removed,
    /// The namespace was in sync.
    Unchanged,
    /// The namespace is being deleted.
    Skipped,
    /// The Secret must not be changed.
    Refused,
    /// A request failed.
    Failed,
}

/// The report about one ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAccountReport {
    /// The name of the ServiceAccount.
    pub name: String,
    /// The result.
    pub result: ServiceAccountResult,
}

/// The result for a ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "camelCase")]
#[strum(serialize_all = "camelCase")]
pub enum ServiceAccountResult {
    /// A request failed.
    Failed,
    /// The ServiceAccount is gone.
    Gone,
    /// The list was changed.
    Patched,
    /// The ServiceAccount was in sync.
    Unchanged,
}

impl Report {
    /// Creates the report about these ClusterPullSecrets.
    #[must_use]
    pub fn new(dry_run: bool, cluster_pull_secrets: Vec<ClusterPullSecretReport>) -> Self {
        let in_sync = cluster_pull_secrets.iter().all(ClusterPullSecretReport::is_in_sync);
        let summary = summary(dry_run, &cluster_pull_secrets);
        Self { dry_run, in_sync, summary, cluster_pull_secrets }
    }

    /// Appends the ClusterPullSecrets that were left alone.
    #[must_use]
    pub fn with_left_alone(self, left_alone: Vec<ClusterPullSecretReport>) -> Self {
        Self::new(self.dry_run, self.cluster_pull_secrets.into_iter().chain(left_alone).collect())
    }

    /// Returns true if anything was written, or would be.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let writes = [ResultKind::Created, ResultKind::Updated, ResultKind::Removed];
        let mut namespaces = self.cluster_pull_secrets.iter().flat_map(|it| &it.namespaces);
        namespaces.any(|namespace| writes.contains(&namespace.result))
    }
}

impl ClusterPullSecretReport {
    /// Reports a ClusterPullSecret that is suspended or being deleted, which is no error.
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

    /// Reports an object of the cluster that is invalid.
    #[must_use]
    pub fn invalid(name: &str, errors: &FieldErrors) -> Self {
        let problems = errors.0.iter().map(|error| Problem {
            reason: ReadyReason::Invalid.into(),
            message: format!("{}: {}", error.path, error.detail),
        });
        Self {
            name: name.to_owned(),
            secret_name: SecretName::default(),
            left_alone: None,
            problems: problems.collect(),
            registries: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Returns true if the ClusterPullSecret was not reconciled: otherwise there is at least one registry.
    fn is_left_alone(&self) -> bool {
        self.registries.is_empty()
    }

    /// Returns true if a problem other than an empty selection kept its namespaces from being reconciled.
    fn is_blocked(&self) -> bool {
        let mut problems = self.problems.iter();
        !self.is_left_alone()
            && self.namespaces.is_empty()
            && problems.any(|it| it.reason != AppliedReason::NothingSelected.into())
    }

    fn is_in_sync(&self) -> bool {
        self.problems.is_empty()
            && self.registries.iter().all(|registry| registry.result == FetchedReason::Fetched)
            && !self.namespaces.iter().any(|it| matches!(it.result, ResultKind::Refused | ResultKind::Failed))
    }
}

/// Summarises the results: `1000 namespaces: 998 updated, 2 refused`.
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
        0 if active == 0 => "nothing was reconciled".to_owned(),
        0 if cluster_pull_secrets.iter().any(ClusterPullSecretReport::is_blocked) => {
            "no namespace was reconciled".to_owned()
        }
        0 => "no namespace is selected".to_owned(),
        1 => format!("1 {noun}: {}", counts.join(", ")),
        total => format!("{total} {noun}s: {}", counts.join(", ")),
    };
    let registries = cluster_pull_secrets.iter().flat_map(|it| &it.registries);
    let unread = match registries.filter(|registry| registry.result != FetchedReason::Fetched).count() {
        0 => String::new(),
        1 => "; 1 registry could not be read".to_owned(),
        unread => format!("; {unread} registries could not be read"),
    };
    let left_alone = match left_alone {
        0 => String::new(),
        1 => "; 1 ClusterPullSecret was left unchanged".to_owned(),
        left_alone => format!("; {left_alone} ClusterPullSecrets were left unchanged"),
    };
    format!("{dry_run}{targets}{unread}{left_alone}")
}
