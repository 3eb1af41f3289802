//! `cargo bench --bench rotate`: what a rotation by the one-shot command costs beside the bare writes.
//!
//! Both sides write the same objects of the same namespaces as the same ServiceAccount, at the same
//! concurrency, with the same client library, in turns. The bare side knows beforehand what to write;
//! regcred is a whole process that reads the store, reads the cluster, decides, writes and reports.

mod benchmark;
mod floor;
mod measure;
mod one_shot;
mod report;
mod requests;
mod stage;

use std::process::ExitCode;

use benchmark::Benchmark;
use measure::{Comparison, Memory, Spread};
use one_shot::Run;
use report::{Table, at_most, exactly, say};
use requests::{busiest, oddest_store_reads};
use stage::{SECRET, Stage};

/// The most that regcred may take, as a multiple of the bare writes. The machine is noisy: the aim is 1.2.
const MOST_RATIO: f64 = 1.3;
/// The most resident memory that regcred may take.
const MOST_MEMORY: Memory = Memory(60 << 20);

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "rotate", namespaces: &[1000], rounds: 7 }.run(measure).await
}

async fn measure(namespaces: usize, rounds: u8) -> anyhow::Result<Table> {
    let stage = Stage::set(namespaces).await?;
    let mut table = Table::new(namespaces, rounds);
    first_passes(&stage, rounds, &mut table).await?;
    rotations(&stage, rounds, &mut table).await?;
    quiet_runs(&stage, rounds, &mut table).await?;
    Ok(table)
}

async fn first_passes(stage: &Stage, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let bare = async || floor::from_cold(stage, async |client| floor::create(stage, client).await).await;
    let mut comparison = Comparison::new(bare().await?);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("first pass, round {round} of {rounds}"));
        stage.clear().await?;
        let run = one_shot::rotate(stage).await?;
        stage.clear().await?;
        comparison.add(run.seconds, bare().await?);
        runs.push(run);
    }
    table.compare("first pass", "from start to exit", &comparison, Some(MOST_RATIO));
    costs(table, "first pass", &runs);
    Ok(())
}

async fn rotations(stage: &Stage, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let bare =
        async || floor::from_cold(stage, async |client| floor::patch(stage, client, SECRET).await).await;
    let mut comparison = Comparison::new(bare().await?);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("rotation, round {round} of {rounds}"));
        stage.change_password().await?;
        let run = one_shot::rotate(stage).await?;
        comparison.add(run.seconds, bare().await?);
        runs.push(run);
    }
    table.compare("rotation", "from start to exit", &comparison, Some(MOST_RATIO));
    costs(table, "rotation", &runs);
    Ok(())
}

async fn quiet_runs(stage: &Stage, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    // The last writes were bare ones: regcred puts its own password back.
    one_shot::rotate(stage).await?;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("nothing to do, round {round} of {rounds}"));
        runs.push(one_shot::rotate(stage).await?);
    }
    let seconds = Spread::of(runs.iter().map(|run| run.seconds));
    table.row("nothing to do", "from start to exit, s", &seconds, None);
    let writes: usize = runs.iter().map(|run| run.asked.requests.writes().total()).sum();
    table.row("nothing to do", "writes", &writes, Some(exactly(writes, 0)));
    costs(table, "nothing to do", &runs);
    Ok(())
}

fn costs(table: &mut Table, phase: &'static str, runs: &[Run]) {
    if let Some(memory) = runs.iter().filter_map(|run| run.peak_memory).max() {
        table.row(phase, "memory at its peak", &memory, Some(at_most(memory, MOST_MEMORY)));
    }
    let asked = || runs.iter().map(|run| &run.asked);
    table.row(phase, "requests", &busiest(asked(), &[]), None);
    let store_reads = oddest_store_reads(asked());
    table.row(phase, "reads of Vault", &store_reads, Some(exactly(store_reads, 1)));
}
