//! Tasks that run outside the loop, and their results.
//!
//! Reads may be aborted at shutdown; writes are counted, so that shutdown can wait for them.

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Panicked;
use super::forward::ForwardedBatch;
use super::object_writes::ObjectPatch;
use super::queue::Item;
use crate::cluster::Secret;
use crate::cluster::error::Error;
use crate::cluster::watch::ObjectRef;
use crate::credential::{Life, StoreKey};
use crate::installation::api::{KeyError, Loaded, ShardWrite};
use crate::object_name::SecretName;
use crate::provider::stores::Values;
use crate::reconcile::execute::Applied;

/// The result of a task.
pub(super) enum TaskResult {
    /// The plan for one namespace was carried out.
    Applied(Item, Applied),
    /// A read of a store finished, which started at that instant.
    Fetched(Instant, Values),
    /// The lease of a key was renewed, or its key has to be read.
    Renewed(StoreKey, Option<Life>),
    /// Replaced leases were revoked, or run out.
    LeasesRevoked,
    /// The Secrets of a name were listed with their bytes, or could not be.
    SecretsListed(SecretName, Result<Vec<(ObjectRef, Secret)>, Error>),
    /// A ClusterPullSecret was patched, or could not be.
    ObjectPatched(String, ObjectPatch, Result<(), Error>),
    /// An Event was published, or could not be.
    EventPublished(Result<(), Error>),
    /// Requests were forwarded to the leader, or could not be.
    Forwarded(ForwardedBatch),
    /// regcred's own namespace was read, or could not be.
    InstallationLoaded(Result<Loaded, KeyError>),
    /// Last good values and records were saved, or could not be.
    InstallationSaved(Vec<ShardWrite>),
}

impl TaskResult {
    /// Returns true if shutdown waits for the task.
    fn is_write(&self) -> bool {
        match self {
            Self::Applied(..)
            | Self::ObjectPatched(..)
            | Self::EventPublished(_)
            | Self::Forwarded(_)
            | Self::InstallationSaved(_) => true,
            Self::Fetched(..)
            | Self::Renewed(..)
            | Self::LeasesRevoked
            | Self::SecretsListed(..)
            | Self::InstallationLoaded(_) => false,
        }
    }
}

/// The tasks in flight.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: JoinSet<TaskResult>,
    /// The number of writes among them.
    pending_writes: usize,
}

impl Tasks {
    /// Starts a read.
    pub(super) fn spawn_read(&mut self, read: impl Future<Output = TaskResult> + Send + 'static) {
        self.tasks.spawn(read);
    }

    /// Starts a write.
    pub(super) fn spawn_write(&mut self, write: impl Future<Output = TaskResult> + Send + 'static) {
        self.pending_writes += 1;
        self.tasks.spawn(write);
    }

    /// Returns the number of writes in flight.
    pub(super) fn pending_writes(&self) -> usize {
        self.pending_writes
    }

    /// Waits for the next task to finish; `None` where there is none.
    pub(super) async fn next(&mut self) -> Option<Result<TaskResult, Panicked>> {
        let joined = self.tasks.join_next().await?;
        Some(self.complete(joined))
    }

    /// Returns the next task that has finished already.
    pub(super) fn try_next(&mut self) -> Option<Result<TaskResult, Panicked>> {
        let joined = self.tasks.try_join_next()?;
        Some(self.complete(joined))
    }

    fn complete(&mut self, joined: Result<TaskResult, JoinError>) -> Result<TaskResult, Panicked> {
        let result = joined.map_err(|_| Panicked)?;
        self.pending_writes -= usize::from(result.is_write());
        Ok(result)
    }
}
