//! What came out: a table for people, JSON for programs, and whether it is good enough.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::measure::{Memory, Spread};
use crate::stage::CONCURRENCY;
use crate::subject::Run;

/// The most that regcred may take, as a multiple of the bare writes. The machine is noisy: the aim is 1.2.
const MOST_RATIO: f64 = 1.3;
/// The most resident memory that regcred may take.
const MOST_MEMORY: Memory = Memory(60 << 20);

/// Runs of both sides in turns, of which the bare writes have the first and the last.
pub(crate) struct Comparison {
    floor: Vec<Duration>,
    runs: Vec<Run>,
}

impl Comparison {
    pub(crate) fn new(floor: Duration) -> Self {
        Self { floor: vec![floor], runs: Vec::new() }
    }

    /// A run, and the bare writes after it.
    pub(crate) fn add(&mut self, run: Run, floor: Duration) {
        self.runs.push(run);
        self.floor.push(floor);
    }

    /// Of each run to the bare writes before and after it, because a machine is not the same a minute later.
    fn ratio(&self) -> Spread {
        let around = self.floor.windows(2).map(|pair| (pair[0] + pair[1]).as_secs_f64() / 2.0);
        Spread::of(self.runs.iter().zip(around).map(|(run, floor)| run.wall.as_secs_f64() / floor))
    }

    fn floor(&self) -> Spread {
        Spread::of(self.floor.iter().map(Duration::as_secs_f64))
    }
}

pub(crate) struct Results {
    pub(crate) namespaces: usize,
    pub(crate) first_pass: Comparison,
    pub(crate) rotation: Comparison,
    pub(crate) quiet: Vec<Run>,
}

impl Results {
    /// Prints the table, writes the JSON, and tells whether all limits are kept.
    pub(crate) fn publish(&self) -> anyhow::Result<bool> {
        print(&self.table());
        let file = json_file();
        let directory = file.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&file, format!("{:#}\n", self.json())))
            .with_context(|| format!("failed to write {}", file.display()))?;
        say(&format!("written to {}", file.display()));
        let broken = self.broken_limits();
        for limit in &broken {
            say(&format!("error: {limit}"));
        }
        Ok(broken.is_empty())
    }

    fn table(&self) -> String {
        let row = |name: &str, floor: &str, ours: &str, ratio: &str, memory: &str| {
            format!("{name:<15}{floor:<23}{ours:<23}{ratio:<23}{memory}")
        };
        let mut lines = vec![
            format!(
                "{} namespaces, {CONCURRENCY} requests in flight, {} cores, {} rounds: median (lowest to highest)",
                self.namespaces,
                cores(),
                self.quiet.len()
            ),
            String::new(),
            row("", "bare writes, s", "regcred rotate, s", "ratio", "peak memory"),
        ];
        for (name, it) in [("first pass", &self.first_pass), ("rotation", &self.rotation)] {
            let [floor, ours, ratio] = [it.floor(), wall(&it.runs), it.ratio()].map(|it| it.to_string());
            lines.push(row(name, &floor, &ours, &ratio, &shown(peak_memory(&it.runs))));
        }
        let quiet = wall(&self.quiet).to_string();
        lines.push(row("nothing to do", "-", &quiet, "-", &shown(peak_memory(&self.quiet))));
        lines.push(String::new());
        for (name, runs) in self.phases() {
            let Some(busiest) = busiest(runs) else { continue };
            lines.push(format!(
                "{name:<15}{} requests ({}), {} read of Vault",
                busiest.requests.total(),
                busiest.requests,
                busiest.store_reads
            ));
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let comparison = |it: &Comparison| json!({ "floorSeconds": it.floor(), "ratio": it.ratio() });
        let mut json = json!({
            "namespaces": self.namespaces,
            "concurrency": CONCURRENCY,
            "cores": cores(),
            "rounds": self.quiet.len(),
            "firstPass": comparison(&self.first_pass),
            "rotation": comparison(&self.rotation),
            "nothingToDo": {},
        });
        for (key, (_, runs)) in ["firstPass", "rotation", "nothingToDo"].into_iter().zip(self.phases()) {
            let busiest = busiest(runs);
            json[key]["seconds"] = json!(wall(runs));
            json[key]["peakMemoryBytes"] = json!(peak_memory(runs));
            json[key]["requests"] = json!(busiest.map(|run| &run.requests));
            json[key]["storeReads"] = json!(busiest.map(|run| run.store_reads));
        }
        json
    }

    fn broken_limits(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, comparison) in [("first pass", &self.first_pass), ("rotation", &self.rotation)] {
            let ratio = comparison.ratio().median;
            if ratio > MOST_RATIO {
                broken.push(format!(
                    "the {name} takes {ratio:.2} times the bare writes, more than {MOST_RATIO}"
                ));
            }
        }
        for (name, runs) in self.phases() {
            if let Some(memory) = peak_memory(runs).filter(|memory| *memory > MOST_MEMORY) {
                broken.push(format!("{name}: {memory} of memory, more than {MOST_MEMORY}"));
            }
            if runs.iter().any(|run| run.store_reads != 1) {
                broken.push(format!("{name}: the password was not read once but otherwise"));
            }
        }
        let writes: usize = self.quiet.iter().map(|run| run.requests.writes()).sum();
        if writes > 0 {
            broken.push(format!("{writes} writes with nothing to do"));
        }
        broken
    }

    fn phases(&self) -> [(&'static str, &[Run]); 3] {
        [
            ("first pass", &self.first_pass.runs),
            ("rotation", &self.rotation.runs),
            ("nothing to do", &self.quiet),
        ]
    }
}

fn wall(runs: &[Run]) -> Spread {
    Spread::of(runs.iter().map(|run| run.wall.as_secs_f64()))
}

fn peak_memory(runs: &[Run]) -> Option<Memory> {
    runs.iter().filter_map(|run| run.peak_memory).max()
}

/// The run that cost the API server most.
fn busiest(runs: &[Run]) -> Option<&Run> {
    runs.iter().max_by_key(|run| run.requests.total())
}

fn shown(memory: Option<Memory>) -> String {
    memory.map_or_else(|| "not measured here".to_owned(), |memory| memory.to_string())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// `bench/rotate.json` in cargo's target directory, wherever that is.
fn json_file() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("rotate.json")
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(text: &str) {
    println!("{text}");
}

/// Talk, beside the result on stdout.
#[expect(clippy::print_stderr, reason = "stderr is talk")]
pub(crate) fn say(text: &str) {
    eprintln!("bench: {text}");
}
