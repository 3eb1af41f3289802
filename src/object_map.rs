//! Maps of the few things that one namespace has: Secrets, ServiceAccounts, labels.
//!
//! Pure. A `BTreeMap` reserves room for eleven entries as soon as it has one, and most namespaces have one pull secret
//! and one ServiceAccount: with ten thousand namespaces, that room would be half of all memory. A sorted vector
//! without spare room has the same order and the same lookups.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Index;

/// The number of entries from which on the map grows by more than one.
const FEW: usize = 4;

/// A map of few entries, sorted by key.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for ObjectMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> ObjectMap<K, V> {
    /// Returns true if the map has no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The entries in the order of their keys, with mutable values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// The keys in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// Keeps the entries for which `keep` is true.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }
}

impl<K: Ord, V> ObjectMap<K, V> {
    fn position<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(key))
    }

    /// Returns the value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// Returns a key and its value.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let (key, value) = &self.0[self.position(key).ok()?];
        Some((key, value))
    }

    /// Returns the value of a key, mutable.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let position = self.position(key).ok()?;
        Some(&mut self.0[position].1)
    }

    /// Returns the value of a key, mutable; inserts the default where there is none.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let position =
            self.position(&key).unwrap_or_else(|position| self.insert_at(position, (key, V::default())));
        &mut self.0[position].1
    }

    /// Returns true if the map has this key.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.position(key).is_ok()
    }

    /// Sets the value of a key; returns the value before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.position(&key) {
            Ok(position) => Some(std::mem::replace(&mut self.0[position].1, value)),
            Err(position) => {
                self.insert_at(position, (key, value));
                None
            }
        }
    }

    fn insert_at(&mut self, position: usize, entry: (K, V)) -> usize {
        if self.0.len() < FEW {
            self.0.reserve_exact(1);
        }
        self.0.insert(position, entry);
        position
    }

    /// Removes a key; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let position = self.position(key).ok()?;
        Some(self.0.remove(position).1)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for ObjectMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<K: Ord, V> Extend<(K, V)> for ObjectMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K, V> IntoIterator for ObjectMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for ObjectMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Borrow<Q>, Q: Ord + ?Sized, V> Index<&Q> for ObjectMap<K, V> {
    type Output = V;

    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("no entry of this key")
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ObjectMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_entry_takes_the_room_of_one() {
        let map = ObjectMap::from([("a", 1)]);
        assert_eq!(map.0.capacity(), 1);
        let map: ObjectMap<_, _> = (0..3).map(|key| (key, ())).collect();
        assert_eq!(map.0.capacity(), 3);
    }

    proptest! {
        #[test]
        fn map_behaves_as_a_btree_map(steps in prop::collection::vec((0..3_u8, 0..20_u8, any::<u8>()), 0..60)) {
            let (mut map, mut model) = (ObjectMap::default(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    1 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => prop_assert_eq!(map.get_or_default(key), model.entry(key).or_default()),
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.contains_key(&key), model.contains_key(&key));
            }
            prop_assert!(map.iter().eq(model.iter()) && map.len() == model.len());
            map.retain(|key, value| u16::from(*key) + u16::from(*value) > 100);
            model.retain(|key, value| u16::from(*key) + u16::from(*value) > 100);
            prop_assert!(map.keys().eq(model.keys()) && map.values().eq(model.values()));
            prop_assert!(map.into_iter().eq(model));
        }
    }
}
