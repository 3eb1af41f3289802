//! The life of a ClusterPullSecret: how old it is, what it was called before, and whether it goes.

use std::borrow::Borrow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value as Json;

use super::cluster_pull_secret::{ClusterPullSecret, Deletion, Existing, ServiceAccounts};
use super::object::Object;
use super::selection::{Patterns, Selection};

/// Sorts the older before the younger: those of files first, in the order given, then those of the
/// cluster by the time and the name they were created with.
pub fn sort_by_age(cluster_pull_secrets: &mut [impl Borrow<ClusterPullSecret>]) {
    cluster_pull_secrets.sort_by_cached_key(|it| it.borrow().age());
}

impl ClusterPullSecret {
    /// Whether somebody deleted it, and it waits for its finalizers.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.deleting)
    }

    /// Whether it is being deleted and takes its Secrets with it.
    #[must_use]
    pub fn is_going(&self) -> bool {
        self.is_deleting() && self.deletion == Deletion::Delete
    }

    /// The names its Secrets had before and that may still be there.
    pub fn previous_names(&self) -> impl Iterator<Item = &String> {
        let names = self.object.iter().flat_map(|object| &object.secret_names);
        names.filter(|name| **name != self.secret_name)
    }

    /// Every name under which Secrets of it may be: the one they have, then those they had before.
    pub fn secret_names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.secret_name).chain(self.previous_names())
    }

    fn age(&self) -> Option<(Time, String)> {
        self.object.as_ref().map(|object| (object.created.clone(), self.name.clone()))
    }

    /// One that goes and in whose spec something is wrong: what was made for it is found by the names that
    /// its status remembers. Where the spec does not say clearly that it may go, it stays.
    #[must_use]
    pub fn gone(name: &str, object: Object, written: &Json) -> Self {
        let deletion = &written["spec"]["deletion"];
        let may_go = deletion.is_null() || deletion == "Delete";
        Self {
            name: name.to_owned(),
            secret_name: object.secret_names.last().cloned().unwrap_or_else(|| name.to_owned()),
            registries: Vec::new(),
            selection: Selection { include: Some(Patterns::default()), ..Selection::default() },
            service_accounts: ServiceAccounts::All,
            existing: Existing::Refuse,
            refresh_interval: Duration::from_hours(1),
            deletion: if may_go { Deletion::Delete } else { Deletion::Retain },
            suspend: false,
            object: Some(object),
        }
    }
}
