//! One key: when it is to be read next.
//!
//! Pure. Events come by the thousand: after a read that brought nothing new the next one for their sake
//! waits, while a person, a clock or a new spec is served at once. Where an event names a version, an
//! older answer is read again for a while.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::Version;

/// The least time from the beginning of a read that brought nothing new to the next for an event's sake.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The pause before an answer of an older version than an event named is read again; it doubles.
const STALE_PAUSE: Duration = Duration::from_millis(200);

/// The older answer in a row at which it is told that there are any; it comes after three seconds.
const TOLD_AT: u32 = 5;

/// How many versions are known as older ones.
const MOST_SEEN: usize = 16;

/// One key.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// Somebody wants a read that began at this instant or later.
    wanted: Option<Instant>,
    /// The same of those who do not wait for any pause.
    hurried: Option<Instant>,
    /// The next read does not begin before this instant.
    not_before: Option<Instant>,
    /// When the read began that is under way.
    under_way: Option<Instant>,
    /// When the last read began that came to its end.
    last: Option<Instant>,
    /// The last read brought nothing new.
    is_fruitless: bool,
    /// What the last read answered; none where it failed.
    answered: Option<Version>,
    /// Versions that were answered, the latest last.
    seen: VecDeque<Version>,
    /// The version that an event named.
    expected: Option<Expected>,
    /// The last read answered an older one, and it is time to say so.
    late: Option<StaleAnswer>,
}

/// What an event tells of a key.
#[derive(Clone, Debug)]
pub struct ChangeNotice {
    /// It was so before this instant.
    pub before: Instant,
    /// The version that is current since, and until when a store may go on answering an older one.
    pub version: Option<(Version, Instant)>,
}

/// A version that a store should answer soon.
#[derive(Debug)]
struct Expected {
    version: Version,
    /// From then on whatever it answers is taken.
    until: Instant,
    /// How often it answered an older one.
    stale: u32,
}

/// A store that goes on answering an older version than an event named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleAnswer {
    /// What the store answers.
    pub answered: Version,
    /// Its time is over: it is not asked again for that.
    pub is_over: bool,
}

/// For whom a key was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// For everybody who wanted it.
    Settled,
    /// For everybody who came before the read that began then; it will be again for events that came later.
    Later(Instant),
    /// Somebody else waits, or the version that an event named.
    Owed,
}

impl KeyState {
    /// Somebody wants it as of an instant, and at once.
    pub(super) fn want(&mut self, since: Instant) {
        self.wanted = self.wanted.max(Some(since));
        self.hurried = self.hurried.max(Some(since));
        self.not_before = None;
    }

    /// An event tells of something. Where it names no version, a read that began since has seen it; else
    /// only that version tells which of the answers after it has.
    pub(super) fn expect(&mut self, ChangeNotice { before, version }: ChangeNotice, now: Instant) {
        let since = if version.is_some() { now } else { before };
        // One that was answered before tells of something that is over.
        let version = version.filter(|(version, until)| *until > now && !self.seen.contains(version));
        if let Some((version, until)) = version {
            let (until, stale) = match self.expected.as_ref().filter(|it| it.until > now) {
                // Else events without end would be waited for without end.
                Some(expected) => (until.min(expected.until), expected.stale),
                None => (until, 0),
            };
            self.expected = Some(Expected { version, until, stale });
        }
        let rested = self.rested(now);
        match (self.wanted, self.not_before) {
            (None, _) => self.not_before = rested,
            (Some(_), Some(at)) => self.not_before = rested.map(|rested| rested.min(at)),
            (Some(_), None) => {}
        }
        self.wanted = self.wanted.max(Some(since));
    }

    /// Whether the last read began at an instant or later, and answered nothing that is known to be old.
    pub(super) fn is_read_since(&self, since: Instant) -> bool {
        let is_old = self.expected.is_some() || self.late.as_ref().is_some_and(|late| late.is_over);
        self.answered.is_some() && self.last >= Some(since) && !is_old
    }

    /// When it may be read again for an event's sake; none for at once.
    fn rested(&self, now: Instant) -> Option<Instant> {
        self.last.filter(|_| self.is_fruitless).map(|began| began + PAUSE).filter(|at| *at > now)
    }

    /// When the next read may begin, where one waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.wanted.is_some() && self.under_way.is_none())
    }

    /// Begins a read, if one is due.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let is_early = self.not_before.is_some_and(|at| at > now);
        let begins = self.wanted.is_some() && self.under_way.is_none() && !is_early;
        if begins {
            (self.under_way, self.not_before, self.late) = (Some(now), None, None);
        }
        begins
    }

    /// The read that began at an instant came to its end, with this version or none. Says whether it was
    /// this slot's.
    pub(super) fn end(&mut self, began: Instant, version: Option<&Version>, now: Instant) -> bool {
        if self.under_way != Some(began) {
            return false;
        }
        (self.under_way, self.last) = (None, Some(began));
        let is_known = version.is_none_or(|version| self.seen.is_empty() || self.seen.contains(version));
        self.is_fruitless = version == self.answered.as_ref();
        self.answered = version.cloned();
        self.remember(version);
        // Who asked after it began is not served by it.
        self.wanted = self.wanted.filter(|since| *since > began);
        self.hurried = self.hurried.filter(|since| *since > began);
        self.not_before = self.rested(now).filter(|_| self.wanted.is_some() && self.hurried.is_none());
        if let Some(version) = version {
            self.meet(version, is_known, now);
        }
        true
    }

    fn remember(&mut self, version: Option<&Version>) {
        let Some(version) = version else { return };
        self.seen.retain(|seen| seen != version);
        self.seen.push_back(version.clone());
        if self.seen.len() > MOST_SEEN {
            self.seen.pop_front();
        }
    }

    /// Where a store still answers a version from before the event, it is asked again.
    fn meet(&mut self, version: &Version, is_known: bool, now: Instant) {
        let Some(expected) = &mut self.expected else { return };
        let late = |is_over| StaleAnswer { answered: version.clone(), is_over };
        if *version == expected.version {
            self.expected = None;
        } else if expected.until <= now {
            self.late = is_known.then(|| late(true));
            self.expected = None;
        } else if self.wanted.is_some() {
            // The event may have come after this read began: the next one answers it.
        } else if is_known {
            let pause = STALE_PAUSE.saturating_mul(1 << expected.stale.min(16));
            expected.stale += 1;
            self.late = (expected.stale == TOLD_AT).then(|| late(false));
            (self.wanted, self.not_before) = (Some(now), Some((now + pause).min(expected.until)));
        } else {
            self.expected = None;
        }
    }

    pub(super) fn late(&self) -> Option<&StaleAnswer> {
        self.late.as_ref()
    }

    pub(super) fn state(&self) -> State {
        match (self.under_way.or(self.wanted), self.last) {
            (None, _) => State::Settled,
            (Some(_), Some(last)) if self.hurried.is_none() && self.expected.is_none() => State::Later(last),
            _ => State::Owed,
        }
    }
}

#[cfg(test)]
mod tests;
