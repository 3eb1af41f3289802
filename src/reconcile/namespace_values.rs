//! The values of the keys of single namespaces, for all namespaces at once.
//!
//! Pure. In go the values as read; out come the summary of each registry, and the last good values to record.

use std::sync::Arc;

use super::namespace_keys::{has_namespace_keys, keys_in};
use super::resolve::{OwnKeyResolver, Resolved};
use super::version_order::KeyOrder;
use crate::cluster::{Cluster, Namespace};
use crate::credential::StoreKey;
use crate::installation::Installation;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::NamespaceName;
use crate::provider::stores::Values;
use crate::rotator::AcceptedOlder;

/// Reports the keys of all namespaces with the registries that have some.
pub fn summarise(resolved: &mut Resolved, cluster: &Cluster, values: &Values) {
    let cluster_pull_secret = Arc::clone(&resolved.cluster_pull_secret);
    if has_namespace_keys(&cluster_pull_secret) {
        let namespaces = cluster.namespaces.iter();
        let keys = namespaces.flat_map(|(name, it)| keys_in(&cluster_pull_secret, name, it));
        resolved.summarise(&keys.collect::<Vec<_>>(), values);
    }
}

/// Records the values of the keys of these namespaces as the last good ones.
pub fn record<'a>(
    cluster_pull_secret: &Arc<ClusterPullSecret>,
    namespaces: impl IntoIterator<Item = (&'a NamespaceName, &'a Namespace)>,
    values: &Values,
    installation: &mut Installation,
    order: &dyn Fn(&StoreKey) -> KeyOrder,
    accepted_older: &AcceptedOlder,
) {
    if !has_namespace_keys(cluster_pull_secret) {
        return;
    }
    let own_keys = OwnKeyResolver::new(cluster_pull_secret, values);
    for (name, namespace) in namespaces {
        if !keys_in(cluster_pull_secret, name, namespace).is_empty() {
            let resolved = own_keys.resolve_in(name, &namespace.labels);
            resolved.with_order(order).record(installation, accepted_older);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ServiceAccount;
    use crate::reconcile::fixture::{cluster, cluster_pull_secret, namespace, store_key, values};

    #[test]
    fn value_of_each_namespace_is_recorded_under_its_own_key() {
        let mut teams = cluster_pull_secret("images", &["ghcr.io", "quay.io"]);
        teams.registries[0].store_key = store_key("teams/{{namespace}}");
        let teams = Arc::new(teams);
        let names = ["db", "gone", "web"];
        let cluster = cluster(names.map(|name| (name, namespace(None, ServiceAccount::default()))).into());
        let own = [("teams/db", "1", "dbs"), ("teams/gone", "1", ""), ("teams/web", "2", "webs")];
        let values = values(&[own[0], own[1], own[2], ("quay.io", "1", "shared")]);
        let mut installation = Installation::default();
        record(
            &teams,
            &cluster.namespaces,
            &values,
            &mut installation,
            &|_| KeyOrder::default(),
            &AcceptedOlder::default(),
        );
        let versions = names.map(|name| {
            let own = teams.registries[0].in_namespace(&name.into());
            installation.values().get("images", &own).map(|value| value.version.to_string())
        });
        assert_eq!(versions, [Some("1".to_owned()), None, Some("2".to_owned())]);
        let [template, shared] = &teams.registries[..] else { unreachable!() };
        assert!(installation.values().get("images", template).is_none(), "the template itself is no key");
        assert!(
            installation.values().get("images", shared).is_none(),
            "it is recorded once for all namespaces"
        );
    }

    #[test]
    fn later_recorded_value_is_replaced_where_it_was_given_up() {
        let mut teams = cluster_pull_secret("images", &["ghcr.io"]);
        teams.registries[0].store_key = store_key("teams/{{namespace}}");
        let teams = Arc::new(teams);
        let cluster = cluster(vec![("web", namespace(None, ServiceAccount::default()))]);
        let own = teams.registries[0].in_namespace(&"web".into());
        for (given_up, expect) in [(None, "2"), (Some("2".into()), "1")] {
            let mut installation = Installation::default();
            let order = |_: &StoreKey| KeyOrder { given_up: given_up.clone(), ..KeyOrder::default() };
            for version in ["2", "1"] {
                let values = values(&[("teams/web", version, version)]);
                record(
                    &teams,
                    &cluster.namespaces,
                    &values,
                    &mut installation,
                    &order,
                    &AcceptedOlder::default(),
                );
            }
            let value = installation.values().get("images", &own).expect("a value");
            assert_eq!(value.version.to_string(), expect);
        }
    }
}
