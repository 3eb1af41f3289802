//! The metrics for Prometheus.
//!
//! In go calls named for what happened, out comes text in the `OpenMetrics` format. There is no global: every
//! caller is passed a [`Metrics`]. No password, no message and no name that is not from the manifests ever
//! becomes a label.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use strum::VariantArray;
use tokio::time::Instant;

use self::labels::{
    ClusterPullSecretLabels, ConfigFileWriteLabels, FetchLabels, PollLabels, PropagationLabels, RECEIVED,
    ReceiveLabels, ReconciliationLabels, SnakeCase, StoreKeyLabels, StoreLabels, TargetLabels, TargetState,
    TriggerLabels, WriteLabels, fetch_outcomes, poll_outcomes, receive_outcomes,
};
pub use self::labels::{
    ConfigFileWrite, PollOutcome, ReconciliationOutcome, TriggerOutcome, WriteKind, WriteOutcome,
};
use self::last_success::LastSuccess;
use self::queue_age::QueueAge;
pub use self::reference::reference;
use self::reference::{
    CONFIG_FILE_STALE, CONFIG_FILE_WRITES, COPIES, CREDENTIAL_EXPIRY, Description, FETCH_SECONDS, FETCHES,
    LEADER, NOT_RECORDED, POLL_INTERVAL_SECONDS, POLLS, PREFIX, PROPAGATION_SECONDS, Process, QUEUE_DEPTH,
    READY, RECEIVES, RECONCILIATIONS, TARGETS, TRIGGERS, WRITES,
};
use crate::credential::{StoreKey, StoreName};
use crate::manifest::status::reason::FetchedReason;
use crate::provider;
use crate::trigger_kind::Trigger;

mod labels;
mod last_success;
mod queue_age;
mod reference;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the histograms: from a Vault next door to a cluster that is being throttled.
const SECONDS: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

type Histograms<Labels> = Family<Labels, Histogram, fn() -> Histogram>;

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    triggers: Family<TriggerLabels, Counter>,
    polls: Family<PollLabels, Counter>,
    receives: Family<ReceiveLabels, Counter>,
    fetches: Family<FetchLabels, Counter>,
    fetch_seconds: Histograms<StoreLabels>,
    reconciliations: Family<ReconciliationLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
    propagation_seconds: Histograms<PropagationLabels>,
    ready: Family<ClusterPullSecretLabels, Gauge>,
    targets: Family<TargetLabels, Gauge>,
    last_success: LastSuccess,
    leader: Gauge,
    not_recorded: Gauge,
    copies: Family<ClusterPullSecretLabels, Gauge>,
    queue_depth: Gauge,
    queue_age: QueueAge,
    credential_expiry: Family<StoreKeyLabels, Gauge>,
    poll_interval: Family<StoreLabels, Gauge>,
    config_file_stale: Gauge,
    config_file_writes: Family<ConfigFileWriteLabels, Counter>,
}

impl Metrics {
    /// Metrics of a controller.
    #[must_use]
    pub fn new() -> Self {
        Self::for_process(Process::Controller)
    }

    /// Metrics of a sidecar.
    #[must_use]
    pub fn for_sidecar() -> Self {
        Self::for_process(Process::Sidecar)
    }

    fn for_process(process: Process) -> Self {
        let mut registry = Registrar { registry: Registry::with_prefix(PREFIX), process };
        let (last_success, queue_age) = (LastSuccess::default(), QueueAge::default());
        if process == Process::Controller {
            registry.registry.register_collector(Box::new(last_success.clone()));
            registry.registry.register_collector(Box::new(queue_age.clone()));
        }
        let metrics = Self {
            triggers: registry.register(&TRIGGERS, Family::default()),
            polls: registry.register(&POLLS, Family::default()),
            receives: registry.register(&RECEIVES, Family::default()),
            fetches: registry.register(&FETCHES, Family::default()),
            fetch_seconds: registry.register(&FETCH_SECONDS, histograms()),
            reconciliations: registry.register(&RECONCILIATIONS, Family::default()),
            writes: registry.register(&WRITES, Family::default()),
            propagation_seconds: registry.register(&PROPAGATION_SECONDS, histograms()),
            ready: registry.register(&READY, Family::default()),
            targets: registry.register(&TARGETS, Family::default()),
            last_success,
            leader: registry.register(&LEADER, Gauge::default()),
            copies: registry.register(&COPIES, Family::default()),
            not_recorded: registry.register(&NOT_RECORDED, Gauge::default()),
            queue_depth: registry.register(&QUEUE_DEPTH, Gauge::default()),
            queue_age,
            credential_expiry: registry.register(&CREDENTIAL_EXPIRY, Family::default()),
            poll_interval: registry.register(&POLL_INTERVAL_SECONDS, Family::default()),
            config_file_stale: registry.register(&CONFIG_FILE_STALE, Gauge::default()),
            config_file_writes: registry.register(&CONFIG_FILE_WRITES, Family::default()),
            registry: registry.registry,
        };
        for trigger in Trigger::EXTERNAL {
            for &outcome in TriggerOutcome::VARIANTS {
                metrics.triggers.get_or_create(&TriggerLabels { trigger, outcome }).inc_by(0);
            }
        }
        for &kind in WriteKind::VARIANTS {
            for &outcome in WriteOutcome::VARIANTS {
                metrics.writes.get_or_create(&WriteLabels { kind, outcome }).inc_by(0);
            }
        }
        for &outcome in ConfigFileWrite::VARIANTS {
            metrics.config_file_writes.get_or_create(&ConfigFileWriteLabels { outcome }).inc_by(0);
        }
        metrics
    }

    /// Counts a trigger from outside.
    pub fn triggered(&self, trigger: Trigger, outcome: TriggerOutcome) {
        self.triggers.get_or_create(&TriggerLabels { trigger, outcome }).inc();
    }

    /// Counts a request for messages of a queue; `Err` has the reason of its failure.
    pub fn received(&self, queue: &str, outcome: Result<(), &'static str>) {
        let outcome = SnakeCase(outcome.map_or_else(|reason| reason, |()| RECEIVED));
        count(&self.receives, receive_outcomes(), outcome, |outcome| ReceiveLabels {
            queue: queue.to_owned(),
            outcome,
        });
    }

    /// Counts a poll of the version of a key of `store`.
    pub fn polled(&self, store: &StoreName, outcome: Result<PollOutcome, &provider::Error>) {
        let outcome = SnakeCase(outcome.map_or_else(|error| error.reason().into(), Into::into));
        count(&self.polls, poll_outcomes(), outcome, |outcome| PollLabels {
            store: store.to_string(),
            outcome,
        });
    }

    /// Counts a fetch of a key of `store`, and observes its duration.
    pub fn fetched(&self, store: &StoreName, reason: FetchedReason, took: Duration) {
        let outcome = SnakeCase(reason.into());
        count(&self.fetches, fetch_outcomes(), outcome, |outcome| FetchLabels {
            store: store.to_string(),
            outcome,
        });
        let labels = StoreLabels { store: store.to_string() };
        self.fetch_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts a reconciliation of `cluster_pull_secret`.
    pub fn reconciled(&self, cluster_pull_secret: &str, outcome: ReconciliationOutcome) {
        let outcomes = ReconciliationOutcome::VARIANTS.iter().copied();
        count(&self.reconciliations, outcomes, outcome, |outcome| ReconciliationLabels {
            cluster_pull_secret: cluster_pull_secret.to_owned(),
            outcome,
        });
        self.last_success.begin(cluster_pull_secret, Instant::now());
    }

    /// Counts a write request, answered by the API server or not.
    pub fn wrote(&self, kind: WriteKind, outcome: WriteOutcome) {
        self.writes.get_or_create(&WriteLabels { kind, outcome }).inc();
    }

    /// Observes the time from the trigger of a rotation to the write of its last target.
    pub fn propagated(&self, trigger: Trigger, took: Duration) {
        self.propagation_seconds.get_or_create(&PropagationLabels { trigger }).observe(took.as_secs_f64());
    }

    /// Sets the readiness of `cluster_pull_secret`; `None` while it is suspended.
    pub fn set_ready(&self, cluster_pull_secret: &str, is_ready: Option<bool>) {
        let labels = ClusterPullSecretLabels { cluster_pull_secret: cluster_pull_secret.to_owned() };
        if let Some(is_ready) = is_ready {
            self.ready.get_or_create(&labels).set(i64::from(is_ready));
        } else {
            self.ready.remove(&labels);
        }
    }

    /// Sets the number of targets of `cluster_pull_secret` in each state.
    pub fn set_targets(&self, cluster_pull_secret: &str, in_sync: usize, out_of_sync: usize) {
        for (state, count) in [(TargetState::InSync, in_sync), (TargetState::OutOfSync, out_of_sync)] {
            let labels = TargetLabels { cluster_pull_secret: cluster_pull_secret.to_owned(), state };
            self.targets.get_or_create(&labels).set(whole(count));
        }
    }

    /// Records that `cluster_pull_secret` was in sync at that time.
    pub fn succeeded(&self, cluster_pull_secret: &str, at: Instant) {
        self.last_success.renew(cluster_pull_secret, at);
    }

    /// Sets the role of this replica: leader, or standby.
    pub fn set_leader(&self, is_leader: bool) {
        self.leader.set(i64::from(is_leader));
    }

    /// Sets the number of copies of Secrets of `cluster_pull_secret`.
    pub fn set_copies(&self, cluster_pull_secret: &str, copies: usize) {
        let labels = ClusterPullSecretLabels { cluster_pull_secret: cluster_pull_secret.to_owned() };
        self.copies.get_or_create(&labels).set(whole(copies));
    }

    /// Sets the number of ClusterPullSecrets with last good values that have no room in regcred's own namespace, or may
    /// not be written there.
    pub fn set_not_recorded(&self, cluster_pull_secrets: usize) {
        self.not_recorded.set(whole(cluster_pull_secrets));
    }

    /// Sets the number of queued namespaces, and the time of the oldest trigger in the queue.
    pub fn set_queue(&self, waiting: usize, oldest: Option<Instant>) {
        self.queue_depth.set(whole(waiting));
        self.queue_age.set(oldest);
    }

    /// Sets the expiry of the credential at `key`; `None` if it has none, or is no longer used.
    pub fn set_credential_expiry(&self, key: &StoreKey, at: Option<Timestamp>) {
        let labels = StoreKeyLabels { store: key.store.to_string(), key: key.key.to_string() };
        if let Some(at) = at {
            self.credential_expiry.get_or_create(&labels).set(at.as_second());
        } else {
            self.credential_expiry.remove(&labels);
        }
    }

    /// Sets the interval at which each key of `store` is polled; `None` if none is.
    pub fn set_poll_interval(&self, store: &StoreName, interval: Option<Duration>) {
        let labels = StoreLabels { store: store.to_string() };
        if let Some(interval) = interval {
            let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
            self.poll_interval.get_or_create(&labels).set(seconds);
        } else {
            self.poll_interval.remove(&labels);
        }
    }

    /// Sets the number of registries that the docker config of a sidecar has no current credential for.
    pub fn set_config_file_stale(&self, registries: usize) {
        self.config_file_stale.set(whole(registries));
    }

    /// Counts a write of the docker config of a sidecar.
    pub fn wrote_config_file(&self, outcome: ConfigFileWrite) {
        self.config_file_writes.get_or_create(&ConfigFileWriteLabels { outcome }).inc();
    }

    /// Removes the series of a deleted ClusterPullSecret.
    pub fn forget(&self, cluster_pull_secret: &str) {
        for &outcome in ReconciliationOutcome::VARIANTS {
            let labels =
                ReconciliationLabels { cluster_pull_secret: cluster_pull_secret.to_owned(), outcome };
            self.reconciliations.remove(&labels);
        }
        for state in [TargetState::InSync, TargetState::OutOfSync] {
            self.targets.remove(&TargetLabels { cluster_pull_secret: cluster_pull_secret.to_owned(), state });
        }
        self.copies.remove(&ClusterPullSecretLabels { cluster_pull_secret: cluster_pull_secret.to_owned() });
        self.set_ready(cluster_pull_secret, None);
        self.last_success.forget(cluster_pull_secret);
    }

    /// Encodes all metrics as text of type [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers the metrics that a kind of process has.
struct Registrar {
    registry: Registry,
    process: Process,
}

impl Registrar {
    fn register<M: Metric + Clone>(&mut self, description: &Description, metric: M) -> M {
        if description.is_of(self.process) {
            self.registry.register(description.registered_name(), description.meaning, metric.clone());
        }
        metric
    }
}

fn histograms<Labels: Clone + Eq + std::hash::Hash>() -> Histograms<Labels> {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

/// Counts one of these outcomes, and creates the series of the others at 0: `increase` sees the first failure
/// only in a series that exists before it.
fn count<Labels: Clone + Eq + std::hash::Hash, Outcome>(
    family: &Family<Labels, Counter>,
    outcomes: impl Iterator<Item = Outcome>,
    outcome: Outcome,
    labels: impl Fn(Outcome) -> Labels,
) {
    for other in outcomes {
        family.get_or_create(&labels(other)).inc_by(0);
    }
    family.get_or_create(&labels(outcome)).inc();
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
