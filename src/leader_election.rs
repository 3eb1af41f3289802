//! Leader election: of several replicas one writes, and knows the moment it may no longer.
//!
//! In go a client and a [`LeaderElectionConfig`]. Out come a [`LeaderElection`], which reports whether this
//! process leads and ends when the lease is lost, and a [`Leadership`], which answers at any instant whether
//! this process may write. The [`Fence`](fence::Fence) checks it before every write of its client:
//!
//! ```text
//! let leadership = Leadership::new(&config, Clock::boot_time());
//! let client = fence::client(kube_config, &Fence::new(&config, leadership.clone()))?;
//! let election = leader_election::start(client.clone(), config, leadership.clone());
//! ```
//!
//! Clocks of other machines are never trusted. A holder that did not renew for its duration, by the
//! [`Clock`](clock::Clock) of the observer, has lost the lease. The holder knows that slightly earlier, because it counts
//! from before it sent the renewal. A process never wins back a lease that it lost: it exits and is
//! restarted.

use std::time::Duration;

use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, info_span};

mod api;
pub mod clock;
mod decision;
mod elector;
pub mod fence;
mod leadership;
mod record;
#[cfg(test)]
mod tests;

use crate::cluster::error::Error;
use api::LeaseClient;
use elector::Elector;
pub use leadership::Leadership;

/// The Lease, the identity of this replica and the lease duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderElectionConfig {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The identity of this replica, unique among all replicas. A replica that restarts under the same
    /// identity takes its lease at once.
    pub identity: String,
    /// The time after the last renewal after which another replica may take the lease. The holder renews
    /// at half of it.
    pub lease_duration: Duration,
}

/// A running leader election.
#[derive(Debug)]
pub struct LeaderElection {
    /// True while this process leads: false, then true, then false for good.
    pub leading: watch::Receiver<bool>,
    /// Ends the election when sent to or dropped: the lease is vacated if this process holds it, and the
    /// task ends. Until then the lease is renewed, so work in flight can be finished first.
    pub release: oneshot::Sender<()>,
    /// Ends by itself only when the lease is lost.
    pub task: JoinHandle<Result<(), Lost>>,
}

/// This process was the leader and lost the lease: it has to exit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost the lease {lease}: {loss}")]
pub struct Lost {
    /// `namespace/name` of the Lease.
    pub lease: String,
    /// The way it was lost.
    pub loss: Loss,
    /// The failure that prevented the renewal, if there was one.
    #[source]
    pub cause: Option<Error>,
}

/// The way a lease is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The lease could not be renewed in time, or the process was suspended.
    #[error("it expired before it was renewed")]
    Expired,
    /// Another replica holds it.
    #[error("{0} holds it now")]
    Taken(String),
    /// Another process has the same identity.
    #[error("another process with the identity {0} holds it now")]
    DuplicateIdentity(String),
    /// Another client removed the holder.
    #[error("another client vacated it")]
    Vacated,
    /// Another client deleted it.
    #[error("it was deleted")]
    Deleted,
}

impl Loss {
    /// Returns the fix, if there is one to make.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        matches!(self, Self::DuplicateIdentity(_)).then_some("give each replica a unique --identity")
    }
}

impl LeaderElectionConfig {
    /// Returns `namespace/name` of the Lease.
    fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Starts to run for the lease; `leadership` must be of the same `config`.
#[must_use]
pub fn start(client: Client, config: LeaderElectionConfig, leadership: Leadership) -> LeaderElection {
    let (leading, is_leading) = watch::channel(false);
    let (release, released) = oneshot::channel();
    let span = info_span!("lease", lease = config.lease());
    let lease = LeaseClient::new(client, config);
    let records = lease.watch();
    let elector = Elector::new(lease, leadership, leading);
    let task = tokio::spawn(elector.run(records, released).instrument(span));
    LeaderElection { leading: is_leading, release, task }
}
