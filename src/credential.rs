//! The nouns a password travels in, from the store to the docker config.
//!
//! Nothing here prints a secret: [`StoredValue`] and [`Credential`] keep theirs behind `secrecy`,
//! whose `Debug` is redacted, and no accessor but [`secrecy::ExposeSecret`] opens it.

pub(crate) mod arn;

use std::fmt;

use jiff::Timestamp;
use secrecy::{SecretSlice, SecretString};

/// The path or id of a stored credential inside a store: `ci/ghcr`, or an ARN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub String);

impl Key {
    /// Whether this is the ARN of a secret rather than a name.
    #[must_use]
    pub fn is_arn(&self) -> bool {
        arn::Arn::parse(&self.0).is_some()
    }
}

/// The name a `Config` gives to a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(pub String);

/// What a store calls the value it handed out: a KV v2 version number, an AWS `VersionId`, a file's
/// modification time. Never derived from the password, so it may be shown to anyone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub String);

impl Version {
    /// What stands for the version where the store keeps none, as KV v1 does.
    pub const UNVERSIONED: &str = "unversioned";
}

/// One key of one store: what an error about a read has to name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey {
    /// The store.
    pub store: StoreName,
    /// The key inside it.
    pub key: Key,
}

/// A value as a store holds it, before anyone has looked inside.
#[derive(Debug)]
pub struct StoredValue {
    /// The version it was read at.
    pub version: Version,
    /// The bytes: JSON of one of the known shapes, or the bare password.
    pub bytes: SecretSlice<u8>,
    /// When the store lets this version vanish, where it says so.
    pub expires_at: Option<Timestamp>,
    /// The account it is in, where the store has accounts, as AWS has: of two secrets of one name in two
    /// accounts an event tells of one.
    pub account: Option<String>,
}

/// A username and a password for one registry host.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The username; not a secret, but never logged either.
    pub username: String,
    /// The password.
    pub password: SecretString,
}

macro_rules! shown_as_is {
    ($($noun:ident),*) => {$(
        impl fmt::Display for $noun {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $noun {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

shown_as_is!(Key, StoreName, Version);

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {}, key {}", self.store, self.key)
    }
}
