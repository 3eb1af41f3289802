//! Reads of the stores and renewals of leases, each as a task: a slow store delays no other one.

use std::sync::Arc;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::state::SidecarState;
use crate::credential::{Life, StoreKey};
use crate::provider::stores::{Stores, Values};

/// The result of a task.
pub(super) enum StoreResult {
    /// A read of a store that started at that instant.
    Read(Instant, Values),
    /// The lease of a key was renewed, or its key has to be read.
    Renewed(StoreKey, Option<Life>),
}

/// A task of the sidecar panicked: a defect of regcred.
#[derive(Debug, thiserror::Error)]
#[error("a task of the sidecar panicked")]
pub struct SidecarPanicked(#[from] JoinError);

/// The tasks in flight.
pub(super) struct Reads {
    stores: Arc<Stores>,
    tasks: JoinSet<StoreResult>,
}

impl Reads {
    /// Creates the state before the first read.
    pub(super) fn new(stores: Arc<Stores>) -> Self {
        Self { stores, tasks: JoinSet::new() }
    }

    /// Starts the reads and renewals that are due.
    pub(super) fn start_due(&mut self, state: &mut SidecarState, now: Instant) {
        for store_key in state.on_timer(now) {
            let stores = Arc::clone(&self.stores);
            self.tasks.spawn(async move {
                let life = stores.renew(&store_key).await;
                StoreResult::Renewed(store_key, life)
            });
        }
        for store_keys in state.start_due(now) {
            let stores = Arc::clone(&self.stores);
            self.tasks.spawn(async move { StoreResult::Read(now, stores.read(&store_keys).await) });
        }
    }

    /// Waits for the next result; returns `None` if nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<Result<StoreResult, SidecarPanicked>> {
        let result = self.tasks.join_next().await?;
        Some(result.map_err(SidecarPanicked::from))
    }
}
