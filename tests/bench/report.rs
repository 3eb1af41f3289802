//! The results: a table for people, JSON for programs, and a verdict on the limits.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cluster::CONCURRENCY;
use crate::measure::Comparison;

/// The measurements at one size, a figure a row.
pub(crate) struct Table {
    namespaces: usize,
    rounds: u8,
    rows: Vec<Row>,
}

struct Row {
    /// The activity of regcred.
    phase: &'static str,
    figure: String,
    shown: String,
    value: Value,
    limit: Option<Limit>,
}

/// The bound of a figure, and a verdict.
pub(crate) struct Limit {
    text: String,
    is_kept: bool,
}

pub(crate) fn at_most<T: PartialOrd + Display>(measured: T, most: T) -> Limit {
    Limit { text: format!("at most {most}"), is_kept: measured <= most }
}

pub(crate) fn exactly<T: PartialEq + Display>(measured: T, expected: T) -> Limit {
    Limit { text: format!("exactly {expected}"), is_kept: measured == expected }
}

impl Table {
    pub(crate) fn new(namespaces: usize, rounds: u8) -> Self {
        Self { namespaces, rounds, rows: Vec::new() }
    }

    pub(crate) fn row(
        &mut self,
        phase: &'static str,
        figure: &str,
        value: &(impl Display + Serialize),
        limit: Option<Limit>,
    ) {
        let (figure, shown) = (figure.to_owned(), value.to_string());
        self.rows.push(Row { phase, figure, shown, value: json!(value), limit });
    }

    /// Adds both sides and their ratio; a limit applies to the median of the ratio.
    pub(crate) fn compare(
        &mut self,
        phase: &'static str,
        figure: &str,
        comparison: &Comparison,
        most: Option<f64>,
    ) {
        let ratio = comparison.ratio();
        self.row(phase, &format!("{figure}, s"), &comparison.regcred(), None);
        self.row(phase, &format!("{figure}, bare writes, s"), &comparison.floor(), None);
        self.row(phase, &format!("{figure}, ratio"), &ratio, most.map(|most| at_most(ratio.median, most)));
    }

    pub(crate) fn keeps_its_limits(&self) -> bool {
        self.broken().next().is_none()
    }

    fn broken(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter_map(|Row { phase, figure, shown, limit, .. }| {
            let limit = limit.as_ref().filter(|limit| !limit.is_kept)?;
            Some(format!("{phase}: {figure}: {shown}, and the limit is {}", limit.text))
        })
    }

    fn text(&self) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(["phase", "figure", "measured", "limit"]);
        for Row { phase, figure, shown, limit, .. } in &self.rows {
            let limit = limit.as_ref().map_or("-", |limit| &limit.text);
            table.add_row([*phase, figure, shown, limit]);
        }
        format!(
            "{} namespaces, {CONCURRENCY} requests in flight, {} cores, {} rounds: median (lowest to highest), and limits hold for the median\n\n{table}\n",
            self.namespaces,
            cores(),
            self.rounds
        )
    }

    fn json(&self) -> Value {
        let figures = self.rows.iter().map(|Row { phase, figure, value, limit, .. }| {
            let (text, is_kept) = limit.as_ref().map(|limit| (&limit.text, limit.is_kept)).unzip();
            json!({ "phase": phase, "figure": figure, "value": value, "limit": text, "kept": is_kept })
        });
        json!({
            "namespaces": self.namespaces,
            "concurrency": CONCURRENCY,
            "cores": cores(),
            "rounds": self.rounds,
            "figures": figures.collect::<Vec<_>>(),
        })
    }
}

/// Prints the last of the tables and its broken limits, and writes the JSON of all.
pub(crate) fn publish(name: &str, tables: &[Table]) -> anyhow::Result<()> {
    if let Some(table) = tables.last() {
        print(&table.text());
        for broken in table.broken() {
            say(&format!("error: {broken}"));
        }
    }
    let file = json_file(name);
    let json: Vec<_> = tables.iter().map(Table::json).collect();
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&file, format!("{:#}\n", json!(json))))
        .with_context(|| format!("failed to write {}", file.display()))?;
    say(&format!("written to {}", file.display()));
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// `bench/NAME.json` in cargo's target directory.
fn json_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join(name).with_extension("json")
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}

/// Prints progress, apart from the result on stdout.
#[expect(clippy::print_stderr, reason = "stderr is progress")]
pub(crate) fn say(text: &str) {
    eprintln!("bench: {text}");
}
