//! The entry of `cargo bench`: arguments in, a table for each size and an exit code out.

use std::num::NonZero;
use std::process::ExitCode;

use clap::Parser as _;

use crate::report::{self, Table, say};

/// One benchmark, and its defaults for the command line.
pub(crate) struct Benchmark {
    /// The name for `cargo bench --bench`.
    pub(crate) name: &'static str,
    pub(crate) namespaces: &'static [usize],
    pub(crate) rounds: u8,
}

/// Compares regcred with the bare writes of the same objects.
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
    pub(crate) async fn run(self, measure: impl AsyncFn(usize, u8) -> anyhow::Result<Table>) -> ExitCode {
        let Args { namespaces, rounds, bench } = Args::parse();
        if !bench {
            say(&format!("this measures only when it is run by cargo bench --bench {}", self.name));
            return ExitCode::SUCCESS;
        }
        let sizes = match namespaces.as_slice() {
            [] => self.namespaces.to_vec(),
            given => given.iter().map(|it| it.get()).collect(),
        };
        let rounds = rounds.unwrap_or(self.rounds);
        let measured = async {
            let mut tables = Vec::new();
            for namespaces in sizes {
                say(&format!("starting an API server and a Vault, creating {namespaces} namespaces"));
                tables.push(measure(namespaces, rounds).await?);
                report::publish(self.name, &tables)?;
            }
            anyhow::Ok(tables.iter().all(Table::keeps_its_limits))
        };
        match measured.await {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                say(&format!("error: the benchmark ended early: {error:#}"));
                ExitCode::FAILURE
            }
        }
    }
}
