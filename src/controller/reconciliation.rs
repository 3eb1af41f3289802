//! A reconciliation in progress, and the rotation it was once it is finished.
//!
//! Pure. Triggers that come together share one reconciliation: the oldest sets the time, the first in the
//! order of [`Trigger`] the reason. A source that waits for the end gave the reconciliation an [`Ack`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::credential::StoreKey;
use crate::fetches::ChangeNotice;
use crate::trigger::{Ack, AckOutcome, Trigger};

/// The reason for a reconciliation, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The trigger.
    pub trigger: Trigger,
    /// The time of the trigger by the monotonic clock.
    pub since: Instant,
    /// The time of the trigger by the wall clock.
    pub at: Timestamp,
}

/// A reconciliation in progress.
#[derive(Debug)]
pub struct Reconciliation {
    /// The reason.
    pub cause: Cause,
    /// The start; the cause may be older.
    pub started: Instant,
    /// True if it found a new version of a credential.
    is_rotation: bool,
    /// Namespaces in which something was written.
    pub written: usize,
    /// True if a Secret got other credentials than it had.
    has_new_credentials: bool,
    /// Namespaces in which something failed.
    pub failed: usize,
    /// True if a write was not sent because this process does not lead any more.
    pub has_unsent_write: bool,
    /// The time at which its keys had been read.
    fetched: Option<Instant>,
    /// The end of its first write, and of its last.
    writes: Option<(Instant, Instant)>,
    /// Events that joined it, in the order of their arrival.
    joined: Vec<JoinedEvent>,
    /// The last setting of the annotation that joined it.
    annotation: Option<Cause>,
}

/// An event that joined a reconciliation.
#[derive(Debug)]
pub struct JoinedEvent {
    /// The time of its arrival.
    at: Instant,
    cause: Cause,
    pending_ack: Option<PendingAck>,
}

/// An acknowledgement that an event waits for.
#[derive(Debug)]
pub struct PendingAck {
    /// The acknowledgement to its source.
    pub ack: Ack,
    /// The keys the event is about, and what it says of each.
    pub notices: Vec<(StoreKey, ChangeNotice)>,
}

/// A finished rotation.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The trigger, and its time.
    pub cause: Cause,
    /// The time from the trigger to the last namespace.
    pub took: Duration,
    /// The part of it until the keys were read.
    pub fetch: Duration,
    /// The part from then to the first write.
    pub first_write: Duration,
    /// The part from the first write to the last.
    pub last_write: Duration,
}

impl PendingAck {
    /// Acknowledges the event if all its keys have an outcome; otherwise its source delivers it again.
    pub fn ack(self, outcome: impl Fn(&StoreKey, &ChangeNotice) -> Option<AckOutcome>) {
        let outcomes = self.notices.iter().map(|(store_key, notice)| outcome(store_key, notice));
        if let Some(outcomes) = outcomes.collect::<Option<Vec<_>>>() {
            self.ack.ack(outcomes.into_iter().max().unwrap_or(AckOutcome::NoNewerVersion));
        }
    }
}

impl Reconciliation {
    /// Creates a reconciliation that starts now.
    #[must_use]
    pub fn new(cause: Cause, now: Instant) -> Self {
        Self {
            cause,
            started: now,
            is_rotation: false,
            written: 0,
            has_new_credentials: false,
            failed: 0,
            has_unsent_write: false,
            fetched: None,
            writes: None,
            joined: Vec::new(),
            annotation: None,
        }
    }

    /// Adds another trigger. Drift alone does not set the time.
    pub fn join(&mut self, cause: Cause) {
        let is_older = cause.since < self.cause.since && cause.trigger != Trigger::Drift;
        if is_older || (self.cause.trigger == Trigger::Drift && cause.trigger != Trigger::Drift) {
            (self.cause.since, self.cause.at) = (cause.since, cause.at);
        }
        self.cause.trigger = self.cause.trigger.min(cause.trigger);
        if cause.trigger == Trigger::Annotation {
            self.annotation = Some(cause);
        }
    }

    /// Records an event that joined, and the acknowledgement due once its keys and every target are done.
    pub fn add_event(&mut self, cause: Cause, pending_ack: Option<PendingAck>, now: Instant) {
        match self.joined.last_mut() {
            // Events that wait for no acknowledgement are merged: there may be any number of them.
            Some(last) if last.pending_ack.is_none() && pending_ack.is_none() => {
                last.at = now;
                if cause.since < last.cause.since {
                    last.cause = cause;
                }
            }
            _ => self.joined.push(JoinedEvent { at: now, cause, pending_ack }),
        }
    }

    /// Removes what came after `served`, and returns the next reconciliation for it; none if nothing did.
    pub fn split_off_late(&mut self, served: Instant) -> Option<Self> {
        let first = self.joined.partition_point(|joined| joined.at <= served);
        let joined = self.joined.split_off(first);
        let annotation = self.annotation.filter(|cause| cause.since > served);
        let events = joined.iter().map(|JoinedEvent { at, cause, .. }| (*at, *cause));
        let late: Vec<_> = events.chain(annotation.map(|cause| (cause.since, cause))).collect();
        let (started, cause) = *late.iter().min_by_key(|(at, _)| *at)?;
        let mut next = Self::new(cause, started);
        for (_, cause) in late {
            next.join(cause);
        }
        next.joined = joined;
        Some(next)
    }

    /// Returns true if the annotation was set for it.
    #[must_use]
    pub fn has_annotation(&self) -> bool {
        self.annotation.is_some()
    }

    /// Acknowledges every event of which all keys have an outcome. Called once every target is done.
    pub fn ack(self, outcome: impl Fn(&StoreKey, &ChangeNotice) -> Option<AckOutcome>) {
        for pending_ack in self.joined.into_iter().filter_map(|joined| joined.pending_ack) {
            pending_ack.ack(&outcome);
        }
    }

    /// Records that its keys were read and one of them has a new version.
    pub fn mark_rotation(&mut self, now: Instant) {
        self.is_rotation = true;
        self.fetched.get_or_insert(now);
    }

    /// Records a write to a namespace.
    pub fn record_write(&mut self, now: Instant) {
        self.written += 1;
        // Writes before the new version was known are not part of its rotation.
        if self.fetched.is_some() {
            let first = self.writes.map_or(now, |(first, _)| first);
            self.writes = Some((first, now));
        }
    }

    /// Records that the credentials of a Secret were written.
    pub fn record_credentials(&mut self) {
        self.has_new_credentials = true;
    }

    /// Returns true if it wrote the credentials of a new version. A new version with the same credentials is
    /// no rotation, even where Secrets were written in another form.
    #[must_use]
    pub fn has_rotated(&self) -> bool {
        self.is_rotation && self.has_new_credentials
    }

    /// Returns its times as a rotation.
    #[must_use]
    pub fn rotation(&self) -> Rotation {
        let since = self.cause.since;
        let fetched = self.fetched.unwrap_or(since);
        let (first, last) = self.writes.unwrap_or((fetched, fetched));
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
    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    fn cause(trigger: Trigger, since: Instant) -> Cause {
        Cause { trigger, since, at: Timestamp::UNIX_EPOCH }
    }

    fn seconds(now: Instant) -> impl Fn(u64) -> Instant {
        move |n| now + Duration::from_secs(n)
    }

    #[test]
    fn oldest_trigger_sets_the_time_and_drift_does_not() {
        let second = seconds(Instant::now());
        let mut reconciliation = Reconciliation::new(cause(Trigger::Drift, second(0)), second(0));
        for (trigger, n) in
            [(Trigger::Poll, 3), (Trigger::Sqs, 2), (Trigger::Refresh, 4), (Trigger::Drift, 1)]
        {
            reconciliation.join(cause(trigger, second(n)));
        }
        assert_eq!(reconciliation.cause, cause(Trigger::Sqs, second(2)));
    }

    #[test]
    fn rotation_measures_each_of_its_stages() {
        let second = seconds(Instant::now());
        let mut reconciliation = Reconciliation::new(cause(Trigger::Sqs, second(0)), second(1));
        reconciliation.record_write(second(1));
        reconciliation.mark_rotation(second(2));
        for n in [3, 5, 9] {
            reconciliation.record_write(second(n));
        }
        let Rotation { took, fetch, first_write, last_write, .. } = reconciliation.rotation();
        assert_eq!([took, fetch, first_write, last_write].map(|it| it.as_secs()), [9, 2, 1, 6]);
        assert_eq!(reconciliation.written, 4);
    }

    fn store_key(key: &str) -> StoreKey {
        StoreKey { store: "aws".into(), key: key.into() }
    }

    /// A reconciliation that four events joined, at the first to the fourth second, each regarding a key of its
    /// own; and the receiver of each acknowledgement.
    fn joined(second: impl Fn(u64) -> Instant) -> (Reconciliation, Vec<Receiver<AckOutcome>>) {
        let mut reconciliation = Reconciliation::new(cause(Trigger::Sqs, second(0)), second(0));
        let mut receivers = Vec::new();
        for n in 1..=4 {
            let (ack, receiver) = Ack::new();
            let notice = ChangeNotice { before: second(n), version: None, can_lag: true };
            let pending_ack = PendingAck { ack, notices: vec![(store_key(&n.to_string()), notice)] };
            reconciliation.add_event(cause(Trigger::Sqs, second(n)), Some(pending_ack), second(n));
            receivers.push(receiver);
        }
        (reconciliation, receivers)
    }

    /// True for each acknowledged event, false for each that never will be; none while it waits.
    fn outcomes(receivers: &mut [Receiver<AckOutcome>]) -> Vec<Option<bool>> {
        let outcomes = receivers.iter_mut().map(|receiver| match receiver.try_recv() {
            Ok(AckOutcome::Done) => Some(true),
            Ok(AckOutcome::NoNewerVersion) => panic!("no key has that outcome"),
            Err(TryRecvError::Closed) => Some(false),
            Err(TryRecvError::Empty) => None,
        });
        outcomes.collect()
    }

    #[test]
    fn late_events_wait_for_the_next_reconciliation() {
        let second = seconds(Instant::now());
        let (mut reconciliation, mut receivers) = joined(&second);
        let next = reconciliation.split_off_late(second(2)).expect("another reconciliation");
        assert!(reconciliation.split_off_late(second(2)).is_none());
        reconciliation.ack(|_, _| Some(AckOutcome::Done));
        assert_eq!(outcomes(&mut receivers), [Some(true), Some(true), None, None]);
        assert_eq!((next.cause.since, next.started), (second(3), second(3)));
    }

    #[test]
    fn late_annotation_waits_for_the_next_reconciliation() {
        let second = seconds(Instant::now());
        for (served, is_late) in [(4, true), (5, false)] {
            let mut reconciliation = Reconciliation::new(cause(Trigger::Webhook, second(0)), second(0));
            reconciliation.join(cause(Trigger::Annotation, second(5)));
            reconciliation.add_event(cause(Trigger::Webhook, second(6)), None, second(6));
            let next = reconciliation.split_off_late(second(served)).expect("another reconciliation");
            assert_eq!(next.has_annotation(), is_late);
            assert_eq!(next.started, second(if is_late { 5 } else { 6 }));
            assert_eq!(next.cause.trigger, if is_late { Trigger::Annotation } else { Trigger::Webhook });
        }
    }

    #[test]
    fn event_is_acknowledged_by_its_own_keys_only() {
        let (reconciliation, mut receivers) = joined(seconds(Instant::now()));
        reconciliation.ack(|it, _| (*it != store_key("2")).then_some(AckOutcome::Done));
        assert_eq!(outcomes(&mut receivers), [Some(true), Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn event_is_done_if_one_of_its_keys_brought_news() {
        let now = Instant::now();
        for (news, expect) in [("b", AckOutcome::Done), ("none", AckOutcome::NoNewerVersion)] {
            let (ack, mut receiver) = Ack::new();
            let notice = ChangeNotice { before: now, version: None, can_lag: true };
            let notices = ["a", "b"].map(|key| (store_key(key), notice.clone()));
            PendingAck { ack, notices: notices.into() }.ack(|it, _| {
                let has_news = *it == store_key(news);
                Some(if has_news { AckOutcome::Done } else { AckOutcome::NoNewerVersion })
            });
            assert_eq!(receiver.try_recv(), Ok(expect));
        }
    }

    #[test]
    fn events_without_ack_are_merged() {
        let second = seconds(Instant::now());
        let mut reconciliation = Reconciliation::new(cause(Trigger::Webhook, second(0)), second(0));
        for n in [3, 2, 4] {
            reconciliation.add_event(cause(Trigger::Webhook, second(n)), None, second(n));
        }
        assert_eq!(reconciliation.joined.len(), 1);
        let next = reconciliation.split_off_late(second(3));
        assert_eq!(next.map(|it| it.cause.since), Some(second(2)));
    }

    #[test]
    fn new_version_without_new_credentials_is_no_rotation() {
        let now = Instant::now();
        let mut reconciliation = Reconciliation::new(cause(Trigger::Refresh, now), now);
        reconciliation.record_credentials();
        assert!(!reconciliation.has_rotated(), "drift was corrected, or a namespace is new");
        let mut reconciliation = Reconciliation::new(cause(Trigger::Refresh, now), now);
        reconciliation.mark_rotation(now);
        reconciliation.record_write(now);
        assert!(!reconciliation.has_rotated(), "only the form of the Secrets is new");
        reconciliation.record_credentials();
        assert!(reconciliation.has_rotated());
    }
}
