//! A pass under way, and what it was when it is over.
//!
//! Pure. Triggers that come together are one pass: the oldest tells the time, and the one that says most
//! the reason. Whoever waits for its end gave it a share in a receipt.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::credential::StoreKey;
use crate::trigger::{Ack, Trigger};

/// Why a pass runs, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What made it run.
    pub trigger: Trigger,
    /// When that came, by the clock that measures.
    pub since: Instant,
    /// When that came, by the clock on the wall.
    pub at: Timestamp,
}

/// A pass under way.
#[derive(Debug)]
pub struct Pass {
    /// Why it runs.
    pub cause: Cause,
    /// When it began; what caused it may be older.
    pub begun: Instant,
    /// It found a new version of a credential.
    pub rotates: bool,
    /// Namespaces in which something was written.
    pub written: usize,
    /// Namespaces in which something failed.
    pub failed: usize,
    /// A write was not sent, because this process does not lead any more.
    pub is_unsent: bool,
    /// When its keys were read.
    fetched: Option<Instant>,
    /// When the first of its writes came to its end, and the last.
    wrote: Option<(Instant, Instant)>,
    /// Events that joined it, in the order in which they came.
    joined: Vec<Joined>,
}

/// An event that joined a pass.
#[derive(Debug)]
pub struct Joined {
    /// When.
    at: Instant,
    cause: Cause,
    share: Option<Share>,
}

/// Who waits for what an event asked for.
#[derive(Debug)]
pub struct Share {
    /// What is told to whoever waits.
    pub receipt: Ack,
    /// The keys the event is about.
    pub places: Vec<StoreKey>,
}

/// A rotation that came to its end.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// What started it, and when.
    pub cause: Cause,
    /// From then to the last namespace.
    pub took: Duration,
    /// Of that, until its keys were read.
    pub fetch: Duration,
    /// From then on to the first write.
    pub first_write: Duration,
    /// From the first write to the last.
    pub last_write: Duration,
}

impl Share {
    /// What the event asked for is done if its keys are. Else its source tells of it again.
    pub fn settle(self, is_done: impl Fn(&StoreKey) -> bool) {
        if self.places.iter().all(is_done) {
            self.receipt.ack();
        }
    }
}

impl Pass {
    /// One that begins now.
    #[must_use]
    pub fn new(cause: Cause, now: Instant) -> Self {
        Self {
            cause,
            begun: now,
            rotates: false,
            written: 0,
            failed: 0,
            is_unsent: false,
            fetched: None,
            wrote: None,
            joined: Vec::new(),
        }
    }

    /// Another trigger joins it. Drift alone does not tell the time.
    pub fn join(&mut self, cause: Cause) {
        let is_older = cause.since < self.cause.since && cause.trigger != Trigger::Drift;
        if is_older || (self.cause.trigger == Trigger::Drift && cause.trigger != Trigger::Drift) {
            (self.cause.since, self.cause.at) = (cause.since, cause.at);
        }
        self.cause.trigger = self.cause.trigger.min(cause.trigger);
    }

    /// Takes note of an event that joined it, and of who waits until its keys and every target are done.
    pub fn note(&mut self, cause: Cause, share: Option<Share>, now: Instant) {
        match self.joined.last_mut() {
            // Those for whom nobody waits are one: there may be any number of them.
            Some(last) if last.share.is_none() && share.is_none() => {
                last.at = now;
                if cause.since < last.cause.since {
                    last.cause = cause;
                }
            }
            _ => self.joined.push(Joined { at: now, cause, share }),
        }
    }

    /// The events that came after an instant leave it for the next pass.
    pub fn leave_late(&mut self, since: Instant) -> Vec<Joined> {
        let first = self.joined.partition_point(|joined| joined.at <= since);
        self.joined.split_off(first)
    }

    /// The pass of events that were too late for the one before; none where there are none.
    #[must_use]
    pub fn of_late(late: Vec<Joined>) -> Option<Self> {
        let first = late.first()?;
        let mut pass = Self::new(first.cause, first.at);
        for Joined { cause, .. } in &late {
            pass.join(*cause);
        }
        pass.joined = late;
        Some(pass)
    }

    /// Every target is done, and with it what those events asked for whose keys are.
    pub fn settle(self, is_done: impl Fn(&StoreKey) -> bool) {
        for share in self.joined.into_iter().filter_map(|joined| joined.share) {
            share.settle(&is_done);
        }
    }

    /// Its keys were read, and something was new.
    pub fn rotate(&mut self, now: Instant) {
        self.rotates = true;
        self.fetched.get_or_insert(now);
    }

    /// A namespace was written.
    pub fn wrote(&mut self, now: Instant) {
        self.written += 1;
        // What was written before the new version was known is no part of its rotation.
        if self.fetched.is_some() {
            let first = self.wrote.map_or(now, |(first, _)| first);
            self.wrote = Some((first, now));
        }
    }

    /// What it is as a rotation.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        let since = self.cause.since;
        let fetched = self.fetched.unwrap_or(since);
        let (first, last) = self.wrote.unwrap_or((fetched, fetched));
        Rotation {
            cause: self.cause,
            took: last.saturating_duration_since(since),
            fetch: fetched.saturating_duration_since(since),
            first_write: first.saturating_duration_since(fetched),
            last_write: last.saturating_duration_since(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn cause(trigger: Trigger, since: Instant) -> Cause {
        Cause { trigger, since, at: Timestamp::UNIX_EPOCH }
    }

    fn seconds(now: Instant) -> impl Fn(u64) -> Instant {
        move |n| now + Duration::from_secs(n)
    }

    #[test]
    fn of_triggers_that_come_together_the_oldest_tells_the_time_and_drift_does_not() {
        let second = seconds(Instant::now());
        let mut pass = Pass::new(cause(Trigger::Drift, second(0)), second(0));
        for (trigger, n) in
            [(Trigger::Poll, 3), (Trigger::Sqs, 2), (Trigger::Refresh, 4), (Trigger::Drift, 1)]
        {
            pass.join(cause(trigger, second(n)));
        }
        assert_eq!(pass.cause, cause(Trigger::Sqs, second(2)));
    }

    #[test]
    fn a_rotation_tells_how_long_each_of_its_stages_took() {
        let second = seconds(Instant::now());
        let mut pass = Pass::new(cause(Trigger::Sqs, second(0)), second(1));
        pass.wrote(second(1));
        pass.rotate(second(2));
        for n in [3, 5, 9] {
            pass.wrote(second(n));
        }
        let Rotation { took, fetch, first_write, last_write, .. } = pass.rotation();
        assert_eq!([took, fetch, first_write, last_write].map(|it| it.as_secs()), [9, 2, 1, 6]);
        assert_eq!(pass.written, 4);
    }

    fn place(key: &str) -> StoreKey {
        StoreKey { store: "aws".into(), key: key.into() }
    }

    /// A pass that four events joined, at the first to the fourth second, each about a key of its own;
    /// and how each of them is told.
    fn joined(second: impl Fn(u64) -> Instant) -> (Pass, impl FnMut() -> Vec<Option<bool>>) {
        let mut pass = Pass::new(cause(Trigger::Sqs, second(0)), second(0));
        let mut ended = Vec::new();
        for n in 1..=4 {
            let (receipt, done) = Ack::new();
            let share = Share { receipt, places: vec![place(&n.to_string())] };
            pass.note(cause(Trigger::Sqs, second(n)), Some(share), second(n));
            ended.push(done);
        }
        let told = move || {
            let told = ended.iter_mut().map(|done| match done.try_recv() {
                Ok(()) => Some(true),
                Err(TryRecvError::Closed) => Some(false),
                Err(TryRecvError::Empty) => None,
            });
            told.collect()
        };
        (pass, told)
    }

    #[test]
    fn who_came_after_the_last_read_began_waits_for_the_next_pass() {
        let second = seconds(Instant::now());
        let (mut pass, mut told) = joined(&second);
        let late = pass.leave_late(second(2));
        pass.settle(|_| true);
        assert_eq!(told(), [Some(true), Some(true), None, None]);
        let next = Pass::of_late(late).expect("another pass");
        assert_eq!((next.cause.since, next.begun), (second(3), second(3)));
        drop(next);
        assert!(Pass::of_late(Vec::new()).is_none());
    }

    #[test]
    fn an_event_is_answered_by_its_own_keys_and_not_by_those_of_others() {
        let (pass, mut told) = joined(seconds(Instant::now()));
        pass.settle(|it| *it != place("2"));
        assert_eq!(told(), [Some(true), Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn events_for_which_nobody_waits_take_no_room() {
        let second = seconds(Instant::now());
        let mut pass = Pass::new(cause(Trigger::Webhook, second(0)), second(0));
        for n in [3, 2, 4] {
            pass.note(cause(Trigger::Webhook, second(n)), None, second(n));
        }
        assert_eq!(pass.joined.len(), 1);
        assert_eq!(Pass::of_late(pass.leave_late(second(3))).map(|it| it.cause.since), Some(second(2)));
    }
}
