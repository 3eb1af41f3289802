//! What the answers to a poll mean, and what was said of them before, so that nothing is said twice.
//!
//! Pure. Another version than the one that is held is new, be it greater or less: a key that was made
//! anew begins at 1 again. A key that is gone is one without a version.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Held;
use crate::credential::{StoreKey, Version};
use crate::provider::{Error, ErrorKind};

/// When what was said before is said again, if it is still so: the read it caused may have come to nothing.
const REMINDER: Duration = Duration::from_mins(5);

/// How long a key rests whose version we may not see; it doubles.
const REST: Duration = Duration::from_mins(1);
/// The rest that none exceeds: nobody tells us when a login is good again.
const LONGEST_REST: Duration = Duration::from_mins(5);

/// What is remembered of the keys of a store from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    said: BTreeMap<StoreKey, Said>,
    denials: BTreeMap<StoreKey, Denial>,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to say.
    Known,
    /// The key is to be looked at.
    New,
    /// We may not see the version, which nobody was told yet.
    Denied,
}

/// The last answer that was new.
#[derive(Debug)]
struct Said {
    found: Option<Version>,
    at: Instant,
}

/// We may not see a version.
#[derive(Debug)]
struct Denial {
    times: u32,
    /// The key rests until then, or until another version of it is read, which shows that something changed.
    until: Instant,
    held: Option<Version>,
}

impl Memory {
    /// The keys to ask for now. What is no longer held is forgotten.
    pub(super) fn due(&mut self, held: &Held, now: Instant) -> BTreeSet<StoreKey> {
        self.said.retain(|place, _| held.contains_key(place));
        self.denials.retain(|place, _| held.contains_key(place));
        let rests = |place: &StoreKey, version: &Option<Version>| {
            self.denials.get(place).is_some_and(|denial| now < denial.until && denial.held == *version)
        };
        held.iter()
            .filter(|(place, version)| !rests(place, version))
            .map(|(place, _)| place.clone())
            .collect()
    }

    /// Judges the answer for a key of which this was held when it was asked for, and is held now.
    pub(super) fn judge(
        &mut self,
        place: &StoreKey,
        answer: &Result<Version, Error>,
        [before, held]: [Option<&Option<Version>>; 2],
        now: Instant,
    ) -> Verdict {
        let found = match answer {
            Ok(version) => Some(version.clone()),
            Err(Error { kind: ErrorKind::NotFound | ErrorKind::Deleted, .. }) => None,
            Err(Error { kind: ErrorKind::Denied(_), .. }) => {
                return self.deny(place, held.cloned().flatten(), now);
            }
            // The reads tell of it.
            Err(Error {
                kind:
                    ErrorKind::NotAllowed
                    | ErrorKind::Misconfigured(_)
                    | ErrorKind::Sealed
                    | ErrorKind::Throttled
                    | ErrorKind::Malformed(_)
                    | ErrorKind::TimedOut
                    | ErrorKind::Unavailable(_),
                ..
            }) => return Verdict::Known,
        };
        self.denials.remove(place);
        // Read meanwhile, and perhaps at a later version than was answered: the next round will tell.
        if before != held || held == Some(&found) {
            self.said.remove(place);
            return Verdict::Known;
        }
        match self.said.get(place) {
            Some(said) if said.found == found && now < said.at + REMINDER => Verdict::Known,
            _ => {
                self.said.insert(place.clone(), Said { found, at: now });
                Verdict::New
            }
        }
    }

    fn deny(&mut self, place: &StoreKey, held: Option<Version>, now: Instant) -> Verdict {
        let times = self.denials.get(place).map_or(0, |denial| denial.times);
        let until = now + REST.saturating_mul(1 << times.min(16)).min(LONGEST_REST);
        self.denials.insert(place.clone(), Denial { times: times + 1, until, held });
        if times == 0 { Verdict::Denied } else { Verdict::Known }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, place};
    use super::*;

    /// A key at a store, and what is remembered of it.
    struct Key {
        memory: Memory,
        now: Instant,
    }

    fn ours() -> StoreKey {
        place("vault", "ci/ghcr")
    }

    fn version(text: &str) -> Option<Version> {
        (!text.is_empty()).then(|| text.into())
    }

    impl Key {
        fn new() -> Self {
            Self { memory: Memory::default(), now: Instant::now() }
        }

        fn later(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        /// Judges an answer; nothing is held where `held` is empty.
        fn judge(&mut self, held: &str, text: &str) -> Verdict {
            self.judge_moved([held, held], text)
        }

        fn judge_moved(&mut self, [before, held]: [&str; 2], text: &str) -> Verdict {
            let (before, held) = (version(before), version(held));
            self.memory.judge(&ours(), &answer(&ours(), text), [Some(&before), Some(&held)], self.now)
        }

        fn is_due(&mut self, held: &str) -> bool {
            !self.memory.due(&Held::from([(ours(), version(held))]), self.now).is_empty()
        }
    }

    #[test]
    fn another_version_is_new_once_be_it_greater_or_less() {
        let mut key = Key::new();
        assert_eq!(key.judge("2", "2"), Verdict::Known);
        for found in ["3", "1", "NotFound", "1", "Deleted"] {
            assert_eq!(key.judge("2", found), Verdict::New, "{found}");
            assert_eq!(key.judge("2", found), Verdict::Known, "{found} a second time");
        }
    }

    #[test]
    fn a_key_that_is_gone_is_new_while_a_version_is_held_and_when_it_comes_back() {
        let mut key = Key::new();
        assert_eq!(key.judge("2", "NotFound"), Verdict::New);
        assert_eq!(key.judge("", "NotFound"), Verdict::Known);
        assert_eq!(key.judge("", "Deleted"), Verdict::Known);
        assert_eq!(key.judge("", "1"), Verdict::New);
        assert_eq!(key.judge("", "1"), Verdict::Known, "the read has failed and is tried again without us");
        assert_eq!(key.judge("1", "1"), Verdict::Known);
        assert_eq!(key.judge("1", "NotFound"), Verdict::New);
    }

    #[test]
    fn what_is_still_so_after_five_minutes_is_said_again() {
        let mut key = Key::new();
        assert_eq!(key.judge("1", "2"), Verdict::New);
        key.later(299);
        assert_eq!(key.judge("1", "2"), Verdict::Known);
        key.later(1);
        assert_eq!(key.judge("1", "2"), Verdict::New);
        assert_eq!(key.judge("1", "2"), Verdict::Known);
    }

    #[test]
    fn an_answer_that_a_read_overtook_is_not_new() {
        let mut key = Key::new();
        assert_eq!(key.judge_moved(["1", "3"], "2"), Verdict::Known);
        assert_eq!(key.judge("3", "3"), Verdict::Known);
        assert_eq!(
            key.memory.judge(&ours(), &answer(&ours(), "2"), [Some(&None), None], key.now),
            Verdict::Known
        );
    }

    #[test]
    fn what_may_pass_by_itself_says_nothing() {
        let mut key = Key::new();
        assert_eq!(key.judge("1", "2"), Verdict::New);
        for error in ["Unavailable", "Throttled"] {
            assert_eq!(key.judge("1", error), Verdict::Known);
            assert!(key.is_due("1"));
        }
        assert_eq!(key.judge("1", "2"), Verdict::Known);
    }

    #[test]
    fn a_denied_key_is_told_once_and_rests_ever_longer_up_to_five_minutes() {
        let mut key = Key::new();
        let mut rests = Vec::new();
        for n in 0..8 {
            let verdict = if n == 0 { Verdict::Denied } else { Verdict::Known };
            assert_eq!(key.judge("1", "Denied"), verdict);
            let since = key.now;
            while !key.is_due("1") {
                key.later(60);
            }
            rests.push((key.now - since).as_secs() / 60);
        }
        assert_eq!(rests, [1, 2, 4, 5, 5, 5, 5, 5]);
        assert_eq!(key.judge("1", "1"), Verdict::Known);
        assert_eq!(key.judge("1", "Denied"), Verdict::Denied, "it was well in between");
    }

    #[test]
    fn a_denied_key_is_asked_for_when_something_about_it_changes() {
        let mut key = Key::new();
        assert_eq!(key.judge("1", "Denied"), Verdict::Denied);
        assert!(!key.is_due("1"));
        assert!(key.is_due("2"), "it was read at another version");
        assert_eq!(key.judge("2", "Denied"), Verdict::Known, "but nobody needs to hear of it again");
        assert!(!key.is_due("2"));
        assert!(key.memory.due(&Held::new(), key.now).is_empty());
        assert!(key.is_due("2"), "it left and came back");
        assert_eq!(key.judge("2", "Denied"), Verdict::Denied);
    }
}
