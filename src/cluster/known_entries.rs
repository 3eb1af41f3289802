//! The labels or annotations of an object, reduced to those that regcred reads.
//!
//! A tenant may fill 256 KiB with annotations of its own: the parser skips them.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ADDED, CLUSTER_PULL_SECRET_LABEL, MANAGED_BY, OWNER, VERSIONS};

/// The labels and annotations that are read.
const KNOWN: &[&str] = &[MANAGED_BY, CLUSTER_PULL_SECRET_LABEL, VERSIONS, OWNER, ADDED];

/// Labels or annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownEntries {
    /// The entries that regcred reads.
    pub(super) values: BTreeMap<String, String>,
    /// The object has no entries at all.
    pub(super) is_empty: bool,
}

impl Default for KnownEntries {
    fn default() -> Self {
        Self { values: BTreeMap::new(), is_empty: true }
    }
}

impl<'de> Deserialize<'de> for KnownEntries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = KnownEntries;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KnownEntries, A::Error> {
        let mut entries = KnownEntries::default();
        while let Some(KnownKey(key)) = map.next_key()? {
            entries.is_empty = false;
            match key {
                Some(key) => drop(entries.values.insert(key.to_owned(), map.next_value()?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(entries)
    }
}

/// A key of [`KNOWN`]; `None` is any other.
struct KnownKey(Option<&'static str>);

impl<'de> Deserialize<'de> for KnownKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = KnownKey;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_str<E>(self, key: &str) -> Result<KnownKey, E> {
        Ok(KnownKey(KNOWN.iter().find(|known| **known == key).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_known_entries_are_kept() {
        let entries: KnownEntries =
            serde_json::from_value(json!({"a": "b", VERSIONS: "c", "d": "e"})).expect("a map");
        assert_eq!(entries.values, [(VERSIONS.to_owned(), "c".to_owned())].into());
        assert!(!entries.is_empty);
    }

    #[test]
    fn foreign_entries_alone_are_not_empty() {
        let is_empty = |json| serde_json::from_value::<KnownEntries>(json).expect("a map").is_empty;
        assert!(!is_empty(json!({"a": "b"})) && is_empty(json!({})));
    }
}
