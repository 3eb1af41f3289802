//! What `cargo bench` runs: arguments in, a table for each size and an exit code out.

use std::num::NonZero;
use std::process::ExitCode;

use clap::Parser as _;

use crate::report::{self, Table, say};

/// One benchmark, and what it does where the command line does not say otherwise.
pub(crate) struct Benchmark {
    /// The name under which `cargo bench --bench` knows it.
    pub(crate) name: &'static str,
    pub(crate) namespaces: &'static [usize],
    pub(crate) rounds: u8,
}

/// Compares regcred with the bare writes of the same objects.
#[derive(clap::Parser)]
struct Args {
    /// Namespaces to write to. Several numbers with commas between them are measured one after the other.
    #[arg(long, value_delimiter = ',')]
    namespaces: Vec<NonZero<usize>>,

    /// How often each side runs.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: Option<u8>,

    /// Given by `cargo bench`; `cargo test --all-targets` leaves it out, and would measure a debug build.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Benchmark {
    /// Measures each size, in a world of its own, and publishes it before the next begins.
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
