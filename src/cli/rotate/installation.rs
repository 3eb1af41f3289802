//! regcred's own namespace in one run: read where that is permitted, saved afterwards.

use std::collections::BTreeSet;

use kube::Client;
use tracing::warn;

use crate::cli::wall_clock;
use crate::cluster::error::Error;
use crate::installation::api::{KeyError, Loaded, OwnNamespace, is_transient};
use crate::installation::last_good::ValueId;
use crate::installation::shard::RecordShards;
use crate::installation::{Installation, shard};
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::reconcile::namespace_keys::has_namespace_keys;

/// Reads the key, and what is known of these ClusterPullSecrets. Without access the run goes on by the labels
/// alone, and says so; an API server that does not answer is an error.
pub(super) async fn load<'a>(
    client: &Client,
    own_namespace: &OwnNamespace,
    cluster_pull_secrets: impl Iterator<Item = &'a ClusterPullSecret>,
    dry_run: bool,
) -> Result<Installation, Error> {
    let indices: BTreeSet<u16> =
        cluster_pull_secrets.flat_map(|it| indices_of(it, own_namespace.shards)).collect();
    if indices.is_empty() {
        return Ok(Installation::default());
    }
    Ok(match own_namespace.load(client, indices, !dry_run).await {
        Ok(Loaded { mut installation, problems, .. }) => {
            installation.forget_expired(wall_clock());
            for problem in problems {
                warn!("{problem}");
            }
            installation
        }
        // A dry run creates nothing, and without a key no Secret is signed.
        Err(KeyError::Missing) => Installation::default(),
        Err(KeyError::Request(error)) if is_transient(&error) => return Err(error),
        Err(error) => {
            warn!(
                "no access to regcred's own namespace {}: {error}. Secrets are recognised by their labels alone, and no last good values are known",
                own_namespace.name
            );
            Installation::default()
        }
    })
}

/// The attempts of a save.
const SAVES: usize = 3;

/// Saves what the run has read and written. A failure is no failure of the run: the Secrets are signed.
pub(super) async fn save(client: &Client, own_namespace: &OwnNamespace, installation: &mut Installation) {
    // A conflict with a running controller is resolved by another attempt.
    for _ in 0..SAVES {
        let pending = installation.take_pending();
        if pending.is_empty() {
            return;
        }
        for problem in installation.finish_save(own_namespace.save(client, pending).await) {
            warn!("{problem}");
        }
    }
    if installation.has_changes() {
        warn!(
            "last good values are not saved in namespace {}: another process wrote there each time. The next run saves them",
            own_namespace.name
        );
    }
}

/// Returns the shards with anything of a ClusterPullSecret: all of them where each namespace has a key of its
/// own, because the namespaces are not known yet.
fn indices_of(cluster_pull_secret: &ClusterPullSecret, shards: u16) -> BTreeSet<u16> {
    if has_namespace_keys(cluster_pull_secret) {
        return (0..shards).collect();
    }
    let name = &cluster_pull_secret.name;
    let values = cluster_pull_secret.registries.iter().map(|it| ValueId::new(name, it));
    let values = values.map(|id| shard::index_of_value(&id, shards));
    values.chain(RecordShards::new(name, shards).iter()).collect()
}
