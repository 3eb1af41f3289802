//! The opened stores of a Config.
//!
//! In: store keys. Out: their values or their versions. Each key is requested once, for any number of
//! ClusterPullSecrets and namespaces that use it; a key that the `keys` of a store do not admit is
//! rejected before any request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future;
use globset::GlobSet;

use super::{Environment, Error, ErrorKind, Provider, open};
use crate::credential::{Key, Life, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::{Backend, Store};

/// The values that were read, by store key.
pub type Values = BTreeMap<StoreKey, Result<StoredValue, Error>>;

/// The current versions, by store key.
pub type Versions = BTreeMap<StoreKey, Result<Version, Error>>;

/// Every store in use.
pub struct Stores(BTreeMap<StoreName, Opened>);

struct Opened {
    /// The provider, or the problem with its settings.
    provider: Result<Arc<dyn Provider>, String>,
    /// The only keys that may be read; `None` admits any.
    keys: Option<GlobSet>,
    /// The versions that the poll may read in a second.
    max_polls_per_second: u32,
    /// True for a Vault, which has paths besides keys.
    has_paths: bool,
}

/// The keys to request from one store.
struct StoreRequest<'a> {
    provider: &'a dyn Provider,
    store_keys: Vec<StoreKey>,
    /// The keys of `store_keys`, in the same order.
    keys: Vec<Key>,
}

impl Opened {
    async fn open(store: &Store, environment: &Environment) -> Self {
        let provider = open(store, environment).await.map_err(|error| error.what);
        Self {
            provider,
            keys: store.keys.clone(),
            max_polls_per_second: store.max_polls_per_second,
            has_paths: matches!(store.backend, Backend::Vault(_)),
        }
    }

    /// Rejects a key that the store may not be asked for. A path needs an entry of `keys` that names it.
    fn admit(&self, key: &Key) -> Result<(), ErrorKind> {
        let Some(path) = key.dynamic_path() else {
            let is_admitted = self.keys.as_ref().is_none_or(|keys| keys.is_match(&key.0));
            return if is_admitted { Ok(()) } else { Err(ErrorKind::NotAllowed) };
        };
        if !self.has_paths {
            return Err(ErrorKind::Misconfigured("`path` is for a Vault. Give a `key`".to_owned()));
        }
        path.check().map_err(|error| ErrorKind::Misconfigured(format!("the path {error}")))?;
        let is_named = self.keys.as_ref().is_some_and(|keys| path.is_named_by(keys));
        if is_named { Ok(()) } else { Err(ErrorKind::NotAllowed) }
    }
}

impl Stores {
    /// Opens those of `stores` that `store_keys` name. Makes no request yet; a store that cannot be opened
    /// fails each of its reads and does not affect the others.
    pub async fn open(stores: &[Store], store_keys: &BTreeSet<StoreKey>, environment: &Environment) -> Self {
        let named: BTreeSet<&str> = store_keys.iter().map(|store_key| store_key.store.0.as_str()).collect();
        let used = stores.iter().filter(|store| named.contains(store.name.as_str()));
        Self::open_each(used, environment).await
    }

    /// Opens all stores, for a caller that learns the keys only later.
    pub async fn open_all(stores: &[Store], environment: &Environment) -> Self {
        Self::open_each(stores, environment).await
    }

    async fn open_each(stores: impl IntoIterator<Item = &Store>, environment: &Environment) -> Self {
        let mut opened = BTreeMap::new();
        for store in stores {
            opened.insert(StoreName(store.name.clone()), Opened::open(store, environment).await);
        }
        Self(opened)
    }

    /// Stores from providers that a test opened, with this budget of the poll.
    #[cfg(test)]
    pub(crate) fn from_providers(
        providers: impl IntoIterator<Item = (StoreName, Arc<dyn Provider>)>,
        max_polls_per_second: u32,
    ) -> Self {
        let opened = providers.into_iter().map(|(name, provider)| {
            let opened = Opened { provider: Ok(provider), keys: None, max_polls_per_second, has_paths: true };
            (name, opened)
        });
        Self(opened.collect())
    }

    /// Reads every key once, all stores at the same time.
    pub async fn read(&self, store_keys: &BTreeSet<StoreKey>) -> Values {
        let (requests, rejected) = self.requests(store_keys);
        let reads = requests.into_iter().map(|StoreRequest { provider, store_keys, keys }| async move {
            store_keys.into_iter().zip(provider.read(&keys).await)
        });
        let read = future::join_all(reads).await.into_iter().flatten();
        read.chain(rejected.into_iter().map(|error| (error.at.clone(), Err(error)))).collect()
    }

    /// Looks up the version of every key once, all stores at the same time; no value is read.
    pub async fn versions(&self, store_keys: &BTreeSet<StoreKey>) -> Versions {
        let (requests, rejected) = self.requests(store_keys);
        let lookups = requests.into_iter().map(|StoreRequest { provider, store_keys, keys }| async move {
            store_keys.into_iter().zip(provider.versions(&keys).await)
        });
        let found = future::join_all(lookups).await.into_iter().flatten();
        found.chain(rejected.into_iter().map(|error| (error.at.clone(), Err(error)))).collect()
    }

    /// Renews the lease of the last credential of a key; `None` where the key has to be read.
    pub async fn renew(&self, store_key: &StoreKey) -> Option<Life> {
        self.provider(&store_key.store)?.renew(&store_key.key).await
    }

    /// Takes the leases of a key that later reads replaced.
    #[must_use]
    pub fn take_replaced_leases(&self, store_key: &StoreKey) -> Vec<String> {
        let provider = self.provider(&store_key.store);
        provider.map(|it| it.take_replaced_leases(&store_key.key)).unwrap_or_default()
    }

    /// Revokes leases of a store. Their credentials are in use nowhere.
    pub async fn revoke_leases(&self, store: &StoreName, leases: Vec<String>) {
        if let Some(provider) = self.provider(store) {
            provider.revoke_leases(leases).await;
        }
    }

    /// Forgets the leases of a key, which then run out by themselves.
    pub fn forget_leases(&self, store_key: &StoreKey) {
        if let Some(provider) = self.provider(&store_key.store) {
            provider.forget_leases(&store_key.key);
        }
    }

    fn provider(&self, store: &StoreName) -> Option<&dyn Provider> {
        self.0.get(store)?.provider.as_ref().ok().map(AsRef::as_ref)
    }

    /// The names of the stores.
    pub fn names(&self) -> impl Iterator<Item = &StoreName> {
        self.0.keys()
    }

    /// Returns the number of versions of a store that the poll may read in a second.
    #[must_use]
    pub fn max_polls_per_second(&self, store: &StoreName) -> u32 {
        self.0.get(store).map_or(1, |opened| opened.max_polls_per_second)
    }

    /// Returns true if a store may answer with the value before a change that was reported.
    #[must_use]
    pub fn can_lag(&self, store: &StoreName) -> bool {
        self.provider(store).is_some_and(Provider::can_lag)
    }

    /// Returns the request to each store, and the keys that are rejected before any request.
    fn requests(&self, store_keys: &BTreeSet<StoreKey>) -> (Vec<StoreRequest<'_>>, Vec<Error>) {
        let mut requests: BTreeMap<&StoreName, StoreRequest<'_>> = BTreeMap::new();
        let mut rejected = Vec::new();
        for store_key in store_keys {
            match self.provider_for(store_key) {
                Ok(provider) => {
                    let empty = StoreRequest { provider, store_keys: Vec::new(), keys: Vec::new() };
                    let request = requests.entry(&store_key.store).or_insert(empty);
                    request.store_keys.push(store_key.clone());
                    request.keys.push(store_key.key.clone());
                }
                Err(kind) => rejected.push(kind.at(store_key.clone())),
            }
        }
        (requests.into_values().collect(), rejected)
    }

    fn provider_for(&self, store_key: &StoreKey) -> Result<&dyn Provider, ErrorKind> {
        let Some(store) = self.0.get(&store_key.store) else {
            return Err(ErrorKind::Misconfigured("there is no such store".to_owned()));
        };
        store.admit(&store_key.key)?;
        match &store.provider {
            Ok(provider) => Ok(provider.as_ref()),
            Err(what) => Err(ErrorKind::Misconfigured(what.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::dynamic_path::Method;
    use crate::manifest::config::{FileStore, VaultAuth, VaultSettings};
    use crate::provider::vault::tests::settings;

    fn store(keys: Option<&str>) -> Store {
        let keys = keys.map(|glob| {
            let glob = globset::Glob::new(glob).expect("a valid glob");
            GlobSet::new([glob]).expect("one glob")
        });
        let directory = "/nonexistent".into();
        let backend = Backend::File(FileStore { directory });
        let (name, admission) = ("files".into(), Arc::default());
        Store { name, keys, admission, max_polls_per_second: 20, backend }
    }

    fn store_keys(keys: &[&str]) -> BTreeSet<StoreKey> {
        keys.iter().map(|&key| StoreKey { store: "files".into(), key: key.into() }).collect()
    }

    fn outcomes<T>(results: &BTreeMap<StoreKey, Result<T, Error>>) -> Vec<String> {
        results
            .iter()
            .map(|(store_key, result)| match result {
                Ok(_) => format!("{}: read", store_key.key),
                Err(error) => format!("{}: {}", store_key.key, error.reason()),
            })
            .collect()
    }

    #[tokio::test]
    async fn key_outside_the_stores_keys_is_rejected_before_any_request() {
        let keys = store_keys(&["ci/ghcr", "prod/ghcr"]);
        let stores = Stores::open(&[store(Some("ci/*"))], &keys, &Environment::default()).await;
        let expect = ["ci/ghcr: Unavailable", "prod/ghcr: NotAllowed"];
        assert_eq!(outcomes(&stores.read(&keys).await), expect);
        assert_eq!(outcomes(&stores.versions(&keys).await), expect);
    }

    /// The error of a path, before any request to a Vault with these `keys`.
    async fn path_error(keys: Option<&str>, path: &str) -> String {
        let settings = settings("http://127.0.0.1:1", VaultAuth::TokenFile("/nonexistent".into()));
        let backend = Backend::Vault(Box::new(settings));
        let vault = Store { backend, name: "vault".into(), ..store(keys) };
        let key = Key::from_path(Method::Write, path);
        let keys = BTreeSet::from([StoreKey { store: "vault".into(), key }]);
        let stores = Stores::open(&[vault], &keys, &Environment::default()).await;
        let read = stores.read(&keys).await.into_values().next().expect("a value");
        read.expect_err("an error").reason().to_string()
    }

    #[tokio::test]
    async fn path_without_an_entry_of_its_own_is_rejected() {
        let path = "artifactory/token/puller";
        for keys in [None, Some("*"), Some("**"), Some("ci/*"), Some("*/token/*")] {
            assert_eq!(path_error(keys, path).await, "NotAllowed", "{keys:?}");
        }
        for path in ["sys/policy/root", "Auth/token/create", "artifactory//token", "artifactory/%2e%2e/sys"] {
            assert_eq!(path_error(Some("{sys,Auth,artifactory}/**"), path).await, "Misconfigured", "{path}");
        }
        assert_eq!(path_error(Some("artifactory/token/*"), path).await, "Denied", "it is requested");
    }

    #[tokio::test]
    async fn path_of_another_store_is_rejected() {
        let keys = store_keys(&["GET /artifactory/token/puller"]);
        let stores = Stores::open(&[store(Some("artifactory/*"))], &keys, &Environment::default()).await;
        assert_eq!(outcomes(&stores.read(&keys).await), ["GET /artifactory/token/puller: Misconfigured"]);
    }

    #[tokio::test]
    async fn unused_store_is_not_opened() {
        let stores = Stores::open(&[store(None)], &BTreeSet::new(), &Environment::default()).await;
        assert!(stores.0.is_empty());
    }

    #[tokio::test]
    async fn store_that_cannot_be_opened_fails_only_its_own_reads() {
        let settings = VaultSettings {
            ca_file: Some("/nonexistent.pem".into()),
            ..settings("http://127.0.0.1:1", VaultAuth::Environment)
        };
        let backend = Backend::Vault(Box::new(settings));
        let name = "vault".into();
        let vault = Store { name, keys: None, admission: Arc::default(), max_polls_per_second: 20, backend };
        let mut keys = store_keys(&["ci/ghcr"]);
        keys.insert(StoreKey { store: "vault".into(), key: "ci/ghcr".into() });
        let stores = Stores::open(&[store(None), vault], &keys, &Environment::default()).await;
        let expect = ["ci/ghcr: Unavailable", "ci/ghcr: Misconfigured"];
        assert_eq!(outcomes(&stores.read(&keys).await), expect);
        assert_eq!(outcomes(&stores.versions(&keys).await), expect);
    }
}
