//! What the pull secret of each namespace is to hold.
//!
//! Pure. Where every read succeeded the bytes are the same in every namespace, so that nodes can share
//! what they have verified. Where one failed, that registry keeps its last good entry and its
//! neighbours in the same Secret are still updated.

use std::sync::Arc;

use super::last_good::{self, Entries, Entry};
use super::resolve::{FetchedCredentials, Resolved, ResolvedRegistry};
use crate::cluster::{Cluster, Namespace};
use crate::docker_config::host_key::HostKey;
use crate::docker_config::{DockerConfig, versions};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::report::RegistryReport;
use crate::rotator::Content;

/// The content for each namespace: one and the same for all where every read succeeded.
pub struct DesiredSecret {
    resolved: Resolved,
    /// The content where nothing has to be kept; `None` where a read failed.
    fresh: Option<Arc<Content>>,
    /// What other namespaces remember; empty where every read succeeded.
    elsewhere: Entries,
}

impl DesiredSecret {
    /// What `resolved` gives, with the memory of `cluster` where a read failed.
    #[must_use]
    pub fn new(resolved: Resolved, cluster: &Cluster) -> Self {
        let mut contents = Self { resolved, fresh: None, elsewhere: Entries::new() };
        if contents.is_complete() {
            contents.fresh = render(contents.entries(&Entries::new()));
        }
        contents.remember(cluster);
        contents
    }

    /// Looks again for what other namespaces remember, where something could not be read.
    pub fn remember(&mut self, cluster: &Cluster) {
        if !self.is_complete() {
            self.elsewhere = last_good::of_cluster(cluster, &self.resolved.cluster_pull_secret);
        }
    }

    /// The ClusterPullSecret it is the content of.
    #[must_use]
    pub fn cluster_pull_secret(&self) -> &Arc<ClusterPullSecret> {
        &self.resolved.cluster_pull_secret
    }

    /// What the stores said of each registry.
    #[must_use]
    pub fn registries(&self) -> Vec<RegistryReport> {
        self.resolved.registries.iter().map(|registry| registry.report.clone()).collect()
    }

    /// Whether every registry could be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.resolved.registries.iter().all(|registry| registry.fresh.is_some())
    }

    /// Whether every registry gives what it gave: the same credentials, or none again.
    #[must_use]
    pub fn gives_the_same(&self, resolved: &Resolved) -> bool {
        let is_same = |(before, after): (Option<&FetchedCredentials>, Option<&FetchedCredentials>)| match (
            before, after,
        ) {
            (Some(before), Some(after)) => before.config.is_same_as(&after.config),
            (None, None) => true,
            _ => false,
        };
        self.resolved.registries.len() == resolved.registries.len() && self.beside(resolved).all(is_same)
    }

    /// Whether a registry that gave a credential gives another one.
    #[must_use]
    pub fn is_rotated_by(&self, resolved: &Resolved) -> bool {
        let is_other = |(before, after): (Option<&FetchedCredentials>, Option<&FetchedCredentials>)| match (
            before, after,
        ) {
            (Some(before), Some(after)) => !before.config.is_same_as(&after.config),
            _ => false,
        };
        self.beside(resolved).any(is_other)
    }

    /// What each registry gave, and what it gives.
    fn beside<'a>(
        &'a self,
        resolved: &'a Resolved,
    ) -> impl Iterator<Item = (Option<&'a FetchedCredentials>, Option<&'a FetchedCredentials>)> {
        let pairs = self.resolved.registries.iter().zip(&resolved.registries);
        pairs.map(|(before, after)| (before.fresh.as_ref(), after.fresh.as_ref()))
    }

    /// Takes over what the stores said this time, where that gives the same.
    pub fn tell(&mut self, resolved: Resolved) {
        self.resolved = resolved;
    }

    /// The content for one namespace; `None` where no registry has a credential for it.
    #[must_use]
    pub fn of(&self, namespace: &Namespace) -> Option<Arc<Content>> {
        if let Some(fresh) = &self.fresh {
            return Some(Arc::clone(fresh));
        }
        let own = last_good::own(namespace, &self.resolved.cluster_pull_secret);
        render(self.entries(&own.map(last_good::of_secret).unwrap_or_default()))
    }

    /// Fresh entries where there are any, else what this namespace has, else what another one has.
    fn entries(&self, own: &Entries) -> Entries {
        let mut entries = Entries::new();
        let registries = &self.resolved.registries;
        for fresh in registries.iter().filter_map(|registry| registry.fresh.as_ref()) {
            entries.extend(fresh.config.auths.iter().map(|(host, credential)| {
                (host.clone(), Entry { credential: credential.clone(), origin: fresh.origin.clone() })
            }));
        }
        for registry in registries.iter().filter(|registry| registry.fresh.is_none()) {
            for (host, entry) in self.kept(registry, own) {
                entries.entry(host.clone()).or_insert_with(|| entry.clone());
            }
        }
        entries
    }

    /// The last good entries of a registry whose read failed.
    fn kept<'e>(&'e self, registry: &ResolvedRegistry, own: &'e Entries) -> Vec<(&'e HostKey, &'e Entry)> {
        match &registry.source.host {
            Some(host) => {
                own.get_key_value(host).or_else(|| self.elsewhere.get_key_value(host)).into_iter().collect()
            }
            // A docker config taken whole: whatever came from its store and no other registry names.
            None => {
                let store = &registry.source.store_key.store;
                let entries = if own.is_empty() { &self.elsewhere } else { own };
                let is_its_own =
                    |(host, entry): &(&HostKey, &Entry)| entry.origin.store == *store && !self.is_named(host);
                entries.iter().filter(is_its_own).collect()
            }
        }
    }

    /// Whether a registry names this host by itself.
    fn is_named(&self, host: &HostKey) -> bool {
        self.resolved
            .cluster_pull_secret
            .registries
            .iter()
            .any(|registry| registry.host.as_ref() == Some(host))
    }
}

fn render(entries: Entries) -> Option<Arc<Content>> {
    if entries.is_empty() {
        return None;
    }
    let versions = versions::render(entries.iter().map(|(host, entry)| (host, &entry.origin)));
    let auths = entries.into_iter().map(|(host, entry)| (host, entry.credential)).collect();
    Some(Arc::new(Content { docker_config: Arc::new(DockerConfig { auths }.render()), versions }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Secret, ServiceAccount};
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, secret, values};
    use crate::reconcile::resolve;
    use secrecy::ExposeSecret;

    /// `host=store:version password` for each entry of the content for the namespace `here`.
    #[track_caller]
    fn check(
        hosts: &[&str],
        read: &[(&str, &str, &str)],
        here: Option<Secret>,
        elsewhere: Option<Secret>,
        expect: &[&str],
    ) {
        let cluster_pull_secret = Arc::new(cluster_pull_secret("images", hosts));
        let resolved = resolve::resolve(&cluster_pull_secret, &values(read));
        let namespace = |secret| namespace(secret, ServiceAccount::default());
        let cluster = cluster(vec![("here", namespace(here)), ("elsewhere", namespace(elsewhere))]);
        let content = DesiredSecret::new(resolved, &cluster).of(&cluster.namespaces["here"]);
        let entries = content.map(|content| {
            let config = DockerConfig::parse_lenient(content.docker_config.expose_secret());
            let origins = content.versions.split(',').map(str::to_owned);
            let passwords = config.auths.into_values().map(|it| it.password.expose_secret().to_owned());
            origins
                .zip(passwords)
                .map(|(origin, password)| format!("{origin} {password}"))
                .collect::<Vec<_>>()
        });
        assert_eq!(entries.unwrap_or_default(), expect);
    }

    #[test]
    fn what_was_read_is_what_is_written() {
        let old = || Some(secret("1", &[("ghcr.io", "1", "old"), ("gone.io", "1", "gone")]));
        check(&["ghcr.io"], &[("ghcr.io", "2", "new")], old(), old(), &["ghcr.io=vault:2 new"]);
    }

    #[test]
    fn a_failed_registry_keeps_its_last_good_entry_and_its_neighbours_are_updated() {
        let old = secret("1", &[("ghcr.io", "1", "old"), ("quay.io", "4", "kept")]);
        let read = [("ghcr.io", "2", "new"), ("quay.io", "5", "")];
        check(
            &["ghcr.io", "quay.io"],
            &read,
            Some(old),
            None,
            &["ghcr.io=vault:2 new", "quay.io=vault:4 kept"],
        );
    }

    #[test]
    fn a_new_namespace_gets_the_last_good_value_from_the_cluster() {
        let other = || Some(secret("7", &[("ghcr.io", "1", "known")]));
        check(&["ghcr.io"], &[("ghcr.io", "2", "")], None, other(), &["ghcr.io=vault:1 known"]);
    }

    #[test]
    fn what_a_namespace_has_goes_before_what_another_one_has() {
        let here = Some(secret("1", &[("ghcr.io", "1", "own")]));
        let elsewhere = Some(secret("9", &[("ghcr.io", "2", "other")]));
        check(&["ghcr.io"], &[("ghcr.io", "3", "")], here, elsewhere, &["ghcr.io=vault:1 own"]);
    }

    #[test]
    fn without_any_memory_only_the_neighbours_are_written() {
        let read = [("ghcr.io", "2", "new"), ("quay.io", "5", "")];
        check(&["ghcr.io", "quay.io"], &read, None, None, &["ghcr.io=vault:2 new"]);
        check(&["quay.io"], &read, None, None, &[]);
    }

    #[test]
    fn a_docker_config_taken_whole_keeps_the_hosts_nobody_else_names() {
        let old = secret("1", &[("a.io", "1", "kept"), ("ghcr.io", "1", "old")]);
        let read = [("ghcr.io", "2", "new"), ("*", "5", "")];
        check(&["*", "ghcr.io"], &read, Some(old), None, &["a.io=vault:1 kept", "ghcr.io=vault:2 new"]);
    }

    #[test]
    fn credentials_are_byte_identical_in_every_namespace() {
        let cluster_pull_secret = Arc::new(cluster_pull_secret("images", &["ghcr.io"]));
        let resolved = resolve::resolve(&cluster_pull_secret, &values(&[("ghcr.io", "1", "pw")]));
        let cluster = cluster(vec![
            ("a", namespace(None, ServiceAccount::default())),
            ("b", namespace(Some(secret("1", &[("ghcr.io", "0", "x")])), ServiceAccount::default())),
        ]);
        let contents = DesiredSecret::new(resolved, &cluster);
        let of = |name: &str| contents.of(&cluster.namespaces[name]).expect("a credential");
        assert!(Arc::ptr_eq(&of("a"), &of("b")));
    }
}
