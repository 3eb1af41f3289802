//! What to do about the lease, given what was seen of it.
//!
//! In go a [`View`], who asks and the time, out comes a [`Decision`]. Nothing here knows a clock or the
//! network, and no time that another machine wrote is calculated with: a holder has until the duration
//! it claims has passed since its lease was last seen to change, by the clock of the one who looks.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

use super::record::Record;
use super::{Loss, Settings};

/// What one replica knows at an instant.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The lease as it was last seen; `None` where there was none.
    record: Option<Record>,
    /// When it was first seen to say what it says.
    since: Instant,
    /// It was not read yet, or something told that it stands otherwise by now.
    is_outdated: bool,
    /// What this process won.
    tenure: Option<HeldLease>,
    /// No request is made before; somewhere in the past unless something failed.
    rest_until: Instant,
}

/// A lease that this process holds.
#[derive(Clone, Debug)]
struct HeldLease {
    /// The holder and the time of acquisition as they stand in the lease. The time tells this process
    /// from another one that bears its name.
    holder: Option<String>,
    acquired: Option<MicroTime>,
    /// When the last write that succeeded was about to be sent. Others see that write later, so they
    /// count a later end than the holder does.
    since: Instant,
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Make a request.
    Ask(Request),
    /// All is well until then.
    Wait(Instant),
    /// Something failed: try again then.
    Rest(Instant),
    /// The lease was ours.
    Lose(Loss),
}

/// What there is to ask of the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    /// How does the lease stand?
    Read,
    /// There is none: create it, unless somebody else does first.
    Create,
    /// It is free: take it, unless it changed since.
    Take { resource_version: String, transitions: i32 },
    /// It is ours: renew it.
    Renew { resource_version: String },
}

/// What `me` should do now.
pub(super) fn decide(view: &View, me: &Settings, now: Instant) -> Decision {
    let decision = match &view.tenure {
        None => follow(view, me, now),
        Some(tenure) => lead(view, tenure, me, now),
    };
    match decision {
        Decision::Ask(_) if now < view.rest_until => {
            // The end of the term is not slept over.
            let end = view.end_of_term(me).unwrap_or(view.rest_until);
            Decision::Rest(view.rest_until.min(end))
        }
        decision => decision,
    }
}

fn follow(view: &View, me: &Settings, now: Instant) -> Decision {
    if view.is_outdated {
        return Decision::Ask(Request::Read);
    }
    let Some(record) = &view.record else { return Decision::Ask(Request::Create) };
    let expiry = view.since + record.duration().unwrap_or(me.duration);
    match record.holder() {
        // A holder of our own name is this replica before its container was started again.
        Some(holder) if holder != me.holder && now < expiry => Decision::Wait(expiry),
        _ => Decision::Ask(Request::Take {
            resource_version: record.resource_version.clone(),
            transitions: record.spec.lease_transitions.unwrap_or_default().saturating_add(1),
        }),
    }
}

fn lead(view: &View, tenure: &HeldLease, me: &Settings, now: Instant) -> Decision {
    if tenure.since + me.duration <= now {
        return Decision::Lose(Loss::Expired);
    }
    if view.is_outdated {
        return Decision::Ask(Request::Read);
    }
    let Some(record) = &view.record else { return Decision::Lose(Loss::Deleted) };
    match record.holder() {
        None => Decision::Lose(Loss::Vacated),
        Some(holder) if holder != me.holder => Decision::Lose(Loss::Taken(holder.to_owned())),
        Some(holder) if !tenure.covers(record) => Decision::Lose(Loss::Namesake(holder.to_owned())),
        Some(_) => {
            let half = tenure.since + me.duration / 2;
            if now < half {
                return Decision::Wait(half);
            }
            Decision::Ask(Request::Renew { resource_version: record.resource_version.clone() })
        }
    }
}

impl HeldLease {
    /// Whether it is this very tenure that the lease tells of.
    fn covers(&self, record: &Record) -> bool {
        self.holder == record.spec.holder_identity && self.acquired == record.spec.acquire_time
    }
}

impl View {
    /// Nothing is known yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { record: None, since: now, is_outdated: true, tenure: None, rest_until: now }
    }

    /// Who leads, as far as is known.
    pub(super) fn holder(&self) -> Option<&str> {
        self.record.as_ref().and_then(Record::holder)
    }

    /// The lease, where it is ours.
    pub(super) fn held(&self) -> Option<&Record> {
        let tenure = self.tenure.as_ref()?;
        self.record.as_ref().filter(|record| tenure.covers(record))
    }

    /// When our term ends, where we lead.
    pub(super) fn end_of_term(&self, me: &Settings) -> Option<Instant> {
        self.tenure.as_ref().map(|tenure| tenure.since + me.duration)
    }

    /// The lease was read.
    pub(super) fn read(&mut self, record: Option<Record>, now: Instant) {
        // Who annotates a lease changes its version, but does not speak for its holder.
        let spec = |record: &Option<Record>| record.as_ref().map(|record| record.spec.clone());
        if spec(&self.record) != spec(&record) {
            self.since = now;
        }
        self.record = record;
        self.is_outdated = false;
    }

    /// The watch told of the lease. It may lag behind what was read or written, so a holder does not
    /// believe it, but reads.
    pub(super) fn hear(&mut self, record: Option<Record>, now: Instant) {
        match &self.tenure {
            None => self.read(record, now),
            Some(tenure) => self.is_outdated |= !record.is_some_and(|record| tenure.covers(&record)),
        }
    }

    /// The lease was taken or renewed by a write that was about to be sent at `sent`.
    pub(super) fn win(&mut self, record: Record, sent: Instant) {
        let holder = record.spec.holder_identity.clone();
        self.tenure = Some(HeldLease { holder, acquired: record.spec.acquire_time.clone(), since: sent });
        self.read(Some(record), sent);
    }

    /// Somebody else wrote the lease.
    pub(super) fn doubt(&mut self) {
        self.is_outdated = true;
    }

    /// A request failed.
    pub(super) fn rest(&mut self, until: Instant) {
        self.rest_until = until;
    }
}

#[cfg(test)]
mod tests;
