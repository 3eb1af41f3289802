//! Measured values of two sides that take turns, and the table of a benchmark.

pub mod measure;
pub mod report;

/// A value of each side.
#[derive(Clone, Copy, Debug)]
pub struct Pair<T> {
    /// This version of regcred.
    pub current: T,
    /// The baseline, or another tool.
    pub baseline: T,
}

/// Acts on one side and then on the other; the first one alternates with the rounds.
pub async fn in_turn<T>(
    round: u8,
    current: impl AsyncFnOnce() -> anyhow::Result<T>,
    baseline: impl AsyncFnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<Pair<T>> {
    if round.is_multiple_of(2) {
        let baseline = baseline().await?;
        Ok(Pair { current: current().await?, baseline })
    } else {
        let current = current().await?;
        Ok(Pair { current, baseline: baseline().await? })
    }
}
