//! `regcred run`: the controller, until it is told to end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use kube::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tracing::info;

use super::connection::Connection;
use super::log::LogFormat;
use super::sources::{Port, Sources, Surroundings, until};
use super::{Exit, Failure, manifests, wall_clock};
use crate::admin::{self, Heartbeat, Readiness, Vitals};
use crate::controller::{Controller, Settings};
use crate::lease::fence::{self, Fence};
use crate::lease::{self, Campaign, Term};
use crate::listener;
use crate::manifest::Manifests;
use crate::metrics::Metrics;
use crate::provider::stores::Stores;
use crate::trigger::{bell, poll};

/// Where a pod is told its namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The namespace outside of a pod.
const DEFAULT_NAMESPACE: &str = "regcred-system";
/// The name of the Lease.
const LEASE: &str = "regcred";

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

    /// The namespace of the Lease. Default: that of the pod, else regcred-system.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE")]
    namespace: Option<String>,

    /// Who this replica is: no other may be called the same. Default: the host's name.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,

    /// How long after the leader's last sign of life another one takes over; from 3s to 10m.
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = lease_duration)]
    lease_duration: Duration,

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

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = super::duration(text)?;
    if (Duration::from_secs(3)..=Duration::from_mins(10)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be from 3s to 10m".to_owned())
    }
}

/// Runs the command.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    let Args {
        filenames,
        files,
        namespace,
        identity,
        lease_duration,
        listen,
        log_format: _,
        concurrency,
        connection,
    } = args;
    let mut signals = Signals::new()?;
    let Manifests { stores: known, triggers, pull_secrets } = manifests(&filenames, &files)?;
    let stores = Arc::new(Stores::open_all(&known, &super::environment()).await);
    let lease = lease::Settings {
        namespace: namespace.unwrap_or_else(pod_namespace),
        name: LEASE.to_owned(),
        holder: identity.unwrap_or_else(host_name),
        duration: lease_duration,
    };
    let term = Term::new(&lease);
    let (config, address) = connection.config().await?;
    let talk = |error| Failure::World(anyhow!("cannot talk to the cluster at {address}: {error}"));
    let messenger = Client::try_from(config.clone()).map_err(talk)?;
    let client = fence::client(config, &Fence::new(&lease, term.clone())).map_err(talk)?;
    let listener = listener::bind(listen)
        .with_context(|| format!("cannot listen at {listen}: choose another address with --listen"))
        .map_err(Failure::World)?;
    let listening = listener.local_addr().unwrap_or(listen);
    info!(version = env!("CARGO_PKG_VERSION"), cluster = %address, %listening, identity = %lease.holder, "started");

    let vitals = Vitals {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::awaiting("waiting for the first lists"),
        metrics: Arc::new(Metrics::new()),
    };
    let port = Port::open(&triggers, &vitals.metrics, wall_clock).await?;
    let (bell, wakes) = bell::bell();
    let (held, known_versions) = watch::channel(poll::Held::new());
    let metrics = Arc::clone(&vitals.metrics);
    let controller = Controller::new(Settings {
        client: client.clone(),
        messenger,
        wakes,
        held,
        stores: Arc::clone(&stores),
        stores_known: known,
        files: pull_secrets.into_iter().map(Arc::new).collect(),
        concurrency: usize::from(concurrency),
        vitals: vitals.clone(),
        identity: lease.holder.clone(),
        wall_clock,
        dice,
    });
    let (ended, end) = watch::channel(false);
    let server = tokio::spawn(admin::serve(listener, vitals, until(end.clone())));
    let campaign = lease::campaign(client, lease, term);
    let around = Surroundings {
        bell,
        stores,
        held: known_versions,
        leading: campaign.leading.clone(),
        metrics,
        wall_clock,
        dice,
    };
    let sources = Sources::start(&triggers, port, around);
    let outcome = lead(controller, campaign, sources, &mut signals).await;
    // Whoever waits for it is gone if this fails.
    let _ = ended.send(true);
    server.await.context("the admin server panicked").map_err(Failure::Broken)?;
    outcome
}

/// Runs the controller until a signal, then hands over; ends at once where the lease is lost.
async fn lead(
    controller: Controller,
    campaign: Campaign,
    mut sources: Sources,
    signals: &mut Signals,
) -> Result<Exit, Failure> {
    let Campaign { leading, retire, mut task } = campaign;
    let (stop, stopped) = oneshot::channel::<()>();
    let work = controller.run(leading, async {
        // Told or dropped: either way it is over.
        let _ = stopped.await;
    });
    let mut work = std::pin::pin!(work);
    let lost = |result: Result<Result<(), lease::Lost>, tokio::task::JoinError>| match result {
        Ok(Ok(())) => Failure::Broken(anyhow!("the campaign for the lease ended by itself")),
        Ok(Err(lost)) => Failure::Broken(anyhow::Error::new(lost)),
        Err(error) => {
            Failure::Broken(anyhow::Error::new(error).context("the campaign for the lease panicked"))
        }
    };
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
        name = signals.next() => return Err(Failure::Broken(anyhow!("{name} a second time: ended at once"))),
    }
    sources.ended().await;
    let _ = retire.send(());
    match task.await {
        Ok(Ok(())) => Ok(Exit::InSync),
        other => Err(lost(other)),
    }
}

/// The signals by which a process is told to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).context("cannot listen for signals").map_err(Failure::Broken);
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

fn pod_namespace() -> String {
    let namespace = std::fs::read_to_string(POD_NAMESPACE).unwrap_or_default();
    match namespace.trim() {
        "" => DEFAULT_NAMESPACE.to_owned(),
        namespace => namespace.to_owned(),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Enough for jitter: where the hasher of the standard library begins is random.
fn dice() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}
