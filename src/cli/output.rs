//! How a report leaves on stdout.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context as _;
use serde::Serialize;

use super::Failure;

/// The shape of a report on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: equal rows are folded.
    Table,
    /// For programs: every namespace by itself.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Prints a report to stdout.
pub fn print(report: &(impl Serialize + Display), format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Table => report.to_string(),
        Format::Json => serde_json::to_string_pretty(report)
            .context("failed to write the report as JSON")
            .map_err(Failure::Broken)?,
        Format::Yaml => yaml(report)?,
    };
    write(&text)
}

/// Prints anything to stdout as YAML.
pub fn print_yaml(value: &impl Serialize) -> Result<(), Failure> {
    write(&yaml(value)?)
}

fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).context("failed to write YAML").map_err(Failure::Broken)
}

fn write(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout().lock(), "{}", text.trim_end()) {
        // Whoever reads has read enough: `regcred rotate | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to stdout").map_err(Failure::World),
    }
}
