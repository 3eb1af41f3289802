//! A secret as an event names it, and its comparison with the keys of a store.

use crate::credential::Key;
use crate::credential::arn::Arn;

/// A secret as an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretId {
    /// Its ARN, with or without the six characters at its end, or its name.
    pub id: String,
    /// The account of the event; an account in the ARN takes precedence.
    pub account: Option<String>,
    /// The region of the event; a region in the ARN takes precedence.
    pub region: Option<String>,
}

/// The region and account in which a store looks up its keys.
#[derive(Clone, Copy, Debug)]
pub struct AwsLocation<'a> {
    /// The region of the store.
    pub region: &'a str,
    /// The account it reads from, once that is known.
    pub account: Option<&'a str>,
}

impl SecretId {
    /// Returns true if a text may name a secret: an ARN of a secret, or a name, which has no colon as the ARN
    /// of another resource has.
    pub(super) fn can_parse(text: &str) -> bool {
        Arn::parse(text).is_some() || !text.is_empty() && !text.contains(':')
    }

    /// Returns true if a key of a store means this secret. A name belongs to the store's location; an ARN
    /// has its own, which may be in another account. Unknown parts match: a superfluous read is harmless, a
    /// missing one is not.
    #[must_use]
    pub fn is_key(&self, Key(key): &Key, location: AwsLocation<'_>) -> bool {
        match (Arn::parse(key), Arn::parse(&self.id)) {
            (Some(key), Some(id)) => key.is_same(&id),
            (Some(key), None) => key.is_named(&self.id) && self.is_in(key.region, Some(key.account)),
            (None, Some(id)) => {
                id.region == location.region
                    && location.account.is_none_or(|account| id.account == account)
                    && id.is_named(key)
            }
            (None, None) => *key == self.id && self.is_in(location.region, location.account),
        }
    }

    /// Returns true if the event may be from this region and account.
    fn is_in(&self, region: &str, account: Option<&str>) -> bool {
        self.region.as_deref().is_none_or(|own| own == region)
            && account.is_none_or(|account| self.account.as_deref().is_none_or(|own| own == account))
    }
}

#[cfg(test)]
mod tests;
