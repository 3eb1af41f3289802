//! The effective interval of the poll in the statuses, where a store has more keys than its budget allows.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Controller;
use crate::credential::StoreName;
use crate::manifest::config::Store;
use crate::trigger::poll::{KnownVersions, effective_interval};

impl Controller {
    /// Updates the intervals after a change of the keys that are polled.
    pub(super) fn update_poll_intervals(&mut self, polled: &KnownVersions) {
        let Some(interval) = self.context.poll_interval else { return };
        let longer = longer_intervals(&self.context.store_configs, polled, interval);
        let outdated = self.objects.iter_mut().filter(|(_, state)| state.poll_intervals != longer);
        let mut changed = Vec::new();
        for (name, state) in outdated {
            state.poll_intervals.clone_from(&longer);
            changed.push(name.clone());
        }
        for name in changed {
            self.publish_soon(&name, Instant::now());
        }
    }
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

    fn store(name: &str, backend: Backend) -> Store {
        Store { name: name.to_owned(), keys: None, max_polls_per_second: 20, backend }
    }

    #[test]
    fn interval_is_longer_for_stores_with_many_keys_and_versions() {
        let aws = || {
            let region = "eu-west-1".to_owned();
            Backend::AwsSecretsManager(SecretsManagerStore { region, endpoint_url: None })
        };
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
}
