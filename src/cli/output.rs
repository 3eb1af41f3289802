//! Writes reports and generated files to stdout.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use anyhow::Context as _;
use serde::Serialize;

use super::Failure;

/// The format of a report on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: equal rows are folded.
    Table,
    /// For programs: one entry for each namespace.
    Json,
    /// The JSON report, as YAML.
    Yaml,
}

/// Prints a report to stdout.
pub fn print(report: &(impl Serialize + Display), format: Format) -> Result<(), Failure> {
    match format {
        Format::Table => print_text(&report.to_string()),
        Format::Json => print_json(report),
        Format::Yaml => print_yaml(report),
    }
}

/// Prints a value to stdout as JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value);
    print_text(&text.context("failed to serialize as JSON").map_err(Failure::internal)?)
}

/// Prints a value to stdout as YAML.
pub fn print_yaml(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_saphyr::to_string(value);
    print_text(&text.context("failed to serialize as YAML").map_err(Failure::internal)?)
}

/// Prints text to stdout, with exactly one line break at its end.
fn print_text(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{}\n", text.trim_end()).as_bytes())
}

/// Prints bytes to stdout as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(bytes) {
        // The reader has closed the pipe: `regcred rotate | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to stdout").map_err(Failure::external),
    }
}
