//! A pass under way, and what it was when it is over.
//!
//! Pure. Triggers that come together are one pass: the oldest tells the time, and the one that says most
//! the reason. Whoever waits for its end gave it a share in a receipt.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::trigger::{Receipt, Trigger};

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
    /// A share in the trigger.
    receipt: Option<Receipt>,
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

    /// Takes note of an event that joined it, and of who waits for its end.
    pub fn note(&mut self, cause: Cause, receipt: Option<Receipt>, now: Instant) {
        self.joined.push(Joined { at: now, cause, receipt });
    }

    /// The events that came after an instant leave it for the next pass.
    pub fn leave_late(&mut self, since: Instant) -> Vec<Joined> {
        let first = self.joined.partition_point(|joined| joined.at <= since);
        self.joined.split_off(first)
    }

    /// The pass of events that were too late for the one before; none where there are none.
    #[must_use]
    pub fn of_late(late: Vec<Joined>, now: Instant) -> Option<Self> {
        let mut pass = Self::new(late.first()?.cause, now);
        for Joined { cause, .. } in &late {
            pass.join(*cause);
        }
        pass.joined = late;
        Some(pass)
    }

    /// Everything that the events asked for is done.
    pub fn settle(self) {
        self.joined.into_iter().filter_map(|joined| joined.receipt).for_each(Receipt::settle);
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

    #[tokio::test]
    async fn who_came_after_the_last_read_began_waits_for_the_next_pass() {
        let second = seconds(Instant::now());
        let mut pass = Pass::new(cause(Trigger::Sqs, second(0)), second(0));
        let mut done = Vec::new();
        for n in [1, 2, 3, 4] {
            let (receipt, ended) = Receipt::new();
            pass.note(cause(Trigger::Sqs, second(n)), Some(receipt), second(n));
            done.push(ended);
        }
        let late = pass.leave_late(second(2));
        pass.settle();
        let next = Pass::of_late(late, second(5)).expect("another pass");
        assert_eq!((next.cause.since, next.begun), (second(3), second(5)));
        let states = |done: &mut Vec<tokio::sync::oneshot::Receiver<()>>| {
            done.iter_mut().map(|it| it.try_recv().is_ok()).collect::<Vec<_>>()
        };
        assert_eq!(states(&mut done), [true, true, false, false]);
        next.settle();
        assert_eq!(states(&mut done)[2..], [true, true]);
        assert!(Pass::of_late(Vec::new(), second(5)).is_none());
    }
}
