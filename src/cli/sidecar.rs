//! `regcred sidecar`: a docker config file that stays right, for containers that talk to registries themselves.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

mod endpoint;
mod mode;
mod signals;

use self::endpoint::Endpoint;
use self::mode::parse_mode;
use self::signals::SidecarSignals;
use super::cluster_pull_secrets::ClusterPullSecrets;
use super::listening::stopped;
use super::log::LogFormat;
use super::own_namespace::pod_namespace;
use super::{Exit, Failure, jitter, manifests, wall_clock};
use crate::admin::{Health, Heartbeat, Readiness};
use crate::manifest::Manifests;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::metrics::Metrics;
use crate::named;
use crate::object_name::NamespaceName;
use crate::provider::stores::Stores;
use crate::reconcile;
use crate::sidecar::check::{NotReady, check};
use crate::sidecar::output_file::{OutputError, OutputFile};
use crate::sidecar::registries;
use crate::sidecar::{FirstWrite, Sidecar, SidecarContext};

const AFTER_HELP: &str = "\
Examples:
  regcred sidecar -f manifests/ --output /docker/config.json
  regcred sidecar -f manifests/ images --output /docker/config.json --once
  regcred sidecar --check /docker/config.json

No Kubernetes API is used. Of a ClusterPullSecret, `registries` and `refreshInterval` apply.
SIGHUP reads every credential again, SIGTERM ends the process and leaves the file.

Environment:
  VAULT_TOKEN for a Vault without another `auth`
  HTTPS_PROXY and NO_PROXY for the stores
  the AWS SDK's own variables and profiles

For the exit codes, see regcred --help.";

/// Keep a docker config file current, for builders and other clients that read one.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only these ClusterPullSecrets. Default: all of the manifests.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Manifests: a file, a directory of them, or - for stdin; repeatable.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required_unless_present = "check")]
    filenames: Vec<PathBuf>,

    /// The docker config file to write, such as /docker/config.json. Its directory must exist.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    output: Option<PathBuf>,

    /// Write the file once and exit, as an init container or a job does; exits with 1 if a credential could not be read.
    #[arg(long)]
    once: bool,

    /// Keep entries and other keys in the file that regcred did not write. Without this flag such a file is refused.
    #[arg(long)]
    merge: bool,

    /// Mode of the file. Default: 0640 if its directory has another group than the process or the setgid bit, else 0600.
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<u32>,

    /// Namespace that {{namespace}} in keys stands for. Default: that of the pod.
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", value_parser = super::not_empty)]
    namespace: Option<String>,

    /// Directory of the store `files`, with a file per key, if no Config defines a store.
    #[arg(long, value_name = "DIR", env = "REGCRED_FILES", default_value = "/run/registry-credentials")]
    files: PathBuf,

    /// Address of the endpoints /live, /ready and /metrics. Default: none.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "once")]
    listen: Option<std::net::SocketAddr>,

    /// Check a file that a sidecar writes, and exit: 0 if it has an entry for every registry, else 1. For exec probes.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["names", "filenames", "output", "once", "merge", "mode", "listen"]
    )]
    check: Option<PathBuf>,

    /// Format of the log on stderr.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
}

impl Args {
    /// Returns the verbosity that a flag adds to: changes are logged by a process that keeps running.
    pub(super) fn verbosity(&self) -> u8 {
        u8::from(!self.once)
    }
}

/// Runs the command.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    if let Some(path) = &args.check {
        return check(path).map(|()| Exit::InSync).map_err(not_ready);
    }
    let Args {
        names,
        filenames,
        output,
        once,
        merge,
        mode,
        namespace,
        files,
        listen,
        check: _,
        log_format: _,
    } = args;
    let output = output.context("no --output").map_err(Failure::internal)?;
    let Manifests { stores, triggers, cluster_pull_secrets } = manifests(&filenames, &files)?;
    // Not before: while manifests are typed at a terminal, Ctrl-C ends the process.
    let signals = SidecarSignals::new()?;
    let chosen = choose(cluster_pull_secrets, &names)?;
    let namespace = namespace.or_else(pod_namespace).map(NamespaceName::from);
    let registries = registries::join(&chosen, namespace.as_ref())
        .map_err(|error| Failure::external(anyhow!("{error}")).with_hint(error.hint()))?;
    let ignored = registries::ignored_fields(&chosen, &triggers);
    if !ignored.is_empty() {
        warn!("ignored, as a file has no use for it: {}", named::join(&ignored, "; "));
    }
    let file = Arc::new(OutputFile::open(&output, mode, merge).map_err(not_written)?);
    let endpoint = listen.map(Endpoint::bind).transpose()?;
    let store_keys = reconcile::store_keys([registries.as_ref()]);
    let environment = super::environment_without_cluster();
    let stores = Arc::new(Stores::open(&stores, &store_keys, &environment).await);
    let health = Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("no credential was read yet"),
        metrics: Arc::new(Metrics::for_sidecar()),
    };
    info!(version = env!("CARGO_PKG_VERSION"), file = %output.display(), registries = registries.registries.len(), "started");
    let poll_interval = triggers.poll_interval;
    let context = SidecarContext {
        registries,
        stores,
        file,
        poll_interval,
        health: health.clone(),
        wall_clock,
        jitter,
    };
    let sidecar = Sidecar::start(context).await.map_err(not_written)?;
    if once {
        run_once(sidecar, signals).await
    } else {
        keep_running(sidecar, signals, endpoint, health).await
    }
}

/// Writes the file once; fails if a credential is missing or may be an earlier one, and at a signal.
async fn run_once(sidecar: Sidecar, signals: SidecarSignals) -> Result<Exit, Failure> {
    let total = sidecar.registries();
    let written = tokio::select! {
        written = sidecar.run_once() => written.map_err(Failure::internal)?,
        signal = signals.any() => {
            let what = anyhow!("stopped by {signal} before every credential was fetched; the file stays as it is");
            return Err(Failure::external(what));
        }
    };
    let FirstWrite { problems, error } = written;
    if let Some(error) = error {
        return Err(not_written(error));
    }
    if problems.is_empty() {
        return Ok(Exit::InSync);
    }
    let what = if problems.len() == total {
        "no credential was fetched; the file stays as it is"
    } else {
        "not every credential was fetched; the others are in the file"
    };
    let problems = problems.iter().map(|(registry, problem)| format!("\n  {registry}: {problem}"));
    Err(Failure::external(anyhow!("{what}{}", problems.collect::<Vec<_>>().concat())))
}

/// Keeps the file current until a signal.
async fn keep_running(
    sidecar: Sidecar,
    signals: SidecarSignals,
    endpoint: Option<Endpoint>,
    health: Health,
) -> Result<Exit, Failure> {
    let (reload, reloads) = mpsc::channel(1);
    let (stop, stop_signal) = watch::channel(false);
    let mut tasks = JoinSet::new();
    if let Some(endpoint) = endpoint {
        tasks.spawn(endpoint.serve(health, stop_signal.clone()));
    }
    tasks.spawn(async move {
        signals.forward(reload).await;
        // The receiver is gone only after the end.
        let _ = stop.send(true);
    });
    sidecar.run(reloads, stopped(stop_signal)).await.map_err(Failure::internal)?;
    while tasks.join_next().await.is_some() {}
    Ok(Exit::InSync)
}

/// Returns the ClusterPullSecrets of these names; all without a name.
fn choose(
    cluster_pull_secrets: Vec<ClusterPullSecret>,
    names: &[String],
) -> Result<Vec<ClusterPullSecret>, Failure> {
    let known = ClusterPullSecrets { valid: cluster_pull_secrets, invalid: Vec::new() };
    known.check_names(names, "the manifests")?;
    let chosen = known.valid.into_iter().filter(|it| names.is_empty() || names.contains(&it.name));
    Ok(chosen.collect())
}

fn not_written(error: OutputError) -> Failure {
    let hint = error.hint();
    Failure::external(error).with_hint(hint)
}

fn not_ready(error: NotReady) -> Failure {
    Failure::external(error)
}
