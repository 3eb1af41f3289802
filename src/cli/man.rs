//! `regcred man`: the manual pages.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{Cli, Exit, Failure, output};

const AFTER_HELP: &str = "\
Examples:
  regcred man | man -l -
  regcred man --output /usr/local/share/man/man1

For the exit codes, see regcred --help.";

/// The footer of every page.
const SOURCE: &str = concat!("regcred ", env!("CARGO_PKG_VERSION"));

/// The paragraph that stands for the exit codes in the help of a subcommand.
const SEE_EXIT_CODES: &str = "For the exit codes, see regcred --help.";

/// Print the manual page, or write the pages of all subcommands to a directory.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// The directory for the pages: regcred.1, and one for each subcommand. Created if it does not exist.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// The name, such as `regcred-run`.
    name: String,
    roff: Vec<u8>,
}

/// Runs the command.
pub fn run(Args { output }: Args) -> Result<Exit, Failure> {
    let pages = pages().context("failed to render the manual pages").map_err(Failure::internal)?;
    match output {
        // The page of `regcred` is the first.
        None => pages.iter().take(1).try_for_each(|page| output::print_bytes(&page.roff))?,
        Some(directory) => write(&pages, &directory)
            .with_context(|| format!("cannot write the manual pages to {}", directory.display()))
            .map_err(Failure::external)?,
    }
    Ok(Exit::InSync)
}

fn write(pages: &[Page], directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    pages.iter().try_for_each(|Page { name, roff }| std::fs::write(directory.join(format!("{name}.1")), roff))
}

/// Renders all pages: that of `regcred`, then those of its subcommands.
fn pages() -> io::Result<Vec<Page>> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let commands: Vec<_> = std::iter::once(&root).chain(root.get_subcommands()).collect();
    let names: Vec<_> = commands.iter().map(|command| page_name(command)).collect();
    commands.iter().map(|command| page(command, &names)).collect()
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

/// Renders one page; `names` are those of all pages.
fn page(command: &Command, names: &[String]) -> io::Result<Page> {
    let name = page_name(command);
    let man = Man::new(command.clone()).source(SOURCE);
    let mut roff = Vec::new();
    man.render_title(&mut roff)?;
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut roff)?;
    }
    let mut rest = Roff::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    add_sections(&mut rest, &help);
    let others: Vec<_> = names.iter().filter(|it| **it != name).map(|it| format!("{it}(1)")).collect();
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(others.join(", "))]);
    rest.to_writer(&mut roff)?;
    Ok(Page { name, roff })
}

/// Adds the paragraphs below the help of a command: one with a title as a section of its lines, the others as
/// notes, with their lines as they are.
fn add_sections(roff: &mut Roff, help: &str) {
    let paragraphs = help.split("\n\n").filter(|it| !it.is_empty() && *it != SEE_EXIT_CODES);
    let (titled, notes): (Vec<_>, Vec<_>) = paragraphs.partition(|it| section(it).is_some());
    for (title, lines) in titled.iter().filter_map(|it| section(it)) {
        roff.control("SH", [title]);
        add_lines(roff, lines);
    }
    if !titled.iter().any(|it| it.starts_with("Exit codes:")) {
        roff.control("SH", ["EXIT STATUS"]);
        roff.text([roman("The exit codes are listed in regcred(1).")]);
    }
    for (index, note) in notes.iter().enumerate() {
        roff.control(if index == 0 { "SH" } else { "PP" }, (index == 0).then_some("NOTES"));
        add_lines(roff, note);
    }
}

/// Splits a paragraph with a title into the heading of its section and the lines.
fn section(paragraph: &str) -> Option<(&'static str, &str)> {
    let (title, lines) = paragraph.split_once(":\n")?;
    let heading = match title {
        "Exit codes" => "EXIT STATUS",
        "Environment" => "ENVIRONMENT",
        "Examples" => "EXAMPLES",
        _ => return None,
    };
    Some((heading, lines))
}

/// Adds lines that are not filled.
fn add_lines(roff: &mut Roff, lines: &str) {
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}
