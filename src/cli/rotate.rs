//! `regcred rotate`: one reconciliation of the manifests, then a report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use tracing::warn;

mod installation;
mod wait;

use super::cluster_pull_secrets::ClusterPullSecrets;
use super::connection::{Connection, request_failed};
use super::output::{self, Format};
use super::own_namespace::OwnNamespaceArgs;
use super::progress::Bar;
use super::{Exit, Failure};
use crate::cluster::error::Error;
use crate::manifest::Manifests;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::object_name::NamespaceName;
use crate::provider::stores::Stores;
use crate::reconcile::claims::Others;
use crate::reconcile::{self, Monitor, Options, Subjects};

const AFTER_HELP: &str = "\
Examples:
  regcred rotate -f images.yaml --dry-run
  regcred rotate -f manifests/ -f - images --output json
  regcred rotate -f config.yaml
  regcred rotate --wait images

Environment:
  VAULT_TOKEN for a Vault without another `auth`
  HTTPS_PROXY and NO_PROXY for the API server and the stores
  KUBECONFIG, and the AWS SDK's own variables and profiles

For the exit codes, see regcred --help.";

/// Reconcile once: write the pull secrets of every selected namespace, and print a report.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// Only these ClusterPullSecrets. Default: all.
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Manifests: a file, a directory of them, or - for stdin; repeatable. Without a ClusterPullSecret in
    /// them, those of the cluster are used.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,

    /// Write nothing but the record of a refused AppRole login; print the report and the changes, passwords as
    /// (changed).
    #[arg(long)]
    dry_run: bool,

    /// With --dry-run: exit with 1 if there are changes.
    #[arg(long, requires = "dry_run")]
    exit_code: bool,

    /// Write to Secrets that hold a later version than the store answers, as after the restore of the store from
    /// a backup. Without this flag such Secrets are left as they are, and the exit code is 1.
    #[arg(long)]
    accept_older: bool,

    /// Request the rotation from the controller in the cluster, wait for its result, and print it with the
    /// time of each stage. Reads no store.
    #[arg(long, conflicts_with_all = ["filenames", "dry_run", "accept_older", "concurrency"])]
    wait: bool,

    /// With --wait: the time limit.
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "wait", value_parser = super::duration)]
    timeout: Duration,

    /// Format of the report on stdout.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Maximum number of concurrent writes to the API server.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,

    /// Directory of the store `files`, with a file per key, if no Config defines a store.
    #[arg(long, value_name = "DIR", env = "REGCRED_FILES", default_value = "/run/registry-credentials")]
    files: PathBuf,

    #[command(flatten)]
    own_namespace: OwnNamespaceArgs,

    #[command(flatten)]
    connection: Connection,
}

/// Returns the conflict of arguments that clap does not find: to clap, an exported `REGCRED_FILES` is like `--files`.
#[must_use]
pub fn conflict(matches: &ArgMatches) -> Option<&'static str> {
    let has_files = matches.value_source("files") == Some(ValueSource::CommandLine);
    (has_files && matches.get_flag("wait")).then_some(
        "the argument '--files <DIR>' cannot be used with '--wait': the controller reads the stores, with its own --files",
    )
}

/// Runs the command.
pub async fn run(args: Args, verbose: bool) -> Result<Exit, Failure> {
    let Args {
        names,
        filenames,
        dry_run,
        exit_code,
        accept_older,
        wait,
        timeout,
        output,
        concurrency,
        files,
        own_namespace,
        connection,
    } = args;
    if wait {
        let value = super::wall_clock().to_string();
        return wait::run(connection.client().await?, &names, &value, timeout, output).await;
    }
    let Manifests { stores, triggers: _, cluster_pull_secrets } = super::manifests(&filenames, &files)?;
    let mut cluster_pull_secrets = ClusterPullSecrets { valid: cluster_pull_secrets, invalid: Vec::new() };
    let is_in_files = !cluster_pull_secrets.valid.is_empty();
    if is_in_files {
        cluster_pull_secrets.check_names(&names, "the manifests")?;
    }
    let (client, address) = connection.client().await?;
    if !is_in_files {
        let none_given = if filenames.is_empty() {
            "no ClusterPullSecret given with -f"
        } else {
            "no ClusterPullSecret in the manifests"
        };
        cluster_pull_secrets =
            ClusterPullSecrets::from_cluster(&client, &address, &stores, none_given).await?;
        cluster_pull_secrets.check_names(&names, &format!("the cluster at {address}"))?;
    }

    let is_active = |it: &ClusterPullSecret| is_selected(&names, &it.name) && it.inactive_reason().is_none();
    report_portability(cluster_pull_secrets.valid.iter().filter(|it| is_active(it)));
    let store_keys = reconcile::store_keys(cluster_pull_secrets.valid.iter().filter(|it| is_active(it)));
    let own_namespace = own_namespace.own_namespace();
    let environment = super::environment(&client, &own_namespace);
    let stores = Stores::open(&stores, &store_keys, &environment).await;

    let bar = Bar::new(verbose);
    let stop = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_interrupt(Arc::clone(&stop)));
    let monitor = Monitor { on_progress: &|progress| bar.show(progress), stop: &stop };
    let options = Options { dry_run, concurrency: usize::from(concurrency), accept_older };
    let all = reserve(&cluster_pull_secrets.valid, &own_namespace.name);
    let chosen = all.iter().filter(|it| is_active(it)).map(AsRef::as_ref);
    let installation = Box::pin(installation::load(&client, &own_namespace, chosen, dry_run));
    let others = if is_in_files { Others::Unknown } else { cluster_pull_secrets.others() };
    let subjects = Subjects { cluster_pull_secrets: &all, chosen: &is_active, others };
    let run = reconcile::run(&client, &stores, subjects, installation, options, &monitor).await;
    let (report, mut installation) = run.map_err(|error| unreadable(&address, &error))?;
    if !dry_run {
        installation::save(&client, &own_namespace, &mut installation).await;
    }
    bar.clear();
    let report = report.with_left_alone(cluster_pull_secrets.left_alone(&|name| is_selected(&names, name)));
    output::print(&report, output)?;

    let found_changes = exit_code && report.has_changes();
    Ok(if report.in_sync && !found_changes { Exit::InSync } else { Exit::NotInSync })
}

/// Keeps regcred's own namespace out of every selection that does not name it.
fn reserve(
    cluster_pull_secrets: &[ClusterPullSecret],
    own_namespace: &NamespaceName,
) -> Vec<Arc<ClusterPullSecret>> {
    let reserved = cluster_pull_secrets.iter().cloned().map(|mut it| {
        it.selection.own_namespace = Some(own_namespace.clone());
        Arc::new(it)
    });
    reserved.collect()
}

/// Logs the registries that readers of pull secrets other than the kubelet do not find.
fn report_portability<'a>(cluster_pull_secrets: impl Iterator<Item = &'a ClusterPullSecret>) {
    for cluster_pull_secret in cluster_pull_secrets {
        if let Some(message) = cluster_pull_secret.portability_message() {
            warn!(cluster_pull_secret = cluster_pull_secret.name, "{message}");
        }
    }
}

/// Describes a cluster that could not be read.
fn unreadable(address: &str, error: &Error) -> Failure {
    request_failed(&format!("failed to read the cluster at {address} (nothing was written)"), error)
}

/// Returns true if `names` selects `name`; an empty list selects every name.
fn is_selected(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|it| it == name)
}

/// Handles interrupts: the first finishes the writes in flight and prints the report, the second exits at
/// once. The next run does the rest.
#[expect(clippy::print_stderr, clippy::exit, reason = "the response to a key press on the terminal")]
async fn stop_on_interrupt(stop: Arc<AtomicBool>) {
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.store(true, Ordering::Relaxed);
    eprintln!("interrupted: finishing the writes in flight; interrupt again to exit at once");
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(130);
    }
}
