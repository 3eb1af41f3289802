//! `regcred rotate`: one pass over the manifests, then a report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod wait;

use super::cluster_pull_secrets::ClusterPullSecrets;
use super::connection::Connection;
use super::output::{self, Format};
use super::progress::Bar;
use super::{Exit, Failure};
use crate::manifest::Manifests;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::provider::stores::Stores;
use crate::reconcile::{self, Options, Watcher};

const AFTER_HELP: &str = "\
Examples:
  regcred rotate -f images.yaml --dry-run
  regcred rotate -f manifests/ -f - images --output json
  regcred rotate -f config.yaml
  regcred rotate --wait images

Environment:
  VAULT_TOKEN for a Vault whose `auth` names nothing else
  KUBECONFIG, and the AWS SDK's own variables and profiles

The exit codes are told by regcred --help.";

/// Put the passwords of the manifests into every selected namespace, once, and report.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only these ClusterPullSecrets. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Manifests: a file, a directory of them, or - for stdin. May be given several times. Where they
    /// hold no ClusterPullSecret, those of the cluster are taken.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,

    /// Write nothing; print the report and what would change, passwords as (changed).
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run: exit with 1 when there is something to do.
    #[arg(long, requires = "dry_run")]
    exit_code: bool,

    /// Ask the controller of the cluster instead, wait until it has answered, and print what it did and
    /// how long each stage took. Reads no store.
    #[arg(long, conflicts_with_all = ["filenames", "dry_run", "concurrency", "files"])]
    wait: bool,

    /// With --wait: for how long.
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait", value_parser = super::duration)]
    timeout: Duration,

    /// The shape of the report on stdout.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Writes to the API server that may be under way at once.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// Where the store `files` looks when no Config defines a store: a directory with a file per key.
    #[arg(long, value_name = "DIR", env = "REGCRED_FILES", default_value = "/run/registry-credentials")]
    files: PathBuf,

    #[command(flatten)]
    connection: Connection,
}

/// Runs the command.
pub async fn run(args: Args, verbose: bool) -> Result<Exit, Failure> {
    let Args { names, filenames, dry_run, exit_code, wait, timeout, output, concurrency, files, connection } =
        args;
    if wait {
        let value = super::wall_clock().to_string();
        return wait::run(connection.client().await?, &names, &value, timeout, output).await;
    }
    let Manifests { stores, triggers: _, cluster_pull_secrets } = super::manifests(&filenames, &files)?;
    let mut cluster_pull_secrets = ClusterPullSecrets { good: cluster_pull_secrets, invalid: Vec::new() };
    let is_in_files = !cluster_pull_secrets.good.is_empty();
    if is_in_files {
        cluster_pull_secrets.check_names(&names, ["the manifests hold", "they hold"])?;
    }
    let (client, address) = connection.client().await?;
    if !is_in_files {
        let none_given = if filenames.is_empty() {
            "no ClusterPullSecret is given with -f"
        } else {
            "the manifests hold no ClusterPullSecret"
        };
        cluster_pull_secrets = ClusterPullSecrets::of_cluster(&client, &address, &stores, none_given).await?;
        cluster_pull_secrets.check_names(&names, ["the cluster has", "it has"])?;
    }
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let is_chosen = |it: &ClusterPullSecret| is_wanted(&it.name) && it.inactive_reason().is_none();

    let places = reconcile::places(cluster_pull_secrets.good.iter().filter(|it| is_chosen(it)));
    let stores = Stores::open(&stores, &places, &super::environment()).await;

    let bar = Bar::new(verbose);
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(Arc::clone(&stop)));
    let watcher = Watcher { tell: &|progress| bar.show(progress), stop: &stop };
    let options = Options { dry_run, concurrency: usize::from(concurrency) };
    let all: Vec<_> = cluster_pull_secrets.good.iter().cloned().map(Arc::new).collect();
    let report = reconcile::run(&client, &stores, &all, &is_chosen, options, &watcher).await;
    bar.clear();
    let report = report.map_err(|error| {
        let what = format!("failed to read the cluster at {address}; nothing was written");
        Failure::World(anyhow::Error::new(error).context(what))
    })?;
    let report = report.beside(cluster_pull_secrets.left_alone(&is_wanted));
    output::print(&report, output)?;

    let found_work = exit_code && report.has_changes();
    Ok(if report.in_sync && !found_work { Exit::InSync } else { Exit::NotInSync })
}

/// The first interrupt lets what is under way come to its end and the report be printed, the second
/// ends the process at once. Whatever was not reached is done by the next run.
#[expect(clippy::print_stderr, clippy::exit, reason = "an answer to a key press on the terminal")]
async fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.store(true, Ordering::Relaxed);
    eprintln!("interrupted: finishing what is under way; once more to end at once");
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}
