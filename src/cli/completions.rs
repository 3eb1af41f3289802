//! `regcred completions`: the completion script of a shell.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit, Failure, output};

const AFTER_HELP: &str = "\
Examples:
  source <(regcred completions bash)
  regcred completions zsh > \"${fpath[1]}/_regcred\"
  regcred completions fish > ~/.config/fish/completions/regcred.fish

For the exit codes, see regcred --help.";

/// Print the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(Args { shell }: Args) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "regcred", &mut script);
    output::print_bytes(&script)?;
    Ok(Exit::InSync)
}
