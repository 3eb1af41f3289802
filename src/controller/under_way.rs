//! What is carried out beside the loop, and how it comes back.
//!
//! Reads may be broken off when the process ends; writes are counted, so that they can be waited for.

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Panicked;
use super::errand::Errand;
use super::hand_over::HandedOver;
use super::queue::Item;
use crate::cluster::Secret;
use crate::cluster::error::Error;
use crate::cluster::watch::Address;
use crate::pass::site::Applied;
use crate::provider::stores::Values;

/// What came to its end beside the loop.
pub(super) enum Done {
    /// The work in one namespace.
    Applied(Item, Applied),
    /// A read of a store, which began at that instant.
    Read(Instant, Values),
    /// The Secrets of a name with their bytes.
    Bodies(String, Result<Vec<(Address, Secret)>, Error>),
    /// A request about a ClusterPullSecret itself.
    Errand(String, Errand, Result<(), Error>),
    /// An Event was published, or could not be.
    Told(Result<(), Error>),
    /// Triggers were left for whoever leads, or could not be.
    HandedOver(HandedOver),
}

impl Done {
    /// Whether it is waited for when the process ends.
    fn is_write(&self) -> bool {
        match self {
            Self::Applied(..) | Self::Errand(..) | Self::Told(_) | Self::HandedOver(_) => true,
            Self::Read(..) | Self::Bodies(..) => false,
        }
    }
}

/// What is carried out beside the loop.
#[derive(Default)]
pub(super) struct UnderWay {
    tasks: JoinSet<Done>,
    /// How many of them are writes.
    writes: usize,
}

impl UnderWay {
    /// Begins a read.
    pub(super) fn read(&mut self, read: impl Future<Output = Done> + Send + 'static) {
        self.tasks.spawn(read);
    }

    /// Begins a write.
    pub(super) fn write(&mut self, write: impl Future<Output = Done> + Send + 'static) {
        self.writes += 1;
        self.tasks.spawn(write);
    }

    /// Writes that have not come to their end.
    pub(super) fn writes(&self) -> usize {
        self.writes
    }

    /// Waits for the next that comes to its end; `None` where there is none.
    pub(super) async fn next(&mut self) -> Option<Result<Done, Panicked>> {
        let ended = self.tasks.join_next().await?;
        Some(self.ended(ended))
    }

    /// The next that has come to its end already.
    pub(super) fn try_next(&mut self) -> Option<Result<Done, Panicked>> {
        let ended = self.tasks.try_join_next()?;
        Some(self.ended(ended))
    }

    fn ended(&mut self, ended: Result<Done, JoinError>) -> Result<Done, Panicked> {
        let done = ended.map_err(|_| Panicked)?;
        self.writes -= usize::from(done.is_write());
        Ok(done)
    }
}
