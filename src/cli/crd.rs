//! `regcred crd`: the CRD of ClusterPullSecret, as YAML.

use super::{Exit, Failure, output};
use crate::manifest::crd;

const AFTER_HELP: &str = "\
Examples:
  regcred crd | kubectl apply --server-side -f -

For the exit codes, see regcred --help.";

/// Print the CRD of ClusterPullSecret as YAML, for kubectl apply.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {}

/// Runs the command.
pub fn run(Args {}: Args) -> Result<Exit, Failure> {
    output::print_yaml(&crd::definition())?;
    Ok(Exit::InSync)
}
