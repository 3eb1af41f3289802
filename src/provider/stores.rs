//! The stores of a Config, opened.
//!
//! In go places, out come their values or their versions: each place is asked for once, however many
//! ClusterPullSecrets and namespaces want it, and a key that a store's `keys` do not admit is refused
//! before any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future;
use globset::GlobSet;

use super::{Environment, Error, Provider, open};
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::Store;

/// What was read, place by place.
pub type Values = BTreeMap<StoreKey, Result<StoredValue, Error>>;

/// Which versions there are, place by place.
pub type Versions = BTreeMap<StoreKey, Result<Version, Error>>;

/// Every store that somebody reads from.
pub struct Stores(BTreeMap<StoreName, Opened>);

struct Opened {
    /// The provider, or what is wrong with the settings.
    provider: Result<Arc<dyn Provider>, String>,
    /// The only keys that may be read; `None` admits any.
    keys: Option<GlobSet>,
}

/// What one store is asked for.
struct Wanted<'a> {
    provider: &'a dyn Provider,
    places: Vec<StoreKey>,
    /// The keys of `places`, in the same order.
    keys: Vec<Key>,
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
    pub async fn open(stores: &[Store], places: &BTreeSet<StoreKey>, environment: &Environment) -> Self {
        let is_named = |store: &&Store| places.iter().any(|place| place.store.0 == store.name);
        Self::open_each(stores.iter().filter(is_named), environment).await
    }

    /// Opens them all: which keys are read is only known later.
    pub async fn open_all(stores: &[Store], environment: &Environment) -> Self {
        Self::open_each(stores, environment).await
    }

    async fn open_each(stores: impl IntoIterator<Item = &Store>, environment: &Environment) -> Self {
        let mut opened = BTreeMap::new();
        for store in stores {
            opened.insert(StoreName(store.name.clone()), Opened::of(store, environment).await);
        }
        Self(opened)
    }

    /// Stores of which a test opened the providers itself.
    #[cfg(test)]
    pub(crate) fn of(providers: impl IntoIterator<Item = (StoreName, Arc<dyn Provider>)>) -> Self {
        let opened = |provider| Opened { provider: Ok(provider), keys: None };
        Self(providers.into_iter().map(|(name, provider)| (name, opened(provider))).collect())
    }

    /// Reads every place once, all stores at the same time.
    pub async fn read(&self, places: &BTreeSet<StoreKey>) -> Values {
        let (wanted, refused) = self.sort(places);
        let reads = wanted.into_iter().map(|Wanted { provider, places, keys }| async move {
            places.into_iter().zip(provider.read(&keys).await)
        });
        let read = future::join_all(reads).await.into_iter().flatten();
        read.chain(refused.into_iter().map(|(place, error)| (place, Err(error)))).collect()
    }

    /// Asks for the version of every place once, all stores at the same time; no value is read.
    pub async fn versions(&self, places: &BTreeSet<StoreKey>) -> Versions {
        let (wanted, refused) = self.sort(places);
        let asked = wanted.into_iter().map(|Wanted { provider, places, keys }| async move {
            places.into_iter().zip(provider.versions(&keys).await)
        });
        let answered = future::join_all(asked).await.into_iter().flatten();
        answered.chain(refused.into_iter().map(|(place, error)| (place, Err(error)))).collect()
    }

    /// The names of the stores.
    pub fn names(&self) -> impl Iterator<Item = &StoreName> {
        self.0.keys()
    }

    /// What each store is to be asked for, and what is refused before any request.
    fn sort(&self, places: &BTreeSet<StoreKey>) -> (Vec<Wanted<'_>>, Vec<(StoreKey, Error)>) {
        let mut wanted: BTreeMap<&StoreName, Wanted<'_>> = BTreeMap::new();
        let mut refused = Vec::new();
        for place in places {
            match self.provider_for(place) {
                Ok(provider) => {
                    let nothing = Wanted { provider, places: Vec::new(), keys: Vec::new() };
                    let wanted = wanted.entry(&place.store).or_insert(nothing);
                    wanted.places.push(place.clone());
                    wanted.keys.push(place.key.clone());
                }
                Err(error) => refused.push((place.clone(), error)),
            }
        }
        (wanted.into_values().collect(), refused)
    }

    fn provider_for(&self, place: &StoreKey) -> Result<&dyn Provider, Error> {
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

    fn places(keys: &[&str]) -> BTreeSet<StoreKey> {
        keys.iter().map(|&key| StoreKey { store: "files".into(), key: key.into() }).collect()
    }

    fn reasons<T>(answers: &BTreeMap<StoreKey, Result<T, Error>>) -> Vec<String> {
        let reason = |answer: &Result<T, Error>| answer.as_ref().err().map_or("answered", Error::reason);
        answers.iter().map(|(place, answer)| format!("{}: {}", place.key, reason(answer))).collect()
    }

    #[tokio::test]
    async fn a_key_outside_the_stores_keys_is_refused_before_any_request() {
        let places = places(&["ci/ghcr", "prod/ghcr"]);
        let stores = Stores::open(&[store(Some("ci/*"))], &places, &Environment::default()).await;
        let expect = ["ci/ghcr: Unavailable", "prod/ghcr: NotAllowed"];
        assert_eq!(reasons(&stores.read(&places).await), expect);
        assert_eq!(reasons(&stores.versions(&places).await), expect);
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
        places.insert(StoreKey { store: "vault".into(), key: "ci/ghcr".into() });
        let stores = Stores::open(&[store(None), vault], &places, &Environment::default()).await;
        let expect = ["ci/ghcr: Unavailable", "ci/ghcr: Misconfigured"];
        assert_eq!(reasons(&stores.read(&places).await), expect);
        assert_eq!(reasons(&stores.versions(&places).await), expect);
    }
}
