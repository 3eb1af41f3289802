//! `make bench`: what a rotation costs beside the bare writes.
//!
//! Both sides write the same objects of the same namespaces as the same ServiceAccount, at the same
//! concurrency, with the same client library, in turns. The bare side knows beforehand what to write;
//! regcred is a whole process that reads the store, reads the cluster, decides, writes and reports.

mod floor;
mod measure;
mod report;
mod stage;
mod subject;

use std::process::ExitCode;

use clap::Parser as _;

use report::{Comparison, Results, say};
use stage::Stage;

/// Compares `regcred rotate` with the bare writes of the same objects.
#[derive(clap::Parser)]
struct Args {
    /// Namespaces to write to.
    #[arg(long, default_value_t = 1000)]
    namespaces: usize,

    /// How often each side runs.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// Given by `cargo bench`; `cargo test --all-targets` leaves it out, and would measure a debug build.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { namespaces, rounds, bench } = Args::parse();
    if !bench {
        say("this measures only when it is run by cargo bench --bench rotate");
        return ExitCode::SUCCESS;
    }
    match measure(namespaces, rounds).await.and_then(|results| results.publish()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: the benchmark ended early: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(namespaces: usize, rounds: u8) -> anyhow::Result<Results> {
    say(&format!("starting an API server and a Vault, creating {namespaces} namespaces"));
    let stage = Stage::set(namespaces).await?;

    let mut first_pass = Comparison::new(floor::create(&stage).await?);
    for round in 1..=rounds {
        say(&format!("first pass, round {round} of {rounds}"));
        stage.clear().await?;
        let run = subject::rotate(&stage).await?;
        stage.clear().await?;
        first_pass.add(run, floor::create(&stage).await?);
    }

    let mut rotation = Comparison::new(floor::patch(&stage).await?);
    for round in 1..=rounds {
        say(&format!("rotation, round {round} of {rounds}"));
        stage.change_password().await?;
        let run = subject::rotate(&stage).await?;
        rotation.add(run, floor::patch(&stage).await?);
    }
    // The last writes were bare ones: regcred puts its own password back.
    subject::rotate(&stage).await?;

    let mut quiet = Vec::new();
    for round in 1..=rounds {
        say(&format!("nothing to do, round {round} of {rounds}"));
        quiet.push(subject::rotate(&stage).await?);
    }
    Ok(Results { namespaces, first_pass, rotation, quiet })
}
