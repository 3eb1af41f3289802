//! One run of the pipeline: resolve → plan → apply.
//!
//! In go the ClusterPullSecrets, the opened stores and a client, out comes a [`Report`]. The stores
//! and the cluster are read at the same time; what to write is decided by [`plan`], which is pure;
//! the writes go out at a bounded concurrency. What fails is reported, and the others go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;
use tracing::info;

use crate::cluster::{self, Cluster};
use crate::credential::StoreKey;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Stores;
use crate::report::Report;
use desired_secret::DesiredSecret;

pub mod apply;
pub mod claims;
pub mod desired_secret;
pub mod execute;
#[cfg(test)]
pub(crate) mod fixture;
pub mod guards;
pub mod last_good;
pub mod plan;
pub mod resolve;
pub mod target;

/// How a pass is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Decide and report, but write nothing.
    pub dry_run: bool,
    /// Requests to the API server that may be under way at once.
    pub concurrency: usize,
}

/// How far a pass has come, for whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// That many namespaces have something to write.
    Planned(usize),
    /// One of them is done, whatever became of it.
    Finished,
}

/// Who watches a pass, and may end it early.
pub struct Watcher<'a> {
    /// Is told how far it has come.
    pub tell: &'a (dyn Fn(Progress) + Sync),
    /// Set by whoever wants no further namespace to be begun.
    pub stop: &'a AtomicBool,
}

impl Watcher<'_> {
    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The keys that a pass over `cluster_pull_secrets` reads.
#[must_use]
pub fn places<'a>(
    cluster_pull_secrets: impl IntoIterator<Item = &'a ClusterPullSecret>,
) -> BTreeSet<StoreKey> {
    let registries =
        cluster_pull_secrets.into_iter().flat_map(|cluster_pull_secret| &cluster_pull_secret.registries);
    registries.map(|registry| registry.store_key.clone()).collect()
}

/// Runs one pass over those of `cluster_pull_secrets` that are `chosen`; the others are there for their claims.
/// The first is the oldest.
pub async fn run(
    client: &Client,
    stores: &Stores,
    cluster_pull_secrets: &[Arc<ClusterPullSecret>],
    chosen: &dyn Fn(&ClusterPullSecret) -> bool,
    options: Options,
    watcher: &Watcher<'_>,
) -> Result<Report, cluster::error::Error> {
    let ours: Vec<_> = cluster_pull_secrets.iter().filter(|it| chosen(it)).collect();
    if ours.is_empty() {
        return Ok(Report::new(options.dry_run, Vec::new()));
    }
    let secret_names =
        ours.iter().flat_map(|cluster_pull_secret| cluster_pull_secret.secret_names().cloned()).collect();
    let places = places(ours.iter().map(AsRef::as_ref));
    let (values, cluster) = tokio::join!(stores.read(&places), cluster::observe(client, &secret_names));
    let cluster: Cluster = cluster?;
    let contents = |it: &&Arc<ClusterPullSecret>| DesiredSecret::new(resolve::resolve(it, &values), &cluster);
    let contents: Vec<_> = ours.iter().map(contents).collect();
    let plan = plan::plan(cluster_pull_secrets, &contents, &cluster);
    drop((cluster, values, contents));
    let report = if options.dry_run {
        apply::dry_run(plan)
    } else {
        apply::apply(client, plan, options.concurrency, watcher).await
    };
    info!(dry_run = options.dry_run, in_sync = report.in_sync, summary = %report.summary, "pass finished");
    Ok(report)
}
