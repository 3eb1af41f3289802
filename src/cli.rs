//! The command line: what a person types, sees and gets back as an exit code.
//!
//! stdout is data, stderr is talk. Every subcommand is a file with `Args` and `run`; a third is
//! written by copying the shape.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};

use self::log::LogFormat;

pub mod cluster_pull_secrets;
pub mod connection;
pub mod crd;
pub mod log;
pub mod output;
pub mod progress;
pub mod rotate;
pub mod run;

use crate::manifest::field::FieldErrors;
use crate::manifest::{self, Manifests};
use crate::provider::Environment;

const AFTER_HELP: &str = "Exit codes:
  0  done and in sync
  1  something about your world or your manifests is wrong, and the report says what;
     or a dry run with --exit-code found something to do
  2  the command line is wrong
  3  regcred itself failed

No password is ever an argument: they come from stores, files and the environment.";

/// Registry passwords from Vault and AWS Secrets Manager into Kubernetes, kept true.
#[derive(Debug, Parser)]
#[command(name = "regcred", version, after_help = AFTER_HELP)]
struct Cli {
    /// Say more on stderr: -v every change, -vv everything; `run` tells changes anyway.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Rotate(rotate::Args),
    Crd(crd::Args),
}

/// How a command ended; the numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done and in sync.
    InSync = 0,
    /// Something about the user's world or manifests is wrong, or `--exit-code` found work to do.
    NotInSync = 1,
    /// regcred itself failed.
    Broken = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // An enum with explicit values below 256.
        Self::from(exit as u8)
    }
}

/// Why a command could not be carried out at all.
#[derive(Debug)]
pub enum Failure {
    /// The user's world: the chain of causes is printed, the exit code is 1.
    World(anyhow::Error),
    /// regcred: the same with exit code 3.
    Broken(anyhow::Error),
}

/// The whole program: parses, runs, prints a failure once, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    forbid_core_dumps();
    // clap prints its own errors and exits with 2.
    let Cli { verbose, command } = Cli::parse();
    match &command {
        Command::Run(args) => log::talk(verbose.saturating_add(1), args.log_format),
        Command::Rotate(_) | Command::Crd(_) => log::talk(verbose, LogFormat::Text),
    }
    // One thread: all that is done is waiting for others, who on a small machine want the other cores.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::Broken(anyhow::Error::new(error).context("failed to start"))),
    };
    let run = async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Rotate(args) => rotate::run(args, verbose > 0).await,
            Command::Crd(args) => crd::run(args),
        }
    };
    // A panic has printed its own message; what is left is the exit code.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => fail(&failure),
        Err(_) => Exit::Broken.into(),
    }
}

/// What the manifests say, or every mistake in them.
fn manifests(filenames: &[PathBuf], files: &Path) -> Result<Manifests, Failure> {
    manifest::read(filenames, files).map_err(|mistakes| Failure::World(told(&mistakes)))
}

/// All mistakes, a line each, under one that counts them.
fn told(mistakes: &FieldErrors) -> anyhow::Error {
    let lines = mistakes.to_string().replace('\n', "\n  ");
    match mistakes.0.len() {
        1 => anyhow!("a mistake in the manifests; nothing was read or written\n  {lines}"),
        count => anyhow!("{count} mistakes in the manifests; nothing was read or written\n  {lines}"),
    }
}

/// A length of time as people write it.
fn duration(text: &str) -> Result<Duration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_| "must be a duration such as 20s or 1m".to_owned())?;
    Duration::try_from(duration).map_err(|_| "must not be negative".to_owned())
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}

/// What the process's environment gives to the stores.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn environment() -> Environment {
    let vault_token = std::env::var("VAULT_TOKEN").ok().filter(|token| !token.is_empty());
    Environment { vault_token: vault_token.map(Into::into) }
}

#[expect(clippy::print_stderr, reason = "the one place where a failure is printed")]
fn fail(failure: &Failure) -> ExitCode {
    let (error, exit) = match failure {
        Failure::World(error) => (error, Exit::NotInSync),
        Failure::Broken(error) => (error, Exit::Broken),
    };
    eprintln!("error: {error:#}");
    exit.into()
}

/// A core file would hold every password in memory. The limit alone does not bind a pipe in
/// `core_pattern`, so the process is marked as not dumpable as well.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Lowering a limit of one's own is always allowed; where it is not, there is nothing else to do.
    let _ = setrlimit(Resource::Core, none);
    #[cfg(target_os = "linux")]
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}
