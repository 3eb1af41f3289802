//! The one way in for whatever comes from outside.
//!
//! In go [`Wake`]s from any number of sources, out they come one by one for the controller. The bell is
//! bounded: who rings while too many wait, waits as well, or is told so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::event::Sighting;
use super::{Receipt, Trigger};
use crate::credential::{Place, Version};

/// How many wakes may wait for the controller.
const BACKLOG: usize = 1024;

/// Something outside says to look again.
#[derive(Debug)]
pub struct Wake {
    /// Where it comes from.
    pub trigger: Trigger,
    /// What to look at.
    pub looks: Vec<Look>,
    /// When it came to be, by the clock that measures.
    pub since: Instant,
    /// When it came to be, by the clock on the wall.
    pub at: Timestamp,
    /// What it tells of was so before this instant of the clock that measures, however other clocks go: a
    /// read that began since has seen it.
    pub before: Instant,
    /// Who wants to know when everything it caused is done.
    pub receipt: Option<Receipt>,
    /// Who wants to know what it woke.
    pub answer: Option<oneshot::Sender<Answer>>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Every ClusterPullSecret.
    Everything,
    /// The ClusterPullSecret of this name.
    PullSecret(String),
    /// Whoever reads this key, which should answer this version, where one is known.
    Place(Place, Option<Version>),
    /// Whoever reads this secret of AWS Secrets Manager, by whatever name.
    Secret(Sighting),
}

/// The ClusterPullSecrets that were woken, or for which that could not be brought to whoever leads.
pub type Answer = Result<Vec<String>, NotHandedOver>;

/// Another replica leads, and it could not be told of the request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("another replica leads, and it could not be told to look at {}", pull_secrets.join(", "))]
pub struct NotHandedOver {
    /// The ClusterPullSecrets it does not know about.
    pub pull_secrets: Vec<String>,
}

/// The controller has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the controller has ended")]
pub struct Gone;

/// Rings for the controller; all clones ring the same one.
#[derive(Clone, Debug)]
pub struct Bell(mpsc::Sender<Wake>);

/// What the controller hears.
pub type Wakes = mpsc::Receiver<Wake>;

/// A bell, and what is heard of it.
#[must_use]
pub fn bell() -> (Bell, Wakes) {
    let (sender, wakes) = mpsc::channel(BACKLOG);
    (Bell(sender), wakes)
}

impl Look {
    /// The version that the key should answer, where one is known.
    #[must_use]
    pub fn version(&self) -> Option<&Version> {
        match self {
            Self::Everything | Self::PullSecret(_) => None,
            Self::Place(_, version) => version.as_ref(),
            Self::Secret(sighting) => sighting.version.as_ref(),
        }
    }
}

impl Bell {
    /// Rings; waits while too many wait already.
    pub async fn ring(&self, wake: Wake) -> Result<(), Gone> {
        self.0.send(wake).await.map_err(|_| Gone)
    }
}

impl Wake {
    /// One that came to be so long ago.
    #[must_use]
    pub fn new(trigger: Trigger, looks: Vec<Look>, age: Duration, now: (Instant, Timestamp)) -> Self {
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
