//! The version of a key that is held, and an older one that waits to be taken.
//!
//! Pure. In go the versions that a store answers, with their times; out comes the decision to take each. An
//! older answer is a replica that lags behind for a moment, or a snapshot that was restored for good: it is
//! taken once the store has answered nothing later for five minutes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::{Version, VersionOrder};

/// The time for which an older version is held back.
pub const HOLD_BACK: Duration = Duration::from_mins(5);

/// The number of versions that are remembered as replaced.
const MAX_REPLACED: usize = 16;

/// The version of a key that is held.
#[derive(Debug, Default)]
pub(super) struct HeldVersion {
    held: Option<Version>,
    /// Ordered versions that a later one replaced, the latest last. After the key was created again, a replica
    /// that lags behind answers one of them with a higher number.
    replaced: VecDeque<Version>,
    /// The older version that the store answers, and the time of the first such answer.
    older: Option<(Version, Instant)>,
    /// A later version that was given up for the held one.
    given_up: Option<Version>,
}

/// The decision about a version that a store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerVerdict {
    /// The value is taken.
    Taken,
    /// The value is older than the held one, which stays.
    HeldBack {
        /// True if the answer before was not older.
        is_first: bool,
    },
    /// The value is older, and is taken because the store answered nothing later for five minutes.
    TakenOlder,
}

impl HeldVersion {
    /// Creates the state of a key that this process has not read, with the version of its last good value.
    pub(super) fn recorded(version: Option<Version>) -> Self {
        Self { held: version, ..Self::default() }
    }

    /// Decides about a version that the store answered.
    pub(super) fn on_answer(&mut self, found: &Version, now: Instant) -> AnswerVerdict {
        let order = self.held.as_ref().map(|held| held.compare(found));
        match order {
            Some(VersionOrder::Older) => self.hold_back(found, now),
            Some(VersionOrder::Newer | VersionOrder::Recreated) if self.replaced.contains(found) => {
                self.hold_back(found, now)
            }
            Some(VersionOrder::Same) => {
                self.older = None;
                // The answer may have the time that the held version lacks.
                self.held = Some(found.clone());
                AnswerVerdict::Taken
            }
            None | Some(VersionOrder::Newer | VersionOrder::Recreated | VersionOrder::Unordered) => {
                let replaced = self.held.replace(found.clone());
                self.record_replaced(replaced);
                (self.older, self.given_up) = (None, None);
                AnswerVerdict::Taken
            }
        }
    }

    fn hold_back(&mut self, found: &Version, now: Instant) -> AnswerVerdict {
        let since = self.older.as_ref().map_or(now, |(_, since)| *since);
        if now < since + HOLD_BACK {
            let is_first = self.older.replace((found.clone(), since)).is_none();
            return AnswerVerdict::HeldBack { is_first };
        }
        self.older = None;
        self.replaced.retain(|it| it != found);
        self.given_up = self.held.replace(found.clone());
        AnswerVerdict::TakenOlder
    }

    /// Names have no order: an earlier one may become current again.
    fn record_replaced(&mut self, version: Option<Version>) {
        let Some(version @ Version::Numbered { created: Some(_), .. }) = version else { return };
        self.replaced.push_back(version);
        if self.replaced.len() > MAX_REPLACED {
            self.replaced.pop_front();
        }
    }

    /// Returns true if this version is held.
    pub(super) fn is(&self, version: &Version) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_same(version))
    }

    /// Returns the held version and the older one that the store answers instead.
    pub(super) fn held_back(&self) -> Option<(&Version, &Version)> {
        self.held.as_ref().zip(self.older.as_ref().map(|(found, _)| found))
    }

    /// Returns the later version that was given up for the held one.
    pub(super) fn given_up(&self) -> Option<&Version> {
        self.given_up.as_ref()
    }

    /// Returns the instant from which an older answer is taken, while one is held back.
    pub(super) fn taken_at(&self) -> Option<Instant> {
        self.older.as_ref().map(|(_, since)| *since + HOLD_BACK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: AnswerVerdict = AnswerVerdict::HeldBack { is_first: true };
    const AGAIN: AnswerVerdict = AnswerVerdict::HeldBack { is_first: false };

    /// Two versions of a key, and the first of the key that was created again later.
    const ONE: &str = "1@2026-11-27T10:00:00Z";
    const TWO: &str = "2@2026-11-27T11:00:00Z";
    const ANEW: &str = "1@2026-11-27T12:00:00Z";

    /// A held version with the clock of its answers.
    struct TestKey {
        version: HeldVersion,
        now: Instant,
    }

    impl TestKey {
        fn new(versions: &[&str]) -> Self {
            let mut key = Self { version: HeldVersion::default(), now: Instant::now() };
            for version in versions {
                assert_eq!(key.answer(version), AnswerVerdict::Taken, "{version}");
            }
            key
        }

        fn answer(&mut self, version: &str) -> AnswerVerdict {
            self.version.on_answer(&version.into(), self.now)
        }

        fn advance(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn older_answer_is_held_back_for_five_minutes() {
        let mut key = TestKey::new(&[ONE, TWO]);
        assert_eq!(key.answer(ONE), FIRST);
        assert_eq!(key.version.held_back(), Some((&TWO.into(), &ONE.into())));
        assert_eq!(key.version.taken_at(), Some(key.now + HOLD_BACK));
        key.advance(299);
        assert_eq!(key.answer(ONE), AGAIN);
        key.advance(1);
        assert_eq!(key.answer(ONE), AnswerVerdict::TakenOlder);
        assert_eq!(key.version.given_up(), Some(&TWO.into()));
        assert_eq!((key.version.held_back(), key.version.taken_at()), (None, None));
        assert_eq!(key.answer(ONE), AnswerVerdict::Taken);
        assert_eq!(key.version.given_up(), Some(&TWO.into()), "Secrets may still hold it");
        assert_eq!(key.answer(TWO), AnswerVerdict::Taken, "the store has it after all");
        assert_eq!(key.version.given_up(), None);
    }

    #[test]
    fn recorded_version_is_held_after_a_restart() {
        let version = HeldVersion::recorded(Some(TWO.into()));
        let mut key = TestKey { version, now: Instant::now() };
        assert_eq!(key.answer(ONE), FIRST);
        key.advance(300);
        assert_eq!(key.answer(ONE), AnswerVerdict::TakenOlder);
        assert_eq!(key.version.given_up(), Some(&TWO.into()));
        let mut key = TestKey { version: HeldVersion::recorded(Some(TWO.into())), now: Instant::now() };
        assert_eq!(key.answer(ANEW), AnswerVerdict::Taken);
    }

    #[test]
    fn replica_that_caught_up_ends_the_wait() {
        let mut key = TestKey::new(&[ONE, TWO]);
        assert_eq!(key.answer(ONE), FIRST);
        key.advance(10);
        assert_eq!(key.answer(TWO), AnswerVerdict::Taken);
        assert_eq!(key.version.held_back(), None);
        key.advance(300);
        assert_eq!(key.answer(ONE), FIRST, "the five minutes begin again");
    }

    #[test]
    fn key_created_again_is_taken_at_once() {
        let mut key = TestKey::new(&[ONE, TWO, ANEW]);
        assert_eq!(key.answer(TWO), FIRST, "a replica that lags behind has the higher number");
        assert_eq!(key.answer(ANEW), AnswerVerdict::Taken);
        let mut same_number = TestKey::new(&[ONE]);
        assert_eq!(same_number.answer(ANEW), AnswerVerdict::Taken);
        assert_eq!(same_number.answer(ONE), FIRST);
    }

    #[test]
    fn name_that_was_current_before_is_taken_at_once() {
        let mut key = TestKey::new(&["id-1", "id-2"]);
        assert_eq!(key.answer("id-1"), AnswerVerdict::Taken);
        assert_eq!(key.version.given_up(), None);
    }

    #[test]
    fn different_older_answers_share_one_wait() {
        let mut key = TestKey::new(&[ONE, TWO, "3@2026-11-27T11:30:00Z"]);
        assert_eq!(key.answer(TWO), FIRST);
        key.advance(200);
        assert_eq!(key.answer(ONE), AGAIN);
        key.advance(100);
        assert_eq!(key.answer(ONE), AnswerVerdict::TakenOlder);
    }
}
