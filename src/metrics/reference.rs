//! Every metric with its type, its labels and its meaning, for the registry and for people.

use std::fmt::Write as _;

use strum::VariantNames;

use super::labels::{
    PassOutcome, TargetState, TriggerOutcome, WriteKind, WriteOutcome, fetch_outcomes, poll_outcomes,
    receive_outcomes,
};
use crate::trigger_kind::Trigger;

/// What the names of all metrics begin with, before an underscore.
pub(super) const PREFIX: &str = "regcred";

/// One metric, as it is registered and as the reference tells it.
pub(super) struct Description {
    /// As it is scraped, without the prefix.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [Label],
    /// A sentence without its full stop, which the registry adds.
    pub(super) meaning: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, strum::Display)]
#[strum(serialize_all = "lowercase")]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A label and the values it may have; none stands for the names that the manifests give.
pub(super) struct Label {
    pub(super) name: &'static str,
    values: fn() -> Vec<&'static str>,
}

const STORE: Label = Label { name: "store", values: Vec::new };
const QUEUE: Label = Label { name: "queue", values: Vec::new };
const KEY: Label = Label { name: "key", values: Vec::new };
const PULL_SECRET: Label = Label { name: "pull_secret", values: Vec::new };

pub(super) const TRIGGERS: Description = Description {
    name: "triggers_total",
    kind: Kind::Counter,
    labels: &[
        Label { name: "trigger", values: || Trigger::EXTERNAL.map(Trigger::label).to_vec() },
        Label { name: "outcome", values: || TriggerOutcome::VARIANTS.to_vec() },
    ],
    meaning: "What came from outside to say that something changed, by what became of it",
};

pub(super) const POLLS: Description = Description {
    name: "polls_total",
    kind: Kind::Counter,
    labels: &[STORE, Label { name: "outcome", values: || poll_outcomes().collect() }],
    meaning: "Questions for the version of a key, by what became of them; no value is read for them",
};

pub(super) const RECEIVES: Description = Description {
    name: "receives_total",
    kind: Kind::Counter,
    labels: &[QUEUE, Label { name: "outcome", values: || receive_outcomes().collect() }],
    meaning: "Requests for messages of a queue, by what became of them; one that brings none takes 20 s",
};

pub(super) const FETCHES: Description = Description {
    name: "fetches_total",
    kind: Kind::Counter,
    labels: &[STORE, Label { name: "outcome", values: || fetch_outcomes().collect() }],
    meaning: "Reads of a key, by what became of them",
};

pub(super) const FETCH_SECONDS: Description = Description {
    name: "fetch_seconds",
    kind: Kind::Histogram,
    labels: &[STORE],
    meaning: "How long a read took, its retries included",
};

pub(super) const PASSES: Description = Description {
    name: "passes_total",
    kind: Kind::Counter,
    labels: &[PULL_SECRET, Label { name: "outcome", values: || PassOutcome::VARIANTS.to_vec() }],
    meaning: "Passes over a ClusterPullSecret, by how they ended",
};

pub(super) const WRITES: Description = Description {
    name: "writes_total",
    kind: Kind::Counter,
    labels: &[
        Label { name: "kind", values: || WriteKind::VARIANTS.to_vec() },
        Label { name: "outcome", values: || WriteOutcome::VARIANTS.to_vec() },
    ],
    meaning: "Write requests to the API server, by kind of object and what became of them",
};

pub(super) const PROPAGATION_SECONDS: Description = Description {
    name: "propagation_seconds",
    kind: Kind::Histogram,
    labels: &[Label {
        name: "trigger",
        values: || <Trigger as strum::VariantArray>::VARIANTS.iter().map(|trigger| trigger.label()).collect(),
    }],
    meaning: "From the trigger of a rotation until the last of its targets was written",
};

pub(super) const READY: Description = Description {
    name: "ready",
    kind: Kind::Gauge,
    labels: &[PULL_SECRET],
    meaning: "1 while the condition `Ready` of a ClusterPullSecret is True, 0 while it is not; none while it is suspended",
};

pub(super) const TARGETS: Description = Description {
    name: "targets",
    kind: Kind::Gauge,
    labels: &[PULL_SECRET, Label { name: "state", values: || TargetState::VARIANTS.to_vec() }],
    meaning: "Namespaces that a ClusterPullSecret selects, by whether they hold what they should",
};

pub(super) const SECONDS_SINCE_LAST_SUCCESS: Description = Description {
    name: "seconds_since_last_success",
    kind: Kind::Gauge,
    labels: &[PULL_SECRET],
    meaning: "How long ago a ClusterPullSecret was last in sync; one that never was counts from its first pass",
};

pub(super) const LEADER: Description = Description {
    name: "leader",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "1 while this replica leads, 0 while it stands by",
};

pub(super) const QUEUE_DEPTH: Description = Description {
    name: "queue_depth",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "Namespaces that wait to be looked at",
};

pub(super) const QUEUE_AGE: Description = Description {
    name: "queue_age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "How long ago the oldest trigger came whose pass has not come to its end; 0 where there is none",
};

pub(super) const CREDENTIAL_EXPIRY: Description = Description {
    name: "credential_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &[STORE, KEY],
    meaning: "When the store lets a credential expire, in Unix time; only where it says so, as KV v2 does with `delete_version_after`",
};

pub(super) const ALL: [Description; 15] = [
    TRIGGERS,
    POLLS,
    RECEIVES,
    FETCHES,
    FETCH_SECONDS,
    PASSES,
    WRITES,
    PROPAGATION_SECONDS,
    READY,
    TARGETS,
    SECONDS_SINCE_LAST_SUCCESS,
    LEADER,
    QUEUE_DEPTH,
    QUEUE_AGE,
    CREDENTIAL_EXPIRY,
];

impl Description {
    /// The name as the registry takes it, which adds the suffix of a counter by itself.
    pub(super) fn registered_name(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }
}

/// The reference of all metrics: a table, one row a metric.
///
/// The registry is made from the same descriptions, so that a text that is tested against this cannot
/// be out of date.
#[must_use]
pub fn reference() -> String {
    let mut table = "| Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for Description { name, kind, labels, meaning } in &ALL {
        let labels: Vec<_> = labels.iter().map(shown).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{PREFIX}_{name}` | {kind} | {} | {meaning}. |", labels.join("; "));
    }
    table
}

/// `store`, or `state`: `in_sync`, `out_of_sync`.
fn shown(Label { name, values }: &Label) -> String {
    let values: Vec<_> = values().into_iter().map(|value| format!("`{value}`")).collect();
    if values.is_empty() { format!("`{name}`") } else { format!("`{name}`: {}", values.join(", ")) }
}
