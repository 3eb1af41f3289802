//! Starts of the controller: in an empty cluster, where it has everything to write, and with everything in sync.

use harness::bench::Pair;
use harness::bench::measure::{Comparison, Paired};
use harness::bench::report::{Table, at_most, ratio_at_most};

use crate::cluster::Bench as _;
use crate::controller::Controller;
use crate::floor;
use crate::requests::{Cost, Mark, busiest};
use crate::side::Side;
use crate::sides::{Sides, summarize};

/// The most memory at the peak of a restart, as a multiple of what is resident afterwards.
const MOST_PEAK: f64 = 1.2;
/// The number of namespaces from which on memory has to be lower than the baseline's.
const LARGE: usize = 10_000;

/// One start of the process.
struct Start {
    ready: f64,
    first_reconciliation: f64,
    /// The memory afterwards and at its peak, in MiB.
    resident: f64,
    peak: f64,
    cpu: f64,
    cost: Cost,
}

async fn start(side: &Side) -> anyhow::Result<Start> {
    let mark = Mark::new(side).await?;
    let mut controller = Controller::start(side)?;
    let ready = controller.ready().await?;
    let first_reconciliation = controller.first_reconciliation(side).await?;
    let cost = mark.cost_since(side).await?;
    let (resident, peak) = (controller.memory("VmRSS")?, controller.memory("VmHWM")?);
    let cpu = controller.cpu()?;
    controller.stop().await?;
    Ok(Start { ready, first_reconciliation, resident, peak, cpu, cost })
}

/// The seconds of the bare writes in a cluster without objects of regcred.
async fn create(side: &Side) -> anyhow::Result<f64> {
    side.reset().await?;
    floor::create_from_cold(side).await
}

/// Measures starts of both kinds.
pub(crate) async fn measure(sides: &Sides, rounds: u8, table: &mut Table) -> anyhow::Result<()> {
    let mut comparison = Comparison::new(create(&sides.current).await?);
    let (mut empty, mut complete) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let from_empty = async |side: &Side| {
            side.reset().await?;
            start(side).await
        };
        let pair = sides.in_turn("start, all to write", round, from_empty).await?;
        complete.push(sides.in_turn("start, nothing to write", round, start).await?);
        let floor = sides.in_turn("bare writes", round, create).await?;
        comparison.add(pair.current.first_reconciliation, floor.current);
        empty.push(pair);
    }

    let phase = "start, all to write";
    table.paired_time(phase, "to /ready, s", &Paired::new(&empty, |it| it.ready));
    let figure = "to the end of its first reconciliation";
    let seconds = Paired::new(&empty, |it| it.first_reconciliation);
    table.paired_time(phase, &format!("{figure}, s"), &seconds);
    table.bare(phase, figure, &comparison, None);
    let namespaces = sides.current.namespaces.len();
    costs(table, phase, &empty, namespaces);

    let phase = "start, nothing to write";
    table.paired_time(phase, "to /ready, s", &Paired::new(&complete, |it| it.ready));
    let seconds = Paired::new(&complete, |it| it.first_reconciliation);
    table.paired_time(phase, &format!("{figure}, s"), &seconds);
    costs(table, phase, &complete, namespaces);
    let peak = Paired::new(&complete, |it| it.peak / it.resident);
    let limit = at_most(peak.current.median, MOST_PEAK);
    let peak = Pair { current: peak.current, baseline: peak.baseline };
    table.both(phase, "memory at its peak by what is resident", &peak, Some(limit));
    Ok(())
}

/// The most resident memory, as a multiple of the baseline's.
pub(crate) fn most_resident(namespaces: usize) -> f64 {
    if namespaces >= LARGE { 0.7 } else { 1.0 }
}

fn costs(table: &mut Table, phase: &'static str, rounds: &[Pair<Start>], namespaces: usize) {
    let requests = summarize(rounds, |starts| busiest(starts.map(|it| &it.cost), &[]));
    table.both(phase, "requests", &requests, None);
    table.paired_cpu(phase, &Paired::sum(rounds, |it| it.cpu));
    let resident = Paired::new(rounds, |it| it.resident);
    let limit = ratio_at_most(&resident, most_resident(namespaces));
    table.paired(phase, "resident memory, MiB", &resident, Some(limit));
    table.paired(phase, "memory at its peak, MiB", &Paired::new(rounds, |it| it.peak), None);
}
