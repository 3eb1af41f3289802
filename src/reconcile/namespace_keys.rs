//! The keys that a ClusterPullSecret reads: those that all namespaces share, and those of each namespace.
//!
//! Pure. A key outside of what its store may serve is not among them, so that no request is made for it; the
//! `keys` of a store are checked by the store itself.

use std::collections::BTreeSet;

use crate::cluster::{Cluster, Namespace};
use crate::credential::{StoreKey, StoredValue};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, RegistrySource};
use crate::manifest::status::reason::FetchedReason;
use crate::object_name::NamespaceName;
use crate::provider::Error;
use crate::provider::stores::Values;
use crate::report::RegistryReport;

/// A key of one namespace, with the index of its registry.
pub type NamespaceKey = (usize, StoreKey);

/// Returns the keys that all namespaces share.
pub fn shared_keys(cluster_pull_secret: &ClusterPullSecret) -> impl Iterator<Item = &StoreKey> {
    let registries = readable(cluster_pull_secret).map(|(_, registry)| &registry.store_key);
    registries.filter(|store_key| !store_key.is_per_namespace())
}

/// Returns true if a registry has a key for each namespace.
#[must_use]
pub fn has_namespace_keys(cluster_pull_secret: &ClusterPullSecret) -> bool {
    cluster_pull_secret.registries.iter().any(|registry| registry.store_key.is_per_namespace())
}

/// Returns the keys of one namespace: none where the namespace is not selected, is being deleted, or may not
/// hold credentials of the store, and none once the Secrets are being deleted.
#[must_use]
pub fn keys_in(
    cluster_pull_secret: &ClusterPullSecret,
    namespace_name: &NamespaceName,
    namespace: &Namespace,
) -> Vec<NamespaceKey> {
    let ClusterPullSecret { selection, admission, .. } = cluster_pull_secret;
    let is_needed = !namespace.terminating && !cluster_pull_secret.is_deleting_secrets();
    if !is_needed || !selection.selects(namespace_name, &namespace.labels) {
        return Vec::new();
    }
    readable(cluster_pull_secret)
        .filter(|(_, registry)| registry.store_key.is_per_namespace())
        .filter(|(_, registry)| {
            admission.admits_namespace(&registry.store_key.store, namespace_name, &namespace.labels)
        })
        .map(|(index, registry)| (index, registry.store_key.in_namespace(namespace_name)))
        .collect()
}

/// Returns the keys of every namespace, for these ClusterPullSecrets.
#[must_use]
pub fn keys_of_namespaces<'a>(
    cluster_pull_secrets: impl IntoIterator<Item = &'a ClusterPullSecret>,
    cluster: &Cluster,
) -> BTreeSet<StoreKey> {
    let with_keys = cluster_pull_secrets.into_iter().filter(|it| has_namespace_keys(it));
    let keys = with_keys
        .flat_map(|it| cluster.namespaces.iter().flat_map(|(name, namespace)| keys_in(it, name, namespace)));
    keys.map(|(_, store_key)| store_key).collect()
}

/// Returns the registries that their stores may serve, each with its index.
fn readable(cluster_pull_secret: &ClusterPullSecret) -> impl Iterator<Item = (usize, &RegistrySource)> {
    let ClusterPullSecret { registries, admission, .. } = cluster_pull_secret;
    registries.iter().enumerate().filter(|(_, registry)| {
        registry.host.as_ref().is_none_or(|host| admission.admits_host(&registry.store_key.store, host))
    })
}

/// The reads of the keys of one registry, one key for each namespace.
#[derive(Debug, Default)]
pub struct KeySummary {
    read: usize,
    failed: usize,
    first_failure: Option<(FetchedReason, String)>,
}

impl KeySummary {
    /// Summarises the keys of the registry at this index.
    #[must_use]
    pub fn new<'a>(index: usize, keys: impl IntoIterator<Item = &'a NamespaceKey>, values: &Values) -> Self {
        let mut summary = Self::default();
        for (_, store_key) in keys.into_iter().filter(|(of, _)| *of == index) {
            if let Some(value) = values.get(store_key) {
                summary.add(value);
            }
        }
        summary
    }

    fn add(&mut self, value: &Result<StoredValue, Error>) {
        match value {
            Ok(_) => self.read += 1,
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert_with(|| (error.reason(), error.to_string()));
            }
        }
    }

    /// Writes the summary into the report of the registry. The registry failed if no key could be read;
    /// otherwise the failures are those of single namespaces.
    pub fn apply_to(&self, report: &mut RegistryReport) {
        report.result = FetchedReason::Fetched;
        report.message = self.first_failure.as_ref().map(|(reason, message)| {
            if self.read == 0 {
                report.result = *reason;
            }
            let total = self.read + self.failed;
            format!("{} of {total} keys could not be read, such as {message}", self.failed)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ServiceAccount;
    use crate::manifest::admission::tests::admission;
    use crate::manifest::selection::Patterns;
    use crate::provider::{ErrorKind, SealedPart};
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, store_key};

    /// `images` with the shared key `quay.io`, and the key `teams/{{namespace}}` for ghcr.io.
    fn images() -> ClusterPullSecret {
        let mut images = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
        images.registries[0].store_key = store_key("teams/{{namespace}}");
        images
    }

    fn names(keys: &[NamespaceKey]) -> Vec<&str> {
        keys.iter().map(|(_, store_key)| store_key.key.0.as_str()).collect()
    }

    fn bare() -> Namespace {
        namespace(None, ServiceAccount::default())
    }

    #[test]
    fn keys_are_either_shared_or_of_one_namespace() {
        let images = images();
        assert_eq!(shared_keys(&images).collect::<Vec<_>>(), [&store_key("quay.io")]);
        assert_eq!(names(&keys_in(&images, &"web".into(), &bare())), ["teams/web"]);
        assert!(has_namespace_keys(&images));
        assert!(!has_namespace_keys(&cluster_pull_secret("shared", &["ghcr.io"])));
        let cluster = cluster(vec![("db", bare()), ("web", bare())]);
        let keys = keys_of_namespaces([&images], &cluster);
        assert_eq!(keys, ["teams/db", "teams/web"].map(store_key).into());
    }

    #[test]
    fn namespace_out_of_reach_has_no_key() {
        let mut images = images();
        let terminating = Namespace { terminating: true, ..bare() };
        assert!(keys_in(&images, &"web".into(), &terminating).is_empty());
        images.admission = admission(Some(&["team-*"]), None);
        assert!(keys_in(&images, &"web".into(), &bare()).is_empty());
        assert_eq!(names(&keys_in(&images, &"team-a".into(), &bare())), ["teams/team-a"]);
        images.selection.exclude = Patterns::compile(&["team-a".to_owned()]).expect("a name");
        assert!(keys_in(&images, &"team-a".into(), &bare()).is_empty());
    }

    #[test]
    fn key_of_a_host_not_admitted_is_not_read() {
        let mut images = images();
        images.admission = admission(None, Some(&["docker.io"]));
        assert_eq!(shared_keys(&images).count(), 0);
        assert!(keys_in(&images, &"web".into(), &bare()).is_empty());
    }

    #[track_caller]
    fn check_summary(outcomes: &[Option<ErrorKind>], result: FetchedReason, message: Option<&str>) {
        let keys: Vec<_> = (0..outcomes.len()).map(|n| (0, store_key(&n.to_string()))).collect();
        let values = keys.iter().zip(outcomes).map(|((_, store_key), outcome)| {
            let value = StoredValue {
                version: "1".into(),
                bytes: b"pw".to_vec().into(),
                expiry: None,
                account: None,
            };
            let value = outcome.clone().map_or(Ok(value), |kind| Err(kind.at(store_key.clone())));
            (store_key.clone(), value)
        });
        let mut report = RegistryReport {
            host: "ghcr.io".into(),
            store: "vault".into(),
            key: "teams/{{namespace}}".into(),
            version: None,
            result: FetchedReason::Sealed,
            message: Some("old".into()),
            is_host_denied: false,
        };
        KeySummary::new(0, &keys, &values.collect()).apply_to(&mut report);
        assert_eq!((report.result, report.message.as_deref()), (result, message));
    }

    #[test]
    fn registry_fails_only_where_every_key_does() {
        check_summary(&[None, None], FetchedReason::Fetched, None);
        check_summary(&[], FetchedReason::Fetched, None);
        check_summary(
            &[None, Some(ErrorKind::NotFound), Some(ErrorKind::Sealed(SealedPart::Vault))],
            FetchedReason::Fetched,
            Some("2 of 3 keys could not be read, such as store vault, key 1: not found"),
        );
        check_summary(
            &[Some(ErrorKind::Sealed(SealedPart::Vault))],
            FetchedReason::Sealed,
            Some("1 of 1 keys could not be read, such as store vault, key 0: the Vault is sealed"),
        );
    }
}
