//! Both sides of the comparison. Each version has a cluster of its own, so that neither takes over the objects of the
//! other. Both clusters run on the same machine and have equal namespaces, and the sides take turns in one run.

use crate::report::say;
use crate::side::{Side, Version};

/// A value of each version.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair<T> {
    pub(crate) current: T,
    pub(crate) baseline: T,
}

impl<T> Pair<T> {
    /// The value of a version.
    pub(crate) fn get(&self, version: Version) -> &T {
        match version {
            Version::Current => &self.current,
            Version::Baseline => &self.baseline,
        }
    }
}

impl Pair<Side> {
    /// Starts both clusters.
    pub(crate) async fn start(namespaces: usize) -> anyhow::Result<Self> {
        let (current, baseline) = tokio::try_join!(
            Side::start(Version::Current, namespaces),
            Side::start(Version::Baseline, namespaces)
        )?;
        Ok(Self { current, baseline })
    }

    /// Acts on one side and then on the other; the first one alternates with the rounds.
    pub(crate) async fn in_turn<T>(
        &self,
        phase: &str,
        round: u8,
        act: impl AsyncFn(&Side) -> anyhow::Result<T>,
    ) -> anyhow::Result<Pair<T>> {
        let act = async |version| {
            let side = self.get(version);
            say(&format!("{phase}, round {round}, {}", side.version));
            act(side).await
        };
        if round.is_multiple_of(2) {
            let baseline = act(Version::Baseline).await?;
            Ok(Pair { current: act(Version::Current).await?, baseline })
        } else {
            let current = act(Version::Current).await?;
            Ok(Pair { current, baseline: act(Version::Baseline).await? })
        }
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
