//! `make bench-run`: the costs of the controller, compared with the baseline, with the bare writes and while idle.
//!
//! A rotation is a `vault kv put` and the annotation that requests a fetch. The API server's audit log has the time at
//! which it reached each namespace. The baseline and the bare writes alternate with it. A watch is logged when it ends,
//! so only ended watches are counted.

mod arrival;
mod bare;
mod benchmark;
mod cluster;
mod controller;
mod floor;
mod image;
mod requests;
mod rotation;
mod rotations;
mod side;
mod sides;
mod starts;

use std::process::ExitCode;
use std::time::Duration;

use harness::bench::Pair;
use harness::bench::measure::{Paired, Spread};
use harness::bench::report::{Table, at_most, exactly, ratio_at_most, say};

use bare::Bare;
use benchmark::{Benchmark, Size};
use cluster::Bench as _;
use controller::Controller;
use requests::{Mark, Requests};
use side::Side;
use sides::Sides;

/// The most requests of a minute in which nothing happens: seven renewals of the Lease, and the end of five watches within
/// it, four of which are resumed after a read of the current version.
const QUIET_REQUESTS: usize = 16;
/// The length of such a minute.
const QUIET: Duration = Duration::from_mins(1);
/// The leader's Lease, which is always renewed.
const LEASE: &str = "leases";
/// The status, which regcred writes about itself.
const STATUS: &str = "clusterpullsecrets/status";
/// The sizes. The largest one is for memory alone, which needs few rounds.
const SIZES: &[Size] = &[Size { namespaces: 1000, rounds: 11 }, Size { namespaces: 10_000, rounds: 3 }];

#[tokio::main]
async fn main() -> ExitCode {
    Benchmark { name: "run", sizes: SIZES }.run(measure).await
}

async fn measure(size: Size) -> anyhow::Result<Table> {
    let Size { namespaces, rounds } = size;
    let sides = Sides::start(namespaces).await?;
    controller::install(&sides.current).await?;
    controller::install(&sides.baseline).await?;
    let mut table = Table::new(size.settings());
    starts::measure(&sides, rounds, &mut table).await?;

    let controllers = sides.in_turn("first reconciliation", 1, start).await?;
    let install = async |side: &Side| Bare::install(side).await;
    let bare = sides.in_turn("installation of the bare writes", 1, install).await?;
    rotations::measure(&sides, &controllers, &bare, rounds, &mut table).await?;
    new_namespaces(&sides, rounds, &mut table).await?;
    quiet_minute(&sides, &controllers, &mut table).await?;
    memory(&controllers, namespaces, &mut table)?;
    controllers.current.stop().await?;
    controllers.baseline.stop().await?;
    Ok(table)
}

/// Starts a controller that has everything to write.
async fn start(side: &Side) -> anyhow::Result<Controller> {
    side.reset().await?;
    let mut controller = Controller::start(side)?;
    controller.first_reconciliation(side).await?;
    side.wait_idle().await?;
    Ok(controller)
}

/// One namespace that was created during a rotation.
async fn new_namespaces(sides: &Sides, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut new_namespaces = Vec::new();
    for round in 1..=rounds {
        let name = format!("bench-new-{round}");
        let act = async |side: &Side| rotation::rotate_with_new_namespace(side, &name).await;
        new_namespaces.push(sides.in_turn("new namespace", round, act).await?);
    }
    let phase = "new namespace during a rotation";
    let seconds = Paired::new(&new_namespaces, |it| it.seconds);
    // Its place in the rotation decides about most of the time.
    table.paired(phase, "from its creation to its Secret, s", &seconds, None);
    let in_time = new_namespaces.iter().filter(|it| it.current.was_in_time).count();
    let limit = exactly(in_time, rounds.into());
    table.row(phase, "rounds in which the rotation still ran", &in_time, Some(limit));
    Ok(())
}

/// The cost of a minute at rest.
struct Quiet {
    requests: Requests,
    cpu: f64,
}

async fn quiet(side: &Side, controller: &Controller) -> anyhow::Result<Quiet> {
    let mark = Mark::new(side).await?;
    let cpu_before = controller.cpu()?;
    tokio::time::sleep(QUIET).await;
    let cpu = controller.cpu()? - cpu_before;
    Ok(Quiet { requests: mark.cost_since(side).await?.requests, cpu })
}

async fn quiet_minute(
    sides: &Sides,
    controllers: &Pair<Controller>,
    table: &mut Table,
) -> anyhow::Result<()> {
    let phase = "a minute at rest";
    say(phase);
    let (current, baseline) = tokio::try_join!(
        quiet(&sides.current, &controllers.current),
        quiet(&sides.baseline, &controllers.baseline)
    )?;
    let writes = current.requests.but(&[LEASE, STATUS]).writes();
    let requests = Pair { current: current.requests, baseline: baseline.requests };
    let limit = at_most(requests.current.total(), QUIET_REQUESTS);
    table.both(phase, "requests, and watches that ended", &requests, Some(limit));
    let limit = exactly(writes.total(), 0);
    table.row(phase, "writes but for its Lease and status", &writes, Some(limit));
    let cpu = Pair { current: Spread::new([current.cpu]), baseline: Spread::new([baseline.cpu]) };
    table.both(phase, "CPU, s", &cpu, None);
    Ok(())
}

/// The memory of the controllers after everything above.
fn memory(controllers: &Pair<Controller>, namespaces: usize, table: &mut Table) -> anyhow::Result<()> {
    for (figure, field) in [("resident, MiB", "VmRSS"), ("at its peak, MiB", "VmHWM")] {
        let [current, baseline] = [&controllers.current, &controllers.baseline].map(|it| it.memory(field));
        let memory = Paired::new(&[Pair { current: current?, baseline: baseline? }], |it| *it);
        let limit = ratio_at_most(&memory, starts::most_resident(namespaces));
        table.paired("memory after all rotations", figure, &memory, Some(limit));
    }
    Ok(())
}
