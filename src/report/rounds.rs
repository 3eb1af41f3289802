//! Merges the reports of the rounds of one run.
//!
//! Pure. The report of a later round replaces that of an earlier one, and keeps what the earlier one wrote.

use std::collections::BTreeMap;

use super::{ClusterPullSecretReport, NamespaceReport, Report, ResultKind};
use crate::manifest::status::reason::AppliedReason;
use crate::object_name::NamespaceName;
use crate::rotator::VersionConflict;

impl Report {
    /// Returns the versions in Secrets that ask for another read of the store.
    #[must_use]
    pub fn version_conflicts(&self) -> Vec<(NamespaceName, VersionConflict)> {
        let namespaces = self.cluster_pull_secrets.iter().flat_map(|it| &it.namespaces);
        namespaces.filter_map(|it| Some((it.namespace.clone(), it.version_conflict.clone()?))).collect()
    }

    /// Merges the report of a later round over the same ClusterPullSecrets.
    #[must_use]
    pub fn followed_by(self, later: Self) -> Self {
        let pairs = self.cluster_pull_secrets.into_iter().zip(later.cluster_pull_secrets);
        Self::new(later.dry_run, pairs.map(|(earlier, later)| earlier.followed_by(later)).collect())
    }

    /// Adds the fix to the message of every Secret that was not written for its version, and of a namespace without
    /// its ServiceAccount. The controller needs none: it waits.
    #[must_use]
    pub fn with_hints(mut self) -> Self {
        for namespace in self.cluster_pull_secrets.iter_mut().flat_map(|it| &mut it.namespaces) {
            if namespace.reason == Some(AppliedReason::ServiceAccountMissing.into()) {
                namespace.message.iter_mut().for_each(|message| message.push_str(". Run again"));
            }
            let Some(conflict) = &namespace.version_conflict else { continue };
            let hint = if conflict.is_ordered() {
                "If the store was restored from a backup, pass --accept-older"
            } else {
                "Run again"
            };
            namespace.message = Some(format!("{conflict}. {hint}"));
        }
        self
    }
}

impl ClusterPullSecretReport {
    fn followed_by(self, later: Self) -> Self {
        // A namespace that is gone needs no version.
        let earlier = self.namespaces.into_iter().filter(|it| it.version_conflict.is_none());
        let mut namespaces: BTreeMap<NamespaceName, NamespaceReport> =
            earlier.map(|it| (it.namespace.clone(), it)).collect();
        for later in later.namespaces {
            let is_kept = namespaces
                .get(&later.namespace)
                .is_some_and(|earlier| earlier.is_ok() && later.result == ResultKind::Unchanged);
            if !is_kept {
                namespaces.insert(later.namespace.clone(), later);
            }
        }
        Self { namespaces: namespaces.into_values().collect(), ..later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotator::Outcome;

    fn namespace(name: &str, result: ResultKind) -> NamespaceReport {
        NamespaceReport::new(name.into(), result)
    }

    fn outdated(name: &str, held: &str) -> NamespaceReport {
        let conflict = VersionConflict {
            host: crate::reconcile::fixture::host_key("ghcr.io"),
            store_key: crate::reconcile::fixture::store_key("ci/ghcr"),
            held: held.into(),
            fetched: "6".into(),
        };
        NamespaceReport::from_outcome(&name.into(), Ok(Outcome::Outdated(conflict)))
    }

    fn report(namespaces: Vec<NamespaceReport>) -> Report {
        let report = ClusterPullSecretReport {
            name: "images".to_owned(),
            secret_name: "regcred".into(),
            left_alone: None,
            problems: Vec::new(),
            registries: Vec::new(),
            namespaces,
        };
        Report::new(false, vec![report])
    }

    fn results(report: &Report) -> Vec<(&str, ResultKind)> {
        let namespaces = report.cluster_pull_secrets[0].namespaces.iter();
        namespaces.map(|it| (it.namespace.as_str(), it.result)).collect()
    }

    #[test]
    fn later_round_replaces_outdated_and_keeps_written() {
        use ResultKind::{Created, Failed, Removed, Unchanged, Updated};
        let first = report(vec![
            namespace("a", Created),
            namespace("b", Removed),
            outdated("c", "7"),
            namespace("d", Failed),
            namespace("e", Updated),
            outdated("gone", "7"),
        ]);
        assert!(first.version_conflicts().len() == 2 && !first.in_sync);
        let second = report(vec![
            namespace("a", Unchanged),
            namespace("c", Updated),
            namespace("d", Unchanged),
            namespace("e", Failed),
            namespace("new", Created),
        ]);
        let merged = first.followed_by(second);
        let expect = [
            ("a", Created),
            ("b", Removed),
            ("c", Updated),
            ("d", Unchanged),
            ("e", Failed),
            ("new", Created),
        ];
        assert_eq!(results(&merged), expect);
        assert!(merged.version_conflicts().is_empty());
    }

    #[test]
    fn outdated_namespace_is_refused_with_the_fix() {
        let report = report(vec![outdated("ordered", "7"), outdated("unordered", "6a7e-8feb")]);
        assert!(!report.in_sync);
        let report = report.with_hints();
        let [ordered, unordered] = report.cluster_pull_secrets[0].namespaces.as_slice() else { panic!() };
        assert_eq!(ordered.reason, Some(AppliedReason::OlderVersion.into()));
        assert_eq!(
            ordered.message.as_deref(),
            Some(
                "store vault, key ci/ghcr: version 6 is older than version 7, which this Secret holds for ghcr.io. If the store was restored from a backup, pass --accept-older"
            )
        );
        assert!(unordered.message.as_deref().is_some_and(|message| message.ends_with("Run again")));
    }
}
