//! The state of one key: when the next read of it starts.
//!
//! Pure. Events come by the thousand: after a read that returned nothing new, the next read for an event
//! waits, while a person, a timer or a new spec is served at once. Where an event names a version, an
//! older answer is retried for a while; where it names none, `unconfirmed` decides about further reads.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::unconfirmed::{Confirmation, ReadGain, UnconfirmedEvents};
use crate::credential::Version;

/// The least time from the start of a read that returned nothing new to the next one for an event.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// The pause before an answer older than the version an event named is retried; it doubles.
const STALE_PAUSE: Duration = Duration::from_millis(200);

/// The number of stale answers in a row at which they are reported; reached after three seconds.
const REPORT_STALE_AT: u32 = 5;

/// The number of versions that are remembered as older ones.
const MAX_SEEN: usize = 16;

/// The state of one key.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    /// A read is requested that starts at this instant or later.
    requested: Option<Instant>,
    /// The same for requests that no pause may delay.
    urgent: Option<Instant>,
    /// The next read does not start before this instant.
    not_before: Option<Instant>,
    /// The start of the read in flight.
    in_flight: Option<Instant>,
    /// The start of the last read that finished.
    last_started: Option<Instant>,
    /// The start of the last read that brought something new.
    last_news: Option<Instant>,
    /// Every event before this instant is served, which a read without news alone does not prove.
    served: Option<Instant>,
    /// Events that no read has confirmed.
    unconfirmed: UnconfirmedEvents,
    /// True if all reads for an event brought nothing new, and it is time to report that.
    is_in_vain: bool,
    /// True if the last read returned nothing new.
    is_unchanged: bool,
    /// The version of the last read; none where it failed.
    answered: Option<Version>,
    /// Versions that were answered, the latest last.
    seen: VecDeque<Version>,
    /// The version that an event named.
    awaited: Option<AwaitedVersion>,
    /// The last read returned an older version, and it is time to report it.
    stale_answer: Option<StaleAnswer>,
}

/// A change of a key that an event reports.
#[derive(Clone, Debug)]
pub struct ChangeNotice {
    /// The change happened before this instant.
    pub before: Instant,
    /// The current version since then, and until when a store may still answer an older one.
    pub version: Option<(Version, Instant)>,
    /// True if the store may still answer with the value before the change.
    pub can_lag: bool,
}

/// A version that a store should answer soon.
#[derive(Debug)]
struct AwaitedVersion {
    version: Version,
    /// From this instant on any answer is accepted.
    until: Instant,
    /// The number of older answers so far.
    stale_answers: u32,
}

/// An older version that a store still answers after an event named a newer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleAnswer {
    /// The version that the store answers.
    pub answered: Version,
    /// True if the time is up: the store is not asked again for that event.
    pub is_final: bool,
}

/// The requests that the reads of a key have served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchState {
    /// All of them.
    Settled,
    /// All that came before this instant; later events wait for another read.
    Deferred(Instant),
    /// Another request waits, or the version that an event named.
    Pending,
}

impl FetchState {
    /// Returns the instant up to which events are served, where later ones wait for another read.
    pub(super) fn served_until(self) -> Option<Instant> {
        if let Self::Deferred(served) = self { Some(served) } else { None }
    }
}

impl StaleAnswer {
    fn new(answered: &Version, is_final: bool) -> Self {
        Self { answered: answered.clone(), is_final }
    }
}

impl KeyState {
    /// Requests a read that starts at `since` or later, without any pause.
    pub(super) fn request(&mut self, since: Instant) {
        self.requested = self.requested.max(Some(since));
        self.urgent = self.urgent.max(Some(since));
        self.not_before = None;
    }

    /// Handles an event. Where the event names no version, a read that started since may have seen the change;
    /// otherwise only that version shows which of the answers after it has.
    pub(super) fn on_change_notice(&mut self, notice: ChangeNotice, now: Instant) {
        let ChangeNotice { before, version, can_lag } = notice;
        if can_lag && version.is_none() {
            self.unconfirmed.add(before);
            if self.unconfirmed.awaits_read() && self.has_started_since(before) {
                return;
            }
        }
        let since = if version.is_some() { now } else { before };
        // A version that was answered before is an outdated event.
        let version = version.filter(|(version, until)| *until > now && !self.has_seen(version));
        if let Some((version, until)) = version {
            let (until, stale_answers) = match self.awaited.as_ref().filter(|it| it.until > now) {
                // Otherwise endless events would extend the wait without end.
                Some(awaited) => (until.min(awaited.until), awaited.stale_answers),
                None => (until, 0),
            };
            self.awaited = Some(AwaitedVersion { version, until, stale_answers });
        }
        let paused_until = self.paused_until(now);
        match (self.requested, self.not_before) {
            (None, _) => self.not_before = paused_until,
            (Some(_), Some(at)) => self.not_before = paused_until.map(|until| until.min(at)),
            (Some(_), None) => {}
        }
        self.requested = self.requested.max(Some(since));
    }

    /// Returns true if the last read started at `since` or later, with whatever result.
    pub(super) fn has_started_since(&self, since: Instant) -> bool {
        self.last_started >= Some(since)
    }

    /// Returns true if the reads since `since` serve an event, and the last answer is not known to be stale.
    pub(super) fn has_read_since(&self, since: Instant) -> bool {
        let is_stale =
            self.awaited.is_some() || self.stale_answer.as_ref().is_some_and(|answer| answer.is_final);
        self.answered.is_some() && self.served >= Some(since) && !is_stale
    }

    /// Returns true if a read that started at `since` or later brought something new.
    pub(super) fn has_news_since(&self, since: Instant) -> bool {
        self.last_news >= Some(since)
    }

    /// Returns the instant from which an event may cause another read; none for at once.
    fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.last_started.filter(|_| self.is_unchanged).map(|started| started + PAUSE).filter(|at| *at > now)
    }

    /// Returns the instant at which the next read may start, where a request is delayed.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.requested.is_some() && self.in_flight.is_none())
    }

    /// Starts a read, if one is due.
    pub(super) fn start(&mut self, now: Instant) -> bool {
        let is_early = self.not_before.is_some_and(|at| at > now);
        let is_due = self.requested.is_some() && self.in_flight.is_none() && !is_early;
        if is_due {
            (self.in_flight, self.not_before, self.stale_answer) = (Some(now), None, None);
            self.is_in_vain = false;
        }
        is_due
    }

    /// Returns true if the read in flight started at this instant.
    pub(super) fn is_in_flight(&self, started: Instant) -> bool {
        self.in_flight == Some(started)
    }

    /// Records the result of the read that started at `started`: a version, or none, and its gain.
    pub(super) fn finish(
        &mut self,
        started: Instant,
        version: Option<&Version>,
        gain: ReadGain,
        now: Instant,
    ) {
        (self.in_flight, self.last_started) = (None, Some(started));
        let is_known = version.is_none_or(|version| self.seen.is_empty() || self.seen.contains(version));
        self.is_unchanged = version == self.answered.as_ref();
        self.answered = version.cloned();
        self.record_seen(version);
        // The read serves no request that came after its start.
        self.requested = self.requested.filter(|since| *since > started);
        self.urgent = self.urgent.filter(|since| *since > started);
        self.not_before =
            self.paused_until(now).filter(|_| self.requested.is_some() && self.urgent.is_none());
        if gain == ReadGain::New {
            self.last_news = Some(started);
        }
        self.confirm(started, gain, now);
        if let Some(version) = version {
            self.check_awaited(version, is_known, now);
        }
    }

    /// Reads again where a replica may lag behind the events that name no version.
    fn confirm(&mut self, started: Instant, gain: ReadGain, now: Instant) {
        let again = match self.unconfirmed.on_read(started, gain) {
            Confirmation::Served(until) => {
                self.served = Some(until);
                None
            }
            Confirmation::ReadAgain(at) => Some(at),
            Confirmation::InVain { until, again } => {
                (self.served, self.is_in_vain) = (Some(until), true);
                again
            }
        };
        let Some(at) = again else { return };
        self.not_before = match (self.requested, self.not_before) {
            (Some(_), None) => None,
            (_, known) => Some(known.map_or(at, |known| known.min(at))),
        };
        self.requested = self.requested.max(Some(now));
    }

    /// Returns true if this version was answered before, as far as the event knows it.
    fn has_seen(&self, version: &Version) -> bool {
        self.seen.iter().any(|seen| seen.is_same(version))
    }

    fn record_seen(&mut self, version: Option<&Version>) {
        let Some(version) = version else { return };
        self.seen.retain(|seen| seen != version);
        self.seen.push_back(version.clone());
        if self.seen.len() > MAX_SEEN {
            self.seen.pop_front();
        }
    }

    /// Retries where a store still answers a version from before the event.
    fn check_awaited(&mut self, version: &Version, is_known: bool, now: Instant) {
        let Some(awaited) = &mut self.awaited else { return };
        if version.is_same(&awaited.version) {
            self.awaited = None;
        } else if awaited.until <= now {
            self.stale_answer = is_known.then(|| StaleAnswer::new(version, true));
            self.awaited = None;
        } else if self.requested.is_some() {
            // The event may have come after this read started: the next one serves it.
        } else if is_known {
            let pause = STALE_PAUSE.saturating_mul(1 << awaited.stale_answers.min(16));
            awaited.stale_answers += 1;
            let is_reported = awaited.stale_answers == REPORT_STALE_AT;
            self.stale_answer = is_reported.then(|| StaleAnswer::new(version, false));
            (self.requested, self.not_before) = (Some(now), Some((now + pause).min(awaited.until)));
        } else {
            self.awaited = None;
        }
    }

    pub(super) fn stale_answer(&self) -> Option<&StaleAnswer> {
        self.stale_answer.as_ref()
    }

    /// Returns true if the last of several reads for an event ended, and all of them brought nothing new.
    pub(super) fn is_in_vain(&self) -> bool {
        self.is_in_vain
    }

    pub(super) fn state(&self) -> FetchState {
        match (self.in_flight.or(self.requested), self.served) {
            (None, _) => FetchState::Settled,
            (Some(_), Some(served)) if self.urgent.is_none() && self.awaited.is_none() => {
                FetchState::Deferred(served)
            }
            _ => FetchState::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
