//! `regcred sidecar`: one docker config file that stays right, without a cluster.
//!
//! In go registries, opened stores and a file, out come writes of that file. One loop owns the state and decides by pure
//! functions: `state` has the times of the reads, `desired` the entries, `plan` the content. `reads` and `writer` act.
//! Nothing here requests anything of a Kubernetes API.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub mod check;
mod desired;
mod existing;
mod journal;
pub mod output_file;
pub mod plan;
mod reads;
mod record;
pub mod registries;
mod state;
mod writer;

use crate::admin::Health;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::status::reason::FetchedReason;
use crate::metrics::ConfigFileWrite;
use crate::named;
use crate::provider;
use crate::provider::stores::{Stores, Values};
use crate::trigger::poll::{self, KnownVersions, PollSettings};
use crate::trigger::{TriggerEvent, TriggerScope, channel};
use desired::DesiredFile;
use journal::Journal;
use output_file::{AppliedFile, OutputError, OutputFile};
pub use reads::SidecarPanicked;
use reads::{Reads, StoreResult};
use state::SidecarState;
use writer::Writer;

/// The interval at which the file is compared with the one that was written, and the longest time between two beats of
/// the heartbeat.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// Dependencies and settings of a sidecar.
pub struct SidecarContext {
    /// The registries of the file.
    pub registries: Arc<ClusterPullSecret>,
    /// The stores that they name.
    pub stores: Arc<Stores>,
    /// The file.
    pub file: Arc<OutputFile>,
    /// The interval of the poll; `None` for never.
    pub poll_interval: Option<Duration>,
    /// State served to probes and Prometheus.
    pub health: Health,
    /// Returns the wall-clock time.
    pub wall_clock: fn() -> Timestamp,
    /// Returns a random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// A sidecar and its reads in flight.
pub struct Sidecar {
    context: SidecarContext,
    state: SidecarState,
    journal: Journal,
    reads: Reads,
    known_versions: watch::Sender<KnownVersions>,
    writer: Writer,
    next_check: Instant,
    /// True if the caller reports problems at the end, and the log does not.
    is_once: bool,
}

/// The state of the file after every registry was read once.
#[derive(Debug, Default)]
pub struct FirstWrite {
    /// The registries that were not fetched, with the problem of each.
    pub problems: Vec<(String, String)>,
    /// The error of the last write.
    pub error: Option<OutputError>,
}

impl Sidecar {
    /// Creates a sidecar, and takes from the file what is not desired any more. Nothing is read from a store yet.
    pub async fn start(context: SidecarContext) -> Result<Self, OutputError> {
        let now = Instant::now();
        let split = context.file.split_servers()?;
        let state = SidecarState::new(Arc::clone(&context.registries), split, now);
        let reads = Reads::new(Arc::clone(&context.stores));
        let writer = Writer::new(Arc::clone(&context.file));
        let mut sidecar = Self {
            context,
            state,
            journal: Journal::default(),
            reads,
            known_versions: watch::Sender::new(KnownVersions::new()),
            writer,
            next_check: now + CHECK_INTERVAL,
            is_once: false,
        };
        sidecar.report_desired();
        let applied = sidecar.apply().await?;
        sidecar.on_applied(&applied);
        Ok(sidecar)
    }

    /// Returns the number of registries.
    #[must_use]
    pub fn registries(&self) -> usize {
        self.context.registries.registries.len()
    }

    /// Reads every registry once, and writes the file.
    pub async fn run_once(mut self) -> Result<FirstWrite, SidecarPanicked> {
        self.is_once = true;
        while !self.state.is_settled() {
            self.reads.start_due(&mut self.state, Instant::now());
            match self.reads.next().await {
                Some(result) => self.on_result(result?),
                // The next read waits for its time.
                None => sleep_until(self.state.next_due().unwrap_or_else(Instant::now)).await,
            }
        }
        let problems = self.state.desired().problems.iter();
        let problems: Vec<_> =
            problems.filter_map(|(name, problem)| Some((name.clone(), problem.clone()?))).collect();
        let outcome = self.apply().await;
        if outcome.is_ok() {
            self.journal.log_write(self.context.file.path(), &outcome);
        }
        Ok(FirstWrite { problems, error: outcome.err() })
    }

    /// Keeps the file current until `stop` resolves; each message of `reloads` reads every key again.
    pub async fn run(
        mut self,
        mut reloads: mpsc::Receiver<()>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), SidecarPanicked> {
        let mut stop = std::pin::pin!(stop);
        // Without a poll the sender stays here, so that the channel is open.
        let (triggers, mut trigger_receiver) = channel::channel();
        let (_leading, leads) = watch::channel(true);
        let (_stop_poll, poll_stopped) = watch::channel(false);
        let mut polls = JoinSet::new();
        if let Some(interval) = self.context.poll_interval {
            let settings = self.poll_settings(interval);
            let known = self.known_versions.subscribe();
            polls.spawn(poll::run(settings, known, triggers.clone(), leads, poll_stopped));
        }
        loop {
            self.advance(Instant::now()).await;
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                Some(result) = self.reads.next() => self.on_result(result?),
                // The poll of stores without versions ends by itself.
                Some(ended) = polls.join_next() => ended?,
                Some(()) = reloads.recv() => self.state.read_all(Instant::now()),
                Some(event) = trigger_receiver.recv() => self.on_trigger(&event),
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Starts what is due.
    async fn advance(&mut self, now: Instant) {
        self.context.health.heartbeat.beat();
        self.reads.start_due(&mut self.state, now);
        if now >= self.next_check {
            self.next_check = now + CHECK_INTERVAL;
            self.writer.check(now);
        }
        if self.writer.due().is_some_and(|at| at <= now) {
            self.write().await;
        }
    }

    fn next_deadline(&self) -> Instant {
        let due =
            [self.state.next_due(), self.writer.due(), Some(self.next_check)].into_iter().flatten().min();
        due.unwrap_or(self.next_check)
    }

    fn on_result(&mut self, result: StoreResult) {
        let (now, wall) = (Instant::now(), (self.context.wall_clock)());
        match result {
            StoreResult::Renewed(store_key, life) => {
                if let Some(life) = &life {
                    self.context.health.metrics.set_credential_expiry(&store_key, Some(life.expires));
                }
                self.state.on_renewed(&store_key, life, wall, now);
            }
            StoreResult::Read(started, values) => {
                self.record_metrics(&values, now.saturating_duration_since(started));
                for store_key in values.keys().filter(|it| it.key.dynamic_path().is_some()) {
                    // Clients may still use the credential before: its lease runs out by itself.
                    drop(self.context.stores.take_replaced_leases(store_key));
                }
                self.state.on_read(values, (started, now), wall, (self.context.jitter)());
                poll::publish(&self.known_versions, self.state.known_versions());
                self.report_desired();
                self.writer.request(now);
            }
        }
    }

    fn on_trigger(&mut self, event: &TriggerEvent) {
        let now = Instant::now();
        for scope in &event.scopes {
            if let TriggerScope::Key(store_key, version) = scope {
                let can_lag = self.context.stores.can_lag(&store_key.store);
                self.state.on_change(store_key, version.as_ref(), now, can_lag);
            }
        }
    }

    /// Reports what is new about the desired entries.
    fn report_desired(&mut self) {
        let DesiredFile { problems, limits, .. } = self.state.desired();
        if !self.is_once {
            self.journal.log_registries(problems);
        }
        self.journal.log_limits(limits);
        let current = problems.values().filter(|problem| problem.is_none()).count();
        let stale = self.context.registries.registries.len().saturating_sub(current);
        self.context.health.metrics.set_config_file_stale(stale);
    }

    /// Writes the file.
    async fn write(&mut self) {
        let outcome = self.apply().await;
        self.journal.log_write(self.context.file.path(), &outcome);
        match outcome {
            Ok(applied) => self.on_applied(&applied),
            Err(_) => self.context.health.metrics.wrote_config_file(ConfigFileWrite::Failed),
        }
    }

    async fn apply(&mut self) -> Result<AppliedFile, OutputError> {
        let jitter = (self.context.jitter)();
        self.writer.apply(self.state.desired().entries.clone(), jitter).await
    }

    fn on_applied(&self, applied: &AppliedFile) {
        let health = &self.context.health;
        if applied.is_written {
            health.metrics.wrote_config_file(ConfigFileWrite::Updated);
        }
        if applied.missing.is_empty() {
            health.readiness.set_ready();
        } else {
            let missing = named::join(&applied.missing, ", ");
            health.readiness.set_not_ready(format!("the docker config has no entry yet for {missing}"));
        }
    }

    fn record_metrics(&self, values: &Values, took: Duration) {
        let metrics = &self.context.health.metrics;
        for (store_key, value) in values {
            let reason = value.as_ref().map_or_else(provider::Error::reason, |_| FetchedReason::Fetched);
            metrics.fetched(&store_key.store, reason, took);
            if let Ok(value) = value {
                metrics.set_credential_expiry(store_key, value.expiry.map(|expiry| expiry.at()));
            }
        }
    }

    fn poll_settings(&self, interval: Duration) -> PollSettings {
        let SidecarContext { stores, health, wall_clock, jitter, .. } = &self.context;
        let (stores, metrics) = (Arc::clone(stores), Arc::clone(&health.metrics));
        PollSettings { stores, interval, metrics, wall_clock: *wall_clock, jitter: *jitter }
    }
}

#[cfg(test)]
mod tests;
