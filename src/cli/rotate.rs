//! `regcred rotate`: one pass over the manifests, then a report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::anyhow;

use super::connection::Connection;
use super::output::{self, Format};
use super::progress::Bar;
use super::{Exit, Failure};
use crate::manifest::cluster_pull_secret::PullSecret;
use crate::manifest::mistake::Mistakes;
use crate::manifest::{self, Manifests};
use crate::pass::{self, Options, Watcher};
use crate::provider::Environment;
use crate::provider::stores::Stores;

const AFTER_HELP: &str = "\
Examples:
  regcred rotate -f images.yaml --dry-run
  regcred rotate -f manifests/ -f - images --output json

Environment:
  VAULT_TOKEN for a Vault whose `auth` names nothing else
  KUBECONFIG, and the AWS SDK's own variables and profiles

The exit codes are told by regcred --help.";

/// Put the passwords of the manifests into every selected namespace, once, and report.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only these ClusterPullSecrets of the manifests. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Manifests: a file, a directory of them, or - for stdin. May be given several times.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,

    /// Write nothing; print the report and what would change, passwords as (changed).
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run: exit with 1 when there is something to do.
    #[arg(long, requires = "dry_run")]
    exit_code: bool,

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
    let Args { names, filenames, dry_run, exit_code, output, concurrency, files, connection } = args;
    let Manifests { stores, pull_secrets } =
        manifest::read(&filenames, &files).map_err(|mistakes| Failure::World(told(&mistakes)))?;
    let pull_secrets: Vec<_> = pull_secrets.into_iter().map(Arc::new).collect();
    check_names(&pull_secrets, &names)?;
    let is_chosen = |it: &PullSecret| names.is_empty() || names.contains(&it.name);

    let places = pass::places(pull_secrets.iter().map(Arc::as_ref).filter(|it| is_chosen(it)));
    let stores = Stores::open(&stores, &places, &environment()).await;
    let (client, address) = connection.client().await?;

    let bar = Bar::new(verbose);
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(Arc::clone(&stop)));
    let watcher = Watcher { tell: &|progress| bar.show(progress), stop: &stop };
    let options = Options { dry_run, concurrency: usize::from(concurrency) };
    let report = pass::run(&client, &stores, &pull_secrets, &is_chosen, options, &watcher).await;
    bar.clear();
    let report = report.map_err(|error| {
        let what = format!("failed to read the cluster at {address}; nothing was written");
        Failure::World(anyhow::Error::new(error).context(what))
    })?;
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

/// All mistakes, a line each, under one that counts them.
fn told(mistakes: &Mistakes) -> anyhow::Error {
    let lines = mistakes.to_string().replace('\n', "\n  ");
    match mistakes.0.len() {
        1 => anyhow!("a mistake in the manifests; nothing was read or written\n  {lines}"),
        count => anyhow!("{count} mistakes in the manifests; nothing was read or written\n  {lines}"),
    }
}

/// What the process's environment gives to the stores.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn environment() -> Environment {
    let vault_token = std::env::var("VAULT_TOKEN").ok().filter(|token| !token.is_empty());
    Environment { vault_token: vault_token.map(Into::into) }
}

fn check_names(pull_secrets: &[Arc<PullSecret>], names: &[String]) -> Result<(), Failure> {
    if pull_secrets.is_empty() {
        return Err(Failure::World(anyhow!(
            "the manifests hold no ClusterPullSecret: there is nothing to rotate"
        )));
    }
    let known: Vec<_> = pull_secrets.iter().map(|it| it.name.as_str()).collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(unknown) => Err(Failure::World(anyhow!(
            "the manifests hold no ClusterPullSecret {unknown}; they hold: {}",
            known.join(", ")
        ))),
    }
}
