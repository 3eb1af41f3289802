//! `make bench-sidecar`: the costs of the sidecar and of `vault agent` with a template of the same file.
//!
//! The sidecar is the program of its image. Both keep files on a file system in memory, read the same Vault, and have
//! their own defaults. They take turns where they start, and run side by side where they rest.

mod first_file;
mod freshness;
mod rest;
mod sidecar_image;
mod tool;

use std::process::ExitCode;

use clap::Parser as _;
use harness::bench::report::{self, Settings, Table, say};
use world::{Reaper, Vault};

/// Starts of each tool.
const ROUNDS: u8 = 20;

/// Compares the sidecar with vault agent, and with curl.
#[derive(clap::Parser)]
struct Args {
    /// Starts of each tool.
    #[arg(long, default_value_t = ROUNDS, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Set by `cargo bench`; `cargo test --all-targets`, which would measure a debug build, does not set it.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { rounds, bench } = Args::parse();
    if !bench {
        say("this measures only when it is run by make bench-sidecar");
        return ExitCode::SUCCESS;
    }
    report::exit_code(measure(rounds).await)
}

/// Measures, and returns whether every limit is kept.
async fn measure(rounds: u8) -> anyhow::Result<bool> {
    sidecar_image::build().await?;
    let reaper = Reaper::new()?;
    let vault = Vault::start_bare(&reaper).await?;
    let numbers = vec![("keys of which the freshness is measured", freshness::KEYS)];
    let mut table = Table::new(Settings { other: "vault agent", numbers, rounds });
    first_file::measure(&vault, rounds, &mut table).await?;
    rest::measure(&vault, &mut table).await?;
    freshness::measure(&vault, &mut table).await?;
    let keeps_its_limits = table.keeps_its_limits();
    report::publish(env!("CARGO_TARGET_TMPDIR"), "sidecar", &[table])?;
    Ok(keeps_its_limits)
}
