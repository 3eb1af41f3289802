//! The time from a write in Vault to the new file, at each tool's defaults.
//!
//! Each tool watches its interval, so the time depends on the moment of the write: the writes are spread evenly over
//! one interval, each to a key of its own. The mean is also divided by the mean interval that Vault's audit file shows,
//! because a tool may read earlier than its setting says.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use harness::bench::Pair;
use harness::bench::measure::{Paired, Spread};
use harness::bench::report::{Table, at_most, ratio_at_most, say};
use jiff::Timestamp;
use world::{Vault, VaultAuditMark};

use crate::tool::{Running, Tool, put};

/// The writes, and the keys.
pub(crate) const KEYS: usize = 30;
/// The interval between two looks at the file.
const POLL: Duration = Duration::from_millis(5);
/// The longest wait, in intervals of the tool.
const MOST_INTERVALS: u32 = 3;
/// The most time of the sidecar, as a multiple of vault agent's.
const MOST_OF_VAULT_AGENT: f64 = 0.2;
/// The most of the mean by the mean interval, as a multiple of vault agent's.
const MOST_BY_INTERVAL: f64 = 1.1;

/// The result for a tool, in seconds.
struct Freshness {
    from_write_to_file: Vec<f64>,
    /// The mean time between two reads of a key.
    interval: f64,
}

pub(crate) async fn measure(vault: &Vault, table: &mut Table) -> anyhow::Result<()> {
    say("freshness: two intervals of vault agent, ten minutes");
    let (current, baseline) =
        tokio::try_join!(freshness(Tool::Regcred, vault), freshness(Tool::VaultAgent, vault))?;
    let both = Pair { current, baseline };
    let phase = "a write in Vault";
    let seconds = Pair {
        current: Spread::new(both.current.from_write_to_file.iter().copied()),
        baseline: Spread::new(both.baseline.from_write_to_file.iter().copied()),
    };
    table.both(phase, "to the new file, s", &seconds, None);
    let pair = [both];
    let mean = Paired::new(&pair, Freshness::mean);
    let limit = ratio_at_most(&mean, MOST_OF_VAULT_AGENT);
    table.paired(phase, "to the new file, mean, s", &mean, Some(limit));
    table.paired(phase, "mean interval between two reads, s", &Paired::new(&pair, |it| it.interval), None);
    let by_interval = Paired::new(&pair, |it| it.mean() / it.interval);
    let limit = at_most(by_interval.ratio.median, MOST_BY_INTERVAL);
    table.paired(phase, "mean, by the mean interval", &by_interval, Some(limit));
    Ok(())
}

impl Freshness {
    fn mean(&self) -> f64 {
        mean(&self.from_write_to_file)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few numbers")]
fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

async fn freshness(tool: Tool, vault: &Vault) -> anyhow::Result<Freshness> {
    let name = tool.name().replace(' ', "-");
    let keys: Vec<_> = (0..KEYS).map(|n| format!("bench/{name}-{n}")).collect();
    for key in &keys {
        put(vault, key, "before").await?;
    }
    let mark = vault.audit_mark()?;
    let mut running = Running::start(tool, vault, &keys)?;
    running.first_file().await?;
    let begun = Instant::now();
    let writes = keys.iter().zip(1_u32..).map(async |(key, n)| {
        let after = tool.interval() * (2 * n - 1) / (2 * u32::try_from(KEYS)?);
        tokio::time::sleep_until((begun + after).into()).await;
        write(tool, vault, &running, key).await
    });
    let from_write_to_file = try_join_all(writes).await?;
    let interval = mean_interval(tool, vault, &keys, mark).await?;
    running.stop().await?;
    Ok(Freshness { from_write_to_file, interval })
}

/// Writes a password; returns the seconds until it is in the file.
async fn write(tool: Tool, vault: &Vault, running: &Running, key: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    put(vault, key, "after").await?;
    let wait = async {
        while running.password(key).as_deref() != Some("after") {
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = tokio::time::timeout(tool.interval() * MOST_INTERVALS, wait).await;
    waited.with_context(|| format!("{} does not see the write of {key}", tool.name()))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// The mean time between two successive reads of a key, over all keys: waits until there is one for each.
async fn mean_interval(
    tool: Tool,
    vault: &Vault,
    keys: &[String],
    mark: VaultAuditMark,
) -> anyhow::Result<f64> {
    let until = Instant::now() + tool.interval() * MOST_INTERVALS;
    loop {
        let intervals = intervals(tool, vault, keys, mark)?;
        if intervals.len() >= KEYS {
            return Ok(mean(&intervals));
        }
        ensure!(Instant::now() < until, "{} does not read its keys again", tool.name());
        tokio::time::sleep(tool.interval() / 10).await;
    }
}

/// The seconds between successive reads of each key.
fn intervals(tool: Tool, vault: &Vault, keys: &[String], mark: VaultAuditMark) -> anyhow::Result<Vec<f64>> {
    let events = vault.audit_events_since(mark)?;
    let mut intervals = Vec::new();
    for key in keys {
        let path = tool.watched_path(key);
        let reads = events.iter().filter(|it| it.is_successful_read() && it.path == path);
        let times: Vec<Timestamp> = reads.map(|it| it.time).collect();
        let between = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs_f64());
        intervals.extend(between);
    }
    Ok(intervals)
}
