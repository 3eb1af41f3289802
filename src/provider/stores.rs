//! The stores of a Config, opened.
//!
//! In go places, out come their values: each place is read once, however many ClusterPullSecrets and
//! namespaces want it, and a key that a store's `keys` do not admit is refused before any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future;
use globset::GlobSet;

use super::{Environment, Error, Provider, open};
use crate::credential::{Place, StoreName, StoredValue};
use crate::manifest::config::Store;

/// What was read, place by place.
pub type Values = BTreeMap<Place, Result<StoredValue, Error>>;

/// Every store that somebody reads from.
pub struct Stores(BTreeMap<StoreName, Opened>);

struct Opened {
    /// The provider, or what is wrong with the settings.
    provider: Result<Arc<dyn Provider>, String>,
    /// The only keys that may be read; `None` admits any.
    keys: Option<GlobSet>,
}

impl Opened {
    async fn of(store: &Store, environment: &Environment) -> Self {
        let provider = open(store, environment).await.map_err(|error| error.what);
        Self { provider, keys: store.keys.clone() }
    }
}

impl Stores {
    /// Opens those of `stores` that `places` name. Makes no request yet; a store that cannot be opened
    /// fails each of its reads, and leaves the others alone.
    pub async fn open(stores: &[Store], places: &BTreeSet<Place>, environment: &Environment) -> Self {
        let mut opened = BTreeMap::new();
        for store in stores {
            let name = StoreName(store.name.clone());
            if places.iter().any(|place| place.store == name) {
                opened.insert(name, Opened::of(store, environment).await);
            }
        }
        Self(opened)
    }

    /// Opens them all: which keys are read is only known later.
    pub async fn open_all(stores: &[Store], environment: &Environment) -> Self {
        let mut opened = BTreeMap::new();
        for store in stores {
            opened.insert(StoreName(store.name.clone()), Opened::of(store, environment).await);
        }
        Self(opened)
    }

    /// Reads every place once, all stores at the same time.
    pub async fn read(&self, places: &BTreeSet<Place>) -> Values {
        let mut values = Values::new();
        let mut wanted: BTreeMap<&StoreName, (&dyn Provider, Vec<&Place>)> = BTreeMap::new();
        for place in places {
            match self.provider_for(place) {
                Ok(provider) => wanted.entry(&place.store).or_insert((provider, Vec::new())).1.push(place),
                Err(error) => drop(values.insert(place.clone(), Err(error))),
            }
        }
        let reads = wanted.into_values().map(|(provider, places)| async move {
            let keys: Vec<_> = places.iter().map(|place| place.key.clone()).collect();
            let read = provider.read(&keys).await;
            places.into_iter().cloned().zip(read).collect::<Vec<_>>()
        });
        values.extend(future::join_all(reads).await.into_iter().flatten());
        values
    }

    fn provider_for(&self, place: &Place) -> Result<&dyn Provider, Error> {
        let at = place.clone();
        let Some(store) = self.0.get(&place.store) else {
            return Err(Error::Misconfigured { at, what: "there is no such store".to_owned() });
        };
        if !store.keys.as_ref().is_none_or(|keys| keys.is_match(&place.key.0)) {
            return Err(Error::NotAllowed { at });
        }
        match &store.provider {
            Ok(provider) => Ok(provider.as_ref()),
            Err(what) => Err(Error::Misconfigured { at, what: what.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::{Backend, FileStore, KvVersion, VaultAuth, VaultSettings};

    fn store(keys: Option<&str>) -> Store {
        let keys = keys.map(|glob| {
            let glob = globset::Glob::new(glob).expect("a valid glob");
            GlobSet::new([glob]).expect("one glob")
        });
        let directory = "/nonexistent".into();
        Store { name: "files".into(), keys, backend: Backend::File(FileStore { directory }) }
    }

    fn places(keys: &[&str]) -> BTreeSet<Place> {
        keys.iter().map(|&key| Place { store: "files".into(), key: key.into() }).collect()
    }

    #[tokio::test]
    async fn a_key_outside_the_stores_keys_is_refused_before_any_request() {
        let places = places(&["ci/ghcr", "prod/ghcr"]);
        let stores = Stores::open(&[store(Some("ci/*"))], &places, &Environment::default()).await;
        let values = stores.read(&places).await;
        let reasons: Vec<_> = values
            .iter()
            .map(|(place, value)| (place.key.0.as_str(), value.as_ref().err().map_or("read", Error::reason)))
            .collect();
        assert_eq!(reasons, [("ci/ghcr", "Unavailable"), ("prod/ghcr", "NotAllowed")]);
    }

    #[tokio::test]
    async fn a_store_that_nobody_reads_is_not_opened() {
        let stores = Stores::open(&[store(None)], &BTreeSet::new(), &Environment::default()).await;
        assert!(stores.0.is_empty());
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_opened_fails_its_own_reads_only() {
        let settings = VaultSettings {
            address: "http://127.0.0.1:1".parse().expect("a URL"),
            mount: "secret".into(),
            kv: KvVersion::V2,
            namespace: None,
            ca_file: Some("/nonexistent.pem".into()),
            auth: VaultAuth::Environment,
        };
        let vault = Store { name: "vault".into(), keys: None, backend: Backend::Vault(settings) };
        let mut places = places(&["ci/ghcr"]);
        places.insert(Place { store: "vault".into(), key: "ci/ghcr".into() });
        let values =
            Stores::open(&[store(None), vault], &places, &Environment::default()).await.read(&places).await;
        let reasons: Vec<_> =
            values.values().map(|value| value.as_ref().err().map_or("read", Error::reason)).collect();
        assert_eq!(reasons, ["Unavailable", "Misconfigured"]);
    }
}
