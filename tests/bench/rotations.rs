//! Rotations by the controllers of both versions, and by bare writes.

use harness::bench::Pair;
use harness::bench::measure::{Comparison, Paired, Spread};
use harness::bench::report::{Table, at_most, exactly};

use crate::LEASE;
use crate::bare::Bare;
use crate::controller::Controller;
use crate::requests::{Cost, Mark, busiest, store_reads_unlike_one};
use crate::rotation;
use crate::side::Side;
use crate::sides::{Sides, summarize};

/// The longest time of a rotation, as a multiple of the bare writes.
const MOST_RATIO: f64 = 1.2;
/// The most requests of a rotation beyond one for each namespace.
const EXTRA_REQUESTS: usize = 30;

/// One rotation.
struct Rotation {
    /// The seconds until each namespace was reached.
    arrivals: Spread,
    cpu: f64,
    cost: Cost,
}

async fn rotate(side: &Side, controller: &Controller) -> anyhow::Result<Rotation> {
    let mark = Mark::new(side).await?;
    let cpu_before = controller.cpu()?;
    let arrivals = rotation::rotate(side, &mark).await?;
    // The API server is idle again, so the status that regcred writes afterwards is counted.
    let cost = mark.cost_since(side).await?;
    Ok(Rotation { arrivals, cpu: controller.cpu()? - cpu_before, cost })
}

/// Measures rotations.
pub(crate) async fn measure(
    sides: &Sides,
    controllers: &Pair<Controller>,
    bare: &Pair<Bare>,
    rounds: u8,
    table: &mut Table,
) -> anyhow::Result<()> {
    // The first writes over new connections are not counted.
    let write = async |side: &Side| side.version.select(bare).rotate(side).await;
    sides.in_turn("bare writes over new connections", 1, write).await?;
    let floor = write(&sides.current).await?;
    let (mut last, mut median) = (Comparison::new(floor.highest), Comparison::new(floor.median));
    let mut rotations = Vec::new();
    for round in 1..=rounds {
        let act = async |side: &Side| rotate(side, side.version.select(controllers)).await;
        let pair = sides.in_turn("rotation", round, act).await?;
        let Pair { current: floor, .. } = sides.in_turn("bare writes", round, write).await?;
        last.add(pair.current.arrivals.highest, floor.highest);
        median.add(pair.current.arrivals.median, floor.median);
        rotations.push(pair);
    }

    let phase = "rotation";
    let figure = "to the last namespace";
    let seconds = Paired::new(&rotations, |it| it.arrivals.highest);
    table.paired_time(phase, &format!("{figure}, s"), &seconds);
    table.bare(phase, figure, &last, Some(MOST_RATIO));
    let figure = "to the median namespace";
    let seconds = Paired::new(&rotations, |it| it.arrivals.median);
    table.paired_time(phase, &format!("{figure}, s"), &seconds);
    table.bare(phase, figure, &median, None);
    let requests = summarize(&rotations, |it| busiest(it.map(|it| &it.cost), &[LEASE]));
    let most = sides.current.namespaces.len() + EXTRA_REQUESTS;
    let limit = at_most(requests.current.total(), most);
    table.both(phase, "requests but for its Lease", &requests, Some(limit));
    let store_reads = summarize(&rotations, |it| store_reads_unlike_one(it.map(|it| &it.cost)));
    table.both(phase, "reads of Vault", &store_reads, Some(exactly(store_reads.current, 1)));
    table.paired_cpu(phase, &Paired::sum(&rotations, |it| it.cpu));
    Ok(())
}
