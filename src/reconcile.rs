//! One run of the pipeline: resolve → plan → apply.
//!
//! In go the ClusterPullSecrets, the opened stores and a client, out comes a [`Report`]. The stores
//! are read after the cluster; [`plan`], which is pure, decides the writes; the writes
//! go out at a bounded concurrency. Where another process wrote at the same time, there is another round. A failure is reported and does not stop the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Client;
use tracing::info;

use crate::cluster::error::Error;
use crate::credential::StoreKey;
use crate::installation::Installation;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Stores;
use crate::report::Report;
use claims::{Claims, Others};
use round::Run;

pub mod apply;
pub mod claims;
pub mod copies;
pub mod desired_secret;
pub mod entry_change;
pub mod execute;
#[cfg(test)]
pub(crate) mod fixture;
mod given_up;
pub mod guards;
pub mod last_good;
pub mod namespace_keys;
pub mod namespace_values;
pub mod no_content;
pub mod plan;
mod progress;
mod recorded;
pub mod resolve;
mod round;
pub mod target;
mod unread;
pub mod version_order;

pub use progress::{Monitor, Progress};

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decide and report, but write nothing.
    pub dry_run: bool,
    /// Requests to the API server that may be in flight at once.
    pub concurrency: usize,
    /// Write to Secrets that hold later versions than the stores answer.
    pub accept_older: bool,
}

/// Returns the keys of `cluster_pull_secrets` as their specs have them, for the stores that a run needs.
#[must_use]
pub fn store_keys<'a>(
    cluster_pull_secrets: impl IntoIterator<Item = &'a ClusterPullSecret>,
) -> BTreeSet<StoreKey> {
    let registries = cluster_pull_secrets.into_iter().flat_map(|it| &it.registries);
    registries.map(|registry| registry.store_key.clone()).collect()
}

/// The ClusterPullSecrets of a run.
pub struct Subjects<'a> {
    /// All that are known, the oldest first: they hold their claims.
    pub cluster_pull_secrets: &'a [Arc<ClusterPullSecret>],
    /// Returns true for those that are reconciled.
    pub chosen: &'a dyn Fn(&ClusterPullSecret) -> bool,
    /// The ClusterPullSecrets beside those.
    pub others: Others,
}

/// Reconciles once. `installation` is loaded during the first reads of the cluster, and takes over the values that were
/// read and the Secrets that were written; the caller saves it.
pub async fn run(
    client: &Client,
    stores: &Stores,
    subjects: Subjects<'_>,
    installation: impl Future<Output = Result<Installation, Error>>,
    options: Options,
    monitor: &Monitor<'_>,
) -> Result<(Report, Installation), Error> {
    let Subjects { cluster_pull_secrets, chosen, others } = subjects;
    let ours: Vec<_> = cluster_pull_secrets.iter().filter(|it| chosen(it)).collect();
    if ours.is_empty() {
        return Ok((Report::new(options.dry_run, Vec::new()), Installation::default()));
    }
    let claims = Claims::new(cluster_pull_secrets, others);
    let run = Run { client, stores, claims, chosen: ours, options, monitor };
    let (report, installation) = run.run(installation).await?;
    info!(dry_run = options.dry_run, in_sync = report.in_sync, summary = %report.summary, "reconciliation finished");
    Ok((report, installation))
}
