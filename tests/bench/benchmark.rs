//! The entry of a benchmark: arguments in, a table for each size and an exit code out.

use std::num::NonZero;
use std::process::ExitCode;

use clap::Parser as _;
use harness::bench::report::{self, Settings, Table, say};

use crate::cluster::CONCURRENCY;

/// One benchmark, and its defaults for the command line.
pub(crate) struct Benchmark {
    /// The name in `make bench-NAME`.
    pub(crate) name: &'static str,
    pub(crate) sizes: &'static [Size],
}

/// The extent of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) namespaces: usize,
    /// Runs of each side.
    pub(crate) rounds: u8,
}

impl Size {
    /// Returns what a table says about the measurement.
    pub(crate) fn settings(self) -> Settings {
        let numbers = vec![("namespaces", self.namespaces), ("requests in flight", CONCURRENCY.into())];
        Settings { other: "baseline", numbers, rounds: self.rounds }
    }
}

/// The rounds of a size that only the command line names: as many as a comparison of times needs.
const ROUNDS: u8 = 11;

/// Compares regcred with the baseline, and with the bare writes of the same objects.
#[derive(clap::Parser)]
struct Args {
    /// Namespaces to write to; several comma-separated numbers are measured one after the other.
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<NonZero<usize>>,

    /// Runs of each side.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: Option<u8>,

    /// Set by `cargo bench`; `cargo test --all-targets`, which would measure a debug build, does not set it.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Benchmark {
    /// Measures each size in a cluster of its own, and publishes each before the next.
    pub(crate) async fn run(self, measure: impl AsyncFn(Size) -> anyhow::Result<Table>) -> ExitCode {
        let Args { namespaces, rounds, bench } = Args::parse();
        if !bench {
            say(&format!("this measures only when it is run by make bench-{}", self.name));
            return ExitCode::SUCCESS;
        }
        let mut sizes = match namespaces.as_slice() {
            [] => self.sizes.to_vec(),
            given => given.iter().map(|it| self.size(it.get())).collect(),
        };
        for size in &mut sizes {
            size.rounds = rounds.unwrap_or(size.rounds);
        }
        let measured = async {
            let mut tables = Vec::new();
            for size in sizes {
                let count = size.namespaces;
                say(&format!("starting two API servers, creating {count} namespaces in each"));
                tables.push(measure(size).await?);
                report::publish(env!("CARGO_TARGET_TMPDIR"), self.name, &tables)?;
            }
            anyhow::Ok(tables.iter().all(Table::keeps_its_limits))
        };
        report::exit_code(measured.await)
    }

    /// The size with this number of namespaces.
    fn size(&self, namespaces: usize) -> Size {
        let known = self.sizes.iter().find(|it| it.namespaces == namespaces);
        known.copied().unwrap_or(Size { namespaces, rounds: ROUNDS })
    }
}
