//! The command line: arguments, output and exit codes.
//!
//! stdout is data, stderr is logs and progress. Every subcommand is a file with `Args` and `run`; a new one
//! copies that shape.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};
use kube::Client;

use self::failure::Failure;
use self::log::LogFormat;

pub mod cluster_pull_secrets;
#[cfg(feature = "commands")]
mod commands;
pub mod completions;
pub mod connection;
pub mod crd;
pub mod failure;
mod listening;
pub mod log;
pub mod man;
pub mod output;
mod own_namespace;
pub mod progress;
pub mod rotate;
pub mod run;
pub mod schema;
pub mod sidecar;

use crate::installation::api::OwnNamespace;
use crate::installation::refused_logins::RefusedLoginFields;
use crate::manifest::field::FieldErrors;
use crate::manifest::{self, Manifests};
use crate::provider::refused_logins::RefusedLogins;
use crate::provider::{Environment, WallClock};

const AFTER_HELP: &str = "Exit codes:
  0  done and in sync
  1  a problem with your manifests, stores or cluster, named in the output;
     or changes found by a dry run with --exit-code
  2  invalid command line
  3  regcred itself failed

Passwords are never arguments: they come from stores, files and the environment.";

/// Sync registry passwords from Vault, OpenBao, AWS Secrets Manager and ECR into Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "regcred", version, after_help = AFTER_HELP)]
struct Cli {
    /// Increase verbosity: -v logs every change, -vv everything; `run`, and `sidecar` without --once, always log changes.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[cfg(feature = "commands")]
    #[command(flatten)]
    Others(commands::Commands),
    // After `rotate` in the help.
    #[command(display_order = 2)]
    Sidecar(sidecar::Args),
}

impl Command {
    /// Returns the verbosity of the log, and its format.
    fn log(&self, verbose: u8) -> (u8, LogFormat) {
        match self {
            #[cfg(feature = "commands")]
            Self::Others(command) => command.log(verbose),
            Self::Sidecar(args) => (verbose.saturating_add(args.verbosity()), args.log_format),
        }
    }

    async fn run(
        self,
        #[cfg_attr(not(feature = "commands"), expect(unused))] verbose: u8,
    ) -> Result<Exit, Failure> {
        match self {
            #[cfg(feature = "commands")]
            Self::Others(command) => command.run(verbose).await,
            Self::Sidecar(args) => sidecar::run(args).await,
        }
    }
}

/// The exit code of a command; scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done and in sync.
    InSync = 0,
    /// The user's manifests, stores or cluster have a problem, or `--exit-code` found changes.
    NotInSync = 1,
    /// regcred itself failed.
    Internal = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // An enum with explicit values below 256.
        Self::from(exit as u8)
    }
}

/// Runs the whole program: parses, runs the command, prints a failure once, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    forbid_core_dumps();
    raise_file_limit();
    let Cli { verbose, command } = parse();
    let (verbosity, format) = command.log(verbose);
    log::init(verbosity, format);
    // One thread: regcred mostly waits for other programs, which need the other cores of a small machine.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::internal(anyhow::Error::new(error).context("failed to start"))),
    };
    // A panic has printed its own message; only the exit code is left.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(command.run(verbose)))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => fail(&failure),
        Err(_) => Exit::Internal.into(),
    }
}

/// Parses the command line. clap prints its own errors and exits with 2.
fn parse() -> Cli {
    let mut command = Cli::command();
    let matches = command.get_matches_mut();
    #[cfg(feature = "commands")]
    commands::check(&mut command, &matches);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Reads the manifests, or fails with every error in them.
fn manifests(filenames: &[PathBuf], files: &Path) -> Result<Manifests, Failure> {
    manifest::read(filenames, files).map_err(|errors| invalid_manifests(&errors))
}

/// Lists all errors, one on a line, below a line with their number.
fn invalid_manifests(errors: &FieldErrors) -> Failure {
    let lines = errors.to_string().replace('\n', "\n  ");
    let count = match errors.0.len() {
        1 => "1 error".to_owned(),
        count => format!("{count} errors"),
    };
    Failure::external(anyhow!("{count} in the manifests; nothing was read or written\n  {lines}"))
        .with_hint("correct these lines and run the command again")
}

/// Parses a name; an empty one is mostly an unset variable of a script.
fn not_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Parses a duration argument.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "must be a duration such as 20s or 1m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

/// Returns a random number from 0 to 1, good enough for jitter: the keys of a new hasher are random.
fn jitter() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX)
}

/// Reads the environment variables that the stores use. Refused logins are recorded in regcred's own namespace, also by
/// a dry run: the servers count them all the same.
fn environment(client: &Client, own_namespace: &OwnNamespace) -> Environment {
    let record = RefusedLoginFields::new(client.clone(), own_namespace.name.clone(), wall_clock);
    let refused_logins = Arc::new(RefusedLogins::recorded(Arc::new(record)));
    Environment { refused_logins, ..environment_without_cluster() }
}

/// Reads the same for a process without a cluster, which remembers refused logins in memory alone.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn environment_without_cluster() -> Environment {
    let vault_token = std::env::var("VAULT_TOKEN").ok().filter(|token| !token.is_empty());
    Environment {
        vault_token: vault_token.map(Into::into),
        refused_logins: Arc::default(),
        wall_clock: WallClock(wall_clock),
    }
}

#[expect(clippy::print_stderr, reason = "the one place where a failure is printed")]
fn fail(failure: &Failure) -> ExitCode {
    eprintln!("{failure}");
    failure.exit().into()
}

/// Forbids core dumps, which would hold every password in memory. The limit alone does not bind a pipe in
/// `core_pattern`, so the process is also marked as not dumpable.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // A process may always lower its own limit; if not, there is no other way.
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Raises the limit of open files as far as a process may. The usual one of 1024 is kept for programs that call
/// `select`, and connections to the API server would have to share it with those of clients.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // If not, the limits of the ports leave room below the usual limit.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn limit_of_open_files_is_raised_to_the_maximum() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // A limit that no other test reaches.
        let current = maximum.map_or(Some(100_000), |maximum| Some(maximum - 1));
        setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
        super::raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
