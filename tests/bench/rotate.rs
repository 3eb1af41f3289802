//! `make bench-rotate`: the costs of a rotation by the one-shot command, compared with the baseline and with the
//! bare writes.
//!
//! All sides alternate and write the same objects as the same ServiceAccount, at the same concurrency. The bare writes use
//! the same client library and know their objects beforehand; regcred is a whole process that reads the store, reads the
//! cluster, decides, writes and reports.

mod benchmark;
mod cluster;
mod floor;
mod image;
mod one_shot;
mod requests;
mod side;
mod sides;

use std::process::ExitCode;

use harness::bench::Pair;
use harness::bench::measure::{Comparison, Paired};
use harness::bench::report::{Table, at_most, exactly};
use harness::{SECRET, apply_path, deploy_folder};

use benchmark::{Benchmark, Size};
use cluster::Bench as _;
use one_shot::Run;
use requests::{busiest, store_reads_unlike_one};
use side::Side;
use sides::{Sides, summarize};

/// The longest time of regcred, as a multiple of the bare writes. The machine is noisy: the aim is 1.2.
const MOST_RATIO: f64 = 1.3;
/// The most resident memory of regcred, in MiB.
const MOST_MEMORY: f64 = 60.0;

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "rotate", sizes: &[Size { namespaces: 1000, rounds: 11 }] }.run(measure).await
}

async fn measure(size: Size) -> anyhow::Result<Table> {
    let Size { namespaces, rounds } = size;
    let sides = Sides::start(namespaces).await?;
    // Else only this version's writes would wait for the evaluation of its admission policies, which is time of the API
    // server. They are in the same file as the rights, of which the baseline needs no others.
    apply_path(&sides.baseline.kube, &deploy_folder().join("rbac.yaml")).await?;
    let mut table = Table::new(size.settings());
    first_reconciliations(&sides, rounds, &mut table).await?;
    rotations(&sides, rounds, &mut table).await?;
    quiet_runs(&sides, rounds, &mut table).await?;
    Ok(table)
}

async fn first_reconciliations(sides: &Sides, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(create_from_cold(&sides.current).await?);
    let phase = "first reconciliation";
    let mut runs = Vec::new();
    for round in 1..=rounds {
        let act = async |side: &Side| {
            side.reset().await?;
            one_shot::rotate(side).await
        };
        let pair = sides.in_turn(phase, round, act).await?;
        let floor = sides.in_turn("bare writes", round, create_from_cold).await?;
        comparison.add(pair.current.seconds, floor.current);
        runs.push(pair);
    }
    costs(table, phase, &runs, Some(&comparison));
    Ok(())
}

/// The seconds of bare creations in a process without a connection.
async fn create_from_cold(side: &Side) -> anyhow::Result<f64> {
    side.reset().await?;
    floor::create_from_cold(side).await
}

async fn rotations(sides: &Sides, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(patch_from_cold(&sides.current).await?);
    let phase = "rotation";
    let mut runs = Vec::new();
    for round in 1..=rounds {
        let act = async |side: &Side| {
            side.change_password().await?;
            one_shot::rotate(side).await
        };
        let pair = sides.in_turn(phase, round, act).await?;
        let floor = sides.in_turn("bare writes", round, patch_from_cold).await?;
        comparison.add(pair.current.seconds, floor.current);
        runs.push(pair);
    }
    costs(table, phase, &runs, Some(&comparison));
    Ok(())
}

/// The seconds of bare patches in a process without a connection.
async fn patch_from_cold(side: &Side) -> anyhow::Result<f64> {
    floor::from_cold(side, async |client| floor::patch(side, client, SECRET).await).await
}

async fn quiet_runs(sides: &Sides, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    // The last writes were bare ones: regcred restores its own password.
    let act = async |side: &Side| one_shot::rotate(side).await;
    sides.in_turn("restoration", 1, act).await?;
    let phase = "nothing to do";
    let mut runs = Vec::new();
    for round in 1..=rounds {
        runs.push(sides.in_turn(phase, round, act).await?);
    }
    costs(table, phase, &runs, None);
    let writes: usize = runs.iter().map(|run| run.current.cost.requests.writes().total()).sum();
    table.row(phase, "writes", &writes, Some(exactly(writes, 0)));
    Ok(())
}

fn costs(table: &mut Table, phase: &'static str, runs: &[Pair<Run>], bare: Option<&Comparison>) {
    let figure = "from start to exit";
    table.paired_time(phase, &format!("{figure}, s"), &Paired::new(runs, |it| it.seconds));
    if let Some(bare) = bare {
        table.bare(phase, figure, bare, Some(MOST_RATIO));
    }
    table.paired_cpu(phase, &Paired::sum(runs, |it| it.cpu));
    let memory = Paired::new(runs, |it| it.peak_memory);
    let limit = at_most(memory.current.highest, MOST_MEMORY);
    table.paired(phase, "memory at its peak, MiB", &memory, Some(limit));
    let requests = summarize(runs, |it| busiest(it.map(|it| &it.cost), &[]));
    table.both(phase, "requests", &requests, None);
    let store_reads = summarize(runs, |it| store_reads_unlike_one(it.map(|it| &it.cost)));
    table.both(phase, "reads of Vault", &store_reads, Some(exactly(store_reads.current, 1)));
}
