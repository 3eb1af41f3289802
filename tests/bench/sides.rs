//! Both sides of the comparison. Each version has a cluster of its own, so that neither takes over the objects of the
//! other. Both clusters run on the same machine and have equal namespaces, and the sides take turns in one run.

use std::ops::Deref;

use harness::bench::report::say;
use harness::bench::{Pair, in_turn};

use crate::side::{Side, Version};

/// The side of each version.
pub(crate) struct Sides(Pair<Side>);

impl Deref for Sides {
    type Target = Pair<Side>;

    fn deref(&self) -> &Pair<Side> {
        &self.0
    }
}

impl Sides {
    /// Starts both clusters.
    pub(crate) async fn start(namespaces: usize) -> anyhow::Result<Self> {
        let (current, baseline) = tokio::try_join!(
            Side::start(Version::Current, namespaces),
            Side::start(Version::Baseline, namespaces)
        )?;
        Ok(Self(Pair { current, baseline }))
    }

    /// Acts on one side and then on the other; the first one alternates with the rounds.
    pub(crate) async fn in_turn<T>(
        &self,
        phase: &str,
        round: u8,
        act: impl AsyncFn(&Side) -> anyhow::Result<T>,
    ) -> anyhow::Result<Pair<T>> {
        let act = async |version: Version| {
            let side = version.select(&self.0);
            say(&format!("{phase}, round {round}, {}", side.version));
            act(side).await
        };
        let (current, baseline) =
            (async || act(Version::Current).await, async || act(Version::Baseline).await);
        in_turn(round, current, baseline).await
    }
}

/// Summarizes the rounds of each version.
pub(crate) fn summarize<'a, T, S>(
    rounds: &'a [Pair<T>],
    summary: impl Fn(&mut dyn Iterator<Item = &'a T>) -> S,
) -> Pair<S> {
    Pair {
        current: summary(&mut rounds.iter().map(|it| &it.current)),
        baseline: summary(&mut rounds.iter().map(|it| &it.baseline)),
    }
}
