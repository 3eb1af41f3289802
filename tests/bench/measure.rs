//! What is measured, and how it is made one number of many.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Output;
use std::time::Duration;

use serde::Serialize;
use tokio::process::Child;
use world::AuditEvent;

/// How often the memory of a process is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Bytes of resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Memory(pub(crate) u64);

impl fmt::Display for Memory {
    #[expect(clippy::cast_precision_loss, reason = "a tenth of a MiB is all that is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

/// Waits for a process, and tells the most memory that it had resident.
///
/// The kernel keeps that mark itself (`VmHWM`) but drops it when the process ends, so it is read every
/// two milliseconds: only what a process grew in its last two is missed. `None` where there is no `/proc`.
pub(crate) async fn with_peak_memory(child: Child) -> std::io::Result<(Output, Option<Memory>)> {
    let status = child.id().map(|id| format!("/proc/{id}/status"));
    let mut peak = None;
    let end = child.wait_with_output();
    tokio::pin!(end);
    loop {
        tokio::select! {
            output = &mut end => return Ok((output?, peak)),
            () = tokio::time::sleep(POLL) => peak = status.as_deref().and_then(high_water_mark).or(peak),
        }
    }
}

fn high_water_mark(status: &str) -> Option<Memory> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Memory(kibibytes * 1024))
}

/// How many requests there were of each verb and resource.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Requests(BTreeMap<String, usize>);

impl Requests {
    pub(crate) fn count(events: &[AuditEvent]) -> Self {
        let mut counts = BTreeMap::new();
        for event in events {
            *counts.entry(format!("{} {}", event.verb, event.resource)).or_default() += 1;
        }
        Self(counts)
    }

    pub(crate) fn total(&self) -> usize {
        self.0.values().sum()
    }

    /// Those that may change something.
    pub(crate) fn writes(&self) -> usize {
        let reads = |kind: &String| ["get ", "list ", "watch "].iter().any(|verb| kind.starts_with(verb));
        self.0.iter().filter(|(kind, _)| !reads(kind)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        f.write_str(&counts.join(", "))
    }
}

/// The middle of several numbers, and how far they lie apart.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) lowest: f64,
    pub(crate) median: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// # Panics
    ///
    /// If there is no number.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Self {
        let mut numbers: Vec<_> = numbers.into_iter().collect();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            numbers[middle]
        } else {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        };
        Self { lowest: numbers[0], median, highest: numbers[numbers.len() - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.lowest, self.highest)
    }
}
