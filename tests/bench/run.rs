//! `cargo bench --bench run`: the costs of the controller, compared with the bare writes and while idle.
//!
//! A rotation is a `vault kv put` and the annotation that requests a fetch. The API server's audit log has the time at
//! which it reached each namespace. The bare writes alternate with it, as in the other benchmark. A watch is logged when
//! it ends, so only ended watches are counted.

mod arrival;
mod bare;
mod benchmark;
mod cluster;
mod controller;
mod floor;
mod measure;
mod report;
mod requests;
mod rotation;

use std::process::ExitCode;
use std::time::Duration;

use harness::TestCluster;

use bare::Bare;
use benchmark::Benchmark;
use cluster::Bench as _;
use controller::Controller;
use measure::{Comparison, Memory, Spread};
use report::{Table, at_most, exactly, say};
use requests::{Cost, Mark, busiest, store_reads_unlike_one};

/// The longest time of a rotation, as a multiple of the bare writes.
const MOST_RATIO: f64 = 1.2;
/// The most requests of a rotation beyond one for each namespace.
const EXTRA_REQUESTS: usize = 10;
/// The most requests of a minute in which nothing happens.
const QUIET_REQUESTS: usize = 9;
/// The length of such a minute.
const QUIET: Duration = Duration::from_mins(1);
/// The leader's Lease, which is always renewed.
const LEASE: &str = "leases";
/// The status, which regcred writes about itself.
const STATUS: &str = "clusterpullsecrets/status";

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "run", namespaces: &[1000, 5000], rounds: 5 }.run(measure).await
}

async fn measure(namespaces: usize, rounds: u8) -> anyhow::Result<Table> {
    let cluster = TestCluster::start(namespaces).await?;
    controller::install(&cluster).await?;
    let mut table = Table::new(namespaces, rounds);
    starts(&cluster, rounds, &mut table).await?;

    cluster.reset().await?;
    let bare = Bare::install(&cluster).await?;
    let mut controller = Controller::start(&cluster)?;
    controller.first_reconciliation(&cluster).await?;
    cluster.wait_idle().await?;
    let resident = controller.memory("VmRSS")?;
    rotations(&cluster, &bare, &controller, rounds, &mut table).await?;
    new_namespaces(&cluster, rounds, &mut table).await?;
    quiet_minute(&cluster, &controller, &mut table).await?;

    let (peak, most) = (controller.memory("VmHWM")?, most_memory(namespaces));
    table.row("memory", "resident after the first reconciliation", &resident, Some(at_most(resident, most)));
    table.row("memory", "at its peak", &peak, Some(at_most(peak, most)));
    controller.stop().await?;
    Ok(table)
}

/// The most resident memory of regcred.
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
    first_reconciliation: f64,
    cost: Cost,
}

async fn start(cluster: &TestCluster) -> anyhow::Result<Start> {
    let mark = Mark::new(cluster).await?;
    let mut controller = Controller::start(cluster)?;
    let ready = controller.ready().await?;
    let first_reconciliation = controller.first_reconciliation(cluster).await?;
    let cost = mark.cost_since(cluster).await?;
    controller.stop().await?;
    Ok(Start { ready, first_reconciliation, cost })
}

async fn starts(cluster: &TestCluster, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(floor::create_from_cold(cluster).await?);
    let (mut empty, mut complete) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("start, round {round} of {rounds}"));
        cluster.reset().await?;
        let all_to_write = start(cluster).await?;
        complete.push(start(cluster).await?);
        cluster.reset().await?;
        comparison.add(all_to_write.first_reconciliation, floor::create_from_cold(cluster).await?);
        empty.push(all_to_write);
    }

    let phase = "start, all to write";
    table.row(phase, "to /ready, s", &spread(&empty, |it| it.ready), None);
    table.compare(phase, "to the end of its first reconciliation", &comparison, None);
    table.row(phase, "requests", &busiest(empty.iter().map(|it| &it.cost), &[]), None);

    let phase = "start, nothing to write";
    table.row(phase, "to /ready, s", &spread(&complete, |it| it.ready), None);
    table.row(
        phase,
        "to the end of its first reconciliation, s",
        &spread(&complete, |it| it.first_reconciliation),
        None,
    );
    table.row(phase, "requests", &busiest(complete.iter().map(|it| &it.cost), &[]), None);
    Ok(())
}

fn spread(starts: &[Start], seconds: fn(&Start) -> f64) -> Spread {
    Spread::new(starts.iter().map(seconds))
}

async fn rotations(
    cluster: &TestCluster,
    bare: &Bare,
    controller: &Controller,
    rounds: u8,
    table: &mut Table,
) -> anyhow::Result<()> {
    // The first writes over new connections are not counted.
    bare.rotate(cluster).await?;
    let floor = bare.rotate(cluster).await?;
    let (mut last, mut median) = (Comparison::new(floor.highest), Comparison::new(floor.median));
    let (mut cost, mut cpu) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        say(&format!("rotation, round {round} of {rounds}"));
        let mark = Mark::new(cluster).await?;
        let cpu_before = controller.cpu()?;
        let regcred = rotation::rotate(cluster, &mark).await?;
        cpu.push(controller.cpu()? - cpu_before);
        let floor = bare.rotate(cluster).await?;
        // Only now, so that the status that regcred writes afterwards is counted.
        cost.push(mark.cost_since(cluster).await?);
        last.add(regcred.highest, floor.highest);
        median.add(regcred.median, floor.median);
    }
    let phase = "rotation";
    table.compare(phase, "to the last namespace", &last, Some(MOST_RATIO));
    table.compare(phase, "to the median namespace", &median, None);
    let requests = busiest(&cost, &[LEASE]);
    let most = cluster.namespaces.len() + EXTRA_REQUESTS;
    let limit = at_most(requests.total(), most);
    table.row(phase, "requests but for its Lease", &requests, Some(limit));
    let store_reads = store_reads_unlike_one(&cost);
    table.row(phase, "reads of Vault", &store_reads, Some(exactly(store_reads, 1)));
    table.row(phase, "CPU, s", &Spread::new(cpu), None);
    Ok(())
}

async fn new_namespaces(cluster: &TestCluster, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut new_namespaces = Vec::new();
    for round in 1..=rounds {
        say(&format!("new namespace, round {round} of {rounds}"));
        new_namespaces
            .push(rotation::rotate_with_new_namespace(cluster, &format!("bench-new-{round}")).await?);
    }
    let phase = "new namespace during a rotation";
    let seconds = Spread::new(new_namespaces.iter().map(|it| it.seconds));
    table.row(phase, "from its creation to its Secret, s", &seconds, None);
    let in_time = new_namespaces.iter().filter(|it| it.was_in_time).count();
    table.row(
        phase,
        "rounds in which the rotation still ran",
        &in_time,
        Some(exactly(in_time, rounds.into())),
    );
    Ok(())
}

async fn quiet_minute(
    cluster: &TestCluster,
    controller: &Controller,
    table: &mut Table,
) -> anyhow::Result<()> {
    say("a minute at rest");
    let mark = Mark::new(cluster).await?;
    let cpu_before = controller.cpu()?;
    tokio::time::sleep(QUIET).await;
    let cpu = controller.cpu()? - cpu_before;
    let requests = mark.cost_since(cluster).await?.requests;
    let phase = "a minute at rest";
    let limit = at_most(requests.total(), QUIET_REQUESTS);
    table.row(phase, "requests, and watches that ended", &requests, Some(limit));
    let writes = requests.but(&[LEASE, STATUS]).writes();
    let limit = exactly(writes.total(), 0);
    table.row(phase, "writes but for its Lease and status", &writes, Some(limit));
    table.row(phase, "CPU, s", &Spread::new([cpu]), None);
    Ok(())
}
