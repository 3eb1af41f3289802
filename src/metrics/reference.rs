//! The reference of the metrics: name, type, labels and meaning, for the registry and for the documentation.

use std::fmt::Write as _;

use strum::VariantNames;

use super::labels::{
    ConfigFileWrite, ReconciliationOutcome, SnakeCase, TargetState, TriggerOutcome, WriteKind, WriteOutcome,
    fetch_outcomes, poll_outcomes, receive_outcomes,
};
use crate::trigger_kind::Trigger;

/// The prefix of all metric names, before an underscore.
pub(super) const PREFIX: &str = "regcred";

/// One metric, as it is registered and documented.
pub(super) struct Description {
    /// The scraped name, without the prefix.
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

/// A label and its possible values; none for names that the manifests give.
pub(super) struct Label {
    pub(super) name: &'static str,
    values: fn() -> Vec<SnakeCase>,
}

const STORE: Label = Label { name: "store", values: Vec::new };
const QUEUE: Label = Label { name: "queue", values: Vec::new };
const KEY: Label = Label { name: "key", values: Vec::new };
const CLUSTER_PULL_SECRET: Label = Label { name: "cluster_pull_secret", values: Vec::new };

pub(super) const TRIGGERS: Description = Description {
    name: "triggers_total",
    kind: Kind::Counter,
    labels: &[
        Label { name: "trigger", values: || names(&Trigger::EXTERNAL.map(Into::into)) },
        Label { name: "outcome", values: || names(TriggerOutcome::VARIANTS) },
    ],
    meaning: "Triggers from outside, by source and outcome",
};

pub(super) const POLLS: Description = Description {
    name: "polls_total",
    kind: Kind::Counter,
    labels: &[STORE, Label { name: "outcome", values: || poll_outcomes().collect() }],
    meaning: "Polls of the version of a key, by outcome; they read no value",
};

pub(super) const RECEIVES: Description = Description {
    name: "receives_total",
    kind: Kind::Counter,
    labels: &[QUEUE, Label { name: "outcome", values: || receive_outcomes().collect() }],
    meaning: "Requests for messages of a queue, by outcome; an empty one takes 20 s",
};

pub(super) const FETCHES: Description = Description {
    name: "fetches_total",
    kind: Kind::Counter,
    labels: &[STORE, Label { name: "outcome", values: || fetch_outcomes().collect() }],
    meaning: "Fetches of a key, by outcome",
};

pub(super) const FETCH_SECONDS: Description = Description {
    name: "fetch_seconds",
    kind: Kind::Histogram,
    labels: &[STORE],
    meaning: "Duration of a fetch, its retries included",
};

pub(super) const RECONCILIATIONS: Description = Description {
    name: "reconciliations_total",
    kind: Kind::Counter,
    labels: &[
        CLUSTER_PULL_SECRET,
        Label { name: "outcome", values: || names(ReconciliationOutcome::VARIANTS) },
    ],
    meaning: "Reconciliations of a ClusterPullSecret, by outcome",
};

pub(super) const WRITES: Description = Description {
    name: "writes_total",
    kind: Kind::Counter,
    labels: &[
        Label { name: "kind", values: || names(WriteKind::VARIANTS) },
        Label { name: "outcome", values: || names(WriteOutcome::VARIANTS) },
    ],
    meaning: "Write requests to the API server, by kind of object and outcome",
};

pub(super) const PROPAGATION_SECONDS: Description = Description {
    name: "propagation_seconds",
    kind: Kind::Histogram,
    labels: &[Label {
        name: "trigger",
        values: || {
            <Trigger as strum::VariantArray>::VARIANTS
                .iter()
                .map(|trigger| SnakeCase(trigger.into()))
                .collect()
        },
    }],
    meaning: "Time from the trigger of a rotation to the write of its last target",
};

pub(super) const READY: Description = Description {
    name: "ready",
    kind: Kind::Gauge,
    labels: &[CLUSTER_PULL_SECRET],
    meaning: "1 while the condition `Ready` of a ClusterPullSecret is True, 0 while it is not; absent while it is suspended",
};

pub(super) const TARGETS: Description = Description {
    name: "targets",
    kind: Kind::Gauge,
    labels: &[CLUSTER_PULL_SECRET, Label { name: "state", values: || names(TargetState::VARIANTS) }],
    meaning: "Namespaces that a ClusterPullSecret selects, by state",
};

pub(super) const SECONDS_SINCE_LAST_SUCCESS: Description = Description {
    name: "seconds_since_last_success",
    kind: Kind::Gauge,
    labels: &[CLUSTER_PULL_SECRET],
    meaning: "Time since a ClusterPullSecret was last in sync; one that never was counts from its first reconciliation",
};

pub(super) const LEADER: Description = Description {
    name: "leader",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "1 while this replica is the leader, 0 while it is on standby",
};

pub(super) const COPIES: Description = Description {
    name: "copies",
    kind: Kind::Gauge,
    labels: &[CLUSTER_PULL_SECRET],
    meaning: "Secrets outside the selection that carry the labels of a ClusterPullSecret and are no Secrets of regcred",
};

pub(super) const NOT_RECORDED: Description = Description {
    name: "not_recorded",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "ClusterPullSecrets with last good values that have no room in regcred's own namespace, or may not be written there",
};

pub(super) const QUEUE_DEPTH: Description = Description {
    name: "queue_depth",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "Namespaces queued for reconciliation",
};

pub(super) const QUEUE_AGE: Description = Description {
    name: "queue_age_seconds",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "Age of the oldest trigger whose reconciliation has not finished; 0 if there is none",
};

pub(super) const CREDENTIAL_EXPIRY: Description = Description {
    name: "credential_expiry_timestamp_seconds",
    kind: Kind::Gauge,
    labels: &[STORE, KEY],
    meaning: "Expiry of a credential in Unix time; only if the store reports one, as for a credential that it issues, or as KV v2 does with `delete_version_after`",
};

pub(super) const POLL_INTERVAL_SECONDS: Description = Description {
    name: "poll_interval_seconds",
    kind: Kind::Gauge,
    labels: &[STORE],
    meaning: "Interval at which each key of a store is polled: longer than `pollInterval` where `maxPollsPerSecond` requires it",
};

pub(super) const CONFIG_FILE_STALE: Description = Description {
    name: "config_file_stale",
    kind: Kind::Gauge,
    labels: &[],
    meaning: "Registries of which `regcred sidecar` could not read the current credential: the file holds an earlier one, or none",
};

pub(super) const CONFIG_FILE_WRITES: Description = Description {
    name: "config_file_writes_total",
    kind: Kind::Counter,
    labels: &[Label { name: "outcome", values: || names(ConfigFileWrite::VARIANTS) }],
    meaning: "Writes of the docker config of `regcred sidecar`, by outcome",
};

/// The metrics of a sidecar; all others are of the controller.
const OF_SIDECAR: [&str; 7] = [
    POLLS.name,
    FETCHES.name,
    FETCH_SECONDS.name,
    CREDENTIAL_EXPIRY.name,
    POLL_INTERVAL_SECONDS.name,
    CONFIG_FILE_STALE.name,
    CONFIG_FILE_WRITES.name,
];

/// The kind of process that has metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Controller,
    Sidecar,
}

pub(super) const ALL: [Description; 20] = [
    TRIGGERS,
    POLLS,
    RECEIVES,
    FETCHES,
    FETCH_SECONDS,
    RECONCILIATIONS,
    WRITES,
    PROPAGATION_SECONDS,
    READY,
    TARGETS,
    SECONDS_SINCE_LAST_SUCCESS,
    COPIES,
    LEADER,
    NOT_RECORDED,
    QUEUE_DEPTH,
    QUEUE_AGE,
    CREDENTIAL_EXPIRY,
    POLL_INTERVAL_SECONDS,
    CONFIG_FILE_STALE,
    CONFIG_FILE_WRITES,
];

impl Description {
    /// Returns true if a process of this kind has the metric.
    pub(super) fn is_of(&self, process: Process) -> bool {
        match process {
            Process::Sidecar => OF_SIDECAR.contains(&self.name),
            Process::Controller => ![CONFIG_FILE_STALE.name, CONFIG_FILE_WRITES.name].contains(&self.name),
        }
    }

    /// Returns the name for the registry, which adds the suffix of a counter itself.
    pub(super) fn registered_name(&self) -> &'static str {
        self.name.strip_suffix("_total").unwrap_or(self.name)
    }
}

/// Returns the reference of all metrics as a table, one metric per row.
///
/// The registry is built from the same descriptions, so that a text tested against this cannot be out of date.
#[must_use]
pub fn reference() -> String {
    let mut table = "| Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for Description { name, kind, labels, meaning } in &ALL {
        let labels: Vec<_> = labels.iter().map(format_label).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| `{PREFIX}_{name}` | {kind} | {} | {meaning}. |", labels.join("; "));
    }
    table
}

/// Formats a label: `store`, or `state`: `in_sync`, `out_of_sync`.
fn format_label(Label { name, values }: &Label) -> String {
    let values: Vec<_> = values().into_iter().map(|value| format!("`{value}`")).collect();
    if values.is_empty() { format!("`{name}`") } else { format!("`{name}`: {}", values.join(", ")) }
}

fn names(names: &[&'static str]) -> Vec<SnakeCase> {
    names.iter().copied().map(SnakeCase).collect()
}
