//! What tells the series of a metric apart.
//!
//! A label is a name that the manifests give, or a value from a closed list: never a namespace, a
//! message or anything else there may be thousands of.

use std::fmt::{self, Write};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use strum::VariantNames;

use crate::manifest::status::reason::FetchedReason;
use crate::provider;
use crate::trigger::Trigger;

/// What became of a trigger that came from outside.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum TriggerOutcome {
    /// A ClusterPullSecret was looked at because of it.
    Woken,
    /// No ClusterPullSecret has to do with it.
    Unconcerned,
    /// Nobody could tell what it says.
    Unreadable,
    /// Whoever sent it may not, or sent too much.
    Refused,
}

/// What a version was to which a poll was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
pub enum PollOutcome {
    /// The one that is held, or one that was told before.
    Known,
    /// Another one.
    New,
}

/// How a pass over one ClusterPullSecret ended.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum PassOutcome {
    /// Every registry was read, and every target holds what it should.
    InSync,
    /// A registry could not be read, or a target is not as it should be.
    OutOfSync,
    /// The cluster could not be read, or the process was told to stop on the way.
    Aborted,
}

/// The kind of the object that a write was for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames, strum::VariantArray,
)]
pub enum WriteKind {
    /// A pull secret.
    Secret,
    /// The list of a ServiceAccount.
    ServiceAccount,
    /// The status or the finalizer of a ClusterPullSecret.
    ClusterPullSecret,
    /// An Event.
    Event,
}

/// What became of a write request.
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
    /// The API server refused it, or did not answer.
    Failed,
}

/// Whether targets are as they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub(super) enum TargetState {
    InSync,
    OutOfSync,
}

macro_rules! shown_by_name {
    ($($list:ty),*) => {$(
        impl EncodeLabelValue for $list {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(self.into())
            }
        }
    )*};
}

shown_by_name!(TriggerOutcome, PassOutcome, WriteKind, WriteOutcome, TargetState, Trigger);

/// `Fetched`, or the reason of a [`provider::Error`].
pub(super) fn fetch_outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once(FetchedReason::Fetched.into()).chain(provider::Error::VARIANTS.iter().copied())
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfFetches {
    pub(super) store: String,
    pub(super) outcome: &'static str,
}

/// What the answer to a poll may be: a [`PollOutcome`], or the reason of a [`provider::Error`].
pub(super) fn poll_outcomes() -> impl Iterator<Item = &'static str> {
    PollOutcome::VARIANTS.iter().chain(provider::Error::VARIANTS).copied()
}

/// What a request for messages may come to: `Received`, or the reason why not, which has a name that
/// [`provider::Error`] has too.
pub(super) fn receive_outcomes() -> impl Iterator<Item = &'static str> {
    std::iter::once(RECEIVED).chain(provider::Error::VARIANTS.iter().copied())
}

/// A queue answered, with messages or without.
pub(super) const RECEIVED: &str = "Received";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReceives {
    pub(super) queue: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPolls {
    pub(super) store: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfStore {
    pub(super) store: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPasses {
    pub(super) cluster_pull_secret: String,
    pub(super) outcome: PassOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfWrites {
    pub(super) kind: WriteKind,
    pub(super) outcome: WriteOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTrigger {
    pub(super) trigger: Trigger,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTriggers {
    pub(super) trigger: Trigger,
    pub(super) outcome: TriggerOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTargets {
    pub(super) cluster_pull_secret: String,
    pub(super) state: TargetState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfClusterPullSecret {
    pub(super) cluster_pull_secret: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPlace {
    pub(super) store: String,
    pub(super) key: String,
}
