//! `cargo bench --bench run`: what the controller costs, beside the bare writes and at rest.
//!
//! A rotation is a `vault kv put` and the annotation that tells regcred of it. When it reached a namespace
//! stands in the API server's audit log. The bare writes take turns with it, as in the other benchmark.
//! A watch stands in that log only when it has ended, so only those that ended are counted.

mod arrival;
mod bare;
mod benchmark;
mod controller;
mod floor;
mod measure;
mod report;
mod requests;
mod rotation;
mod stage;

use std::process::ExitCode;
use std::time::Duration;

use bare::Bare;
use benchmark::Benchmark;
use controller::Controller;
use measure::{Comparison, Memory, Spread};
use report::{Table, at_most, exactly, say};
use requests::{Asked, Mark, busiest, oddest_store_reads};
use stage::Stage;

/// The most that a rotation may take, as a multiple of the bare writes.
const MOST_RATIO: f64 = 1.2;
/// Requests of a rotation beside one for each namespace.
const MORE_REQUESTS: usize = 10;
/// Requests of a minute in which nothing happens.
const QUIET_REQUESTS: usize = 9;
/// How long such a minute is.
const QUIET: Duration = Duration::from_mins(1);
/// The leader's Lease is renewed whatever else happens.
const LEASE: &str = "leases";
/// What regcred tells about itself.
const STATUS: &str = "clusterpullsecrets/status";

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "run", namespaces: &[1000, 5000], rounds: 5 }.run(measure).await
}

async fn measure(namespaces: usize, rounds: u8) -> anyhow::Result<Table> {
    let stage = Stage::set(namespaces).await?;
    controller::install(&stage).await?;
    let mut table = Table::new(namespaces, rounds);
    starts(&stage, rounds, &mut table).await?;

    stage.clear().await?;
    let bare = Bare::set(&stage).await?;
    let mut controller = Controller::start(&stage)?;
    controller.first_pass(&stage).await?;
    stage.rest().await?;
    let resident = controller.memory("VmRSS")?;
    rotations(&stage, &bare, &controller, rounds, &mut table).await?;
    newcomers(&stage, rounds, &mut table).await?;
    quiet_minute(&stage, &controller, &mut table).await?;

    let (peak, most) = (controller.memory("VmHWM")?, most_memory(namespaces));
    table.row("memory", "resident after the first pass", &resident, Some(at_most(resident, most)));
    table.row("memory", "at its peak", &peak, Some(at_most(peak, most)));
    controller.stop().await?;
    Ok(table)
}

/// The most resident memory that regcred may take.
fn most_memory(namespaces: usize) -> Memory {
    let mebibytes = match namespaces {
        0..=1000 => 32,
        1001..=5000 => 64,
        _ => 96,
    };
    Memory(mebibytes << 20)
}

/// One start of the process.
struct Start {
    ready: f64,
    first_pass: f64,
    asked: Asked,
}

async fn start(stage: &Stage) -> anyhow::Result<Start> {
    let mark = Mark::set(stage).await?;
    let mut controller = Controller::start(stage)?;
    let ready = controller.ready().await?;
    let first_pass = controller.first_pass(stage).await?;
    let asked = mark.asked_since(stage).await?;
    controller.stop().await?;
    Ok(Start { ready, first_pass, asked })
}

async fn starts(stage: &Stage, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let bare = async || floor::from_cold(stage, async |client| floor::create(stage, client).await).await;
    let mut comparison = Comparison::new(bare().await?);
    let (mut empty, mut complete) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("start, round {round} of {rounds}"));
        stage.clear().await?;
        let all_to_write = start(stage).await?;
        complete.push(start(stage).await?);
        stage.clear().await?;
        comparison.add(all_to_write.first_pass, bare().await?);
        empty.push(all_to_write);
    }
    let seconds = |starts: &[Start], of: fn(&Start) -> f64| Spread::of(starts.iter().map(of));

    let phase = "start, all to write";
    table.row(phase, "to /ready, s", &seconds(&empty, |it| it.ready), None);
    table.compare(phase, "to the end of its first pass", &comparison, None);
    table.row(phase, "requests", &busiest(empty.iter().map(|it| &it.asked), &[]), None);

    let phase = "start, nothing to write";
    table.row(phase, "to /ready, s", &seconds(&complete, |it| it.ready), None);
    table.row(phase, "to the end of its first pass, s", &seconds(&complete, |it| it.first_pass), None);
    table.row(phase, "requests", &busiest(complete.iter().map(|it| &it.asked), &[]), None);
    Ok(())
}

async fn rotations(
    stage: &Stage,
    bare: &Bare,
    controller: &Controller,
    rounds: u8,
    table: &mut Table,
) -> anyhow::Result<()> {
    // The first writes over new connections are nobody's.
    bare.rotate(stage).await?;
    let floor = bare.rotate(stage).await?;
    let (mut last, mut median) = (Comparison::new(floor.highest), Comparison::new(floor.median));
    let (mut asked, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("rotation, round {round} of {rounds}"));
        let mark = Mark::set(stage).await?;
        let cpu_before = controller.cpu()?;
        let ours = rotation::rotate(stage, &mark).await?;
        cpu.push(controller.cpu()? - cpu_before);
        let floor = bare.rotate(stage).await?;
        // Only now, so that nothing escapes that regcred still had to tell.
        asked.push(mark.asked_since(stage).await?);
        last.add(ours.highest, floor.highest);
        median.add(ours.median, floor.median);
    }
    let phase = "rotation";
    table.compare(phase, "to the last namespace", &last, Some(MOST_RATIO));
    table.compare(phase, "to the median namespace", &median, None);
    let requests = busiest(&asked, &[LEASE]);
    let most = stage.namespaces.len() + MORE_REQUESTS;
    let limit = at_most(requests.total(), most);
    table.row(phase, "requests but for its Lease", &requests, Some(limit));
    let store_reads = oddest_store_reads(&asked);
    table.row(phase, "reads of Vault", &store_reads, Some(exactly(store_reads, 1)));
    table.row(phase, "CPU, s", &Spread::of(cpu), None);
    Ok(())
}

async fn newcomers(stage: &Stage, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut newcomers = Vec::new();
    for round in 1..=rounds {
        say(&format!("new namespace, round {round} of {rounds}"));
        newcomers.push(rotation::rotate_with_newcomer(stage, &format!("bench-new-{round}")).await?);
    }
    let phase = "new namespace during a rotation";
    let seconds = Spread::of(newcomers.iter().map(|it| it.seconds));
    table.row(phase, "from its creation to its Secret, s", &seconds, None);
    let in_time = newcomers.iter().filter(|it| it.was_in_time).count();
    table.row(
        phase,
        "rounds in which the rotation still ran",
        &in_time,
        Some(exactly(in_time, rounds.into())),
    );
    Ok(())
}

async fn quiet_minute(stage: &Stage, controller: &Controller, table: &mut Table) -> anyhow::Result<()> {
    say("a minute at rest");
    let mark = Mark::set(stage).await?;
    let cpu_before = controller.cpu()?;
    tokio::time::sleep(QUIET).await;
    let cpu = controller.cpu()? - cpu_before;
    let requests = mark.asked_since(stage).await?.requests;
    let phase = "a minute at rest";
    let limit = at_most(requests.total(), QUIET_REQUESTS);
    table.row(phase, "requests, and watches that ended", &requests, Some(limit));
    let writes = requests.but(&[LEASE, STATUS]).writes();
    let limit = exactly(writes.total(), 0);
    table.row(phase, "writes but for its Lease and status", &writes, Some(limit));
    table.row(phase, "CPU, s", &Spread::of([cpu]), None);
    Ok(())
}
