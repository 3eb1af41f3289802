//! The controller: the same engine as `rotate`, kept true for ever.
//!
//! In go what watches see, what reads of stores and writes to the cluster came to, and the clock; out
//! go reads, writes and errands. One loop owns everything that is known and decides by pure functions;
//! whatever waits for somebody else runs beside it and comes back as `TaskResult`.

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
pub mod fetches;
pub mod object_state;
pub mod queue;
pub mod reconciliation;

mod dispatch;
mod forward;
mod notice;
mod object_writes;
mod reconciliations;
mod secret_lists;
mod specs;
mod status;
mod tasks;
mod timers;
mod triggers;
mod watch_events;

use crate::admin::Health;
use crate::backoff;
use crate::cluster::events::EventRecorder;
use crate::cluster::watch::{Watch, WatchEvent, WatchedResource};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::config::Store;
use crate::provider::stores::Stores;
use crate::reconcile::claims::Claims;
use crate::trigger::{Trigger, TriggerReceiver, poll};
use cache::Cache;
use drift::Contests;
use fetches::Fetches;
use forward::ForwardedRequests;
use object_state::ObjectState;
use queue::Queue;
use secret_lists::SecretLists;
use specs::Invalid;
use tasks::{TaskResult, Tasks};
use timers::Timers;

/// How often the loop shows that it lives, whatever else happens.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How often what happened too long ago to matter is forgotten.
const TIDY: Duration = Duration::from_mins(1);

/// How long what is under way may take when the process has to end.
const FAREWELL: Duration = Duration::from_secs(8);

/// What the loop is told by watches before it has dealt with it.
const BACKLOG: usize = 1024;

/// What the controller is given by the edge.
pub struct Settings {
    /// Where writes and reads go; refuses writes while this process does not lead.
    pub client: Client,
    /// Where a replica that does not lead leaves word for the one that does.
    pub unfenced_client: Client,
    /// What comes from outside.
    pub trigger_receiver: TriggerReceiver,
    /// Where the poll learns which keys there are, and which versions are known.
    pub held: watch::Sender<poll::KnownVersions>,
    /// Every store of the Config.
    pub stores: Arc<Stores>,
    /// The same as the Config describes them, for ClusterPullSecrets that come later.
    pub stores_known: Vec<Store>,
    /// The ClusterPullSecrets of the files, the oldest first.
    pub files: Vec<Arc<ClusterPullSecret>>,
    /// Requests to the API server that may be under way at once for one ClusterPullSecret.
    pub concurrency: usize,
    /// What probes and Prometheus are told.
    pub health: Health,
    /// Who this replica is, for Events.
    pub identity: String,
    /// The clock on the wall.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// Everything that is known, and what is under way.
pub struct Controller {
    settings: Settings,
    memory: Cache,
    records: BTreeMap<String, ObjectState>,
    /// ClusterPullSecrets in which something is wrong: they are left as they are, and told so.
    invalid: BTreeMap<String, Invalid>,
    claims: Claims,
    /// The claims, or who may make some, changed.
    is_claim_new: bool,
    queue: Queue,
    reading: Fetches,
    contests: Contests,
    timers: Timers,
    hand_overs: ForwardedRequests,
    events: EventRecorder,
    watches: BTreeMap<WatchedResource, Watch>,
    seen: (mpsc::Sender<WatchEvent>, mpsc::Receiver<WatchEvent>),
    /// What was listed at least once.
    primed: BTreeSet<WatchedResource>,
    bodies: SecretLists,
    under_way: Tasks,
    /// There is more to look at than fits into one turn of the loop.
    is_unfinished: bool,
    /// When contests of long ago were forgotten.
    tidied_at: Instant,
    leads: bool,
}

/// A part of the controller ended that never should: a defect of regcred.
#[derive(Debug, thiserror::Error)]
#[error("a task of the controller panicked")]
pub struct Panicked;

impl Controller {
    /// A controller that knows nothing yet. Makes no request.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let events = EventRecorder::new(settings.client.clone(), settings.identity.clone());
        let queue = Queue::new(settings.concurrency);
        let mut controller = Self {
            settings,
            memory: Cache::default(),
            records: BTreeMap::new(),
            invalid: BTreeMap::new(),
            claims: Claims::default(),
            is_claim_new: true,
            queue,
            reading: Fetches::default(),
            contests: Contests::default(),
            timers: Timers::default(),
            hand_overs: ForwardedRequests::default(),
            events,
            watches: BTreeMap::new(),
            seen: mpsc::channel(BACKLOG),
            primed: BTreeSet::new(),
            bodies: SecretLists::default(),
            under_way: Tasks::default(),
            is_unfinished: false,
            tidied_at: Instant::now(),
            leads: false,
        };
        for cluster_pull_secret in std::mem::take(&mut controller.settings.files) {
            controller.want(cluster_pull_secret);
        }
        controller
    }

    /// Runs until `stop` says so, then finishes what is under way. Leads while `leading` says so;
    /// before that it watches and keeps what it sees.
    pub async fn run(
        mut self,
        mut leading: watch::Receiver<bool>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Panicked> {
        let mut stop = std::pin::pin!(stop);
        for subject in [
            WatchedResource::Namespaces,
            WatchedResource::ServiceAccounts,
            WatchedResource::ClusterPullSecrets,
        ] {
            self.watch(subject);
        }
        loop {
            self.advance();
            let (until, is_primed) = (self.wake_at(), self.is_primed());
            // What we did ourselves goes before what watches tell of it.
            tokio::select! {
                biased;
                () = &mut stop => return self.finish().await,
                Ok(()) = leading.changed() => self.lead(*leading.borrow_and_update()),
                Some(done) = self.under_way.next() => self.done(done?),
                Some(seen) = self.seen.1.recv() => self.see(seen),
                // Whom it concerns is known once everything was listed.
                Some(wake) = self.settings.trigger_receiver.recv(), if is_primed => self.wake(wake),
                () = sleep_until(until) => {}
            }
            // What else is there already is dealt with before anything is decided.
            while let Some(done) = self.under_way.try_next() {
                self.done(done?);
            }
            while let Ok(seen) = self.seen.1.try_recv() {
                self.see(seen);
            }
            // As many as fit into the backlog, so that a turn of the loop has an end.
            let waiting = if is_primed { self.settings.trigger_receiver.len() } else { 0 };
            for _ in 0..waiting {
                if let Ok(wake) = self.settings.trigger_receiver.try_recv() {
                    self.wake(wake);
                }
            }
        }
    }

    /// When to go on, if nothing happens before.
    fn wake_at(&self) -> Instant {
        let heartbeat = Instant::now() + HEARTBEAT;
        match self.timers.next().into_iter().chain(self.reading.next()).min() {
            _ if self.is_unfinished => Instant::now(),
            // Nothing is due before this process leads and knows what there is.
            Some(timer) if self.leads && self.is_primed() => timer.min(heartbeat),
            _ => heartbeat,
        }
    }

    /// Everything that has become due, from the outside in: what is wanted, what is read, what is
    /// written, what is told.
    fn advance(&mut self) {
        let now = Instant::now();
        self.settings.health.heartbeat.beat();
        self.keep_watches();
        self.tell_readiness();
        if !self.leads || !self.is_primed() {
            return;
        }
        self.renew_claims();
        for timer in self.timers.due(now) {
            self.fire(timer, now);
        }
        self.begin_bodies(now);
        self.begin_reads(now);
        self.begin_errands(now);
        self.dispatch(now);
        self.end_passes(now);
        if now.duration_since(self.tidied_at) > TIDY {
            self.tidied_at = now;
            self.contests.forget(now);
        }
        let passes = self.records.values().filter_map(|record| record.pass.as_ref());
        let oldest = passes.map(|pass| pass.cause.since).min();
        self.settings.health.metrics.set_queue(self.queue.depth(), oldest);
    }

    fn jitter(&self) -> f64 {
        (self.settings.jitter)()
    }

    /// This process leads from now on, or no longer.
    fn lead(&mut self, leads: bool) {
        if leads == self.leads {
            return;
        }
        self.leads = leads;
        self.settings.health.metrics.set_leader(leads);
        if leads {
            info!("leading");
            self.bodies.doubt();
            self.is_claim_new = true;
            let (now, at) = (Instant::now(), (self.settings.wall_clock)());
            for name in self.records.keys().cloned().collect::<Vec<_>>() {
                self.trigger(&name, Trigger::Start, now, at);
                self.take_over(&name);
            }
        } else {
            warn!("not leading any more");
            self.queue.clear();
        }
    }

    fn done(&mut self, done: TaskResult) {
        match done {
            TaskResult::Applied(item, applied) => self.applied(&item, applied),
            TaskResult::Read(began, values) => self.read(began, values),
            TaskResult::SecretLists(name, secrets) => self.bodies_are(&name, secrets),
            TaskResult::ObjectPatch(name, errand, result) => self.errand_done(&name, &errand, result),
            TaskResult::ChangeNotice(result) => self.told(&result),
            TaskResult::HandedOver(handed_over) => self.handed_over(handed_over),
        }
    }

    /// Ends: nothing is begun any more, and the writes that are under way are waited for.
    async fn finish(mut self) -> Result<(), Panicked> {
        info!(writes = self.under_way.writes(), "ending: finishing what is under way");
        let deadline = Instant::now() + FAREWELL;
        while self.under_way.writes() > 0 {
            self.settings.health.heartbeat.beat();
            match tokio::time::timeout_at(deadline, self.under_way.next()).await {
                Ok(Some(done)) => drop(done?),
                Ok(None) => break,
                Err(_) => {
                    let abandoned = self.under_way.writes();
                    warn!(abandoned, "abandoned what did not end in time; whoever leads next finishes it");
                    break;
                }
            }
        }
        Ok(())
    }
}
