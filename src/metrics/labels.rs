//! The label sets of the metrics.
//!
//! A label is a name that the manifests give, or a value from a closed list in `snake_case`: never a namespace,
//! a message or anything else of unbounded cardinality.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use strum::VariantNames;

use crate::manifest::status::reason::FetchedReason;
use crate::provider;
use crate::trigger_kind::Trigger;

/// The outcome of a trigger from outside.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum TriggerOutcome {
    /// It triggered the reconciliation of a ClusterPullSecret.
    Accepted,
    /// It concerns no ClusterPullSecret.
    Ignored,
    /// Its body is of no known shape.
    Invalid,
    /// Its sender is unauthorised, or sent too much.
    Rejected,
}

/// The outcome of a successful poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum PollOutcome {
    /// The version in use, or one that was reported before.
    Known,
    /// Another version.
    New,
}

/// The outcome of a reconciliation of one ClusterPullSecret.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum ReconciliationOutcome {
    /// Every registry was fetched, and every target is in its desired state.
    InSync,
    /// A registry could not be fetched, or a target is not in its desired state.
    OutOfSync,
}

/// The kind of the object that a write was for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum WriteKind {
    /// A pull secret.
    Secret,
    /// The list of a ServiceAccount.
    ServiceAccount,
    /// The status or the finalizer of a ClusterPullSecret.
    ClusterPullSecret,
    /// An Event.
    Event,
    /// A Secret of regcred's own namespace, with last good values.
    LastGood,
}

/// The outcome of a write request.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum WriteOutcome {
    /// The object was created.
    Created,
    /// The object was changed in place.
    Updated,
    /// The object was deleted.
    Removed,
    /// The API server refused the write, or did not answer.
    Failed,
}

/// The outcome of a write of a docker config file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum ConfigFileWrite {
    /// The file was replaced.
    Updated,
    /// The file was left as it is: the disk is full, or the file holds what regcred did not write.
    Failed,
}

/// The state of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum TargetState {
    InSync,
    OutOfSync,
}

/// A name from a closed list, shown in `snake_case`: reasons and triggers have `PascalCase` names, which
/// conditions and statuses show as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SnakeCase(pub(super) &'static str);

impl fmt::Display for SnakeCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, letter) in self.0.char_indices() {
            if letter.is_ascii_uppercase() && position > 0 {
                f.write_char('_')?;
            }
            f.write_char(letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl EncodeLabelValue for SnakeCase {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}

macro_rules! encode_by_name {
    ($($list:ty),*) => {$(
        impl EncodeLabelValue for $list {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                SnakeCase(self.into()).encode(encoder)
            }
        }
    )*};
}

encode_by_name!(
    TriggerOutcome,
    ReconciliationOutcome,
    WriteKind,
    WriteOutcome,
    ConfigFileWrite,
    TargetState,
    Trigger
);

/// The outcomes of a fetch: `fetched`, or the reason of a [`provider::Error`].
pub(super) fn fetch_outcomes() -> impl Iterator<Item = SnakeCase> {
    std::iter::once(FetchedReason::Fetched.into())
        .chain(provider::ErrorKind::VARIANTS.iter().copied())
        .map(SnakeCase)
}

/// The outcomes of a poll: a [`PollOutcome`], or the reason of a [`provider::Error`].
pub(super) fn poll_outcomes() -> impl Iterator<Item = SnakeCase> {
    PollOutcome::VARIANTS.iter().chain(provider::ErrorKind::VARIANTS).copied().map(SnakeCase)
}

/// The outcomes of a request for messages: `received`, or the reason of its failure, named as one of a
/// [`provider::Error`].
pub(super) fn receive_outcomes() -> impl Iterator<Item = SnakeCase> {
    std::iter::once(RECEIVED).chain(provider::ErrorKind::VARIANTS.iter().copied()).map(SnakeCase)
}

/// The outcome of a queue that answered, with messages or without.
pub(super) const RECEIVED: &str = "received";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreLabels {
    pub(super) store: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FetchLabels {
    pub(super) store: String,
    pub(super) outcome: SnakeCase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PollLabels {
    pub(super) store: String,
    pub(super) outcome: SnakeCase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReceiveLabels {
    pub(super) queue: String,
    pub(super) outcome: SnakeCase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReconciliationLabels {
    pub(super) cluster_pull_secret: String,
    pub(super) outcome: ReconciliationOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) kind: WriteKind,
    pub(super) outcome: WriteOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConfigFileWriteLabels {
    pub(super) outcome: ConfigFileWrite,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TriggerLabels {
    pub(super) trigger: Trigger,
    pub(super) outcome: TriggerOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PropagationLabels {
    pub(super) trigger: Trigger,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct TargetLabels {
    pub(super) cluster_pull_secret: String,
    pub(super) state: TargetState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClusterPullSecretLabels {
    pub(super) cluster_pull_secret: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreKeyLabels {
    pub(super) store: String,
    pub(super) key: String,
}
