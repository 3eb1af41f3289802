//! The ClusterPullSecret after validation, from a file or from the cluster.
//!
//! Plain data and the questions it answers by itself: its age, its Secret names, and if it is suspended or
//! being deleted. Validation makes it of the [wire type](super::wire::ClusterPullSecret).

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value as Json;

use super::admission::Admission;
use super::object::LiveObject;
use super::selection::{Patterns, Selection};
use super::status::reason::ReadyReason;
use crate::docker_config::portable;
use crate::object_name::SecretName;

pub use super::wire::{Deletion, Existing};
pub use crate::docker_config::registry_source::RegistrySource;

/// A ClusterPullSecret after validation.
#[derive(Clone, Debug)]
pub struct ClusterPullSecret {
    /// Name of the ClusterPullSecret.
    pub name: String,
    /// Name of the pull secret in every namespace.
    pub secret_name: SecretName,
    /// The registries, no host key twice.
    pub registries: Vec<RegistrySource>,
    /// The selected namespaces.
    pub selection: Selection,
    /// The selected ServiceAccounts of each namespace.
    pub service_accounts: ServiceAccounts,
    /// The policy for a Secret that regcred did not create.
    pub existing: Existing,
    /// The interval between full reads of the stores and the cluster.
    pub refresh_interval: Duration,
    /// The policy for the Secrets when the ClusterPullSecret is deleted.
    pub deletion: Deletion,
    /// Pauses reconciliation; its claims stay.
    pub suspend: bool,
    /// The namespaces and registries that each store may serve.
    pub admission: Arc<Admission>,
    /// The metadata and status in the API server; `None` for a ClusterPullSecret of a file.
    pub object: Option<LiveObject>,
}

/// The ServiceAccounts of a selected namespace that get the pull secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAccounts {
    /// All of them.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl ServiceAccounts {
    /// Returns true if the ServiceAccount of that name is selected.
    #[must_use]
    pub fn selects(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|it| it == name),
        }
    }
}

impl ClusterPullSecret {
    /// Returns the reason why it is not reconciled, if there is one. Its claims stay all the same.
    #[must_use]
    pub fn inactive_reason(&self) -> Option<ReadyReason> {
        match &self.object {
            Some(object) if object.deleting => Some(ReadyReason::Deleting),
            _ => self.suspend.then_some(ReadyReason::Suspended),
        }
    }

    /// Says which registries a reader of pull secrets other than the kubelet does not find; `None` if all are found.
    #[must_use]
    pub fn portability_message(&self) -> Option<String> {
        portable::unknown_to_k8schain(self.registries.iter().filter_map(|it| it.host.as_ref()))
    }

    /// Returns true if it was deleted and waits for its finalizers.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.object.as_ref().is_some_and(|object| object.deleting)
    }

    /// Returns true if it is being deleted together with its Secrets.
    #[must_use]
    pub fn is_deleting_secrets(&self) -> bool {
        self.is_deleting() && self.deletion == Deletion::Delete
    }

    /// Returns the earlier names of its Secrets under which some may still exist.
    pub fn previous_names(&self) -> impl Iterator<Item = &SecretName> {
        let names = self.object.iter().flat_map(|object| &object.secret_names);
        names.filter(|name| **name != self.secret_name)
    }

    /// Returns every name under which its Secrets may exist: the current one, then the earlier ones.
    pub fn secret_names(&self) -> impl Iterator<Item = &SecretName> {
        std::iter::once(&self.secret_name).chain(self.previous_names())
    }

    /// Returns a stand-in for one that is being deleted and has an invalid spec: its Secrets are found by the
    /// names in its status. They are retained unless `deletion` is absent or `Delete`.
    #[must_use]
    pub fn for_cleanup(name: &str, object: LiveObject, written: &Json) -> Self {
        let deletion = &written["spec"]["deletion"];
        let is_deletable = deletion.is_null() || deletion == "Delete";
        Self {
            name: name.to_owned(),
            secret_name: object.secret_names.last().cloned().unwrap_or_else(|| name.into()),
            registries: Vec::new(),
            selection: Selection { include: Some(Patterns::default()), ..Selection::default() },
            service_accounts: ServiceAccounts::All,
            existing: Existing::Refuse,
            refresh_interval: Duration::from_hours(1),
            deletion: if is_deletable { Deletion::Delete } else { Deletion::Retain },
            suspend: false,
            admission: Arc::default(),
            object: Some(object),
        }
    }

    fn age(&self) -> Option<(Time, String)> {
        self.object.as_ref().map(|object| (object.created.clone(), self.name.clone()))
    }
}

/// Sorts the older before the younger: those of files first, in the order given, then those of the
/// cluster by creation time and name.
pub fn sort_by_age(cluster_pull_secrets: &mut [impl Borrow<ClusterPullSecret>]) {
    cluster_pull_secrets.sort_by_cached_key(|it| it.borrow().age());
}
