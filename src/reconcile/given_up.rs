//! The later versions that a run replaces, because `--accept-older` permits it.
//!
//! Pure but for the log. In go the plans of namespaces, out come messages for the registries.

use std::collections::BTreeMap;

use tracing::warn;

use super::plan::{ClusterPullSecretPlan, NamespacePlan};
use super::target::Action;
use crate::credential::{Key, StoreKey};
use crate::object_name::NamespaceName;
use crate::rotator::VersionConflict;

/// A registry: the index of its ClusterPullSecret, and its key.
type IndexedKey = (usize, StoreKey);

/// The first version that was given up for each registry, with its namespace and the number of namespaces.
#[derive(Default)]
pub(super) struct GivenUp(BTreeMap<IndexedKey, (VersionConflict, NamespaceName, usize)>);

impl GivenUp {
    /// Adds the versions that the plan of a namespace replaces.
    pub(super) fn add(&mut self, plan: &NamespacePlan) {
        for target in &plan.targets {
            let Action::Apply { content, .. } = &target.action else { continue };
            let observed = plan.secrets.get(&target.owner.secret_name);
            for conflict in content.fetched.given_up(observed) {
                let registry = (target.cluster_pull_secret, conflict.store_key.clone());
                self.0.entry(registry).or_insert((conflict, plan.name.clone(), 0)).2 += 1;
            }
        }
    }

    /// Adds those of other namespaces.
    pub(super) fn extend(&mut self, other: Self) {
        for (registry, (conflict, namespace, count)) in other.0 {
            self.0.entry(registry).or_insert((conflict, namespace, 0)).2 += count;
        }
    }

    /// Logs them, and reports them with each registry.
    pub(super) fn report(self, cluster_pull_secrets: &mut [ClusterPullSecretPlan]) {
        for ((index, store_key), (conflict, namespace, namespaces)) in self.0 {
            let (held, fetched) = (conflict.held.with_time(), conflict.fetched.with_time());
            warn!(%store_key, %held, %fetched, namespaces, "writing an older version, as --accept-older permits");
            let message = format!(
                "version {fetched} replaces the later version {held} in {namespaces} namespaces, as --accept-older permits"
            );
            let registries = cluster_pull_secrets[index].registries.iter_mut();
            let registries = registries.filter(|it| {
                it.store == store_key.store.0 && Key::from(&*it.key).in_namespace(&namespace) == store_key.key
            });
            for registry in registries {
                registry.message = Some(message.clone());
            }
        }
    }
}
