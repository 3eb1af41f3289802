//! A secret as an event names it, and whether a key of a store means that one.

use crate::credential::Key;
use crate::credential::arn::Arn;

/// A secret as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretId {
    /// Its ARN, with or without the six characters at its end, or its name.
    pub id: String,
    /// The account that the event is of; where the ARN tells of another, that is the secret's.
    pub account: Option<String>,
    /// The region that the event is of; where the ARN tells of another, that is the secret's.
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
    /// Whether a text may name a secret: by its ARN, or by a name, which has no colon as an ARN of something
    /// else has.
    pub(super) fn can_be(text: &str) -> bool {
        Arn::parse(text).is_some() || !text.is_empty() && !text.contains(':')
    }

    /// Whether a key of a store means this secret. A name is one of the store's home; an ARN says itself
    /// where its secret is, which may be in another account than the store's. What is not known is no
    /// reason against it: one look too many is harmless, one too few is not.
    #[must_use]
    pub fn is_key(&self, Key(key): &Key, home: Home<'_>) -> bool {
        match (Arn::parse(key), Arn::parse(&self.id)) {
            (Some(key), Some(id)) => key.is_same(&id),
            (Some(key), None) => key.is_named(&self.id) && self.is_of(key.region, Some(key.account)),
            (None, Some(id)) => {
                let is_home = id.region == home.region && home.account.is_none_or(|home| id.account == home);
                is_home && id.is_named(key)
            }
            (None, None) => *key == self.id && self.is_of(home.region, home.account),
        }
    }

    /// Whether the event may be of this region and account.
    fn is_of(&self, region: &str, account: Option<&str>) -> bool {
        let may_be = |told: &Option<String>, wanted: &str| told.as_deref().is_none_or(|told| told == wanted);
        may_be(&self.region, region) && account.is_none_or(|account| may_be(&self.account, account))
    }
}

#[cfg(test)]
mod tests;
