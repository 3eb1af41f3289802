//! Decides the next step of a replica from its view of the lease.
//!
//! In go a [`View`], the configuration and the time; out comes a [`Decision`]. Nothing here reads a clock or
//! the network, and no time written by another machine enters a calculation: a holder keeps the lease until
//! the duration it claims has passed since the lease was last observed to change, by the clock of the
//! observer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::clock::LeaseInstant;
use super::record::Record;
use super::{LeaderElectionConfig, Loss};

/// The knowledge of one replica at an instant.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// The lease as last observed; `None` if it does not exist.
    record: Option<Record>,
    /// The instant at which the current spec was first observed.
    observed_at: LeaseInstant,
    /// The lease was not read yet, or may have changed since.
    is_stale: bool,
    /// The lease this process won.
    held: Option<HeldLease>,
    /// No request is sent before; in the past unless a request failed.
    retry_at: LeaseInstant,
}

/// A lease that this process holds.
#[derive(Clone, Debug)]
struct HeldLease {
    /// The holder and the acquire time as written in the lease. The time distinguishes this process from
    /// another one with the same identity.
    holder: Option<String>,
    acquired: Option<MicroTime>,
    /// The instant just before the last successful write was sent. Others observe that write later, so
    /// the expiry they count to is later than the holder's own.
    renewed_at: LeaseInstant,
}

/// The next step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Send a request.
    Send(LeaseRequest),
    /// Nothing to do until then.
    Wait(LeaseInstant),
    /// A request failed: retry then.
    BackOff(LeaseInstant),
    /// The lease was held by this process and is lost.
    Lose(Loss),
}

/// A request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseRequest {
    /// Read the lease.
    Read,
    /// Create the lease, which does not exist.
    Create,
    /// Acquire the lease, which is free, unless it changed since.
    Acquire { resource_version: String, transitions: i32 },
    /// Renew the lease, which this process holds.
    Renew { resource_version: String },
}

/// Decides the next step.
pub(super) fn decide(view: &View, config: &LeaderElectionConfig, now: LeaseInstant) -> Decision {
    let decision = match &view.held {
        None => decide_as_follower(view, config, now),
        Some(held) => decide_as_leader(view, held, config, now),
    };
    match decision {
        Decision::Send(_) if now < view.retry_at => {
            // A back-off never outlasts the lease.
            let expiry = view.expiry(config).unwrap_or(view.retry_at);
            Decision::BackOff(view.retry_at.min(expiry))
        }
        decision => decision,
    }
}

fn decide_as_follower(view: &View, config: &LeaderElectionConfig, now: LeaseInstant) -> Decision {
    if view.is_stale {
        return Decision::Send(LeaseRequest::Read);
    }
    let Some(record) = &view.record else { return Decision::Send(LeaseRequest::Create) };
    let expiry = view.observed_at + record.duration().unwrap_or(config.lease_duration);
    match record.holder() {
        // A holder with the same identity is this replica before its container restarted.
        Some(holder) if holder != config.identity && now < expiry => Decision::Wait(expiry),
        _ => Decision::Send(LeaseRequest::Acquire {
            resource_version: record.resource_version.clone(),
            transitions: record.spec.lease_transitions.unwrap_or_default().saturating_add(1),
        }),
    }
}

fn decide_as_leader(
    view: &View,
    held: &HeldLease,
    config: &LeaderElectionConfig,
    now: LeaseInstant,
) -> Decision {
    if held.renewed_at + config.lease_duration <= now {
        return Decision::Lose(Loss::Expired);
    }
    if view.is_stale {
        return Decision::Send(LeaseRequest::Read);
    }
    let Some(record) = &view.record else { return Decision::Lose(Loss::Deleted) };
    match record.holder() {
        None => Decision::Lose(Loss::Vacated),
        Some(holder) if holder != config.identity => Decision::Lose(Loss::Taken(holder.to_owned())),
        Some(holder) if !held.matches(record) => Decision::Lose(Loss::DuplicateIdentity(holder.to_owned())),
        Some(_) => {
            let half = held.renewed_at + config.lease_duration / 2;
            if now < half {
                return Decision::Wait(half);
            }
            Decision::Send(LeaseRequest::Renew { resource_version: record.resource_version.clone() })
        }
    }
}

impl HeldLease {
    /// Returns true if the record shows this very acquisition.
    fn matches(&self, record: &Record) -> bool {
        self.holder == record.spec.holder_identity && self.acquired == record.spec.acquire_time
    }
}

impl View {
    /// Creates a view that knows nothing yet.
    pub(super) fn new(now: LeaseInstant) -> Self {
        Self { record: None, observed_at: now, is_stale: true, held: None, retry_at: now }
    }

    /// Returns the current leader, as far as known.
    pub(super) fn holder(&self) -> Option<&str> {
        self.record.as_ref().and_then(Record::holder)
    }

    /// Returns the lease if this process holds it.
    pub(super) fn held_record(&self) -> Option<&Record> {
        let held = self.held.as_ref()?;
        self.record.as_ref().filter(|record| held.matches(record))
    }

    /// Returns the end of this process's leadership, if it leads.
    pub(super) fn expiry(&self, config: &LeaderElectionConfig) -> Option<LeaseInstant> {
        self.held.as_ref().map(|held| held.renewed_at + config.lease_duration)
    }

    /// Records the lease as read.
    pub(super) fn on_read(&mut self, record: Option<Record>, now: LeaseInstant) {
        // An annotation by a third party changes the version, but is no renewal by the holder.
        if self.record.as_ref().map(|it| &it.spec) != record.as_ref().map(|it| &it.spec) {
            self.observed_at = now;
        }
        self.record = record;
        self.is_stale = false;
    }

    /// Records an event of the watch. It may lag behind what was read or written, so a holder does not
    /// trust it, but reads.
    pub(super) fn on_watch_event(&mut self, record: Option<Record>, now: LeaseInstant) {
        match &self.held {
            None => self.on_read(record, now),
            Some(held) => self.is_stale |= !record.is_some_and(|record| held.matches(&record)),
        }
    }

    /// Records a lease that was acquired or renewed by a write sent at `sent`.
    pub(super) fn on_acquired(&mut self, record: Record, sent: LeaseInstant) {
        let holder = record.spec.holder_identity.clone();
        self.held = Some(HeldLease { holder, acquired: record.spec.acquire_time.clone(), renewed_at: sent });
        self.on_read(Some(record), sent);
    }

    /// Marks the view as stale: another client wrote the lease.
    pub(super) fn invalidate(&mut self) {
        self.is_stale = true;
    }

    /// Sends no request before `until`: one has failed.
    pub(super) fn back_off(&mut self, until: LeaseInstant) {
        self.retry_at = until;
    }
}

#[cfg(test)]
mod tests;
