//! The keys that the poll asks for, and the effective interval in the statuses where a store has more keys than
//! its budget allows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Controller;
use super::object_state::ObjectState;
use crate::credential::StoreName;
use crate::manifest::config::Store;
use crate::trigger::poll::{self, KnownVersions, effective_interval};

impl Controller {
    /// Publishes to the poll which keys are in use, and the version of each that is known.
    pub(super) fn publish_known_versions(&mut self) {
        let active = self.objects.values().filter(|state| state.is_active());
        let used: BTreeSet<_> = active.flat_map(ObjectState::store_keys).collect();
        let known_versions = self.fetches.known_versions();
        let current: KnownVersions = known_versions
            .filter(|(store_key, _)| used.contains(store_key))
            .map(|(store_key, version)| (store_key.clone(), version.cloned()))
            .collect();
        self.update_poll_intervals(&current);
        poll::publish(&self.context.known_versions, current);
    }

    /// Updates the intervals after a change of the keys that are polled.
    fn update_poll_intervals(&mut self, polled: &KnownVersions) {
        let Some(interval) = self.context.poll_interval else { return };
        let longer = longer_intervals(&self.context.store_configs, polled, interval);
        for name in share_intervals(&mut self.objects, longer) {
            self.publish_soon(&name, Instant::now());
        }
    }
}

/// Gives every state the same map; returns the names of those for which it is another one than before.
fn share_intervals(
    objects: &mut BTreeMap<String, ObjectState>,
    intervals: BTreeMap<StoreName, Duration>,
) -> Vec<String> {
    let known = objects.values().map(|state| &state.poll_intervals).find(|it| ***it == intervals);
    let shared = known.map_or_else(|| Arc::new(intervals), Arc::clone);
    let outdated = objects.iter_mut().filter(|(_, state)| state.poll_intervals != shared);
    let changed = outdated.map(|(name, state)| {
        state.poll_intervals = Arc::clone(&shared);
        name.clone()
    });
    changed.collect()
}

/// Returns the interval of each store that is polled less often than `interval`.
fn longer_intervals(
    stores: &[Store],
    polled: &KnownVersions,
    interval: Duration,
) -> BTreeMap<StoreName, Duration> {
    let mut keys: BTreeMap<&StoreName, usize> = BTreeMap::new();
    for store_key in polled.keys() {
        *keys.entry(&store_key.store).or_default() += 1;
    }
    let intervals = stores.iter().filter(|store| store.backend.has_versions()).filter_map(|store| {
        let (name, keys) = keys.get_key_value(&StoreName(store.name.clone()))?;
        let effective = effective_interval(*keys, store.max_polls_per_second, interval);
        (effective > interval).then(|| ((*name).clone(), effective))
    });
    intervals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::StoreKey;
    use crate::manifest::config::{Backend, FileStore, SecretsManagerStore};
    use crate::reconcile::fixture::cluster_pull_secret;

    fn store(name: &str, backend: Backend) -> Store {
        Store {
            name: name.to_owned(),
            keys: None,
            admission: Arc::default(),
            max_polls_per_second: 20,
            backend,
        }
    }

    fn aws() -> Backend {
        let region = "eu-west-1".to_owned();
        Backend::AwsSecretsManager(SecretsManagerStore { region, endpoint_url: None, role_arn: None })
    }

    #[test]
    fn interval_is_longer_for_stores_with_many_keys_and_versions() {
        let files = Backend::File(FileStore { directory: "/nonexistent".into() });
        let stores =
            [store("few", aws()), store("many", aws()), store("files", files), store("unused", aws())];
        let keys = [("few", 200), ("many", 1000), ("files", 1000)];
        let polled = keys.iter().flat_map(|(store, count)| {
            (0..*count)
                .map(|n| (StoreKey { store: (*store).into(), key: n.to_string().as_str().into() }, None))
        });
        let longer = longer_intervals(&stores, &polled.collect(), Duration::from_secs(10));
        assert_eq!(longer, [("many".into(), Duration::from_secs(50))].into());
    }

    #[test]
    fn intervals_are_kept_once_for_all_objects() {
        let state = |name: &str| ObjectState::new(Arc::new(cluster_pull_secret(name, &["ghcr.io"])));
        let mut objects: BTreeMap<_, _> = ["a", "b"].map(|name| (name.to_owned(), state(name))).into();
        let intervals = || [("many".into(), Duration::from_secs(50))].into();
        assert_eq!(share_intervals(&mut objects, BTreeMap::new()), Vec::<String>::new());
        assert_eq!(share_intervals(&mut objects, intervals()), ["a", "b"]);
        assert_eq!(share_intervals(&mut objects, intervals()), Vec::<String>::new());
        objects.insert("c".to_owned(), state("c"));
        assert_eq!(share_intervals(&mut objects, intervals()), ["c"]);
        let shared = &objects["a"].poll_intervals;
        assert!(objects.values().all(|it| Arc::ptr_eq(&it.poll_intervals, shared)));
    }
}
