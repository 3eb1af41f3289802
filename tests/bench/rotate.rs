//! `cargo bench --bench rotate`: the costs of a rotation by the one-shot command, compared with the bare writes.
//!
//! Both sides alternate and write the same objects of the same namespaces as the same ServiceAccount, at the same
//! concurrency, with the same client library. The bare side knows its writes beforehand; regcred is a whole process that
//! reads the store, reads the cluster, decides, writes and reports.

mod benchmark;
mod cluster;
mod floor;
mod measure;
mod one_shot;
mod report;
mod requests;

use std::process::ExitCode;

use harness::{SECRET, TestCluster};

use benchmark::Benchmark;
use cluster::Bench as _;
use measure::{Comparison, Memory, Spread};
use one_shot::Run;
use report::{Table, at_most, exactly, say};
use requests::{busiest, store_reads_unlike_one};

/// The longest time of regcred, as a multiple of the bare writes. The machine is noisy: the aim is 1.2.
const MOST_RATIO: f64 = 1.3;
/// The most resident memory of regcred.
const MOST_MEMORY: Memory = Memory(60 << 20);

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "rotate", namespaces: &[1000], rounds: 7 }.run(measure).await
}

async fn measure(namespaces: usize, rounds: u8) -> anyhow::Result<Table> {
    let cluster = TestCluster::start(namespaces).await?;
    let mut table = Table::new(namespaces, rounds);
    first_reconciliations(&cluster, rounds, &mut table).await?;
    rotations(&cluster, rounds, &mut table).await?;
    quiet_runs(&cluster, rounds, &mut table).await?;
    Ok(table)
}

async fn first_reconciliations(cluster: &TestCluster, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(floor::create_from_cold(cluster).await?);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("first reconciliation, round {round} of {rounds}"));
        cluster.reset().await?;
        let run = one_shot::rotate(cluster).await?;
        cluster.reset().await?;
        comparison.add(run.seconds, floor::create_from_cold(cluster).await?);
        runs.push(run);
    }
    table.compare("first reconciliation", "from start to exit", &comparison, Some(MOST_RATIO));
    costs(table, "first reconciliation", &runs);
    Ok(())
}

async fn rotations(cluster: &TestCluster, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(patch_from_cold(cluster).await?);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("rotation, round {round} of {rounds}"));
        cluster.change_password().await?;
        let run = one_shot::rotate(cluster).await?;
        comparison.add(run.seconds, patch_from_cold(cluster).await?);
        runs.push(run);
    }
    table.compare("rotation", "from start to exit", &comparison, Some(MOST_RATIO));
    costs(table, "rotation", &runs);
    Ok(())
}

/// The seconds of bare patches in a process without a connection.
async fn patch_from_cold(cluster: &TestCluster) -> anyhow::Result<f64> {
    floor::from_cold(cluster, async |client| floor::patch(cluster, client, SECRET).await).await
}

async fn quiet_runs(cluster: &TestCluster, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    // The last writes were bare ones: regcred restores its own password.
    one_shot::rotate(cluster).await?;
    let mut runs = Vec::new();
    for round in 1..=rounds {
        say(&format!("nothing to do, round {round} of {rounds}"));
        runs.push(one_shot::rotate(cluster).await?);
    }
    let seconds = Spread::new(runs.iter().map(|run| run.seconds));
    table.row("nothing to do", "from start to exit, s", &seconds, None);
    let writes: usize = runs.iter().map(|run| run.cost.requests.writes().total()).sum();
    table.row("nothing to do", "writes", &writes, Some(exactly(writes, 0)));
    costs(table, "nothing to do", &runs);
    Ok(())
}

fn costs(table: &mut Table, phase: &'static str, runs: &[Run]) {
    if let Some(memory) = runs.iter().filter_map(|run| run.peak_memory).max() {
        table.row(phase, "memory at its peak", &memory, Some(at_most(memory, MOST_MEMORY)));
    }
    let requests = busiest(runs.iter().map(|run| &run.cost), &[]);
    table.row(phase, "requests", &requests, None);
    let store_reads = store_reads_unlike_one(runs.iter().map(|run| &run.cost));
    table.row(phase, "reads of Vault", &store_reads, Some(exactly(store_reads, 1)));
}
