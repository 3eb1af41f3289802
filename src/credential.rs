//! The types of a password on its way from the store to the docker config.
//!
//! Nothing here prints a secret: [`StoredValue`] and [`Credential`] hold theirs in `secrecy` types with a
//! redacted `Debug`, and [`secrecy::ExposeSecret`] is the only accessor.

pub(crate) mod arn;
pub mod dynamic_path;
mod expiry;
mod key_template;
mod version;

use std::fmt;

use secrecy::{SecretSlice, SecretString};

pub use expiry::{Expiry, Life};
pub use version::{Version, VersionOrder};

/// The path or id of a stored credential inside a store: `ci/ghcr`, or an ARN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub String);

impl Key {
    /// Returns true if this is the ARN of a secret rather than a name.
    #[must_use]
    pub fn is_arn(&self) -> bool {
        arn::Arn::parse(&self.0).is_some()
    }
}

/// The name of a store in a `Config`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreName(pub String);

/// One key of one store, as errors name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreKey {
    /// The store.
    pub store: StoreName,
    /// The key inside it.
    pub key: Key,
}

/// A value as a store holds it, not parsed yet.
#[derive(Debug)]
pub struct StoredValue {
    /// The version at which it was read.
    pub version: Version,
    /// The bytes: JSON of one of the known shapes, or the bare password.
    pub bytes: SecretSlice<u8>,
    /// The end of the value, if the store announces one.
    pub expiry: Option<Expiry>,
    /// The account of the secret in a store with accounts, such as AWS: an event concerns only one of two
    /// secrets with one name in two accounts.
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

macro_rules! string_newtypes {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    )*};
}

string_newtypes!(Key, StoreName);

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {}, key {}", self.store, self.key)
    }
}
