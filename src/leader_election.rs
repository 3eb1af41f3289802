//! Leadership: of several replicas one writes, and knows when it may not any more.
//!
//! In go a client and the [`Settings`], out come a [`LeaderElection`], which tells when this process leads and
//! ends when it has lost, and a [`Leadership`], which answers at any instant whether it may write. The
//! [`Fence`](fence::Fence) asks it before every write of the client it is built into:
//!
//! ```text
//! let term = Term::new(&settings);
//! let client = fence::client(config, &Fence::new(&settings, term.clone()))?;
//! let campaign = lease::campaign(client.clone(), settings, term.clone());
//! ```
//!
//! No clock of another machine is believed: a holder that was not heard of for its duration, by the
//! monotonic clock of the one who waits, has lost the lease, and it has known so itself for a little
//! longer, because it counts from before it asked. A lease that was lost is never won again by the same
//! process: the process ends and starts anew.

use std::time::Duration;

use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, info_span};

mod api;
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

/// Which lease, for whom and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// Who this replica is: no other replica may be called the same. A replica that is started again
    /// under its name takes its lease at once.
    pub holder: String,
    /// How long after the last renewal the others wait before one of them takes the lease. It is
    /// renewed at half of it.
    pub duration: Duration,
}

/// A campaign under way.
#[derive(Debug)]
pub struct LeaderElection {
    /// Whether this process leads: false, then true, then, when that is over, false for good.
    pub leading: watch::Receiver<bool>,
    /// Told or dropped, this ends the campaign: the lease is vacated if this process has it, and the
    /// task ends. Until then the lease is renewed, so work under way can be finished before.
    pub retire: oneshot::Sender<()>,
    /// Ends by itself only when the lease is lost.
    pub task: JoinHandle<Result<(), Lost>>,
}

/// This process led and does not any more: it has to end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("lost the lease {lease}: {loss}")]
pub struct Lost {
    /// `namespace/name` of the Lease.
    pub lease: String,
    /// How.
    pub loss: Loss,
    /// What kept it from being renewed, where that was a failure.
    #[source]
    pub cause: Option<Error>,
}

/// How a lease is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The lease could not be renewed, or the process was stopped meanwhile.
    #[error("its term ended before it was renewed")]
    Expired,
    /// Another one is its holder.
    #[error("{0} holds it now")]
    Taken(String),
    /// Another process bears the same name.
    #[error("another process called {0} holds it now; give each replica an identity of its own")]
    Namesake(String),
    /// Somebody took the holder out of it.
    #[error("somebody else vacated it")]
    Vacated,
    /// Somebody deleted it.
    #[error("somebody deleted it")]
    Deleted,
}

impl Settings {
    /// The Lease as people write it.
    fn lease(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Begins to run for the lease; `term` has to be of the same settings.
#[must_use]
pub fn campaign(client: Client, settings: Settings, term: Leadership) -> LeaderElection {
    let (leading, is_leading) = watch::channel(false);
    let (retire, retired) = oneshot::channel();
    let span = info_span!("lease", lease = settings.lease());
    let seat = LeaseClient::new(client, settings);
    let sightings = seat.sightings();
    let candidate = Elector::new(seat, term, leading);
    let task = tokio::spawn(candidate.run(sightings, retired).instrument(span));
    LeaderElection { leading: is_leading, retire, task }
}
