//! The measured values, and their summaries.

use std::fmt;

use anyhow::Context as _;
use serde::Serialize;

/// Bytes of resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Memory(pub(crate) u64);

impl Memory {
    /// Reads a field of `/proc/PROCESS/status`: `VmRSS` is resident now, `VmHWM` is the peak.
    pub(crate) fn read(process: u32, field: &str) -> anyhow::Result<Self> {
        let path = format!("/proc/{process}/status");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        let kibibytes = kibibytes.with_context(|| format!("{path} has no {field}: the process has ended"))?;
        Ok(Self(kibibytes * 1024))
    }
}

impl fmt::Display for Memory {
    #[expect(clippy::cast_precision_loss, reason = "a tenth of a MiB is all that is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20))
    }
}

/// The median of several numbers, and their range.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) lowest: f64,
    pub(crate) median: f64,
    pub(crate) highest: f64,
}

impl Spread {
    /// Summarizes numbers.
    ///
    /// # Panics
    ///
    /// If there is no number.
    pub(crate) fn new(numbers: impl IntoIterator<Item = f64>) -> Self {
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
        let Self { lowest, median, highest } = self;
        write!(f, "{median:.2}")?;
        if lowest < highest {
            write!(f, " ({lowest:.2} to {highest:.2})")?;
        }
        Ok(())
    }
}

/// The seconds of both sides, which alternate; the bare writes have the first and the last run.
pub(crate) struct Comparison {
    floor: Vec<f64>,
    regcred: Vec<f64>,
}

impl Comparison {
    pub(crate) fn new(floor: f64) -> Self {
        Self { floor: vec![floor], regcred: Vec::new() }
    }

    /// Adds a run, and the bare writes after it.
    pub(crate) fn add(&mut self, regcred: f64, floor: f64) {
        self.regcred.push(regcred);
        self.floor.push(floor);
    }

    pub(crate) fn floor(&self) -> Spread {
        Spread::new(self.floor.iter().copied())
    }

    pub(crate) fn regcred(&self) -> Spread {
        Spread::new(self.regcred.iter().copied())
    }

    /// The ratio of each run to the bare writes before and after it, because the speed of a machine changes within minutes.
    pub(crate) fn ratio(&self) -> Spread {
        let around = self.floor.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        Spread::new(self.regcred.iter().zip(around).map(|(regcred, floor)| regcred / floor))
    }
}
