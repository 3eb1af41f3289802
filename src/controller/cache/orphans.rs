//! Objects that were observed before their namespace was.
//!
//! Watches of different kinds are not ordered: a Secret may arrive before its namespace, and may outlive the
//! deletion of a namespace that was created again.

use std::collections::BTreeMap;

use crate::cluster::{Namespace, revision};
use crate::object_name::NamespaceName;

/// The orphaned objects by the name of their missing namespace.
#[derive(Debug, Default)]
pub(super) struct Orphans(BTreeMap<NamespaceName, Namespace>);

impl Orphans {
    /// Removes and returns the orphans of a namespace that has appeared.
    pub(super) fn adopt(&mut self, namespace_name: &NamespaceName) -> Namespace {
        self.0.remove(namespace_name).unwrap_or_default()
    }

    /// Keeps the objects of a deleted namespace that are newer than the deletion: they belong to a new namespace
    /// of the same name.
    pub(super) fn keep_newer(
        &mut self,
        namespace_name: &NamespaceName,
        mut namespace: Namespace,
        as_of: u128,
    ) {
        namespace.secrets.retain(|_, it| revision(&it.resource_version) > as_of);
        namespace.service_accounts.retain(|_, it| revision(&it.resource_version) > as_of);
        self.0.insert(namespace_name.clone(), namespace);
        self.drop_if_empty(namespace_name);
    }

    /// Drops the entry of a namespace without orphans.
    pub(super) fn drop_if_empty(&mut self, namespace_name: &NamespaceName) {
        let orphans = self.0.get(namespace_name);
        if orphans.is_some_and(|it| it.secrets.is_empty() && it.service_accounts.is_empty()) {
            self.0.remove(namespace_name);
        }
    }

    /// Returns the orphans of a namespace, if it has any.
    pub(super) fn get(&self, namespace_name: &NamespaceName) -> Option<&Namespace> {
        self.0.get(namespace_name)
    }

    /// Returns the orphans of a namespace, mutable.
    pub(super) fn get_mut(&mut self, namespace_name: &NamespaceName) -> Option<&mut Namespace> {
        self.0.get_mut(namespace_name)
    }

    /// Returns the orphans of a namespace, created empty if there are none.
    pub(super) fn get_or_create(&mut self, namespace_name: &NamespaceName) -> &mut Namespace {
        self.0.entry(namespace_name.clone()).or_default()
    }

    /// All missing namespaces with their orphans.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&NamespaceName, &Namespace)> {
        self.0.iter()
    }

    /// All missing namespaces with their orphans, mutable.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&NamespaceName, &mut Namespace)> {
        self.0.iter_mut()
    }

    /// All orphans, mutable.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Namespace> {
        self.0.values_mut()
    }
}
