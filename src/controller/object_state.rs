//! The state of one ClusterPullSecret.
//!
//! Pure: its manifest, the desired content of its Secrets, and its status in each namespace. Times are
//! parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::reconciliation::{Cause, Reconciliation, Rotation};
use crate::cluster::Namespace;
use crate::credential::{StoreKey, StoreName};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason};
use crate::manifest::status::{Condition, ConditionType};
use crate::object_name::{NamespaceName, SecretName};
use crate::reconcile::desired_secret::DesiredSecret;
use crate::reconcile::namespace_keys;
use crate::repeated_failure::RepeatedFailure;
use crate::report::Problem;

mod awaited_account;
mod namespace_fetches;
mod target_status;
mod version_hold;

pub use namespace_fetches::{KeyChange, NamespaceFetches};
pub use target_status::{TargetChange, TargetStatus};
pub use version_hold::{ConflictStep, VersionHold, VersionHolds};

/// The least time between two status updates during a reconciliation.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// The delay of the status update after a reconciliation, so that changes that belong together make one.
pub const PUBLISH_AFTER: Duration = Duration::from_millis(300);

/// The state of one ClusterPullSecret.
pub struct ObjectState {
    /// The ClusterPullSecret itself.
    pub manifest: Arc<ClusterPullSecret>,
    /// The desired content of its Secrets; `None` until every key was read once.
    pub desired_secret: Option<DesiredSecret>,
    /// The time of the last successful read of each key.
    pub fetched_at: BTreeMap<StoreKey, Timestamp>,
    /// The version of the last successful read of each key.
    versions: BTreeMap<StoreKey, String>,
    /// True if a registry has a key for each namespace.
    pub has_namespace_keys: bool,
    /// The keys of single namespaces.
    pub namespace_fetches: NamespaceFetches,
    /// The intervals at which stores are polled that have more keys than `pollInterval` allows, the same map in each
    /// state.
    pub poll_intervals: Arc<BTreeMap<StoreName, Duration>>,
    /// Its status in each target namespace.
    pub targets: BTreeMap<NamespaceName, TargetStatus>,
    /// The targets whose Secrets hold a later version than the store answered.
    pub version_holds: BTreeMap<NamespaceName, VersionHolds>,
    /// The namespaces without a ServiceAccount `default`, each since that instant.
    awaited_accounts: BTreeMap<NamespaceName, Instant>,
    /// Problems of the ClusterPullSecret as a whole.
    pub problems: Vec<Problem>,
    /// The reconciliation in progress.
    pub reconciliation: Option<Reconciliation>,
    /// The last rotation.
    pub last_rotation: Option<Rotation>,
    /// True if a trigger requested its keys, and their read has not finished.
    pub awaits_fetch: bool,
    /// Reads that failed in a row.
    pub failed_fetches: u32,
    /// The time of the next refresh.
    pub refresh_at: Option<Instant>,
    /// Every key is read again with the first refresh after this instant, retries included.
    pub full_refresh_at: Option<Instant>,
    /// Patches of the ClusterPullSecret itself.
    pub attempts: Attempts,
    /// The time of the next status update.
    pub publish_at: Option<Instant>,
    /// The number of copies of its Secrets that was logged last.
    pub copies: usize,
    /// The `Ready` condition that was logged last.
    pub logged_ready: Option<Condition>,
    /// The generation of the spec that was last reconciled.
    pub reconciled_generation: Option<i64>,
    /// The annotation `regcred.dev/rotate` that was last reconciled.
    pub observed_rotate: Option<String>,
    /// The time of the forwarded request that was last reconciled.
    pub observed_request: Option<String>,
}

/// Patches of a ClusterPullSecret, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    /// True while one is in flight.
    pub is_in_flight: bool,
    /// The number that failed in a row.
    pub consecutive_failures: u32,
    /// None starts before this instant.
    pub not_before: Option<Instant>,
    /// The failure that was logged last.
    pub(super) failure: RepeatedFailure,
}

impl Attempts {
    /// Returns true if another one may start.
    pub(super) fn can_start(&self, now: Instant) -> bool {
        !self.is_in_flight && self.not_before.is_none_or(|instant| instant <= now)
    }
}

impl ObjectState {
    /// Creates the state of a new ClusterPullSecret.
    #[must_use]
    pub fn new(manifest: Arc<ClusterPullSecret>) -> Self {
        Self {
            has_namespace_keys: namespace_keys::has_namespace_keys(&manifest),
            manifest,
            desired_secret: None,
            fetched_at: BTreeMap::new(),
            versions: BTreeMap::new(),
            namespace_fetches: NamespaceFetches::default(),
            poll_intervals: Arc::default(),
            targets: BTreeMap::new(),
            version_holds: BTreeMap::new(),
            awaited_accounts: BTreeMap::new(),
            problems: Vec::new(),
            reconciliation: None,
            last_rotation: None,
            awaits_fetch: false,
            failed_fetches: 0,
            refresh_at: None,
            full_refresh_at: None,
            attempts: Attempts::default(),
            publish_at: None,
            copies: 0,
            logged_ready: None,
            reconciled_generation: None,
            observed_rotate: None,
            observed_request: None,
        }
    }

    /// Forgets that a namespace waits, where there is nothing to do any more.
    pub fn forget_waits(&mut self, namespace: &NamespaceName) {
        self.version_holds.remove(namespace);
        self.awaited_accounts.remove(namespace);
    }

    /// Returns the keys it reads: those that all namespaces share, and those of each namespace.
    pub fn store_keys(&self) -> impl Iterator<Item = &StoreKey> {
        self.shared_keys().chain(self.namespace_fetches.store_keys())
    }

    /// Returns the keys that all namespaces share.
    pub fn shared_keys(&self) -> impl Iterator<Item = &StoreKey> {
        namespace_keys::shared_keys(&self.manifest)
    }

    /// Returns the names under which its Secrets may exist.
    pub fn secret_names(&self) -> impl Iterator<Item = &SecretName> {
        self.manifest.secret_names()
    }

    /// Returns true if its Secrets may exist under this name.
    #[must_use]
    pub fn has_secret_name(&self, secret_name: &SecretName) -> bool {
        self.secret_names().any(|it| it == secret_name)
    }

    /// Returns true if its keys are read at all: it is neither suspended nor being deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.manifest.inactive_reason().is_none() && !self.manifest.is_deleting_secrets()
    }

    /// Returns true if a patch of the ClusterPullSecret itself may start.
    #[must_use]
    pub fn can_patch(&self, now: Instant) -> bool {
        self.manifest.object.is_some() && self.attempts.can_start(now)
    }

    /// Starts a reconciliation, or joins the one in progress.
    pub fn start_or_join(&mut self, cause: Cause, now: Instant) -> &mut Reconciliation {
        let reconciliation = self.reconciliation.get_or_insert_with(|| Reconciliation::new(cause, now));
        reconciliation.join(cause);
        reconciliation
    }

    /// Records the requests that a finished reconciliation served, unless the next one has to. A forwarded request is
    /// left open where events are left for the next reconciliation: it may be one of them.
    pub fn record_observed(&mut self, has_late_events: bool) {
        let Some(object) = &self.manifest.object else { return };
        if !self.reconciliation.as_ref().is_some_and(Reconciliation::has_annotation) {
            self.observed_rotate.clone_from(&object.rotate);
        }
        if !has_late_events {
            self.observed_request = object.request.as_ref().map(|request| request.at.to_string());
        }
    }

    /// Returns true if every target was written, or must not be.
    #[must_use]
    pub fn is_applied(&self, now: Instant) -> bool {
        !self.targets.values().any(|target| target.is_pending(now))
    }

    /// Returns true if a namespace may hold something of it: selected, a target, or with leftovers.
    #[must_use]
    pub fn can_affect(&self, namespace_name: &NamespaceName, namespace: Option<&Namespace>) -> bool {
        self.targets.contains_key(namespace_name)
            || namespace.is_some_and(|namespace| {
                self.manifest.selection.selects(namespace_name, &namespace.labels)
                    || self.has_leftovers(namespace)
            })
    }

    /// Returns true if the namespace holds a Secret or an entry that was made for it.
    fn has_leftovers(&self, namespace: &Namespace) -> bool {
        let name = &self.manifest.name;
        let mut entries = namespace.service_accounts.values().flat_map(|it| it.added.values());
        namespace.secrets.values().any(|it| it.is_created_for(name))
            || entries.any(|added_for| added_for.as_ref().is_none_or(|it| it == name))
    }

    /// Ends every back-off, because the cause may have been fixed. Contested targets keep theirs.
    pub fn reset_backoff(&mut self) {
        self.attempts.not_before = None;
        for target in self.targets.values_mut() {
            if target.failure.as_deref().is_none_or(|(reason, _)| *reason != AppliedReason::Contested) {
                target.not_before = None;
            }
        }
    }

    /// Returns true if no reconciliation of the current spec has finished, under any leader.
    #[must_use]
    pub fn is_progressing(&self) -> bool {
        self.reconciled_generation != Some(self.generation()) && self.published_ready().is_none()
    }

    /// Returns the `Ready` condition of the previous leader, until this one has reconciled: until then it is
    /// closer to the truth than the state here, unless regcred's own namespace stays unreadable and nothing is decided.
    #[must_use]
    pub fn inherited_ready(&self, is_unreadable: bool) -> Option<&Condition> {
        let is_unreconciled =
            self.reconciled_generation.is_none() && self.manifest.inactive_reason().is_none();
        self.published_ready().filter(|_| is_unreconciled && !is_unreadable)
    }

    /// Returns the published `Ready` condition, where it results from a reconciliation of the current spec.
    fn published_ready(&self) -> Option<&Condition> {
        let ready = self.manifest.object.as_ref()?.status.condition(ConditionType::Ready)?;
        let is_current = ready.observed_generation == self.generation();
        (is_current && !ready.has_reason(ReadyReason::Progressing)).then_some(ready)
    }

    /// Returns true if the published status, as of the previous leader, names this failure of a target.
    #[must_use]
    pub fn was_published(&self, namespace: &NamespaceName, reason: AppliedReason, message: &str) -> bool {
        let status = self.manifest.object.as_ref().map(|object| &object.status);
        let mut failures = status.into_iter().flat_map(|status| &status.failures);
        failures.any(|it| it.namespace == *namespace && it.reason == reason && it.message == message)
    }

    /// Returns the generation of the spec; 0 where it comes from a file.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.manifest.object.as_ref().map_or(0, |object| object.generation)
    }

    /// Returns the version of the last successful read of a key: by this process, or by the published status.
    #[must_use]
    pub fn last_version(&self, store_key: &StoreKey) -> Option<&String> {
        self.versions.get(store_key).or_else(|| self.published_version(store_key))
    }

    fn published_version(&self, store_key: &StoreKey) -> Option<&String> {
        let registries = &self.manifest.object.as_ref()?.status.registries;
        let mut matching =
            registries.iter().filter(|it| it.store == store_key.store.0 && it.key == store_key.key.0);
        matching.next()?.version.as_ref()
    }

    /// Records the versions that were read, and returns true if one changed. Does nothing while inactive:
    /// versions that are read then, for other ClusterPullSecrets, are not written.
    pub fn record_versions(&mut self) -> bool {
        if !self.is_active() {
            return false;
        }
        let reports = self.desired_secret.as_ref().map(DesiredSecret::registries).unwrap_or_default();
        let store_keys = self.manifest.registries.iter().map(|registry| registry.store_key.clone());
        let read = store_keys.zip(reports).filter_map(|(store_key, report)| {
            let is_fetched = report.result == FetchedReason::Fetched;
            report.version.filter(|_| is_fetched).map(|version| (store_key, version))
        });
        let read: Vec<_> = read.collect();
        let has_changed = read
            .iter()
            .any(|(store_key, version)| self.last_version(store_key).is_some_and(|before| before != version));
        self.versions.extend(read);
        has_changed
    }

    /// Forgets the versions and times of keys that it does not read any more.
    pub fn forget_unused_keys(&mut self) {
        let written = self.manifest.registries.iter().map(|registry| &registry.store_key);
        let used: BTreeSet<_> = self.store_keys().chain(written).cloned().collect();
        self.versions.retain(|store_key, _| used.contains(store_key));
        self.fetched_at.retain(|store_key, _| used.contains(store_key));
    }

    /// Returns true if a registry could not be read, or only at an older version than before.
    #[must_use]
    pub fn has_failed_fetch(&self) -> bool {
        let reports = self.desired_secret.as_ref().map(DesiredSecret::registries).unwrap_or_default();
        reports.iter().any(|report| report.result != FetchedReason::Fetched)
    }

    /// Returns true if a key that all namespaces share could not be read. The keys of single namespaces are retried
    /// alone, and one that no store admits is never read.
    #[must_use]
    pub fn has_failed_shared_fetch(&self) -> bool {
        let reports = self.desired_secret.as_ref().map(DesiredSecret::registries).unwrap_or_default();
        let mut failed = reports.iter().filter(|report| report.result != FetchedReason::Fetched);
        failed.any(|it| self.shared_keys().any(|shared| shared.store.0 == it.store && shared.key.0 == it.key))
    }
}

#[cfg(test)]
mod tests;
