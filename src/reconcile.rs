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
use crate::installation::Installation;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Stores;
use crate::report::Report;
use claims::{Claims, Others};
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

/// The ClusterPullSecrets of a run.
pub struct Subjects<'a> {
    /// All that are known, the oldest first: they hold their claims.
    pub cluster_pull_secrets: &'a [Arc<ClusterPullSecret>],
    /// Returns true for those that are reconciled.
    pub chosen: &'a dyn Fn(&ClusterPullSecret) -> bool,
    /// The ClusterPullSecrets beside those.
    pub others: Others,
}

/// Reconciles once. `installation` takes over the values that were read and the Secrets that were written; the
/// caller saves it.
pub async fn run(
    client: &Client,
    stores: &Stores,
    subjects: Subjects<'_>,
    installation: &mut Installation,
    options: Options,
    monitor: &Monitor<'_>,
) -> Result<Report, cluster::error::Error> {
    let Subjects { cluster_pull_secrets, chosen, others } = subjects;
    let ours: Vec<_> = cluster_pull_secrets.iter().filter(|it| chosen(it)).collect();
    if ours.is_empty() {
        return Ok(Report::new(options.dry_run, Vec::new()));
    }
    let secret_names = ours.iter().flat_map(|it| it.secret_names().cloned()).collect();
    let keys = store_keys(ours.iter().map(AsRef::as_ref));
    let (values, cluster) = tokio::join!(stores.read(&keys), cluster::observe(client, &secret_names));
    let mut cluster = cluster?;
    cluster.assess(installation.key.as_deref(), &installation.owned);
    let desired: Vec<_> = ours
        .iter()
        .map(|it| DesiredSecret::new(resolve::resolve(it, &values), installation.values()))
        .collect();
    for desired in &desired {
        desired.record(installation);
    }
    let claims = Claims::new(cluster_pull_secrets, others);
    let plan = plan::plan(&claims, &desired, &cluster, installation.key.as_ref());
    drop((cluster, values, desired));
    let report = if options.dry_run {
        apply::dry_run(plan)
    } else {
        apply::apply(client, plan, options.concurrency, monitor, &mut installation.owned).await
    };
    info!(dry_run = options.dry_run, in_sync = report.in_sync, summary = %report.summary, "reconciliation finished");
    Ok(report)
}
