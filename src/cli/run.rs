//! `regcred run`: the controller, until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use kube::Client;
use tokio::sync::watch;
use tracing::info;

mod leader_election;
mod replica;
mod signals;
mod triggers;

use self::leader_election::LeaderElectionTask;
use self::replica::{Deps, Replica};
use self::signals::Signals;
use self::triggers::{Port, until};
use super::connection::Connection;
use super::log::LogFormat;
use super::{Exit, Failure, manifests, wall_clock};
use crate::admin::{self, Health, Heartbeat, Readiness};
use crate::http_server;
use crate::leader_election::Leadership;
use crate::leader_election::fence::{self, Fence};
use crate::metrics::Metrics;
use crate::provider::stores::Stores;

const AFTER_HELP: &str = "\
Examples:
  regcred run -f config.yaml
  regcred run -f /etc/regcred --log-format json

Of several replicas one leads; the others watch and take over when it ends.
SIGTERM finishes what is under way, for at most 8 s, and hands over.

Environment:
  VAULT_TOKEN for a Vault whose `auth` names nothing else
  KUBECONFIG, and the AWS SDK's own variables and profiles";

/// Keep the pull secrets of every selected namespace true, until told to end.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Manifests: a file, a directory of them, or - for stdin. Those of the cluster come beside them.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,

    /// Where the store `files` looks when no Config defines a store: a directory with a file per key.
    #[arg(long, value_name = "DIR", env = "REGCRED_FILES", default_value = "/run/registry-credentials")]
    files: PathBuf,

    #[command(flatten)]
    leader_election: LeaderElectionTask,

    /// Where to answer /live, /ready and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// The shape of the log on stderr.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,

    /// Writes to the API server that may be under way at once for one ClusterPullSecret.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let Args { filenames, files, leader_election, listen, log_format: _, concurrency, connection } = args;
    let mut signals = Signals::new()?;
    let manifests = manifests(&filenames, &files)?;
    let stores = Arc::new(Stores::open_all(&manifests.stores, &super::environment()).await);
    let lease = leader_election.settings();
    let term = Leadership::new(&lease);
    let (config, address) = connection.config().await?;
    let talk = |error| Failure::World(anyhow!("cannot talk to the cluster at {address}: {error}"));
    let unfenced_client = Client::try_from(config.clone()).map_err(talk)?;
    let client = fence::client(config, &Fence::new(&lease, term.clone())).map_err(talk)?;
    let listener = http_server::bind(listen)
        .with_context(|| format!("cannot listen at {listen}: choose another address with --listen"))
        .map_err(Failure::World)?;
    let listening = listener.local_addr().unwrap_or(listen);
    info!(version = env!("CARGO_PKG_VERSION"), cluster = %address, %listening, identity = %lease.holder, "started");

    let health = Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("waiting for the first lists"),
        metrics: Arc::new(Metrics::new()),
    };
    let port = Port::open(&manifests.triggers, &health.metrics, wall_clock).await?;
    let (ended, end) = watch::channel(false);
    let server = tokio::spawn(admin::serve(listener, health.clone(), until(end)));
    let concurrency = usize::from(concurrency);
    let equipment =
        Deps { manifests, stores, client, unfenced_client, lease, term, health, port, concurrency };
    let outcome = Replica::start(equipment).lead(&mut signals).await;
    // Whoever waits for it is gone if this fails.
    let _ = ended.send(true);
    server.await.context("the admin server panicked").map_err(Failure::Broken)?;
    outcome
}
