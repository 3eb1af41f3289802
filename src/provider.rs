//! Where passwords come from.
//!
//! In go the keys of one store, out come their values with the version each was read at, or the versions
//! alone. A provider asks for every key once per call, and again only where the failure may pass by
//! itself: who calls it need not retry. It quotes no response of its store in an error, and logs neither
//! a value nor its own settings. A third store is written by copying the shape of `vault`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::time::Instant;
use tracing::{debug, trace};

use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::{Backend, Store};
use crate::manifest::status::reason::FetchedReason;

pub mod file;
pub mod secrets_manager;
pub mod stores;
pub mod vault;

pub(crate) mod aws;
pub(crate) mod failure;
pub(crate) mod without_tracing;

mod retry;

/// How long one request to a store may take before it counts as [`Error::TimedOut`].
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one [`Provider::read`] or [`Provider::versions`] may take, retries included.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// One store of registry credentials.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Reads each of `keys` once; the results stand in the order of `keys`, which are distinct.
    ///
    /// Ends within [`READ_TIMEOUT`], retries included, however many keys there are.
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>>;

    /// The versions at which [`Provider::read`] would read these keys now, in the same order and time; no
    /// value is read. A store that keeps no versions answers [`Version::UNVERSIONED`], without a request.
    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>>;
}

/// What a provider takes from the process it runs in, read once at the edge.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `VAULT_TOKEN`, for a Vault whose `auth` names nothing else.
    pub vault_token: Option<SecretString>,
}

/// Why a key could not be read. Each variant is a different thing for the caller to do.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
pub enum Error {
    /// The store has no such key.
    #[error("{at}: not found {looked}")]
    NotFound {
        /// What was read.
        at: StoreKey,
        /// The path, the region or whatever else the store was asked, such as `in eu-west-1`.
        looked: String,
    },
    /// The key is there, but the version to be read was deleted, destroyed or is scheduled for deletion.
    #[error("{at}: the current version is deleted")]
    Deleted {
        /// What was read.
        at: StoreKey,
    },
    /// The store refused us. `what` says which right is missing.
    #[error("{at}: access denied: {what}")]
    Denied {
        /// What was read.
        at: StoreKey,
        /// The right that is missing, or the login that failed; never a response.
        what: String,
    },
    /// The `keys` of the store do not admit this key; no request was made.
    #[error("{at}: not allowed by the store's `keys`")]
    NotAllowed {
        /// What was asked for.
        at: StoreKey,
    },
    /// The key, or a setting of the store, can never be right. `what` says which and how to mend it.
    #[error("{at}: {what}")]
    Misconfigured {
        /// What was read.
        at: StoreKey,
        /// The key or the setting, and what is wrong with it.
        what: String,
    },
    /// The Vault is sealed.
    #[error("{at}: the Vault is sealed")]
    Sealed {
        /// What was read.
        at: StoreKey,
    },
    /// The store asked for fewer requests.
    #[error("{at}: the store is throttling requests")]
    Throttled {
        /// What was read.
        at: StoreKey,
    },
    /// The value is not one of the known shapes. `what` names the field, never its content.
    #[error("{at}: malformed: {what}")]
    Malformed {
        /// What was read.
        at: StoreKey,
        /// The field and what is wrong with it.
        what: String,
    },
    /// No answer to any attempt, each of at most [`REQUEST_TIMEOUT`].
    #[error("{at}: no answer from {whom} within {patience}")]
    TimedOut {
        /// What was read.
        at: StoreKey,
        /// The store, with its address where it has one.
        whom: String,
        /// How long it was waited for, and how many attempts that were.
        patience: String,
    },
    /// The store could not be reached, or answered that it is broken.
    #[error("{at}: {whom} is unavailable: {what}")]
    Unavailable {
        /// What was read.
        at: StoreKey,
        /// The store, with its address where it has one.
        whom: String,
        /// What happened to the connection or which status came back; never a body.
        what: String,
    },
}

impl Error {
    /// The variant's name, from a closed list: the reason in a report, a condition or a metric.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.into()
    }
}

impl From<&Error> for FetchedReason {
    fn from(error: &Error) -> Self {
        match error {
            Error::NotFound { .. } => Self::NotFound,
            Error::Deleted { .. } => Self::Deleted,
            Error::Denied { .. } => Self::Denied,
            Error::NotAllowed { .. } => Self::NotAllowed,
            Error::Misconfigured { .. } => Self::Misconfigured,
            Error::Sealed { .. } => Self::Sealed,
            Error::Throttled { .. } => Self::Throttled,
            Error::Malformed { .. } => Self::Malformed,
            Error::TimedOut { .. } => Self::TimedOut,
            Error::Unavailable { .. } => Self::Unavailable,
        }
    }
}

/// A store that cannot be opened at all: a file of its settings is missing or unreadable.
#[derive(Debug, thiserror::Error)]
#[error("store {store}: {what}")]
pub struct OpenError {
    /// The store.
    pub store: StoreName,
    /// The setting, what is wrong with it and how to mend it.
    pub what: String,
}

/// Opens the provider a `Config` describes. Makes no request to the store yet.
pub async fn open(store: &Store, environment: &Environment) -> Result<Arc<dyn Provider>, OpenError> {
    let name = StoreName(store.name.clone());
    Ok(match &store.backend {
        Backend::Vault(settings) => Arc::new(vault::Vault::open(name, settings, environment)?),
        Backend::AwsSecretsManager(settings) => {
            Arc::new(secrets_manager::SecretsManager::open(name, settings).await)
        }
        Backend::File(settings) => Arc::new(file::Directory::open(name, settings)),
    })
}

/// Says that a read ended, and how; beside a retry and a login the only thing a provider logs.
fn log_read(at: &StoreKey, outcome: &Result<StoredValue, Error>, since: Instant) {
    let StoreKey { store, key } = at;
    let elapsed = since.elapsed();
    match outcome {
        Ok(StoredValue { version, .. }) => debug!(%store, %key, %version, ?elapsed, "read"),
        Err(error) => debug!(%store, %key, reason = error.reason(), ?elapsed, "not read"),
    }
}

/// The same of a version that was asked for, which happens all the time.
fn log_version(at: &StoreKey, outcome: &Result<Version, Error>, since: Instant) {
    let StoreKey { store, key } = at;
    let elapsed = since.elapsed();
    match outcome {
        Ok(version) => trace!(%store, %key, %version, ?elapsed, "version asked for"),
        Err(error) => debug!(%store, %key, reason = error.reason(), ?elapsed, "no version"),
    }
}
