//! Resolves the registries with a key for each namespace, in many namespaces.
//!
//! Pure. The values of shared keys are parsed once for all namespaces: only their hosts count here, which no later
//! registry gets.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Resolved, Resolver};
use crate::docker_config::host_key::HostKey;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_map::ObjectMap;
use crate::object_name::NamespaceName;
use crate::provider::stores::Values;

/// The registries of one ClusterPullSecret, with the hosts of those whose keys all namespaces share.
pub struct OwnKeyResolver<'a> {
    cluster_pull_secret: &'a Arc<ClusterPullSecret>,
    values: &'a Values,
    /// The hosts of each registry with a shared key; none where the registry failed or has a key of each namespace.
    shared_hosts: Vec<BTreeSet<HostKey>>,
}

impl<'a> OwnKeyResolver<'a> {
    /// Parses the values of the shared keys.
    #[must_use]
    pub fn new(cluster_pull_secret: &'a Arc<ClusterPullSecret>, values: &'a Values) -> Self {
        let resolver = Resolver::new(cluster_pull_secret, values);
        let shared_hosts = cluster_pull_secret.registries.iter().map(|source| {
            let fetched = (!source.store_key.is_per_namespace()).then(|| resolver.fetch(source).ok());
            let config = fetched.flatten().map(|fetched| fetched.credentials.config);
            config.unwrap_or_default().auths.into_keys().collect()
        });
        let shared_hosts = shared_hosts.collect();
        Self { cluster_pull_secret, values, shared_hosts }
    }

    /// Resolves the registries that a namespace has a key of its own for, as
    /// [`resolve_in`](super::resolve_in) does.
    #[must_use]
    pub fn resolve_in(&self, namespace_name: &NamespaceName, labels: &ObjectMap<String, String>) -> Resolved {
        let mut resolver = Resolver::new(self.cluster_pull_secret, self.values);
        let ClusterPullSecret { registries, admission, .. } = self.cluster_pull_secret.as_ref();
        for (source, shared_hosts) in registries.iter().zip(&self.shared_hosts) {
            if !admission.admits_namespace(&source.store_key.store, namespace_name, labels) {
                continue;
            }
            if source.store_key.is_per_namespace() {
                resolver.fetch_next(source.in_namespace(namespace_name));
            } else if shared_hosts.is_disjoint(&resolver.hosts) {
                resolver.hosts.extend(shared_hosts.iter().cloned());
            }
        }
        resolver.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve_in;
    use super::super::tests::docker_config;
    use super::*;
    use crate::credential::StoreKey;
    use crate::manifest::admission::tests::admission;
    use crate::reconcile::fixture::{cluster_pull_secret, store_key};
    use crate::reconcile::resolve::ResolvedRegistry;

    /// `key: result, hosts` of a registry.
    fn line(registry: &ResolvedRegistry) -> String {
        let hosts = registry.fetched.iter().flat_map(|it| it.config.auths.keys());
        let hosts: Vec<_> = hosts.map(HostKey::as_str).collect();
        format!("{}: {}, {}", registry.source.store_key, registry.report.result, hosts.join("+"))
    }

    /// The registries of `keys`, each a whole docker config, and `false` where the store admits another namespace.
    fn resolved(keys: [&str; 3], is_first_admitted: bool) -> Vec<String> {
        let mut images = cluster_pull_secret("images", &["*", "*", "*"]);
        for (registry, key) in images.registries.iter_mut().zip(keys) {
            registry.store_key = store_key(key);
        }
        if !is_first_admitted {
            images.admission = admission(Some(&["team-*"]), None);
            images.registries[1..].iter_mut().for_each(|it| it.store_key.store = "aws".into());
        }
        let mut values = Values::new();
        for (key, hosts) in [
            ("shared", ["ghcr.io", "quay.io"].as_slice()),
            ("more", &["quay.io", "gcr.io"]),
            ("teams/web", &["gcr.io", "docker.io"]),
            ("teams/web/b", &["ghcr.io", "other.io"]),
        ] {
            for store in ["vault", "aws"] {
                let value = docker_config(hosts).into_values().next().expect("a value");
                values.insert(StoreKey { store: store.into(), ..store_key(key) }, value);
            }
        }
        let (images, web, labels) = (Arc::new(images), "web".into(), ObjectMap::default());
        let own = OwnKeyResolver::new(&images, &values).resolve_in(&web, &labels);
        let all = resolve_in(&images, &web, &labels, &values);
        let own: Vec<_> = own.registries.iter().map(line).collect();
        let expect = all.registries.iter().filter(|it| it.source.store_key.key.to_string().contains("web"));
        assert_eq!(own, expect.map(line).collect::<Vec<_>>());
        own
    }

    #[test]
    fn registry_with_an_own_key_gets_no_host_of_an_earlier_one() {
        let own = "teams/{{namespace}}";
        let other = "teams/{{namespace}}/b";
        let fetched = "store vault, key teams/web: Fetched, docker.io+gcr.io";
        assert_eq!(resolved(["shared", own, "more"], true), [fetched]);
        assert_eq!(resolved(["shared", other, own], true)[0], "store vault, key teams/web/b: Malformed, ");
        // The second one fails because of the first, and keeps no host from the third.
        assert_eq!(resolved(["shared", "more", own], true), [fetched]);
        assert_eq!(resolved([own, "more", other], true).len(), 2);
    }

    #[test]
    fn registry_not_admitted_keeps_no_host_from_an_own_key() {
        let other = "teams/{{namespace}}/b";
        let fetched = "store aws, key teams/web/b: Fetched, ghcr.io+other.io";
        assert_eq!(resolved(["shared", "more", other], false), [fetched]);
    }
}
