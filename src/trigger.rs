//! Why a pass runs, and what comes from outside to say so.
//!
//! A trigger says *look again at this*, nothing more: it carries no secret and no instruction. Losing
//! one is harmless, the next repairs it; so is one too many. Whatever comes from outside comes as a
//! [`TriggerEvent`] through the one [`TriggerSender`]: [`sqs`], [`webhook`] and [`poll`] are twins that ring it.

pub mod ack;
pub mod aws_event;
pub mod channel;
pub mod poll;
pub mod sqs;
pub mod webhook;

pub use ack::Ack;
pub use channel::{TriggerEvent, TriggerReceiver, TriggerScope, TriggerSender};

/// What made a pass run. The names of the variants are told in statuses and metrics; of those that come
/// together the first of this list is told.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
pub enum Trigger {
    /// The process began to lead.
    Start,
    /// The ClusterPullSecret is new, or its spec changed.
    Spec,
    /// Somebody set the annotation `regcred.dev/rotate`.
    Annotation,
    /// A message of a queue told of a secret.
    Sqs,
    /// A request to the webhook.
    Webhook,
    /// A store answered another version than the one that is known.
    Poll,
    /// The refresh interval is over, or a key that could not be read is tried again.
    Refresh,
    /// Something in the cluster changed: a namespace, a ServiceAccount, a Secret. Nothing is read.
    Drift,
}

impl Trigger {
    /// Those that come from outside.
    pub const OUTSIDE: [Self; 3] = [Self::Sqs, Self::Webhook, Self::Poll];
}
