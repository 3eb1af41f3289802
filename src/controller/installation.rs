//! regcred's own namespace: it is read before anything is decided, and saved to when something has changed.
//!
//! Writes are batched: the records of a rotation are saved after its last target. A value that replaces another one
//! is saved at once, so that no restart goes back to the one before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::object_state::ObjectState;
use super::timers::Timer;
use super::{Controller, TaskResult, backoff};
use crate::cluster::Namespace;
use crate::cluster::ownership::key::OwnershipKey;
use crate::credential::StoreKey;
use crate::fetches::Fetches;
use crate::installation::api::{KeyError, Loaded, ShardWrite};
use crate::installation::last_good::ValueId;
use crate::installation::{Installation, NotRecorded, PendingShard};
use crate::manifest::status::reason::AppliedReason;
use crate::metrics::{WriteKind, WriteOutcome};
use crate::object_name::NamespaceName;
use crate::reconcile::namespace_values;
use crate::repeated_failure::RepeatedFailure;
use crate::report::Problem;
use crate::rotator::AcceptedOlder;

/// The delay of a save after the first change, so that changes that belong together make one.
const SAVE_AFTER: Duration = Duration::from_millis(500);
/// The least time between two saves.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// The longest time that a save waits for the end of a rotation.
const SAVE_AT_LATEST: Duration = Duration::from_mins(1);
/// The pause before another attempt without access.
const RETRY_WITHOUT_ACCESS: Duration = Duration::from_mins(1);
/// The attempts until access counts as denied: an API server that has just started forbids everything for a moment.
const ATTEMPTS_WITHOUT_ACCESS: u32 = 3;
/// The attempts until a namespace that could not be read yet is a problem of every ClusterPullSecret: half a minute.
const ATTEMPTS_UNTIL_REPORTED: u32 = 6;

/// A task that reads or writes regcred's own namespace; there is one at a time.
#[derive(Debug)]
enum InstallationTask {
    Load,
    Save,
}

/// The progress of reading and saving regcred's own namespace.
#[derive(Debug, Default)]
pub(super) struct InstallationSync {
    /// True if the namespace was read since this process leads, or regcred has no access to it.
    is_known: bool,
    /// True if the ClusterPullSecrets of the cluster were listed: one that is not known does not exist.
    pub(super) has_listed_objects: bool,
    in_flight: Option<InstallationTask>,
    /// The time of the next attempt to read it; `None` where none is needed.
    load_at: Option<Instant>,
    consecutive_failures: u32,
    /// The failure to read the namespace.
    load_failure: RepeatedFailure,
    /// The problem of every ClusterPullSecret while the namespace stays unreadable.
    pub(super) unreadable: Option<Problem>,
    /// The problems of the last read, and of the last save.
    load_problems: BTreeSet<String>,
    save_problems: BTreeSet<String>,
    /// The time of the first change that is not saved.
    changed_at: Option<Instant>,
    /// True if values of ClusterPullSecrets that are gone may be recorded.
    pub(super) may_have_unused_values: bool,
    /// None is saved before this instant.
    not_before: Option<Instant>,
    /// Saves that failed in a row.
    failed_saves: u32,
}

impl InstallationSync {
    /// Returns true if decisions can be made.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// Requires another read: another replica led since.
    pub(super) fn invalidate(&mut self) {
        self.is_known = false;
        self.load_at = None;
    }

    /// Returns true if access was denied a few times only, and nothing was decided yet.
    fn is_first_denial(&self) -> bool {
        !self.is_known && self.consecutive_failures < ATTEMPTS_WITHOUT_ACCESS
    }

    /// Returns the problem of every ClusterPullSecret while nothing can be decided, and not only for a moment.
    fn problem(&self, error: &KeyError) -> Option<Problem> {
        (!self.is_known && self.consecutive_failures >= ATTEMPTS_UNTIL_REPORTED).then(|| Problem {
            reason: AppliedReason::Unavailable.into(),
            message: format!(
                "regcred's own namespace cannot be read, so that nothing is read or written: {error}"
            ),
        })
    }

    /// Returns the instant until which a save waits: for changes that belong together, and for the end of a rotation.
    /// It stays the same from turn to turn, so that one timer is set for it.
    fn postpone_save(&mut self, is_idle: bool, now: Instant) -> Option<Instant> {
        let changed_at = *self.changed_at.get_or_insert(now);
        let earliest = self.not_before.map_or(changed_at + SAVE_AFTER, |at| at.max(changed_at + SAVE_AFTER));
        let at = if is_idle { earliest } else { earliest.max(changed_at + SAVE_AT_LATEST) };
        (at > now).then_some(at)
    }

    fn must_load(&self, now: Instant) -> bool {
        let is_due = match self.load_at {
            Some(at) => at <= now,
            None => !self.is_known,
        };
        is_due && self.in_flight.is_none()
    }
}

/// Logs the problems that are not among the last ones, and replaces these.
fn log_new(problems: Vec<String>, last: &mut BTreeSet<String>) {
    let problems: BTreeSet<_> = problems.into_iter().collect();
    for problem in problems.difference(last) {
        warn!("{problem}");
    }
    *last = problems;
}

/// Records the values that were read for a ClusterPullSecret as the last good ones.
pub(super) fn record_values(state: &ObjectState, installation: Option<&mut Installation>) {
    if let Some((desired_secret, installation)) = state.desired_secret.as_ref().zip(installation)
        && state.is_active()
    {
        desired_secret.record(installation);
    }
}

/// Records the values that an active ClusterPullSecret read for these namespaces, each from a key of its own.
pub(super) fn record_namespace_values<'a>(
    state: &ObjectState,
    namespaces: impl IntoIterator<Item = (&'a NamespaceName, &'a Namespace)>,
    fetches: &Fetches,
    installation: &mut Installation,
) {
    if state.is_active() {
        let order = |store_key: &StoreKey| fetches.order(store_key);
        let (values, accepted_older) = (fetches.all_values(), AcceptedOlder::default());
        namespace_values::record(&state.manifest, namespaces, values, installation, &order, &accepted_older);
    }
}

/// Returns the problem of a ClusterPullSecret of which something is not kept in regcred's own namespace.
pub(super) fn not_recorded(installation: &Installation, cluster_pull_secret: &str) -> Option<Problem> {
    let message = match installation.not_recorded().get(cluster_pull_secret)? {
        NotRecorded::NoRoom => {
            "last good values have no room in regcred's own namespace, and would be lost at a restart. Raise `lastGoodShards` of the chart, or --last-good-shards"
        }
        NotRecorded::Denied => {
            "last good values cannot be kept, and would be lost at a restart: access to a Secret `regcred-last-good-N` is denied. Apply the Role of regcred's chart with the same `lastGoodShards`"
        }
    };
    Some(Problem { reason: AppliedReason::NotRecorded.into(), message: message.to_owned() })
}

/// Returns true if a value belongs to a registry of its ClusterPullSecret, and its key to all namespaces or to one.
fn is_used(id: &ValueId, state: &ObjectState) -> bool {
    let ObjectState { manifest, namespace_fetches, .. } = state;
    manifest.registries.iter().any(|registry| ValueId::new(&manifest.name, registry) == *id)
        || (namespace_fetches.contains(&id.store_key)
            && manifest.registries.iter().any(|it| it.host == id.host && it.store_key.is_per_namespace()))
}

impl Controller {
    /// Returns the key that signs Secrets.
    pub(super) fn key(&self) -> Option<&Arc<OwnershipKey>> {
        self.cache.installation.as_ref()?.key.as_ref()
    }

    /// Reads regcred's own namespace, if that is due.
    pub(super) fn start_load(&mut self, now: Instant) {
        if !self.installation_sync.must_load(now) {
            return;
        }
        self.installation_sync.in_flight = Some(InstallationTask::Load);
        let (client, own) = (self.context.client.clone(), self.context.own_namespace.clone());
        self.tasks.spawn_read(async move {
            TaskResult::InstallationLoaded(own.load(&client, 0..own.shards, true).await)
        });
    }

    /// Handles the content of regcred's own namespace.
    pub(super) fn on_installation_loaded(&mut self, result: Result<Loaded, KeyError>) {
        let (now, jitter) = (Instant::now(), self.jitter());
        self.installation_sync.in_flight = None;
        match result {
            Ok(Loaded { installation, problems, is_incomplete }) => {
                if self.installation_sync.load_failure.ends() {
                    info!("regcred's own namespace is readable again");
                }
                log_new(problems, &mut self.installation_sync.load_problems);
                let had_key = self.key().is_some();
                let was_known = self.installation_sync.is_known;
                self.installation_sync.consecutive_failures = 0;
                let has_denied = installation.has_denied();
                let pause = if is_incomplete { backoff::after(5, jitter) } else { RETRY_WITHOUT_ACCESS };
                self.retry_load((is_incomplete || has_denied).then(|| now + pause));
                self.take_over(installation);
                self.report_not_recorded(now);
                if was_known && !had_key {
                    info!("regcred has access to its own namespace: Secrets are signed from now on");
                    self.secret_lists.invalidate();
                }
            }
            Err(error) if error.is_transient() || self.installation_sync.is_first_denial() => {
                self.installation_sync.consecutive_failures += 1;
                let pause = backoff::after(self.installation_sync.consecutive_failures, jitter);
                self.retry_load(Some(now + pause));
                if self.installation_sync.load_failure.begins(&error.to_string()) {
                    let consequence = if self.installation_sync.is_known {
                        "what is known of it stays in use"
                    } else {
                        "nothing is written until it is readable"
                    };
                    warn!("cannot read regcred's own namespace, {consequence}: {error}");
                }
                let problem = self.installation_sync.problem(&error);
                self.set_unreadable(problem, now);
            }
            Err(error) => {
                self.retry_load(Some(now + RETRY_WITHOUT_ACCESS));
                // The first attempts have logged it as a failure that may pass.
                let message = format!("no access: {error}");
                if self.installation_sync.load_failure.begins(&message) {
                    warn!(
                        namespace = self.context.own_namespace.name.as_str(),
                        "no access to regcred's own namespace: {error}. Secrets are recognised by their labels alone, and last good values are lost at a restart. Apply the Role of regcred's chart"
                    );
                }
                // A key that was known before is still the right one.
                if self.key().is_some() {
                    self.installation_sync.is_known = true;
                } else if !self.installation_sync.is_known {
                    self.take_over(Installation::default());
                }
            }
        }
    }

    fn retry_load(&mut self, at: Option<Instant>) {
        self.installation_sync.load_at = at;
        if let Some(at) = at {
            self.timers.set(at, Timer::Installation);
        }
    }

    /// Reports that nothing can be written, in place of what a leader before this one has published.
    fn set_unreadable(&mut self, problem: Option<Problem>, now: Instant) {
        if self.installation_sync.unreadable == problem {
            return;
        }
        self.installation_sync.unreadable = problem;
        for name in self.objects.keys().cloned().collect::<Vec<_>>() {
            self.publish_soon(&name, now);
        }
    }

    /// Judges everything by another content of regcred's own namespace.
    fn take_over(&mut self, installation: Installation) {
        if !self.installation_sync.is_known {
            // Every key is read again, and compared with what another leader recorded.
            self.fetches.forget_values();
        }
        self.installation_sync.is_known = true;
        self.set_unreadable(None, Instant::now());
        self.cache.set_installation(installation);
        self.forget_expired_values();
        let Some(installation) = &mut self.cache.installation else { return };
        for state in self.objects.values_mut() {
            record_values(state, Some(installation));
            record_namespace_values(state, &self.cache.cluster.namespaces, &self.fetches, installation);
        }
        self.refresh_last_good();
        self.has_stale_claims = true;
    }

    /// Decides by the last good values as they are recorded now.
    pub(super) fn refresh_last_good(&mut self) {
        let Some(installation) = &self.cache.installation else { return };
        let desired_secrets = self.objects.values_mut().filter_map(|state| state.desired_secret.as_mut());
        desired_secrets.for_each(|it| it.refresh_last_good(installation.values()));
    }

    /// Saves what has changed once no write is queued; rotated values, and everything at shutdown, at once.
    pub(super) fn start_save(&mut self, now: Instant, is_last: bool) {
        self.forget_values_of_deleted();
        let Some(installation) = self.cache.installation.as_mut().filter(|_| self.is_leading) else { return };
        if installation.take_denied_changes() {
            self.report_not_recorded(now);
        }
        let sync = &mut self.installation_sync;
        let Some(installation) = &mut self.cache.installation else { return };
        if !sync.is_known || sync.in_flight.is_some() || !installation.has_changes() {
            return;
        }
        if !is_last && sync.failed_saves == 0 && installation.has_rotated_values() {
            let pending = installation.take_rotated();
            self.save(pending);
            return;
        }
        if let Some(at) = sync.postpone_save(self.queue.depth() == 0, now)
            && !is_last
        {
            self.timers.set(at, Timer::Installation);
            return;
        }
        (sync.changed_at, sync.not_before) = (None, Some(now + SAVE_EVERY));
        self.forget_unused();
        let Some(installation) = &mut self.cache.installation else { return };
        let pending = installation.take_pending();
        self.save(pending);
    }

    fn save(&mut self, pending: Vec<PendingShard>) {
        self.installation_sync.in_flight = Some(InstallationTask::Save);
        debug!(shards = pending.len(), "saving last good values");
        let (client, own) = (self.context.client.clone(), self.context.own_namespace.clone());
        self.tasks
            .spawn_write(async move { TaskResult::InstallationSaved(own.save(&client, pending).await) });
    }

    /// Forgets the values of ClusterPullSecrets that are gone: no password outlives its ClusterPullSecret.
    fn forget_values_of_deleted(&mut self) {
        let sync = &mut self.installation_sync;
        if !sync.has_listed_objects || !std::mem::take(&mut sync.may_have_unused_values) {
            return;
        }
        let Self { cache, objects, invalid, .. } = self;
        let Some(installation) = &mut cache.installation else { return };
        installation.retain(
            |ValueId { cluster_pull_secret: name, .. }| {
                objects.contains_key(name) || invalid.contains_key(name)
            },
            |_, _| true,
        );
    }

    /// Forgets what belongs to nothing that exists: a ClusterPullSecret that is gone owns nothing.
    fn forget_unused(&mut self) {
        if !self.installation_sync.has_listed_objects {
            return;
        }
        let Self { cache, objects, invalid, .. } = self;
        let namespaces = &cache.cluster.namespaces;
        let Some(installation) = &mut cache.installation else { return };
        let is_known = |name: &str| objects.contains_key(name) || invalid.contains_key(name);
        let keep_value = |id: &ValueId| match objects.get(&id.cluster_pull_secret) {
            Some(state) => is_used(id, state) || state.manifest.is_deleting(),
            None => invalid.contains_key(&id.cluster_pull_secret),
        };
        let keep_record =
            |owner: &str, namespace: &NamespaceName| is_known(owner) && namespaces.contains_key(namespace);
        installation.retain(keep_value, keep_record);
    }

    /// Handles the results of a save.
    pub(super) fn on_installation_saved(&mut self, writes: Vec<ShardWrite>) {
        let (now, jitter) = (Instant::now(), self.jitter());
        let has_failed = writes.iter().any(|write| matches!(write, ShardWrite::Failed(..)));
        let sync = &mut self.installation_sync;
        sync.in_flight = None;
        sync.failed_saves = if has_failed { sync.failed_saves + 1 } else { 0 };
        if has_failed {
            sync.not_before = Some(now + SAVE_EVERY.max(backoff::after(sync.failed_saves, jitter)));
        }
        for write in &writes {
            let outcome = match write {
                ShardWrite::Written(..) => WriteOutcome::Updated,
                ShardWrite::Conflict(_) | ShardWrite::Failed(..) => WriteOutcome::Failed,
            };
            self.context.health.metrics.wrote(WriteKind::LastGood, outcome);
        }
        let Some(installation) = &mut self.cache.installation else { return };
        let has_conflict = writes.iter().any(|write| matches!(write, ShardWrite::Conflict(_)));
        let problems = installation.finish_save(writes);
        log_new(problems, &mut self.installation_sync.save_problems);
        if has_conflict {
            // Another process, such as `regcred rotate`, may have recorded a later value.
            self.refresh_last_good();
            self.has_stale_claims = true;
        }
        self.report_not_recorded(now);
    }

    /// Reports the ClusterPullSecrets of which something is not kept in regcred's own namespace.
    fn report_not_recorded(&mut self, now: Instant) {
        let Some(installation) = &self.cache.installation else { return };
        let not_recorded = installation.not_recorded();
        self.context.health.metrics.set_not_recorded(not_recorded.len());
        for (name, state) in &mut self.objects {
            let is_reported = state.problems.iter().any(|it| it.reason == AppliedReason::NotRecorded.into());
            if is_reported != not_recorded.contains_key(name.as_str()) {
                state.publish_at = Some(now);
                self.timers.set(now, Timer::ObjectPatch(name.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
