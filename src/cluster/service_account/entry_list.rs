//! The names under `imagePullSecrets`, of which a bounded part is kept.
//!
//! Pure. In go the names in order, out come answers about one name; `None` where only the whole list has the
//! answer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cluster::null::null_is_default;
use crate::object_name::SecretName;

/// The most bytes of names that are kept; each name counts one more.
const MAX_BYTES: usize = 1024;
/// The most positions of one name that are looked up in a list that is longer than its kept part.
pub(crate) const MAX_POSITIONS: usize = 500;

/// The list of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryList {
    /// The names at its beginning, in order, duplicates included.
    first: Vec<SecretName>,
    /// The number of all names.
    len: usize,
    /// The last positions of names that were looked up in a list that is longer than its kept part, the highest
    /// first.
    looked_up: BTreeMap<SecretName, Vec<usize>>,
}

impl EntryList {
    /// Returns true if the list has no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns true if only a part of the list is kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.first.len() < self.len
    }

    /// Returns true if the list has a name; `None` if that is not known.
    #[must_use]
    pub fn contains(&self, name: &str) -> Option<bool> {
        if self.first.iter().any(|it| it.as_str() == name) {
            return Some(true);
        }
        self.last_index(name).map(|index| index.is_some())
    }

    /// Returns the index of the last entry of a name; `None` if that is not known.
    #[must_use]
    pub fn last_index(&self, name: &str) -> Option<Option<usize>> {
        self.last_indexes(name).map(|indexes| indexes.first().copied())
    }

    /// Returns the indexes of the last entries of a name, the highest first and at most 500; `None` if
    /// they are not known.
    #[must_use]
    pub fn last_indexes(&self, name: &str) -> Option<Vec<usize>> {
        if self.is_truncated() {
            self.looked_up.get(name).cloned()
        } else {
            Some(last_positions(self.first.iter().map(SecretName::as_str), name))
        }
    }

    /// Appends a name.
    pub fn push(&mut self, name: SecretName) {
        let kept: usize = self.first.iter().map(|it| it.len() + 1).sum();
        if !self.is_truncated() && kept + name.len() < MAX_BYTES {
            self.first.push(name);
        } else {
            self.looked_up.insert(name, vec![self.len]);
        }
        self.len += 1;
    }

    /// Removes the name at an index.
    pub fn remove(&mut self, index: usize) {
        if index < self.first.len() {
            self.first.remove(index);
        }
        self.len = self.len.saturating_sub(1);
        // The positions after it have changed.
        self.looked_up.clear();
    }

    /// Finds the last positions of a name in the JSON of a ServiceAccount.
    pub(crate) fn look_up(&mut self, json: &str, name: &SecretName) -> serde_json::Result<()> {
        let names: WireNames<'_> = serde_json::from_str(json)?;
        let positions = last_positions(names.image_pull_secrets.iter().map(|it| it.name.as_ref()), name);
        self.looked_up.insert(name.clone(), positions);
        Ok(())
    }

    /// The kept names.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<&str> {
        self.first.iter().map(SecretName::as_str).collect()
    }
}

/// Returns the last positions of a name, the highest first and at most 500.
fn last_positions<'a>(
    names: impl DoubleEndedIterator<Item = &'a str> + ExactSizeIterator,
    name: &str,
) -> Vec<usize> {
    let positions = names.enumerate().rev().filter(|(_, it)| *it == name).map(|(position, _)| position);
    let mut positions: Vec<_> = positions.take(MAX_POSITIONS).collect();
    positions.shrink_to_fit();
    positions
}

impl<T: Into<SecretName>> FromIterator<T> for EntryList {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let (mut list, mut bytes) = (Self::default(), 0);
        for name in names {
            list.push_bounded(name.into(), &mut bytes);
        }
        list
    }
}

impl EntryList {
    /// Appends a name that only counts where the list is too long; `bytes` are those of the kept names.
    fn push_bounded(&mut self, name: SecretName, bytes: &mut usize) {
        *bytes = bytes.saturating_add(name.len() + 1);
        if *bytes <= MAX_BYTES {
            self.first.push(name);
        }
        self.len += 1;
    }
}

impl<'de> Deserialize<'de> for EntryList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = EntryList;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of references")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut references: A) -> Result<EntryList, A::Error> {
        let (mut list, mut bytes) = (EntryList::default(), 0);
        while bytes <= MAX_BYTES {
            let Some(WireReference { name }) = references.next_element()? else { break };
            list.push_bounded(name, &mut bytes);
        }
        // The rest is counted, and not built.
        while references.next_element::<IgnoredAny>()?.is_some() {
            list.len += 1;
        }
        list.first.shrink_to_fit();
        Ok(list)
    }
}

#[derive(Deserialize)]
struct WireReference {
    #[serde(default)]
    name: SecretName,
}

/// The names of a list, borrowed from its JSON where they have no escapes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireNames<'a> {
    #[serde(borrow, default, deserialize_with = "null_is_default")]
    image_pull_secrets: Vec<WireName<'a>>,
}

#[derive(Deserialize)]
struct WireName<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn list_keeps_its_order_and_duplicates() {
        let list: EntryList =
            serde_json::from_value(json!([{"name": "b"}, {}, {"name": "b"}])).expect("a list");
        assert_eq!(list.names(), ["b", "", "b"]);
        assert_eq!((list.last_index("b"), list.last_index("c")), (Some(Some(2)), Some(None)));
    }

    #[test]
    fn long_list_keeps_a_bounded_part() {
        let names = (0..100_000).map(|n| json!({"name": format!("name-{n}")}));
        let list: EntryList = serde_json::from_value(names.collect()).expect("a list");
        assert!(list.is_truncated() && list.first.len() < MAX_BYTES / 6);
        assert_eq!((list.contains("name-1"), list.contains("name-99999")), (Some(true), None));
        assert_eq!(list.last_index("name-1"), None, "there may be another one at the end");
        let empty: EntryList = std::iter::repeat_n("", 100_000).collect();
        assert!(empty.first.len() <= MAX_BYTES);
    }

    #[test]
    fn looked_up_name_is_known_until_the_list_changes() {
        let names: Vec<_> = (0..2000).map(|n| json!({"name": format!("{n}")})).collect();
        let mut list: EntryList = serde_json::from_value(names.clone().into()).expect("a list");
        list.look_up(&json!({"imagePullSecrets": names}).to_string(), &"1999".into()).expect("JSON");
        assert_eq!(list.last_index("1999"), Some(Some(1999)));
        list.push("own".into());
        assert_eq!(list.last_index("own"), Some(Some(2000)));
        list.remove(1999);
        assert_eq!((list.contains("1999"), list.contains("own"), list.len), (None, None, 2000));
    }

    #[test]
    fn repeated_name_is_known_by_its_last_positions() {
        let names: Vec<_> =
            (0..3000).map(|n| json!({"name": if n % 2 == 0 { "own" } else { "other" }})).collect();
        let mut list: EntryList = serde_json::from_value(names.clone().into()).expect("a list");
        assert_eq!(list.last_indexes("own"), None);
        list.look_up(&json!({"imagePullSecrets": names}).to_string(), &"own".into()).expect("JSON");
        let expect: Vec<_> = (0..MAX_POSITIONS).map(|n| 2998 - 2 * n).collect();
        assert_eq!(list.last_indexes("own"), Some(expect));
        let short: EntryList = ["own", "a", "own"].into_iter().collect();
        assert_eq!(short.last_indexes("own"), Some(vec![2, 0]));
    }

    #[test]
    fn short_list_changes_in_place() {
        let mut list: EntryList = ["a", "b"].into_iter().collect();
        list.push("c".into());
        list.remove(1);
        assert_eq!(list.names(), ["a", "c"]);
        assert!(!list.is_truncated() && !list.is_empty());
    }
}
