//! The results: a table for people, JSON for programs, and a verdict on the limits.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;
use serde_json::{Value, json};

use super::Pair;
use super::measure::{Comparison, Paired};

/// The settings of a measurement.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the other side.
    pub other: &'static str,
    /// Numbers that are the same on both sides, by name.
    pub numbers: Vec<(&'static str, usize)>,
    /// Runs of each side.
    pub rounds: u8,
}

/// The measurements at one size, a figure a row.
pub struct Table {
    settings: Settings,
    rows: Vec<Row>,
}

struct Row {
    /// The activity of regcred.
    phase: &'static str,
    figure: String,
    current: Cell,
    baseline: Option<Cell>,
    ratio: Option<Cell>,
    limit: Option<Limit>,
}

/// A value, and its form in the table.
struct Cell {
    shown: String,
    value: Value,
}

impl Cell {
    fn new(value: &(impl Display + Serialize)) -> Self {
        Self { shown: value.to_string(), value: json!(value) }
    }
}

/// The bound of a figure, and a verdict.
pub struct Limit {
    text: String,
    is_kept: bool,
}

/// The pairs that a comparison of times needs on a noisy machine.
const LEAST_PAIRS: u8 = 11;
/// The most time of the current version, as a multiple of the baseline's.
const MOST_OF_BASELINE: f64 = 1.05;

/// A limit of the median ratio to the baseline.
pub fn ratio_at_most(paired: &Paired, most: f64) -> Limit {
    Limit { text: format!("ratio at most {most}"), is_kept: paired.ratio.median <= most }
}

/// A limit of a figure itself.
pub fn at_most<T: PartialOrd + Display>(measured: T, most: T) -> Limit {
    Limit { text: format!("at most {most}"), is_kept: measured <= most }
}

/// A limit that is the only value.
pub fn exactly<T: PartialEq + Display>(measured: T, expected: T) -> Limit {
    Limit { text: format!("exactly {expected}"), is_kept: measured == expected }
}

impl Table {
    /// Creates a table without rows.
    pub fn new(settings: Settings) -> Self {
        Self { settings, rows: Vec::new() }
    }

    /// Adds a figure of the current version alone.
    pub fn row(
        &mut self,
        phase: &'static str,
        figure: &str,
        value: &(impl Display + Serialize),
        limit: Option<Limit>,
    ) {
        let (figure, current) = (figure.to_owned(), Cell::new(value));
        self.rows.push(Row { phase, figure, current, baseline: None, ratio: None, limit });
    }

    /// Adds a figure of both versions, of which a ratio says nothing.
    pub fn both<T: Display + Serialize>(
        &mut self,
        phase: &'static str,
        figure: &str,
        values: &Pair<T>,
        limit: Option<Limit>,
    ) {
        let (figure, current) = (figure.to_owned(), Cell::new(&values.current));
        let baseline = Some(Cell::new(&values.baseline));
        self.rows.push(Row { phase, figure, current, baseline, ratio: None, limit });
    }

    /// Adds a figure of both versions and its ratio, to which the limit applies.
    pub fn paired(&mut self, phase: &'static str, figure: &str, paired: &Paired, limit: Option<Limit>) {
        let Paired { current, baseline, ratio } = paired;
        let (figure, current) = (figure.to_owned(), Cell::new(current));
        let (baseline, ratio) = (Some(Cell::new(baseline)), Some(Cell::new(ratio)));
        self.rows.push(Row { phase, figure, current, baseline, ratio, limit });
    }

    /// Adds a time of both versions, of which the current one must not be slower.
    pub fn paired_time(&mut self, phase: &'static str, figure: &str, paired: &Paired) {
        let limit = (self.settings.rounds >= LEAST_PAIRS).then(|| ratio_at_most(paired, MOST_OF_BASELINE));
        self.paired(phase, figure, paired, limit);
    }

    /// Adds the CPU time of both versions, of which the current one must not need more.
    pub fn paired_cpu(&mut self, phase: &'static str, paired: &Paired) {
        self.paired_time(phase, "CPU, s; ratio of the sums", paired);
    }

    /// Adds the bare writes and the ratio of the current version to them; a limit applies to the median of the ratio.
    pub fn bare(&mut self, phase: &'static str, figure: &str, comparison: &Comparison, most: Option<f64>) {
        let ratio = comparison.ratio();
        self.row(phase, &format!("{figure}, bare writes, s"), &comparison.floor(), None);
        let most = most.filter(|_| self.settings.rounds >= LEAST_PAIRS);
        let limit = most.map(|most| at_most(ratio.median, most));
        self.row(phase, &format!("{figure}, ratio to the bare writes"), &ratio, limit);
    }

    /// True if every figure is within its limit.
    pub fn keeps_its_limits(&self) -> bool {
        self.broken().next().is_none()
    }

    fn broken(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter_map(|Row { phase, figure, current, ratio, limit, .. }| {
            let limit = limit.as_ref().filter(|limit| !limit.is_kept)?;
            let ratio = ratio.as_ref().map(|ratio| format!(", ratio {}", ratio.shown)).unwrap_or_default();
            Some(format!("{phase}: {figure}: {}{ratio}, and the limit is {}", current.shown, limit.text))
        })
    }

    fn text(&self) -> String {
        let Settings { other, numbers, rounds } = &self.settings;
        let mut table = comfy_table::Table::new();
        let header = ["phase", "figure", "regcred", other, "ratio", "limit"];
        table.load_style(ASCII_MARKDOWN).set_header(header);
        for Row { phase, figure, current, baseline, ratio, limit } in &self.rows {
            let [baseline, ratio] =
                [baseline, ratio].map(|cell| cell.as_ref().map_or("-", |cell| &cell.shown));
            let limit = limit.as_ref().map_or("-", |limit| &limit.text);
            table.add_row([*phase, figure, &current.shown, baseline, ratio, limit]);
        }
        let numbers: Vec<_> = numbers.iter().map(|(name, number)| format!("{number} {name}, ")).collect();
        let numbers = numbers.concat();
        format!(
            "{numbers}{} cores, {rounds} rounds: median (lowest to highest), and limits hold for the median\n\n{table}\n",
            cores()
        )
    }

    fn json(&self) -> Value {
        let figures = self.rows.iter().map(|Row { phase, figure, current, baseline, ratio, limit }| {
            let (text, is_kept) = limit.as_ref().map(|limit| (&limit.text, limit.is_kept)).unzip();
            let [baseline, ratio] = [baseline, ratio].map(|cell| cell.as_ref().map(|cell| &cell.value));
            json!({
                "phase": phase,
                "figure": figure,
                "value": current.value,
                "baseline": baseline,
                "ratio": ratio,
                "limit": text,
                "kept": is_kept,
            })
        });
        let Settings { other, numbers, rounds } = &self.settings;
        json!({
            "other": other,
            "settings": numbers.iter().copied().collect::<BTreeMap<_, _>>(),
            "cores": cores(),
            "rounds": rounds,
            "figures": figures.collect::<Vec<_>>(),
        })
    }
}

/// Prints the last of the tables and its broken limits, and writes the JSON of all as `bench/NAME.json` beside `tmp`, the
/// folder of the tests in cargo's target directory.
pub fn publish(tmp: &str, name: &str, tables: &[Table]) -> anyhow::Result<()> {
    if let Some(table) = tables.last() {
        print(&table.text());
        for broken in table.broken() {
            say(&format!("error: {broken}"));
        }
    }
    let file = Path::new(tmp).with_file_name("bench").join(name).with_extension("json");
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

/// The exit code of a benchmark: whether each table keeps its limits, or the error that ended it early.
pub fn exit_code(keeps_its_limits: anyhow::Result<bool>) -> ExitCode {
    match keeps_its_limits {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: the benchmark ended early: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}

/// Prints progress, apart from the result on stdout.
#[expect(clippy::print_stderr, reason = "stderr is progress")]
pub fn say(text: &str) {
    eprintln!("bench: {text}");
}
