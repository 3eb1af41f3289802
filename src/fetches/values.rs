//! The values of the last reads, and what is known of them.
//!
//! Pure. A key that was never read has no value; a failed read is a value, too.

use super::Fetches;
use crate::credential::{StoreKey, StoreName, Version};
use crate::provider::stores::Values;

impl Fetches {
    /// Returns every key that can be polled with the version of its last read; none where that failed. A path of an
    /// engine has no version to ask for: a request would issue a credential.
    pub fn known_versions(&self) -> impl Iterator<Item = (&StoreKey, Option<&Version>)> {
        let polled = self.keys.keys().filter(|store_key| store_key.key.dynamic_path().is_none());
        polled.map(|store_key| (store_key, self.version(store_key)))
    }

    /// Returns the version of the last read of a key; none where that failed.
    #[must_use]
    pub fn version(&self, store_key: &StoreKey) -> Option<&Version> {
        self.values.get(store_key)?.as_ref().ok().map(|value| &value.version)
    }

    /// Returns true if a key was read at least once, with or without success.
    #[must_use]
    pub fn has_read(&self, store_key: &StoreKey) -> bool {
        self.values.contains_key(store_key)
    }

    /// Returns true if the last read of a key failed for a reason that may pass by itself.
    #[must_use]
    pub fn has_transient_failure(&self, store_key: &StoreKey) -> bool {
        let error = self.values.get(store_key).and_then(|value| value.as_ref().err());
        error.is_some_and(|error| error.reason().is_transient())
    }

    /// Returns true if the last read of a key returned other bytes than the one before.
    #[must_use]
    pub fn has_changed(&self, store_key: &StoreKey) -> bool {
        self.changed.contains(store_key)
    }

    /// Returns the last values of all keys.
    #[must_use]
    pub fn all_values(&self) -> &Values {
        &self.values
    }

    /// Returns the last values, once every one of these keys was read.
    #[must_use]
    pub fn values<'a>(&self, store_keys: impl IntoIterator<Item = &'a StoreKey>) -> Option<&Values> {
        store_keys.into_iter().all(|store_key| self.values.contains_key(store_key)).then_some(&self.values)
    }

    /// Returns the account of a store, known from its answers, in which keys that are names are looked up.
    #[must_use]
    pub fn account(&self, store: &StoreName) -> Option<&str> {
        self.accounts.get(store).map(String::as_str)
    }
}
