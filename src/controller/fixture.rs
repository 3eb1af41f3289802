//! A controller for unit tests.

use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;

use super::{Context, Controller};
use crate::admin::{Health, Heartbeat, Readiness};
use crate::cluster::ownership::key::OwnershipKey;
use crate::installation::api::{Loaded, OwnNamespace};
use crate::installation::shard::Shard;
use crate::installation::{Installation, StoredShard};
use crate::metrics::Metrics;
use crate::provider::stores::Stores;
use crate::trigger;
use crate::trigger::poll::KnownVersions;

/// A controller that leads, without stores and with one empty shard. Its wall clock stands still.
pub(super) fn leader(client: Client) -> Controller {
    let mut controller = Controller::new(Context {
        client: client.clone(),
        unfenced_client: client,
        trigger_receiver: trigger::channel::channel().1,
        known_versions: watch::channel(KnownVersions::new()).0,
        stores: Arc::new(Stores::from_providers([], 1)),
        store_configs: Vec::new(),
        files: Vec::new(),
        poll_interval: None,
        concurrency: 1,
        health: Health {
            heartbeat: Heartbeat::new(),
            readiness: Readiness::not_ready("not synced"),
            metrics: Arc::new(Metrics::new()),
        },
        identity: "a".to_owned(),
        own_namespace: OwnNamespace { name: "own".into(), shards: 1 },
        wall_clock: || Timestamp::UNIX_EPOCH,
        jitter: || 0.5,
    });
    let mut installation = Installation::new(Arc::new(OwnershipKey::new("a", &[1; 32], None)), 1);
    let content = Ok(Shard::default());
    installation.restore(StoredShard { index: 0, resource_version: None, content });
    controller.is_leading = true;
    controller.on_installation_loaded(Ok(Loaded {
        installation,
        problems: Vec::new(),
        is_incomplete: false,
    }));
    controller
}
