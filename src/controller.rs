//! The controller: the engine of `rotate`, run continuously.
//!
//! In go watch events, results of store reads and cluster writes, and the clock; out go store reads,
//! cluster writes and patches of ClusterPullSecrets. One loop owns the whole state and decides by pure
//! functions; everything that waits for I/O runs as a task and returns as a `TaskResult`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

pub mod cache;
pub mod drift;
pub mod object_state;
pub mod queue;
pub mod reconciliation;

mod dependents;
mod dispatch;
mod events;
mod expiries;
#[cfg(test)]
mod fixture;
mod foreign_versions;
mod forward;
mod installation;
mod leases;
mod namespace_keys;
mod object_writes;
mod polled_keys;
mod read_again;
mod read_pauses;
mod reconciliations;
mod secret_lists;
mod specs;
mod status;
mod tasks;
mod timers;
mod triggers;
mod version_conflicts;
mod watch_events;

use crate::admin::Health;
use crate::backoff;
use crate::cluster::events::EventRecorder;
use crate::cluster::watch::{Restores, Watch, WatchEvent, WatchedResource};
use crate::credential::StoreKey;
use crate::fetches::Fetches;
use crate::installation::api::OwnNamespace;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::config::Store;
use crate::provider::stores::Stores;
use crate::reconcile::claims::Claims;
use crate::repeated_failure::RepeatedFailure;
use crate::trigger::{Trigger, TriggerReceiver, poll};
use cache::Cache;
use drift::DriftBackoff;

use foreign_versions::ForeignVersions;
use forward::ForwardedRequests;
use installation::InstallationSync;
use object_state::ObjectState;
use queue::Queue;
use read_pauses::ReadPauses;
use secret_lists::SecretLists;
use specs::InvalidObject;
use tasks::{TaskResult, Tasks};
use timers::Timers;

/// The longest time between two beats of the loop's heartbeat, whatever else happens.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The time between two clean-ups of drift that is too old to matter.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(1);

/// The time that pending writes get when the process shuts down.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

/// The saves that may follow another one when the process shuts down: of later changes, and after a
/// conflict.
const LAST_SAVES: usize = 2;

/// Watch events that may wait for the loop.
const WATCH_EVENT_BUFFER: usize = 1024;

/// Dependencies and settings of a controller.
pub struct Context {
    /// The client for reads and writes; rejects writes while this replica does not lead.
    pub client: Client,
    /// The client by which a replica that does not lead forwards requests to the leader.
    pub unfenced_client: Client,
    /// Triggers from outside.
    pub trigger_receiver: TriggerReceiver,
    /// Publishes to the poll which keys are in use, and the version of each that is known.
    pub known_versions: watch::Sender<poll::KnownVersions>,
    /// Every store of the Config.
    pub stores: Arc<Stores>,
    /// The same stores as configured, to validate ClusterPullSecrets of the cluster.
    pub store_configs: Vec<Store>,
    /// The ClusterPullSecrets from files, the oldest first.
    pub files: Vec<Arc<ClusterPullSecret>>,
    /// The interval of the poll; `None` for never.
    pub poll_interval: Option<Duration>,
    /// API requests that may be in flight at once for one ClusterPullSecret.
    pub concurrency: usize,
    /// State served to probes and Prometheus.
    pub health: Health,
    /// The identity of this replica, for Events.
    pub identity: String,
    /// regcred's own namespace.
    pub own_namespace: OwnNamespace,
    /// Returns the wall-clock time.
    pub wall_clock: fn() -> Timestamp,
    /// Returns a random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// The whole state of the controller, and the tasks in flight.
pub struct Controller {
    context: Context,
    cache: Cache,
    objects: BTreeMap<String, ObjectState>,
    /// ClusterPullSecrets that failed validation: nothing is changed for them, and their status says so.
    invalid: BTreeMap<String, InvalidObject>,
    claims: Claims,
    /// True if ClusterPullSecrets changed since the claims were built.
    has_stale_claims: bool,
    /// Keys that a namespace does not use any more.
    stale_keys: BTreeSet<StoreKey>,
    queue: Queue,
    fetches: Fetches,
    drift: DriftBackoff,
    foreign_versions: ForeignVersions,
    /// Namespaces in which events wait, because a read brought nothing to write.
    read_pauses: ReadPauses,
    timers: Timers,
    forwarded: ForwardedRequests,
    events: EventRecorder,
    /// The failure to publish Events.
    event_failure: RepeatedFailure,
    watches: BTreeMap<WatchedResource, Watch>,
    watch_events: (mpsc::Sender<WatchEvent>, mpsc::Receiver<WatchEvent>),
    /// Restores of etcd, which all watches share.
    restores: Restores,
    /// Resources that were listed at least once.
    synced: BTreeSet<WatchedResource>,
    secret_lists: SecretLists,
    installation_sync: InstallationSync,
    tasks: Tasks,
    /// True if the queue holds more than one turn of the loop may take.
    has_more_items: bool,
    /// The last time old drift was forgotten.
    cleaned_up_at: Instant,
    is_leading: bool,
}

/// A task of the controller panicked: a defect of regcred.
#[derive(Debug, thiserror::Error)]
#[error("a task of the controller panicked")]
pub struct Panicked;

impl Controller {
    /// Creates a controller with an empty cache. Makes no request.
    #[must_use]
    pub fn new(context: Context) -> Self {
        let events = EventRecorder::new(context.client.clone(), context.identity.clone());
        let queue = Queue::new(context.concurrency);
        let mut controller = Self {
            context,
            cache: Cache::default(),
            objects: BTreeMap::new(),
            invalid: BTreeMap::new(),
            claims: Claims::default(),
            has_stale_claims: true,
            stale_keys: BTreeSet::new(),
            queue,
            fetches: Fetches::default(),
            drift: DriftBackoff::default(),
            foreign_versions: ForeignVersions::default(),
            read_pauses: ReadPauses::default(),
            timers: Timers::default(),
            forwarded: ForwardedRequests::default(),
            events,
            event_failure: RepeatedFailure::default(),
            watches: BTreeMap::new(),
            watch_events: mpsc::channel(WATCH_EVENT_BUFFER),
            restores: Restores::default(),
            synced: BTreeSet::new(),
            secret_lists: SecretLists::default(),
            installation_sync: InstallationSync::default(),
            tasks: Tasks::default(),
            has_more_items: false,
            cleaned_up_at: Instant::now(),
            is_leading: false,
        };
        for cluster_pull_secret in std::mem::take(&mut controller.context.files) {
            controller.upsert(cluster_pull_secret);
        }
        controller
    }

    /// Runs until `stop` resolves, then finishes pending writes. Leads while `leading` is true; until
    /// then only watches, with a warm cache.
    pub async fn run(
        mut self,
        mut leading: watch::Receiver<bool>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Panicked> {
        let mut stop = std::pin::pin!(stop);
        for resource in [
            WatchedResource::Namespaces,
            WatchedResource::ServiceAccounts,
            WatchedResource::ClusterPullSecrets,
        ] {
            self.watch(resource);
        }
        loop {
            self.advance();
            let (deadline, has_synced) = (self.next_deadline(), self.has_synced());
            // Results of our own writes go before the watch events regarding them.
            tokio::select! {
                biased;
                () = &mut stop => return self.shut_down().await,
                Ok(()) = leading.changed() => self.on_leadership(*leading.borrow_and_update()),
                Some(result) = self.tasks.next() => self.on_task_result(result?),
                Some(event) = self.watch_events.1.recv() => self.on_watch_event(event),
                // The objects a trigger affects are known once everything was listed.
                Some(event) = self.context.trigger_receiver.recv(), if has_synced => self.on_trigger(event),
                () = sleep_until(deadline) => {}
            }
            // Everything else that is ready is handled before the next decision.
            while let Some(result) = self.tasks.try_next() {
                self.on_task_result(result?);
            }
            while let Ok(event) = self.watch_events.1.try_recv() {
                self.on_watch_event(event);
            }
            // No more than are waiting now, so that a turn of the loop is bounded.
            let waiting = if has_synced { self.context.trigger_receiver.len() } else { 0 };
            for _ in 0..waiting {
                if let Ok(event) = self.context.trigger_receiver.try_recv() {
                    self.on_trigger(event);
                }
            }
        }
    }

    /// Returns the latest instant of the next turn of the loop.
    fn next_deadline(&self) -> Instant {
        let heartbeat = Instant::now() + HEARTBEAT_INTERVAL;
        let fetch = self.fetches.next_due().filter(|_| self.installation_sync.is_known());
        match self.timers.next_due().into_iter().chain(fetch).min() {
            _ if self.has_more_items => Instant::now(),
            // Nothing is due before this replica leads and its cache has synced.
            Some(timer) if self.is_leading && self.has_synced() => timer.min(heartbeat),
            _ => heartbeat,
        }
    }

    /// Starts everything that is due, in the order of the pipeline: claims, store reads, writes, status.
    fn advance(&mut self) {
        let now = Instant::now();
        self.context.health.heartbeat.beat();
        self.sync_watches();
        self.update_readiness();
        if !self.is_leading || !self.has_synced() {
            return;
        }
        self.start_load(now);
        self.rebuild_claims();
        self.forget_stale_keys();
        for timer in self.timers.pop_due(now) {
            self.on_timer(timer, now);
        }
        self.start_secret_lists(now);
        self.start_fetches(now);
        self.start_object_patches(now);
        self.dispatch(now);
        self.finish_reconciliations(now);
        self.start_save(now, false);
        if now.duration_since(self.cleaned_up_at) > CLEANUP_INTERVAL {
            self.cleaned_up_at = now;
            self.drift.forget_old(now);
        }
        let reconciliations = self.objects.values().filter_map(|state| state.reconciliation.as_ref());
        let oldest = reconciliations.map(|reconciliation| reconciliation.cause.since).min();
        self.context.health.metrics.set_queue(self.queue.depth(), oldest);
    }

    fn jitter(&self) -> f64 {
        (self.context.jitter)()
    }

    /// Handles a change of leadership.
    fn on_leadership(&mut self, is_leading: bool) {
        if is_leading == self.is_leading {
            return;
        }
        self.is_leading = is_leading;
        self.context.health.metrics.set_leader(is_leading);
        if is_leading {
            info!("leading");
            self.secret_lists.invalidate();
            self.installation_sync.invalidate();
            self.has_stale_claims = true;
            let (now, at) = (Instant::now(), (self.context.wall_clock)());
            for name in self.objects.keys().cloned().collect::<Vec<_>>() {
                self.reconcile(&name, Trigger::Start, now, at);
                self.resume_request(&name);
            }
        } else {
            info!("not leading any more: nothing is written");
            self.queue.clear();
        }
    }

    fn on_task_result(&mut self, result: TaskResult) {
        match result {
            TaskResult::Applied(item, applied) => self.on_applied(&item, applied),
            TaskResult::Fetched(started, values) => self.on_fetched(started, values),
            TaskResult::Renewed(store_key, life) => self.on_renewed(&store_key, life),
            TaskResult::LeasesRevoked => {}
            TaskResult::SecretsListed(name, secrets) => self.on_secrets_listed(&name, secrets),
            TaskResult::ObjectPatched(name, patch, result) => self.on_object_patched(&name, &patch, result),
            TaskResult::EventPublished(result) => self.on_event_published(&result),
            TaskResult::Forwarded(batch) => self.on_forwarded(batch),
            TaskResult::InstallationLoaded(result) => self.on_installation_loaded(result),
            TaskResult::InstallationSaved(writes) => self.on_installation_saved(writes),
        }
    }

    /// Shuts down: starts nothing more, and waits for pending writes. What changed during a save, or was in conflict, is
    /// saved after it.
    async fn shut_down(mut self) -> Result<(), Panicked> {
        self.start_save(Instant::now(), true);
        let mut further_saves = LAST_SAVES;
        info!(writes = self.tasks.pending_writes(), "waiting for requests in flight");
        let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
        while self.tasks.pending_writes() > 0 {
            self.context.health.heartbeat.beat();
            match tokio::time::timeout_at(deadline, self.tasks.next()).await {
                Ok(Some(result)) => {
                    if let TaskResult::InstallationSaved(writes) = result?
                        && further_saves > 0
                    {
                        further_saves -= 1;
                        self.on_installation_saved(writes);
                        self.start_save(Instant::now(), true);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    let abandoned = self.tasks.pending_writes();
                    warn!(
                        abandoned,
                        "pending writes abandoned: shutdown timed out; the next leader finishes them"
                    );
                    break;
                }
            }
        }
        Ok(())
    }
}
