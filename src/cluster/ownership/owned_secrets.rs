//! The record of the Secrets that regcred wrote, by UID.
//!
//! Pure. A UID cannot be forged or copied: a Secret with a recorded UID is regcred's, whatever a tenant did to
//! its labels and annotations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::object_name::{NamespaceName, SecretName};

/// One Secret that regcred wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedSecret {
    /// The ClusterPullSecret that it was written for.
    pub cluster_pull_secret: Arc<str>,
    /// Its UID, as a number.
    pub uid: u128,
}

/// The Secrets that regcred wrote, by name and namespace.
#[derive(Debug, Default)]
pub struct OwnedSecrets {
    by_name: BTreeMap<SecretName, BTreeMap<NamespaceName, OwnedSecret>>,
    /// The ClusterPullSecrets and namespaces whose record changed since the last call of
    /// [`take_changes`](Self::take_changes).
    changes: BTreeSet<(Arc<str>, NamespaceName)>,
}

/// Parses a UID, which is a UUID on every API server; another one cannot be recorded.
fn parse_uid(uid: &str) -> Option<u128> {
    let mut digits = uid.chars().filter(|it| *it != '-');
    let (number, count) = digits.try_fold((0, 0), |(number, count), digit| {
        Some((number << 4 | u128::from(digit.to_digit(16)?), count + 1))
    })?;
    (count == 32).then_some(number)
}

impl OwnedSecrets {
    /// Returns the ClusterPullSecret for which regcred wrote the Secret of this UID.
    #[must_use]
    pub fn owner(&self, namespace: &NamespaceName, name: &SecretName, uid: &str) -> Option<&str> {
        let known = self.by_name.get(name)?.get(namespace)?;
        (Some(known.uid) == parse_uid(uid)).then_some(&*known.cluster_pull_secret)
    }

    /// Records a Secret that regcred wrote for a ClusterPullSecret.
    pub fn record_write(
        &mut self,
        namespace: &NamespaceName,
        name: &SecretName,
        cluster_pull_secret: &str,
        uid: &str,
    ) {
        if self.owner(namespace, name, uid) != Some(cluster_pull_secret) {
            self.insert(namespace, name, cluster_pull_secret, uid);
        }
    }

    /// Records a Secret that its signature proves to be regcred's, unless its UID is recorded already.
    pub fn record_signed(
        &mut self,
        namespace: &NamespaceName,
        name: &SecretName,
        cluster_pull_secret: &str,
        uid: &str,
    ) {
        if self.owner(namespace, name, uid).is_none() {
            self.insert(namespace, name, cluster_pull_secret, uid);
        }
    }

    fn insert(&mut self, namespace: &NamespaceName, name: &SecretName, cluster_pull_secret: &str, uid: &str) {
        let Some(uid) = parse_uid(uid) else { return };
        let by_namespace = self.by_name.entry(name.clone()).or_default();
        let shared = by_namespace.values().next().map(|it| Arc::clone(&it.cluster_pull_secret));
        let cluster_pull_secret =
            shared.filter(|it| **it == *cluster_pull_secret).unwrap_or_else(|| cluster_pull_secret.into());
        let owned = OwnedSecret { cluster_pull_secret, uid };
        self.changes.insert((Arc::clone(&owned.cluster_pull_secret), namespace.clone()));
        if let Some(before) = by_namespace.insert(namespace.clone(), owned) {
            self.changes.insert((before.cluster_pull_secret, namespace.clone()));
        }
    }

    /// Adds a record that was read, unless there is a later one.
    pub fn restore(&mut self, namespace: NamespaceName, name: SecretName, owned: OwnedSecret) {
        self.by_name.entry(name).or_default().entry(namespace).or_insert(owned);
    }

    /// Removes the record of a Secret that regcred deleted.
    pub fn remove(&mut self, namespace: &NamespaceName, name: &SecretName) {
        let Some(by_namespace) = self.by_name.get_mut(name) else { return };
        if let Some(before) = by_namespace.remove(namespace) {
            self.changes.insert((before.cluster_pull_secret, namespace.clone()));
        }
    }

    /// Removes the records of every Secret for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&NamespaceName, &SecretName, &str) -> bool) {
        let Self { by_name, changes } = self;
        by_name.retain(|name, by_namespace| {
            by_namespace.retain(|namespace, owned| {
                let is_kept = keep(namespace, name, &owned.cluster_pull_secret);
                if !is_kept {
                    changes.insert((Arc::clone(&owned.cluster_pull_secret), namespace.clone()));
                }
                is_kept
            });
            !by_namespace.is_empty()
        });
    }

    /// Returns true if a Secret of that name is recorded for a ClusterPullSecret in any namespace.
    #[must_use]
    pub fn has_any(&self, cluster_pull_secret: &str, name: &SecretName) -> bool {
        let mut owned = self.by_name.get(name).into_iter().flat_map(BTreeMap::values);
        owned.any(|it| *it.cluster_pull_secret == *cluster_pull_secret)
    }

    /// All records, by name and namespace.
    pub fn iter(&self) -> impl Iterator<Item = (&NamespaceName, &SecretName, &OwnedSecret)> {
        self.by_name.iter().flat_map(|(name, it)| it.iter().map(move |(ns, owned)| (ns, name, owned)))
    }

    /// Returns the ClusterPullSecrets and namespaces whose record changed since the last call.
    pub fn take_changes(&mut self) -> BTreeSet<(Arc<str>, NamespaceName)> {
        std::mem::take(&mut self.changes)
    }

    /// Returns true if the record changed since the last call of [`take_changes`](Self::take_changes).
    #[must_use]
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";
    const OTHER: &str = "00000000-0000-0000-0000-000000000001";

    fn written() -> OwnedSecrets {
        let mut owned = OwnedSecrets::default();
        owned.record_write(&"web".into(), &"regcred".into(), "images", UID);
        owned
    }

    #[test]
    fn recorded_uid_proves_the_owner_in_its_namespace() {
        let owned = written();
        assert_eq!(owned.owner(&"web".into(), &"regcred".into(), UID), Some("images"));
        assert_eq!(owned.owner(&"web".into(), &"regcred".into(), OTHER), None);
        assert_eq!(owned.owner(&"db".into(), &"regcred".into(), UID), None);
        assert_eq!(owned.owner(&"web".into(), &"other".into(), UID), None);
    }

    #[test]
    fn uid_that_is_no_uuid_is_not_recorded() {
        let mut owned = OwnedSecrets::default();
        for uid in ["", "x", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f", "zf1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"] {
            owned.record_write(&"web".into(), &"regcred".into(), "images", uid);
            assert_eq!(owned.owner(&"web".into(), &"regcred".into(), uid), None, "{uid}");
        }
    }

    #[test]
    fn changes_name_the_old_and_the_new_owner() {
        let mut owned = written();
        let names = |owned: &mut OwnedSecrets| {
            owned.take_changes().into_iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&mut owned), ["images"]);
        owned.record_signed(&"web".into(), &"regcred".into(), "images", UID);
        owned.record_write(&"web".into(), &"regcred".into(), "images", UID);
        assert!(!owned.has_changes(), "it is recorded already");
        owned.record_write(&"web".into(), &"regcred".into(), "heir", UID);
        assert_eq!(names(&mut owned), ["heir", "images"]);
        owned.retain(|_, _, owner| owner != "heir");
        assert_eq!(names(&mut owned), ["heir"]);
        assert_eq!(owned.iter().count(), 0);
    }
}
