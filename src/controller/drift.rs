//! Writers who keep undoing what regcred did.
//!
//! Pure: what was undone and when goes in, whether to put it back now or to wait comes out. With the
//! third time within ten minutes it is a contest, which is told and answered with back-off, not with a
//! war.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff;

/// How long an undoing is remembered.
const MEMORY: Duration = Duration::from_mins(10);
/// How often within that time something is put back at once.
const PATIENCE: usize = 2;
/// The pause of the first answer to a contest is that after so many failures: some seconds, in which
/// whoever watches sees what goes on.
const FIRST_PAUSE: usize = 3;

/// One object that regcred keeps in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The pull secret of that name.
    Secret(String),
    /// The entry of that pull secret in a ServiceAccount.
    Entry {
        /// The ServiceAccount.
        service_account: String,
        /// The pull secret.
        secret_name: String,
    },
}

/// When which thing of which namespace was undone.
#[derive(Debug, Default)]
pub struct Contests(BTreeMap<(String, Thing), VecDeque<Instant>>);

impl Contests {
    /// Takes note that somebody undid a thing. `None`: put it back at once; else how long to wait.
    pub fn undone(&mut self, namespace: &str, thing: &Thing, now: Instant, jitter: f64) -> Option<Duration> {
        let times = self.0.entry((namespace.to_owned(), thing.clone())).or_default();
        while times.front().is_some_and(|first| now.duration_since(*first) > MEMORY) {
            times.pop_front();
        }
        times.push_back(now);
        let beyond = times.len().checked_sub(PATIENCE + 1)?;
        // However long the war, only its last ten minutes are remembered, so this stays small.
        Some(backoff::after(u32::try_from(beyond + FIRST_PAUSE).unwrap_or(u32::MAX), jitter))
    }

    /// Forgets what happened too long ago to matter.
    pub fn forget(&mut self, now: Instant) {
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) <= MEMORY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Thing {
        Thing::Entry { service_account: "default".into(), secret_name: "regcred".into() }
    }

    /// What is answered to an undoing at each of these seconds: the seconds to wait.
    #[track_caller]
    fn check(seconds: &[u64], expect: &[Option<u64>]) {
        let (begin, mut contests) = (Instant::now(), Contests::default());
        let answers = seconds.iter().map(|second| {
            let now = begin + Duration::from_secs(*second);
            contests.undone("web", &entry(), now, 0.0).map(|pause| pause.as_secs())
        });
        assert_eq!(answers.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn the_third_time_in_ten_minutes_is_a_contest_and_answered_with_growing_pauses() {
        check(&[0, 1, 2, 3, 4], &[None, None, Some(4), Some(8), Some(16)]);
    }

    #[test]
    fn what_is_undone_now_and_then_is_no_contest() {
        check(&[0, 601, 1202, 1803], &[None, None, None, None]);
    }

    #[test]
    fn a_contest_is_of_one_thing_and_ends_by_itself() {
        let (begin, mut contests) = (Instant::now(), Contests::default());
        for _ in 0..4 {
            contests.undone("web", &entry(), begin, 0.0);
        }
        assert_eq!(contests.undone("wed", &entry(), begin, 0.0), None);
        assert_eq!(contests.undone("web", &Thing::Secret("regcred".into()), begin, 0.0), None);
        let later = begin + MEMORY + Duration::from_secs(1);
        assert_eq!(contests.undone("web", &entry(), later, 0.0), None);
        contests.forget(later + MEMORY + Duration::from_secs(1));
        assert!(contests.0.is_empty());
    }
}
