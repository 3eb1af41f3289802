//! A minute at rest: the CPU time of each tool with one key, while nothing changes.

use std::time::Duration;

use anyhow::Context as _;
use harness::bench::Pair;
use harness::bench::measure::Spread;
use harness::bench::report::{Table, say};
use world::Vault;

use crate::tool::{Running, Tool, put};

const KEY: &str = "bench/rest";
/// The length of the minute.
const REST: Duration = Duration::from_mins(1);

pub(crate) async fn measure(vault: &Vault, table: &mut Table) -> anyhow::Result<()> {
    say("a minute at rest");
    put(vault, KEY, "rest").await?;
    let (current, baseline) = tokio::try_join!(rest(Tool::Regcred, vault), rest(Tool::VaultAgent, vault))?;
    let cpu = Pair { current: Spread::new([current]), baseline: Spread::new([baseline]) };
    table.both("a minute at rest", "CPU, ms", &cpu, None);
    Ok(())
}

/// The milliseconds of CPU time.
async fn rest(tool: Tool, vault: &Vault) -> anyhow::Result<f64> {
    let mut running = Running::start(tool, vault, &[KEY.to_owned()])?;
    running.first_file().await?;
    let before = scheduled(running.id)?;
    tokio::time::sleep(REST).await;
    let after = scheduled(running.id)?;
    running.stop().await?;
    Ok((after.as_secs_f64() - before.as_secs_f64()) * 1e3)
}

/// The time that the threads of a process have run: the first field of `schedstat`, in nanoseconds.
fn scheduled(process: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds = text.split_whitespace().next().context("schedstat is empty")?;
        total += Duration::from_nanos(nanoseconds.parse().context("schedstat has no number")?);
    }
    Ok(total)
}
