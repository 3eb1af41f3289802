//! What is carried out beside the loop, and how it comes back.
//!
//! Reads may be broken off when the process ends; writes are counted, so that they can be waited for.

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Panicked;
use super::forward::HandedOver;
use super::object_writes::ObjectPatch;
use super::queue::Item;
use crate::cluster::Secret;
use crate::cluster::error::Error;
use crate::cluster::watch::ObjectRef;
use crate::provider::stores::Values;
use crate::reconcile::execute::Applied;

/// What came to its end beside the loop.
pub(super) enum TaskResult {
    /// The work in one namespace.
    Applied(Item, Applied),
    /// A read of a store, which began at that instant.
    Read(Instant, Values),
    /// The Secrets of a name with their bytes.
    SecretLists(String, Result<Vec<(ObjectRef, Secret)>, Error>),
    /// A request about a ClusterPullSecret itself.
    ObjectPatch(String, ObjectPatch, Result<(), Error>),
    /// An Event was published, or could not be.
    ChangeNotice(Result<(), Error>),
    /// Triggers were left for whoever leads, or could not be.
    HandedOver(HandedOver),
}

impl TaskResult {
    /// Whether it is waited for when the process ends.
    fn is_write(&self) -> bool {
        match self {
            Self::Applied(..) | Self::ObjectPatch(..) | Self::ChangeNotice(_) | Self::HandedOver(_) => true,
            Self::Read(..) | Self::SecretLists(..) => false,
        }
    }
}

/// What is carried out beside the loop.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: JoinSet<TaskResult>,
    /// How many of them are writes.
    writes: usize,
}

impl Tasks {
    /// Begins a read.
    pub(super) fn read(&mut self, read: impl Future<Output = TaskResult> + Send + 'static) {
        self.tasks.spawn(read);
    }

    /// Begins a write.
    pub(super) fn write(&mut self, write: impl Future<Output = TaskResult> + Send + 'static) {
        self.writes += 1;
        self.tasks.spawn(write);
    }

    /// Writes that have not come to their end.
    pub(super) fn writes(&self) -> usize {
        self.writes
    }

    /// Waits for the next that comes to its end; `None` where there is none.
    pub(super) async fn next(&mut self) -> Option<Result<TaskResult, Panicked>> {
        let ended = self.tasks.join_next().await?;
        Some(self.ended(ended))
    }

    /// The next that has come to its end already.
    pub(super) fn try_next(&mut self) -> Option<Result<TaskResult, Panicked>> {
        let ended = self.tasks.try_join_next()?;
        Some(self.ended(ended))
    }

    fn ended(&mut self, ended: Result<TaskResult, JoinError>) -> Result<TaskResult, Panicked> {
        let done = ended.map_err(|_| Panicked)?;
        self.writes -= usize::from(done.is_write());
        Ok(done)
    }
}
