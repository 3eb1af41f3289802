//! The last good values: for each registry of each ClusterPullSecret the credentials that were read last.
//!
//! Pure. A new namespace gets them while the store is away.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::credential::{StoreKey, Version};
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::registry_source::RegistrySource;

/// The identity of a last good value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueId {
    /// The ClusterPullSecret.
    pub cluster_pull_secret: String,
    /// The host of the registry; `None` for a whole docker config.
    pub host: Option<HostKey>,
    /// The key that it was read from.
    pub store_key: StoreKey,
}

/// A last good value.
#[derive(Clone, Debug)]
pub struct LastGoodValue {
    /// The version that it was read at.
    pub version: Version,
    /// The credentials.
    pub config: DockerConfig,
    /// The time from which the credentials are invalid, if the store issued them for a time.
    pub expires: Option<Timestamp>,
}

/// The last good values of all ClusterPullSecrets.
#[derive(Debug, Default)]
pub struct LastGoodValues(BTreeMap<ValueId, LastGoodValue>);

impl ValueId {
    /// Creates the identity of the value of one registry.
    #[must_use]
    pub fn new(cluster_pull_secret: &str, registry: &RegistrySource) -> Self {
        Self {
            cluster_pull_secret: cluster_pull_secret.to_owned(),
            host: registry.host.clone(),
            store_key: registry.store_key.clone(),
        }
    }
}

impl LastGoodValues {
    /// Returns the last good value of a registry.
    #[must_use]
    pub fn get(&self, cluster_pull_secret: &str, registry: &RegistrySource) -> Option<&LastGoodValue> {
        self.0.get(&ValueId::new(cluster_pull_secret, registry))
    }

    /// Records a value that was read; returns its identity if it differs from the one before.
    pub fn record(
        &mut self,
        cluster_pull_secret: &str,
        registry: &RegistrySource,
        LastGoodValue { version, config, expires }: LastGoodValue,
    ) -> Option<ValueId> {
        let id = ValueId::new(cluster_pull_secret, registry);
        let known = self.0.get(&id);
        if known.is_some_and(|known| {
            known.version == version && known.expires == expires && known.config.is_same_as(&config)
        }) {
            return None;
        }
        self.0.insert(id.clone(), LastGoodValue { version, config, expires });
        Some(id)
    }

    /// Adds a value that was read from regcred's namespace, unless there is one that is not older; returns true if it
    /// was added.
    pub fn restore(&mut self, id: ValueId, value: LastGoodValue) -> bool {
        let known = self.0.get(&id);
        let is_added = known.is_none_or(|known| known.version.is_replaced_by(&value.version));
        if is_added {
            self.0.insert(id, value);
        }
        is_added
    }

    /// Returns true if there is a value of this identity.
    #[must_use]
    pub fn contains(&self, id: &ValueId) -> bool {
        self.0.contains_key(id)
    }

    /// Returns the latest version at which a value of each key was recorded.
    #[must_use]
    pub fn latest_versions(&self) -> BTreeMap<&StoreKey, &Version> {
        let mut versions = BTreeMap::new();
        for (id, LastGoodValue { version, .. }) in &self.0 {
            let latest = versions.entry(&id.store_key).or_insert(version);
            if latest.is_replaced_by(version) {
                *latest = version;
            }
        }
        versions
    }

    /// Returns the latest time at which a recorded credential of each of these keys expires.
    #[must_use]
    pub fn expiries(&self, store_keys: &BTreeSet<&StoreKey>) -> BTreeMap<StoreKey, Timestamp> {
        let mut latest: BTreeMap<StoreKey, Timestamp> = BTreeMap::new();
        for (id, value) in self.0.iter().filter(|(id, _)| store_keys.contains(&id.store_key)) {
            let Some(expires) = value.expires else { continue };
            latest.entry(id.store_key.clone()).and_modify(|at| *at = expires.max(*at)).or_insert(expires);
        }
        latest
    }

    /// Removes the values for which `keep` is false, and returns their identities.
    pub fn remove_unless(&mut self, keep: impl Fn(&ValueId, &LastGoodValue) -> bool) -> Vec<ValueId> {
        self.0.extract_if(.., |id, value| !keep(id, value)).map(|(id, _)| id).collect()
    }

    /// Removes the values that are invalid at that time, and returns their identities.
    pub fn remove_expired(&mut self, now: Timestamp) -> Vec<ValueId> {
        let over = self.0.iter().filter(|(_, value)| value.expires.is_some_and(|expires| expires <= now));
        let removed: BTreeSet<_> = over.map(|(id, _)| id.clone()).collect();
        self.remove_unless(|id, _| !removed.contains(id))
    }

    /// All values by identity.
    pub fn iter(&self) -> impl Iterator<Item = (&ValueId, &LastGoodValue)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::reconcile::fixture::{recorded, registry, store_key};

    #[test]
    fn value_is_found_by_cluster_pull_secret_registry_and_key() {
        let values = recorded("images", &[("ghcr.io", "1", "pw")]);
        let value = values.get("images", &registry("ghcr.io")).expect("a value");
        let passwords: Vec<_> = value.config.auths.values().map(|it| it.password.expose_secret()).collect();
        assert_eq!((value.version.to_string().as_str(), passwords), ("1", vec!["pw"]));
        assert!(values.get("other", &registry("ghcr.io")).is_none());
        let mut other_key = registry("ghcr.io");
        other_key.store_key.key = "another".into();
        assert!(values.get("images", &other_key).is_none(), "its value may be of another account");
    }

    #[test]
    fn only_a_change_is_reported() {
        let mut values = recorded("images", &[("ghcr.io", "1", "pw")]);
        let value = values.get("images", &registry("ghcr.io")).expect("a value").clone();
        assert_eq!(values.record("images", &registry("ghcr.io"), value.clone()), None);
        let later = LastGoodValue { version: "2".into(), ..value };
        assert!(values.record("images", &registry("ghcr.io"), later.clone()).is_some());
        let longer = LastGoodValue { expires: Some(Timestamp::UNIX_EPOCH), ..later };
        assert!(values.record("images", &registry("ghcr.io"), longer).is_some(), "it was renewed");
    }

    #[test]
    fn expired_value_is_removed() {
        let mut values = recorded("images", &[("ghcr.io", "1", "pw"), ("quay.io", "1", "pw")]);
        let value = values.get("images", &registry("ghcr.io")).expect("a value").clone();
        let expires = Some(Timestamp::from_second(100).expect("a time"));
        values.record("images", &registry("ghcr.io"), LastGoodValue { expires, ..value });
        assert_eq!(values.remove_expired(Timestamp::from_second(99).expect("a time")), []);
        let removed = values.remove_expired(Timestamp::from_second(100).expect("a time"));
        assert_eq!(removed.len(), 1);
        assert!(values.get("images", &registry("ghcr.io")).is_none());
        assert!(values.get("images", &registry("quay.io")).is_some());
    }

    #[test]
    fn later_value_of_another_process_replaces_an_older_one() {
        for (known, stored, expect) in [("7", "8", "8"), ("8", "7", "8"), ("id-1", "id-2", "id-1")] {
            let mut values = recorded("images", &[("ghcr.io", known, known)]);
            for (id, value) in recorded("images", &[("ghcr.io", stored, stored)]).iter() {
                values.restore(id.clone(), value.clone());
            }
            let value = values.get("images", &registry("ghcr.io")).expect("a value");
            assert_eq!(value.version.to_string(), expect, "{known} {stored}");
        }
    }

    #[test]
    fn latest_version_of_a_key_is_that_of_any_object() {
        let mut values = recorded("images", &[("ghcr.io", "7", "pw")]);
        for (id, value) in recorded("other", &[("ghcr.io", "8", "pw"), ("quay.io", "9", "pw")]).iter() {
            values.restore(id.clone(), value.clone());
        }
        let latest = values.latest_versions();
        assert_eq!(latest.get(&store_key("ghcr.io")), Some(&&"8".into()));
        assert_eq!(latest.get(&store_key("docker.io")), None);
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let values = recorded("images", &[("ghcr.io", "1", "s3cret-sentinel")]);
        assert!(!format!("{values:?}").contains("s3cret-sentinel"));
    }
}
