//! The bounded channel from external sources to the controller.
//!
//! [`TriggerEvent`]s from any number of sources go in and reach the controller one by one. While the channel
//! is full, senders wait.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::aws_event::SecretChange;
use super::{Ack, Trigger};
use crate::credential::{StoreKey, Version};

/// The number of events that may wait for the controller.
const CAPACITY: usize = 1024;

/// A request from an external source to look again.
#[derive(Debug)]
pub struct TriggerEvent {
    /// The kind of source.
    pub trigger: Trigger,
    /// The objects and keys to look at.
    pub scopes: Vec<TriggerScope>,
    /// The time of the change, by the monotonic clock.
    pub since: Instant,
    /// The time of the change, by the wall clock.
    pub at: Timestamp,
    /// The change happened before this instant of the monotonic clock, however other clocks run: a read that
    /// began later has seen it.
    pub before: Instant,
    /// Acked when everything the event caused is done.
    pub ack: Option<Ack>,
    /// Receives the names of the ClusterPullSecrets that the event triggered.
    pub reply: Option<oneshot::Sender<TriggerReply>>,
}

/// The part of the configuration that a trigger concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerScope {
    /// Every ClusterPullSecret.
    All,
    /// The ClusterPullSecret of this name.
    Object(String),
    /// Every ClusterPullSecret that reads this key, which should answer this version, where one is known.
    Key(StoreKey, Option<Version>),
    /// Every ClusterPullSecret that reads this secret of AWS Secrets Manager, by any of its names.
    Secret(SecretChange),
}

/// The triggered ClusterPullSecrets, or an error if a request did not reach the leader.
pub type TriggerReply = Result<Vec<String>, ForwardError>;

/// Another replica leads, and the request could not be forwarded to it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot forward the request to the leader for {}", cluster_pull_secrets.join(", "))]
pub struct ForwardError {
    /// The ClusterPullSecrets for which the request was lost.
    pub cluster_pull_secrets: Vec<String>,
}

/// The controller has stopped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller has stopped")]
pub struct ChannelClosed;

/// The sending half; all clones send to the same controller.
#[derive(Clone, Debug)]
pub struct TriggerSender(mpsc::Sender<TriggerEvent>);

/// The receiving half.
pub type TriggerReceiver = mpsc::Receiver<TriggerEvent>;

/// Creates a channel.
#[must_use]
pub fn channel() -> (TriggerSender, TriggerReceiver) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (TriggerSender(sender), receiver)
}

impl TriggerScope {
    /// The version that the key should answer, where one is known.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::All | Self::Object(_) => None,
            Self::Key(_, version) => version.as_ref(),
            Self::Secret(change) => change.version.as_ref(),
        }
    }
}

impl TriggerSender {
    /// Sends an event; waits while the channel is full.
    pub async fn send(&self, event: TriggerEvent) -> Result<(), ChannelClosed> {
        self.0.send(event).await.map_err(|_| ChannelClosed)
    }
}

impl TriggerEvent {
    /// An event about a change of this age.
    #[must_use]
    pub fn new(
        trigger: Trigger,
        scopes: Vec<TriggerScope>,
        age: Duration,
        now: (Instant, Timestamp),
    ) -> Self {
        let (now, at) = now;
        Self {
            trigger,
            scopes,
            // The monotonic clock may not reach back that far.
            since: now.checked_sub(age).unwrap_or(now),
            at: at.checked_sub(age).unwrap_or(at),
            before: now,
            ack: None,
            reply: None,
        }
    }
}
