//! Evaluation of poll answers, and memory of what was reported, so that nothing is reported twice.
//!
//! Pure. Any version other than the known one is a change, higher or lower: a recreated key begins at 1
//! again. A deleted key is one without a version. A refused login is a change of every key that could be read: the
//! read that follows fails and reports it, and the first version after it is a change again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::KnownVersions;
use crate::credential::{StoreKey, Version};
use crate::provider::{Denied, Error, ErrorKind};

/// Time until a change that is still unread is reported again: the read it caused may have failed.
const REPEAT_AFTER: Duration = Duration::from_mins(5);

/// The first back-off of a denied key; it doubles.
const MIN_PAUSE: Duration = Duration::from_mins(1);
/// The longest back-off: no store announces that a login is good again.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The reported versions and denied keys of a store, from one round to the next.
#[derive(Debug, Default)]
pub(super) struct PolledVersions {
    reported: BTreeMap<StoreKey, Reported>,
    denials: BTreeMap<StoreKey, Denial>,
}

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is nothing to report.
    Unchanged,
    /// The key has to be read again.
    Changed,
    /// Access to the version is denied, which was not reported yet.
    Denied,
}

/// The last change that was reported.
#[derive(Debug)]
struct Reported {
    found: Found,
    at: Instant,
}

/// The state of a key in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// A read would return this version.
    Version(Version),
    /// A read would return no value, and the key or the login is the reason.
    Nothing(Nothing),
}

/// The reason why a read would return no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nothing {
    NoKey,
    NoLogin,
}

impl Found {
    /// Returns true if the last read had the same result; none is known of a key that could not be read.
    fn is_known(&self, known: Option<&Option<Version>>) -> bool {
        match (self, known) {
            (Self::Version(found), Some(Some(known))) => found == known,
            (Self::Nothing(_), Some(None)) => true,
            _ => false,
        }
    }
}

/// Denied access to a version.
#[derive(Debug)]
struct Denial {
    times: u32,
    /// The key is not polled until then, or until another version of it is read, which shows that something changed.
    until: Instant,
    known: Option<Version>,
}

impl PolledVersions {
    /// The keys to poll now. Keys that are no longer known are forgotten.
    pub(super) fn due(&mut self, known: &KnownVersions, now: Instant) -> BTreeSet<StoreKey> {
        self.reported.retain(|key, _| known.contains_key(key));
        self.denials.retain(|key, _| known.contains_key(key));
        known
            .iter()
            .filter(|(key, version)| {
                self.denials.get(key).is_none_or(|denial| denial.is_over(version.as_ref(), now))
            })
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Evaluates the answer for a key, given its known version at the time of the request, and now.
    pub(super) fn evaluate(
        &mut self,
        key: &StoreKey,
        answer: &Result<Version, Error>,
        [before, known]: [Option<&Option<Version>>; 2],
        now: Instant,
    ) -> Verdict {
        let found = match answer {
            Ok(version) => Found::Version(version.clone()),
            Err(Error { kind: ErrorKind::NotFound | ErrorKind::Deleted, .. }) => {
                Found::Nothing(Nothing::NoKey)
            }
            Err(Error { kind: ErrorKind::Denied(Denied::Login(_)), .. }) => Found::Nothing(Nothing::NoLogin),
            Err(Error { kind: ErrorKind::Denied(Denied::Key(_)), .. }) => {
                return self.deny(key, known.cloned().flatten(), now);
            }
            // The reads report these.
            Err(Error {
                kind:
                    ErrorKind::NotAllowed
                    | ErrorKind::Misconfigured(_)
                    | ErrorKind::Sealed(_)
                    | ErrorKind::Throttled
                    | ErrorKind::Malformed(_)
                    | ErrorKind::TimedOut
                    | ErrorKind::Unavailable(_)
                    | ErrorKind::OlderVersion(_)
                    | ErrorKind::Expired(_),
                ..
            }) => return Verdict::Unchanged,
        };
        self.denials.remove(key);
        // A read during the request may have seen a later version than this answer: the next round decides.
        if before != known || found.is_known(known) {
            self.reported.remove(key);
            return Verdict::Unchanged;
        }
        match self.reported.get(key) {
            Some(reported) if reported.found == found && now < reported.at + REPEAT_AFTER => {
                Verdict::Unchanged
            }
            _ => {
                self.reported.insert(key.clone(), Reported { found, at: now });
                Verdict::Changed
            }
        }
    }

    fn deny(&mut self, key: &StoreKey, known: Option<Version>, now: Instant) -> Verdict {
        let times = self.denials.get(key).map_or(0, |denial| denial.times);
        let until = now + MIN_PAUSE.saturating_mul(1 << times.min(16)).min(MAX_PAUSE);
        self.denials.insert(key.clone(), Denial { times: times + 1, until, known });
        if times == 0 { Verdict::Denied } else { Verdict::Unchanged }
    }
}

impl Denial {
    fn is_over(&self, known: Option<&Version>, now: Instant) -> bool {
        now >= self.until || self.known.as_ref() != known
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, store_key};
    use super::*;

    /// A key of a store, and the answers to its polls.
    struct PolledKey {
        polled: PolledVersions,
        now: Instant,
    }

    fn ghcr() -> StoreKey {
        store_key("vault", "ci/ghcr")
    }

    fn version(text: &str) -> Option<Version> {
        (!text.is_empty()).then(|| text.into())
    }

    impl PolledKey {
        fn new() -> Self {
            Self { polled: PolledVersions::default(), now: Instant::now() }
        }

        fn advance(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        /// Evaluates an answer; no version is known where `known` is empty.
        fn evaluate(&mut self, known: &str, text: &str) -> Verdict {
            self.evaluate_moved([known, known], text)
        }

        fn evaluate_moved(&mut self, [before, known]: [&str; 2], text: &str) -> Verdict {
            let (before, known) = (version(before), version(known));
            self.polled.evaluate(&ghcr(), &answer(&ghcr(), text), [Some(&before), Some(&known)], self.now)
        }

        fn is_due(&mut self, known: &str) -> bool {
            !self.polled.due(&KnownVersions::from([(ghcr(), version(known))]), self.now).is_empty()
        }
    }

    #[test]
    fn different_version_reported_once_whether_higher_or_lower() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("2", "2"), Verdict::Unchanged);
        for found in ["3", "1", "NotFound", "1", "Deleted"] {
            assert_eq!(key.evaluate("2", found), Verdict::Changed, "{found}");
            assert_eq!(key.evaluate("2", found), Verdict::Unchanged, "{found} a second time");
        }
    }

    #[test]
    fn deleted_key_reported_while_known_and_when_recreated() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("2", "NotFound"), Verdict::Changed);
        assert_eq!(key.evaluate("", "NotFound"), Verdict::Unchanged);
        assert_eq!(key.evaluate("", "Deleted"), Verdict::Unchanged);
        assert_eq!(key.evaluate("", "1"), Verdict::Changed);
        assert_eq!(key.evaluate("", "1"), Verdict::Unchanged, "the failed read is retried without the poll");
        assert_eq!(key.evaluate("1", "1"), Verdict::Unchanged);
        assert_eq!(key.evaluate("1", "NotFound"), Verdict::Changed);
    }

    #[test]
    fn unread_change_reported_again_after_five_minutes() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("1", "2"), Verdict::Changed);
        key.advance(299);
        assert_eq!(key.evaluate("1", "2"), Verdict::Unchanged);
        key.advance(1);
        assert_eq!(key.evaluate("1", "2"), Verdict::Changed);
        assert_eq!(key.evaluate("1", "2"), Verdict::Unchanged);
    }

    #[test]
    fn answer_overtaken_by_a_read_is_not_reported() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate_moved(["1", "3"], "2"), Verdict::Unchanged);
        assert_eq!(key.evaluate("3", "3"), Verdict::Unchanged);
        assert_eq!(
            key.polled.evaluate(&ghcr(), &answer(&ghcr(), "2"), [Some(&None), None], key.now),
            Verdict::Unchanged
        );
    }

    #[test]
    fn transient_error_is_not_reported() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("1", "2"), Verdict::Changed);
        for error in ["Unavailable", "Throttled"] {
            assert_eq!(key.evaluate("1", error), Verdict::Unchanged);
            assert!(key.is_due("1"));
        }
        assert_eq!(key.evaluate("1", "2"), Verdict::Unchanged);
    }

    #[test]
    fn refused_login_reported_once_and_polled_on() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("1", "LoginRefused"), Verdict::Changed, "a read reports it");
        assert_eq!(key.evaluate("1", "LoginRefused"), Verdict::Unchanged, "the read is on its way");
        assert_eq!(key.evaluate("", "LoginRefused"), Verdict::Unchanged, "the read has failed");
        assert!(key.is_due(""), "a corrected login is noticed by the next poll");
        assert_eq!(key.evaluate("", "1"), Verdict::Changed);
        assert_eq!(key.evaluate("1", "1"), Verdict::Unchanged);
        assert_eq!(key.evaluate("1", "LoginRefused"), Verdict::Changed, "it is refused again");
    }

    #[test]
    fn refused_login_ends_the_pause_of_a_denied_key() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("1", "Denied"), Verdict::Denied);
        key.advance(60);
        assert_eq!(key.evaluate("1", "LoginRefused"), Verdict::Changed);
        assert!(key.is_due("1"));
    }

    #[test]
    fn denied_key_reported_once_and_backs_off_to_five_minutes() {
        let mut key = PolledKey::new();
        let mut pauses = Vec::new();
        for n in 0..8 {
            let verdict = if n == 0 { Verdict::Denied } else { Verdict::Unchanged };
            assert_eq!(key.evaluate("1", "Denied"), verdict);
            let since = key.now;
            while !key.is_due("1") {
                key.advance(60);
            }
            pauses.push((key.now - since).as_secs() / 60);
        }
        assert_eq!(pauses, [1, 2, 4, 5, 5, 5, 5, 5]);
        assert_eq!(key.evaluate("1", "1"), Verdict::Unchanged);
        assert_eq!(key.evaluate("1", "Denied"), Verdict::Denied, "access was granted in between");
    }

    #[test]
    fn denied_key_polled_again_when_its_version_changes() {
        let mut key = PolledKey::new();
        assert_eq!(key.evaluate("1", "Denied"), Verdict::Denied);
        assert!(!key.is_due("1"));
        assert!(key.is_due("2"), "another version was read");
        assert_eq!(key.evaluate("2", "Denied"), Verdict::Unchanged, "it is not reported twice");
        assert!(!key.is_due("2"));
        assert!(key.polled.due(&KnownVersions::new(), key.now).is_empty());
        assert!(key.is_due("2"), "it was removed and added again");
        assert_eq!(key.evaluate("2", "Denied"), Verdict::Denied);
    }
}
