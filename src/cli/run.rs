//! `regcred run`: the controller, until it is stopped.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::info;

mod endpoints;
mod leader_election;
mod replica;
mod signals;
mod triggers;

use self::endpoints::{EndpointArgs, Endpoints};
use self::leader_election::LeaderElectionArgs;
use self::replica::{Deps, Replica};
use self::signals::Signals;
use self::triggers::WebhookListener;
use super::connection::Connection;
use super::log::LogFormat;
use super::own_namespace::OwnNamespaceArgs;
use super::{Exit, Failure, manifests, wall_clock};
use crate::admin::{Health, Heartbeat, Readiness};
use crate::leader_election::Leadership;
use crate::leader_election::clock::Clock;
use crate::leader_election::fence::Fence;
use crate::metrics::Metrics;
use crate::provider::stores::Stores;

const AFTER_HELP: &str = "\
Examples:
  regcred run -f config.yaml
  regcred run -f /etc/regcred --log-format json

Of several replicas one leads; the others stand by and take over when it stops.
SIGTERM finishes the work in flight, for at most 8 s, and releases the lease.

Environment:
  VAULT_TOKEN for a Vault without another `auth`
  HTTPS_PROXY and NO_PROXY for the API server and the stores
  KUBECONFIG, and the AWS SDK's own variables and profiles";

/// Run the controller: keep pull secrets in sync in every selected namespace.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Manifests: a file, a directory of them, or - for stdin; repeatable. Those of the cluster are
    /// added.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,

    /// Directory of the store `files`, with a file per key, if no Config defines a store.
    #[arg(long, value_name = "DIR", env = "REGCRED_FILES", default_value = "/run/registry-credentials")]
    files: PathBuf,

    #[command(flatten)]
    own_namespace: OwnNamespaceArgs,

    #[command(flatten)]
    leader_election: LeaderElectionArgs,

    #[command(flatten)]
    endpoints: EndpointArgs,

    /// Format of the log on stderr.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,

    /// Maximum number of concurrent writes to the API server for one ClusterPullSecret.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let Args {
        filenames,
        files,
        own_namespace,
        leader_election,
        endpoints,
        log_format: _,
        concurrency,
        connection,
    } = args;
    let mut signals = Signals::new()?;
    let manifests = manifests(&filenames, &files)?;
    let own_namespace = own_namespace.own_namespace();
    let lease = leader_election.config(&own_namespace.name);
    let leadership = Leadership::new(&lease, Clock::boot_time());
    let config = connection.config().await?;
    let unfenced_client = config.client()?;
    let client = config.fenced_client(&Fence::new(&lease, leadership.clone()))?;
    let (address, proxy) = (config.address(), config.proxy());
    let environment = super::environment(&client, &own_namespace);
    let stores = Arc::new(Stores::open_all(&manifests.stores, &environment).await);
    let endpoints = Endpoints::bind(&endpoints)?;
    let [listening, probes] = endpoints.addresses().map(|address| address.map(tracing::field::display));
    info!(version = env!("CARGO_PKG_VERSION"), cluster = %address, proxy, listening, probes, identity = %lease.identity, "started");

    let health = Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("waiting for the first lists"),
        metrics: Arc::new(Metrics::new()),
    };
    let webhook = WebhookListener::open(&manifests.triggers, &health.metrics, wall_clock).await?;
    let mut endpoints = endpoints.serve(health.clone());
    let concurrency = usize::from(concurrency);
    let deps = Deps {
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
    };
    let outcome = tokio::select! {
        outcome = Replica::start(deps).run(&mut signals) => outcome,
        failure = endpoints.failure() => Err(failure),
    };
    endpoints.stop().await?;
    outcome
}
