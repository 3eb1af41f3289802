//! One run of the pipeline: resolve → plan → apply.
//!
//! In go the ClusterPullSecrets, the opened stores and a client, out comes a [`Report`]. The stores
//! and the cluster are read at the same time; [`plan`], which is pure, decides the writes; the writes
//! go out at a bounded concurrency. A failure is reported and does not stop the others.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::Client;
use tracing::info;

use crate::cluster;
use crate::credential::StoreKey;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Stores;
use crate::report::Report;
use desired_secret::DesiredSecret;

pub mod apply;
pub mod claims;
pub mod desired_secret;
pub mod entry_change;
pub mod execute;
#[cfg(test)]
pub(crate) mod fixture;
pub mod guards;
pub mod last_good;
pub mod plan;
mod progress;
pub mod resolve;
pub mod target;

pub use progress::{Monitor, Progress};

/// The options of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decide and report, but write nothing.
    pub dry_run: bool,
    /// Requests to the API server that may be in flight at once.
    pub concurrency: usize,
}

/// Returns the keys that a run over `cluster_pull_secrets` reads.
#[must_use]
pub fn store_keys<'a>(
    cluster_pull_secrets: impl IntoIterator<Item = &'a ClusterPullSecret>,
) -> BTreeSet<StoreKey> {
    let registries = cluster_pull_secrets.into_iter().flat_map(|it| &it.registries);
    registries.map(|registry| registry.store_key.clone()).collect()
}

/// Reconciles once those of `cluster_pull_secrets` that are `chosen`; the others only hold their claims.
/// The oldest comes first.
pub async fn run(
    client: &Client,
    stores: &Stores,
    cluster_pull_secrets: &[Arc<ClusterPullSecret>],
    chosen: &dyn Fn(&ClusterPullSecret) -> bool,
    options: Options,
    monitor: &Monitor<'_>,
) -> Result<Report, cluster::error::Error> {
    let ours: Vec<_> = cluster_pull_secrets.iter().filter(|it| chosen(it)).collect();
    if ours.is_empty() {
        return Ok(Report::new(options.dry_run, Vec::new()));
    }
    let secret_names = ours.iter().flat_map(|it| it.secret_names().cloned()).collect();
    let keys = store_keys(ours.iter().map(AsRef::as_ref));
    let (values, cluster) = tokio::join!(stores.read(&keys), cluster::observe(client, &secret_names));
    let cluster = cluster?;
    let desired = ours.iter().map(|it| DesiredSecret::new(resolve::resolve(it, &values), &cluster));
    let desired: Vec<_> = desired.collect();
    let plan = plan::plan(cluster_pull_secrets, &desired, &cluster);
    drop((cluster, values, desired));
    let report = if options.dry_run {
        apply::dry_run(plan)
    } else {
        apply::apply(client, plan, options.concurrency, monitor).await
    };
    info!(dry_run = options.dry_run, in_sync = report.in_sync, summary = %report.summary, "reconciliation finished");
    Ok(report)
}
