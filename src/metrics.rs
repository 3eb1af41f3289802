//! What Prometheus is told.
//!
//! In go calls named for what happened, out comes text in the `OpenMetrics` format. There is no global:
//! whoever has something to tell is handed a [`Metrics`]. No password, no message and no name that is
//! not from the manifests ever becomes a label.

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
    OfClusterPullSecret, OfFetches, OfPasses, OfPlace, OfPolls, OfReceives, OfStore, OfTargets, OfTrigger,
    OfTriggers, OfWrites, RECEIVED, TargetState, fetch_outcomes, poll_outcomes, receive_outcomes,
};
pub use self::labels::{PassOutcome, PollOutcome, TriggerOutcome, WriteKind, WriteOutcome};
use self::last_success::LastSuccess;
use self::queue_age::QueueAge;
pub use self::reference::reference;
use self::reference::{
    CREDENTIAL_EXPIRY, Description, FETCH_SECONDS, FETCHES, LEADER, PASSES, POLLS, PREFIX,
    PROPAGATION_SECONDS, QUEUE_DEPTH, READY, RECEIVES, TARGETS, TRIGGERS, WRITES,
};
use crate::credential::{StoreKey, StoreName, StoredValue};
use crate::manifest::status::reason::FetchedReason;
use crate::provider;
use crate::trigger::Trigger;

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
    triggers: Family<OfTriggers, Counter>,
    polls: Family<OfPolls, Counter>,
    receives: Family<OfReceives, Counter>,
    fetches: Family<OfFetches, Counter>,
    fetch_seconds: Histograms<OfStore>,
    passes: Family<OfPasses, Counter>,
    writes: Family<OfWrites, Counter>,
    propagation_seconds: Histograms<OfTrigger>,
    ready: Family<OfClusterPullSecret, Gauge>,
    targets: Family<OfTargets, Gauge>,
    last_success: LastSuccess,
    leader: Gauge,
    queue_depth: Gauge,
    queue_age: QueueAge,
    credential_expiry: Family<OfPlace, Gauge>,
}

impl Metrics {
    /// Metrics of a process to which nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let last_success = LastSuccess::default();
        registry.register_collector(Box::new(last_success.clone()));
        let queue_age = QueueAge::default();
        registry.register_collector(Box::new(queue_age.clone()));
        let metrics = Self {
            triggers: register(&mut registry, &TRIGGERS, Family::default()),
            polls: register(&mut registry, &POLLS, Family::default()),
            receives: register(&mut registry, &RECEIVES, Family::default()),
            fetches: register(&mut registry, &FETCHES, Family::default()),
            fetch_seconds: register(&mut registry, &FETCH_SECONDS, histograms()),
            passes: register(&mut registry, &PASSES, Family::default()),
            writes: register(&mut registry, &WRITES, Family::default()),
            propagation_seconds: register(&mut registry, &PROPAGATION_SECONDS, histograms()),
            ready: register(&mut registry, &READY, Family::default()),
            targets: register(&mut registry, &TARGETS, Family::default()),
            last_success,
            leader: register(&mut registry, &LEADER, Gauge::default()),
            queue_depth: register(&mut registry, &QUEUE_DEPTH, Gauge::default()),
            queue_age,
            credential_expiry: register(&mut registry, &CREDENTIAL_EXPIRY, Family::default()),
            registry,
        };
        for trigger in Trigger::OUTSIDE {
            for &outcome in TriggerOutcome::VARIANTS {
                metrics.triggers.get_or_create(&OfTriggers { trigger, outcome }).inc_by(0);
            }
        }
        for &kind in WriteKind::VARIANTS {
            for &outcome in WriteOutcome::VARIANTS {
                metrics.writes.get_or_create(&OfWrites { kind, outcome }).inc_by(0);
            }
        }
        metrics
    }

    /// Something came from outside to say that something changed.
    pub fn triggered(&self, trigger: Trigger, outcome: TriggerOutcome) {
        self.triggers.get_or_create(&OfTriggers { trigger, outcome }).inc();
    }

    /// A queue was asked for messages; `Err` has the reason why it did not answer.
    pub fn received(&self, queue: &str, outcome: Result<(), &'static str>) {
        let labels = |outcome| OfReceives { queue: queue.to_owned(), outcome };
        let outcome = outcome.map_or_else(|reason| reason, |()| RECEIVED);
        count(&self.receives, labels, receive_outcomes(), outcome);
    }

    /// The version of a key of `store` was asked for.
    pub fn polled(&self, store: &StoreName, outcome: Result<PollOutcome, &provider::Error>) {
        let labels = |outcome| OfPolls { store: store.to_string(), outcome };
        let outcome = outcome.map_or_else(provider::Error::reason, Into::into);
        count(&self.polls, labels, poll_outcomes(), outcome);
    }

    /// A key of `store` was read, or was not.
    pub fn fetched(
        &self,
        store: &StoreName,
        outcome: Result<&StoredValue, &provider::Error>,
        took: Duration,
    ) {
        let labels = |outcome| OfFetches { store: store.to_string(), outcome };
        let outcome = outcome.map_or_else(provider::Error::reason, |_| FetchedReason::Fetched.into());
        count(&self.fetches, labels, fetch_outcomes(), outcome);
        let labels = OfStore { store: store.to_string() };
        self.fetch_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A pass over `cluster_pull_secret` ended.
    pub fn passed(&self, cluster_pull_secret: &str, outcome: PassOutcome) {
        let labels = |outcome| OfPasses { cluster_pull_secret: cluster_pull_secret.to_owned(), outcome };
        count(&self.passes, labels, PassOutcome::VARIANTS.iter().copied(), outcome);
        self.last_success.begin(cluster_pull_secret, Instant::now());
    }

    /// The API server answered a write request, or failed to.
    pub fn wrote(&self, kind: WriteKind, outcome: WriteOutcome) {
        self.writes.get_or_create(&OfWrites { kind, outcome }).inc();
    }

    /// A rotation reached the last of its targets, so long after its trigger.
    pub fn propagated(&self, trigger: Trigger, took: Duration) {
        self.propagation_seconds.get_or_create(&OfTrigger { trigger }).observe(took.as_secs_f64());
    }

    /// Whether `cluster_pull_secret` is ready; `None` where nobody wants it to be.
    pub fn ready(&self, cluster_pull_secret: &str, is_ready: Option<bool>) {
        let labels = OfClusterPullSecret { cluster_pull_secret: cluster_pull_secret.to_owned() };
        if let Some(is_ready) = is_ready {
            self.ready.get_or_create(&labels).set(i64::from(is_ready));
        } else {
            self.ready.remove(&labels);
        }
    }

    /// So many targets of `cluster_pull_secret` are as they should be, and so many are not.
    pub fn targets(&self, cluster_pull_secret: &str, in_sync: usize, out_of_sync: usize) {
        for (state, count) in [(TargetState::InSync, in_sync), (TargetState::OutOfSync, out_of_sync)] {
            let labels = OfTargets { cluster_pull_secret: cluster_pull_secret.to_owned(), state };
            self.targets.get_or_create(&labels).set(whole(count));
        }
    }

    /// `cluster_pull_secret` was in sync at that time.
    pub fn succeeded(&self, cluster_pull_secret: &str, at: Instant) {
        self.last_success.renew(cluster_pull_secret, at);
    }

    /// This replica leads, or stands by.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// So many namespaces wait to be looked at, and the oldest trigger since then.
    pub fn queue(&self, waiting: usize, oldest: Option<Instant>) {
        self.queue_depth.set(whole(waiting));
        self.queue_age.since(oldest);
    }

    /// The credential at `place` expires then; `None` where it does not, or is used no more.
    pub fn credential_expires(&self, place: &StoreKey, at: Option<Timestamp>) {
        let labels = OfPlace { store: place.store.to_string(), key: place.key.to_string() };
        if let Some(at) = at {
            self.credential_expiry.get_or_create(&labels).set(at.as_second());
        } else {
            self.credential_expiry.remove(&labels);
        }
    }

    /// There is no ClusterPullSecret of that name any more.
    pub fn forget(&self, cluster_pull_secret: &str) {
        let name = || cluster_pull_secret.to_owned();
        for &outcome in PassOutcome::VARIANTS {
            self.passes.remove(&OfPasses { cluster_pull_secret: name(), outcome });
        }
        for state in [TargetState::InSync, TargetState::OutOfSync] {
            self.targets.remove(&OfTargets { cluster_pull_secret: name(), state });
        }
        self.ready(cluster_pull_secret, None);
        self.last_success.forget(cluster_pull_secret);
    }

    /// All of them as text of type [`CONTENT_TYPE`].
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

fn register<M: Metric + Clone>(registry: &mut Registry, description: &Description, metric: M) -> M {
    registry.register(description.registered_name(), description.meaning, metric.clone());
    metric
}

fn histograms<Labels: Clone + Eq + std::hash::Hash>() -> Histograms<Labels> {
    Family::new_with_constructor(|| Histogram::new(SECONDS))
}

/// Counts one of these outcomes, and begins the series of the others: the first failure is to be an increase
/// from 0, and one of a series that just began is none.
fn count<Labels: Clone + Eq + std::hash::Hash, Outcome>(
    family: &Family<Labels, Counter>,
    labels: impl Fn(Outcome) -> Labels,
    outcomes: impl Iterator<Item = Outcome>,
    outcome: Outcome,
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
