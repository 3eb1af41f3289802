//! One replica: the controller, its campaign for the lease, and the sources that wake it.
//!
//! In goes what the command line and the manifests became, out comes how the process ended. At the end
//! the sources stop first, then the work that is under way is finished, then the lease is given back.

use std::sync::Arc;

use anyhow::anyhow;
use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;
use tracing::info;

use super::super::{Exit, Failure, wall_clock};
use super::signals::Signals;
use super::triggers::{Port, SourceContext, Sources};
use crate::admin::Health;
use crate::controller::{Context, Controller};
use crate::leader_election::{self, LeaderElection, Leadership, Lost};
use crate::manifest::Manifests;
use crate::provider::stores::Stores;
use crate::trigger::{channel, poll};

/// What a replica is given.
pub(super) struct Deps {
    pub(super) manifests: Manifests,
    /// Every store of the manifests, open.
    pub(super) stores: Arc<Stores>,
    /// Refuses writes while this process does not lead.
    pub(super) client: Client,
    /// Writes whether it leads or not.
    pub(super) unfenced_client: Client,
    pub(super) lease: leader_election::Settings,
    pub(super) term: Leadership,
    pub(super) health: Health,
    pub(super) port: Option<Port>,
    /// Writes to the API server that may be under way at once for one ClusterPullSecret.
    pub(super) concurrency: usize,
}

/// The parts that end together.
pub(super) struct Replica {
    controller: Controller,
    campaign: LeaderElection,
    sources: Sources,
}

impl Replica {
    /// Begins to run for the lease and to hear the sources.
    pub(super) fn start(equipment: Deps) -> Self {
        let Deps { manifests, stores, client, unfenced_client, lease, term, health, port, concurrency } =
            equipment;
        let Manifests { stores: stores_known, triggers, cluster_pull_secrets } = manifests;
        let (sender, trigger_receiver) = channel::channel();
        let (held, known_versions) = watch::channel(poll::KnownVersions::new());
        let metrics = Arc::clone(&health.metrics);
        let controller = Controller::new(Context {
            client: client.clone(),
            unfenced_client,
            trigger_receiver,
            known_versions: held,
            stores: Arc::clone(&stores),
            store_configs: stores_known,
            files: cluster_pull_secrets.into_iter().map(Arc::new).collect(),
            concurrency,
            health,
            identity: lease.holder.clone(),
            wall_clock,
            jitter,
        });
        let campaign = leader_election::campaign(client, lease, term);
        let around = SourceContext {
            sender,
            stores,
            held: known_versions,
            leading: campaign.leading.clone(),
            metrics,
            wall_clock,
            jitter,
        };
        let sources = Sources::start(&triggers, port, around);
        Self { controller, campaign, sources }
    }

    /// Runs the controller until a signal, then hands over; ends at once where the lease is lost.
    pub(super) async fn lead(self, signals: &mut Signals) -> Result<Exit, Failure> {
        let Self { controller, campaign, mut sources } = self;
        let LeaderElection { leading, retire, mut task } = campaign;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = controller.run(leading, async {
            // Told or dropped: either way it is over.
            let _ = stopped.await;
        });
        let mut work = std::pin::pin!(work);
        tokio::select! {
            ended = &mut work => {
                ended.map_err(|error| Failure::Broken(error.into()))?;
                return Err(Failure::Broken(anyhow!("the controller ended by itself")));
            }
            result = &mut task => return Err(lost(result)),
            failure = sources.failure() => return Err(failure),
            name = signals.next() => info!(signal = name, "told to end"),
        }
        sources.stop();
        // Whoever waits for it is gone if this fails.
        let _ = stop.send(());
        tokio::select! {
            ended = &mut work => ended.map_err(|error| Failure::Broken(error.into()))?,
            result = &mut task => return Err(lost(result)),
            name = signals.next() => {
                return Err(Failure::Broken(anyhow!("{name} a second time: ended at once")));
            }
        }
        sources.ended().await;
        let _ = retire.send(());
        match task.await {
            Ok(Ok(())) => Ok(Exit::InSync),
            other => Err(lost(other)),
        }
    }
}

/// Why a campaign that should not have ended did.
fn lost(ended: Result<Result<(), Lost>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::Broken(anyhow!("the campaign for the lease ended by itself")),
        Ok(Err(lost)) => Failure::Broken(anyhow::Error::new(lost)),
        Err(error) => {
            Failure::Broken(anyhow::Error::new(error).context("the campaign for the lease panicked"))
        }
    }
}

/// Enough for jitter: where the hasher of the standard library begins is random.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}
