//! The sources of passwords.
//!
//! In: the keys of one store. Out: their values with the version each was read at, or the versions alone.
//! A provider requests every key once per call and retries only failures that may pass by themselves, so
//! the caller need not retry. A provider quotes no response of its store in an error, and logs neither a
//! value nor its own settings. A new store is added by copying the shape of `vault`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::{debug, trace};

use self::refused_logins::RefusedLogins;
use crate::credential::{Key, Life, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::{Backend, Store};

pub use error::{Denied, Error, ErrorKind, SealedPart};

pub mod ecr;
pub mod file;
pub mod refused_logins;
pub mod secrets_manager;
pub mod stores;
pub mod vault;

pub(crate) mod aws;
pub(crate) mod without_tracing;

mod error;
pub(crate) mod proxy;
mod retry;

/// Timeout of one request to a store, after which the request counts as [`ErrorKind::TimedOut`].
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of one [`Provider::read`] or [`Provider::versions`], retries included.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest value: the capacity of a Kubernetes Secret.
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 20;

/// One store of registry credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Reads each of `keys` once; the results are in the order of `keys`, which are distinct.
    ///
    /// Ends within [`READ_TIMEOUT`], retries included, for any number of keys.
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>>;

    /// Returns the versions at which [`Provider::read`] would read these keys now, in the same order and
    /// time; no value is read. A store without versions returns [`Version::UNVERSIONED`] and sends no request.
    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>>;

    /// Returns true if a read may return the value before a change that was reported, from a replica that lags
    /// behind: nearly every store on a network.
    fn can_lag(&self) -> bool {
        true
    }

    /// Renews the lease of the last credential that a key was read at, and returns its new life; `None` where
    /// another credential has to be read.
    async fn renew(&self, _key: &Key) -> Option<Life> {
        None
    }

    /// Takes the leases of a key that later reads replaced.
    fn take_replaced_leases(&self, _key: &Key) -> Vec<String> {
        Vec::new()
    }

    /// Revokes leases. Their credentials are in use nowhere.
    async fn revoke_leases(&self, _leases: Vec<String>) {}

    /// Forgets the leases of a key, which then run out by themselves.
    fn forget_leases(&self, _key: &Key) {}
}

/// The inputs a provider takes from its process.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `VAULT_TOKEN`, for a Vault without `auth`.
    pub vault_token: Option<SecretString>,
    /// The logins that are not to be tried again.
    pub refused_logins: Arc<RefusedLogins>,
    /// The time at which a store issues a credential.
    pub wall_clock: WallClock,
}

/// A source of the wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct WallClock(pub fn() -> Timestamp);

impl Default for WallClock {
    #[expect(clippy::disallowed_methods, reason = "a default for callers at the edge")]
    fn default() -> Self {
        Self(Timestamp::now)
    }
}

/// A store that cannot be opened: a file of its settings is missing or unreadable.
#[derive(Debug, thiserror::Error)]
#[error("store {store}: {what}")]
pub struct OpenError {
    /// The store.
    pub store: StoreName,
    /// The setting, the problem and the fix.
    pub what: String,
}

/// Opens the provider that a `Config` describes. Makes no request to the store yet.
pub async fn open(store: &Store, environment: &Environment) -> Result<Arc<dyn Provider>, OpenError> {
    let name = StoreName(store.name.clone());
    Ok(match &store.backend {
        Backend::Vault(settings) => Arc::new(vault::Vault::open(name, settings, environment)?),
        Backend::AwsSecretsManager(settings) => {
            Arc::new(secrets_manager::SecretsManager::open(name, settings).await)
        }
        Backend::AwsEcr(settings) => Arc::new(ecr::Ecr::open(name, settings, environment).await),
        Backend::File(settings) => Arc::new(file::Directory::open(name, settings)),
        Backend::DefaultDirectory(path) => Arc::new(file::Directory::open_default(name, path)),
    })
}

/// Logs the outcome of a read. Apart from retries and logins a provider logs nothing else.
fn log_read(at: &StoreKey, outcome: &Result<StoredValue, Error>, since: Instant) {
    let StoreKey { store, key } = at;
    let elapsed = since.elapsed();
    match outcome {
        Ok(StoredValue { version, .. }) => debug!(%store, %key, %version, ?elapsed, "read"),
        Err(error) => debug!(%store, %key, reason = %error.reason(), ?elapsed, "read failed"),
    }
}

/// Logs the outcome of a version lookup, which polling makes frequent.
fn log_version(at: &StoreKey, outcome: &Result<Version, Error>, since: Instant) {
    let StoreKey { store, key } = at;
    let elapsed = since.elapsed();
    match outcome {
        Ok(version) => trace!(%store, %key, %version, ?elapsed, "version looked up"),
        Err(error) => debug!(%store, %key, reason = %error.reason(), ?elapsed, "version lookup failed"),
    }
}
