//! The one way in for whatever comes from outside.
//!
//! In go [`TriggerEvent`]s from any number of sources, out they come one by one for the controller. The bell is
//! bounded: who rings while too many wait, waits as well, or is told so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::aws_event::SecretChange;
use super::{Ack, Trigger};
use crate::credential::{StoreKey, Version};

/// How many wakes may wait for the controller.
const BACKLOG: usize = 1024;

/// Something outside says to look again.
#[derive(Debug)]
pub struct TriggerEvent {
    /// Where it comes from.
    pub trigger: Trigger,
    /// What to look at.
    pub looks: Vec<TriggerScope>,
    /// When it came to be, by the clock that measures.
    pub since: Instant,
    /// When it came to be, by the clock on the wall.
    pub at: Timestamp,
    /// What it tells of was so before this instant of the clock that measures, however other clocks go: a
    /// read that began since has seen it.
    pub before: Instant,
    /// Who wants to know when everything it caused is done.
    pub receipt: Option<Ack>,
    /// Who wants to know what it woke.
    pub answer: Option<oneshot::Sender<Answer>>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerScope {
    /// Every ClusterPullSecret.
    Everything,
    /// The ClusterPullSecret of this name.
    Object(String),
    /// Whoever reads this key, which should answer this version, where one is known.
    Key(StoreKey, Option<Version>),
    /// Whoever reads this secret of AWS Secrets Manager, by whatever name.
    Secret(SecretChange),
}

/// The ClusterPullSecrets that were woken, or for which that could not be brought to whoever leads.
pub type Answer = Result<Vec<String>, NotHandedOver>;

/// Another replica leads, and it could not be told of the request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("another replica leads, and it could not be told to look at {}", cluster_pull_secrets.join(", "))]
pub struct NotHandedOver {
    /// The ClusterPullSecrets it does not know about.
    pub cluster_pull_secrets: Vec<String>,
}

/// The controller has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller has ended")]
pub struct Gone;

/// Rings for the controller; all clones ring the same one.
#[derive(Clone, Debug)]
pub struct TriggerSender(mpsc::Sender<TriggerEvent>);

/// What the controller hears.
pub type TriggerReceiver = mpsc::Receiver<TriggerEvent>;

/// A bell, and what is heard of it.
#[must_use]
pub fn channel() -> (TriggerSender, TriggerReceiver) {
    let (sender, trigger_receiver) = mpsc::channel(BACKLOG);
    (TriggerSender(sender), trigger_receiver)
}

impl TriggerScope {
    /// The version that the key should answer, where one is known.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Everything | Self::Object(_) => None,
            Self::Key(_, version) => version.as_ref(),
            Self::Secret(sighting) => sighting.version.as_ref(),
        }
    }
}

impl TriggerSender {
    /// Rings; waits while too many wait already.
    pub async fn ring(&self, wake: TriggerEvent) -> Result<(), Gone> {
        self.0.send(wake).await.map_err(|_| Gone)
    }
}

impl TriggerEvent {
    /// One that came to be so long ago.
    #[must_use]
    pub fn new(trigger: Trigger, looks: Vec<TriggerScope>, age: Duration, now: (Instant, Timestamp)) -> Self {
        let (now, at) = now;
        Self {
            trigger,
            looks,
            // A clock that measures may not reach back that far.
            since: now.checked_sub(age).unwrap_or(now),
            at: at.checked_sub(age).unwrap_or(at),
            before: now,
            receipt: None,
            answer: None,
        }
    }
}
