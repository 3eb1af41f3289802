//! What an event of AWS says about a secret.
//!
//! In goes the body of a message or of a request, out come the secrets to look at again; none where it
//! tells of nothing that a reader would see.

use crate::credential::arn;
use crate::credential::{Key, Version};

/// A secret that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub secret: SecretId,
    /// The version that is current since, where the event tells.
    pub version: Option<Version>,
}

/// A secret as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretId {
    /// Its ARN, with or without the six characters at its end, or its name.
    pub id: String,
    /// The account that the event is of.
    pub account: Option<String>,
    /// The region that the event is of.
    pub region: Option<String>,
}

/// Where the keys of a store are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The region of the store.
    pub region: &'a str,
    /// The account it reads from, once that is known.
    pub account: Option<&'a str>,
}

impl SecretId {
    /// Whether a key of a store means this secret.
    #[must_use]
    pub fn is_key(&self, Key(key): &Key, home: Home<'_>) -> bool {
        let is_home = self.region.as_deref().is_none_or(|region| region == home.region)
            && (home.account.is_none() || self.account.is_none() || home.account == self.account.as_deref());
        is_home && arn::is_of_id(key, &self.id)
    }
}
