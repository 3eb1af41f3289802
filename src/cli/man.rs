//! `regcred man`: the manual pages.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, Exit, Failure, output};

const AFTER_HELP: &str = "\
Examples:
  regcred man | man -l -
  regcred man --output /usr/local/share/man/man1

For the exit codes, see regcred --help.";

/// Print the manual page, or write the pages of all subcommands to a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The directory for the pages: regcred.1, and one for each subcommand. Created if it does not exist.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(Args { output }: Args) -> Result<Exit, Failure> {
    match output {
        None => print_page()?,
        Some(directory) => write_pages(&directory)?,
    }
    Ok(Exit::InSync)
}

fn print_page() -> Result<(), Failure> {
    let mut page = Vec::new();
    Man::new(Cli::command().disable_help_subcommand(true))
        .render(&mut page)
        .context("failed to render the manual page")
        .map_err(Failure::internal)?;
    output::print_bytes(&page)
}

fn write_pages(directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .with_context(|| format!("cannot write the manual pages to {}", directory.display()))
        .map_err(Failure::external)
}
