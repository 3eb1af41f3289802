//! The commands besides `sidecar`. A program without them, built without the feature `commands`, is small enough to run
//! in each pod.

use clap::Subcommand;
use clap::error::ErrorKind;

use super::log::LogFormat;
use super::{Exit, Failure, completions, crd, man, rotate, run, schema};

#[derive(Debug, Subcommand)]
pub(super) enum Commands {
    Run(run::Args),
    Rotate(rotate::Args),
    Crd(crd::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Commands {
    /// Returns the verbosity of the log, and its format.
    pub(super) fn log(&self, verbose: u8) -> (u8, LogFormat) {
        match self {
            Self::Run(args) => (verbose.saturating_add(1), args.log_format),
            _ => (verbose, LogFormat::Text),
        }
    }

    /// Runs the command.
    pub(super) async fn run(self, verbose: u8) -> Result<Exit, Failure> {
        match self {
            Self::Run(args) => run::run(args).await,
            Self::Rotate(args) => rotate::run(args, verbose > 0).await,
            Self::Crd(args) => crd::run(args),
            Self::Schema(args) => schema::run(args),
            Self::Completions(args) => completions::run(args),
            Self::Man(args) => man::run(args),
        }
    }
}

/// Ends the process where arguments of `rotate` exclude each other in a way that clap cannot express.
pub(super) fn check(command: &mut clap::Command, matches: &clap::ArgMatches) {
    if let Some((name @ "rotate", matches)) = matches.subcommand()
        && let (Some(conflict), Some(command)) =
            (rotate::conflict(matches), command.find_subcommand_mut(name))
    {
        command.error(ErrorKind::ArgumentConflict, conflict).exit();
    }
}
