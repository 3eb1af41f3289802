//! The measured values, and their summaries.

use std::fmt;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::Pair;

/// Ticks per second, the unit in which Linux counts a process's time, on every architecture that runs Kubernetes.
const TICKS: f64 = 100.0;

/// Reads a field of `/proc/PROCESS/status` in MiB: `VmRSS` is resident now, `VmHWM` is the peak.
pub fn memory(process: u32, field: &str) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u32>().ok());
    let kibibytes = kibibytes.with_context(|| format!("{path} has no {field}: the process has ended"))?;
    Ok(f64::from(kibibytes) / 1024.0)
}

/// Reads two successive times of `/proc/PROCESS/stat`, in user mode and in the kernel; returns their sum in seconds.
pub fn cpu(process: &str, user_field: usize) -> anyhow::Result<f64> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name, which may hold any character, is field two.
    let (_, fields) = text.rsplit_once(')').unwrap_or_default();
    let ticks: Vec<u32> =
        fields.split_whitespace().skip(user_field - 3).take(2).flat_map(str::parse).collect();
    ensure!(ticks.len() == 2, "{path} has no CPU times of the process");
    Ok(ticks.into_iter().map(f64::from).sum::<f64>() / TICKS)
}

/// The median of several numbers, and their range.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The lowest number.
    pub lowest: f64,
    /// The number in the middle, or the mean of two.
    pub median: f64,
    /// The highest number.
    pub highest: f64,
}

impl Spread {
    /// Summarizes numbers.
    ///
    /// # Panics
    ///
    /// If there is no number.
    pub fn new(numbers: impl IntoIterator<Item = f64>) -> Self {
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

/// A figure of both versions, which took turns.
pub struct Paired {
    /// This version of regcred.
    pub current: Spread,
    /// The other side.
    pub baseline: Spread,
    /// The current version as a multiple of the other side.
    pub ratio: Spread,
}

impl Paired {
    /// The figure of every round; the ratio is that of each round.
    pub fn new<T>(rounds: &[Pair<T>], figure: impl Fn(&T) -> f64) -> Self {
        let ratio = Spread::new(rounds.iter().map(|it| figure(&it.current) / figure(&it.baseline)));
        Self { ratio, ..Self::sum(rounds, figure) }
    }

    /// The same with the ratio of the sums, for a figure of which one round is too coarse.
    pub fn sum<T>(rounds: &[Pair<T>], figure: impl Fn(&T) -> f64) -> Self {
        let current: Vec<_> = rounds.iter().map(|it| figure(&it.current)).collect();
        let baseline: Vec<_> = rounds.iter().map(|it| figure(&it.baseline)).collect();
        let ratio = current.iter().sum::<f64>() / baseline.iter().sum::<f64>();
        Self { current: Spread::new(current), baseline: Spread::new(baseline), ratio: Spread::new([ratio]) }
    }
}

/// The seconds of regcred and of the bare writes, which alternate; the bare writes have the first and the last run.
pub struct Comparison {
    floor: Vec<f64>,
    regcred: Vec<f64>,
}

impl Comparison {
    /// Starts with a run of the bare writes.
    pub fn new(floor: f64) -> Self {
        Self { floor: vec![floor], regcred: Vec::new() }
    }

    /// Adds a run, and the bare writes after it.
    pub fn add(&mut self, regcred: f64, floor: f64) {
        self.regcred.push(regcred);
        self.floor.push(floor);
    }

    /// The seconds of the bare writes.
    pub fn floor(&self) -> Spread {
        Spread::new(self.floor.iter().copied())
    }

    /// The ratio of each run to the bare writes before and after it, because the speed of a machine changes within minutes.
    pub fn ratio(&self) -> Spread {
        let around = self.floor.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
        Spread::new(self.regcred.iter().zip(around).map(|(regcred, floor)| regcred / floor))
    }
}
