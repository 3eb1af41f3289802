//! One replica: the controller, its leader election, and the trigger sources.
//!
//! In go the parsed command line and manifests, out comes the exit of the process. On shutdown the sources
//! stop first, then the work in flight is finished, then the lease is released.

use std::sync::Arc;

use anyhow::anyhow;
use kube::Client;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinError;
use tracing::info;

use super::super::{Exit, Failure, jitter, wall_clock};
use super::signals::Signals;
use super::triggers::{SourceContext, Sources, WebhookListener};
use crate::admin::Health;
use crate::controller::{Context, Controller};
use crate::installation::api::OwnNamespace;
use crate::leader_election::{self, LeaderElection, LeaderElectionConfig, Leadership, Lost};
use crate::manifest::Manifests;
use crate::provider::stores::Stores;
use crate::trigger::{channel, poll};

/// The dependencies of a replica.
pub(super) struct Deps {
    pub(super) manifests: Manifests,
    /// Every store of the manifests, open.
    pub(super) stores: Arc<Stores>,
    /// Rejects writes while this process does not lead.
    pub(super) client: Client,
    /// Writes whether this process leads or not.
    pub(super) unfenced_client: Client,
    pub(super) own_namespace: OwnNamespace,
    pub(super) lease: LeaderElectionConfig,
    pub(super) leadership: Leadership,
    pub(super) health: Health,
    pub(super) webhook: Option<WebhookListener>,
    /// The maximum number of concurrent writes to the API server for one ClusterPullSecret.
    pub(super) concurrency: usize,
}

/// The parts that end together.
pub(super) struct Replica {
    controller: Controller,
    election: LeaderElection,
    sources: Sources,
}

impl Replica {
    /// Starts the leader election and the trigger sources.
    pub(super) fn start(deps: Deps) -> Self {
        let Deps {
            manifests,
            stores,
            client,
            unfenced_client,
            own_namespace,
            lease,
            leadership,
            health,
            webhook,
            concurrency,
        } = deps;
        let Manifests { stores: stores_known, triggers, cluster_pull_secrets } = manifests;
        let (sender, trigger_receiver) = channel::channel();
        let (publish_versions, known_versions) = watch::channel(poll::KnownVersions::new());
        let metrics = Arc::clone(&health.metrics);
        let controller = Controller::new(Context {
            client: client.clone(),
            unfenced_client,
            trigger_receiver,
            known_versions: publish_versions,
            stores: Arc::clone(&stores),
            store_configs: stores_known,
            files: cluster_pull_secrets.into_iter().map(Arc::new).collect(),
            poll_interval: triggers.poll_interval,
            concurrency,
            health,
            identity: lease.identity.clone(),
            own_namespace,
            wall_clock,
            jitter,
        });
        let election = leader_election::start(client, lease, leadership);
        let context = SourceContext {
            sender,
            stores,
            known_versions,
            leading: election.leading.clone(),
            metrics,
            wall_clock,
            jitter,
        };
        let sources = Sources::start(&triggers, webhook, context);
        Self { controller, election, sources }
    }

    /// Runs the controller until a signal, then releases the lease; exits at once if the lease is lost.
    pub(super) async fn run(self, signals: &mut Signals) -> Result<Exit, Failure> {
        let Self { controller, election, mut sources } = self;
        let LeaderElection { leading, release, mut task } = election;
        let (stop, stopped) = oneshot::channel::<()>();
        let work = controller.run(leading, async {
            // Sent or dropped, either stops the controller.
            let _ = stopped.await;
        });
        let mut work = std::pin::pin!(work);
        tokio::select! {
            ended = &mut work => {
                ended.map_err(Failure::internal)?;
                return Err(Failure::internal(anyhow!("the controller ended by itself")));
            }
            result = &mut task => return Err(lost(result)),
            failure = sources.failure() => return Err(failure),
            name = signals.next() => info!(signal = name, "shutting down"),
        }
        sources.stop();
        // This fails only if the controller has ended already.
        let _ = stop.send(());
        tokio::select! {
            ended = &mut work => ended.map_err(Failure::internal)?,
            result = &mut task => return Err(lost(result)),
            name = signals.next() => {
                return Err(Failure::internal(anyhow!("{name} during the shutdown: exited at once")));
            }
        }
        sources.join().await;
        let _ = release.send(());
        match task.await {
            Ok(Ok(())) => Ok(Exit::InSync),
            other => Err(lost(other)),
        }
    }
}

/// Creates the failure of a leader election that ended before its release.
fn lost(ended: Result<Result<(), Lost>, JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::internal(anyhow!("the leader election ended by itself")),
        Ok(Err(lost)) => {
            let hint = lost.loss.hint();
            let failure = Failure::internal(lost);
            match hint {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        }
        Err(error) => Failure::internal(anyhow::Error::new(error).context("the leader election panicked")),
    }
}
