//! The loop of one replica that runs for the lease: carries out what [`decide`] returns, until the lease is
//! lost or released.
//!
//! In come the events of the watch and the release, out go the [`Leadership`] and whether this process
//! leads. This is the only loop that writes the lease, and it writes nothing else.

use std::time::Duration;

use backon::BackoffBuilder;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

use super::api::{BACKOFF, LeaseClient, MIN_BACKOFF};
use super::clock::LeaseInstant;
use super::decision::{Decision, LeaseRequest, View, decide};
use super::record::Record;
use super::{Leadership, Loss, Lost};
use crate::cluster::conflict::conflict_backoff;
use crate::cluster::error::Error;
use crate::repeated_failure::RepeatedFailure;

/// The timeout of a request without a closer deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit of all attempts to vacate the lease. A replica that is being shut down has seconds.
const VACATE_WITHIN: Duration = Duration::from_secs(3);
/// The timeout of each request of them.
const VACATE_TIMEOUT: Duration = Duration::from_secs(1);

type Backoff = Box<dyn Iterator<Item = Duration> + Send>;

pub(super) struct Elector {
    lease: LeaseClient,
    view: View,
    /// Read by the rest of the process.
    leadership: Leadership,
    leading: watch::Sender<bool>,
    /// The back-off after consecutive failures, and after conflicts with another writer.
    backoff: Backoff,
    conflict_backoff: Backoff,
    /// The last failure or conflict since the last success.
    failure: Option<Error>,
    /// The failure that was logged last.
    logged: RepeatedFailure,
}

impl Elector {
    pub(super) fn new(lease: LeaseClient, leadership: Leadership, leading: watch::Sender<bool>) -> Self {
        let view = View::new(leadership.clock().now());
        let (backoff, conflict_backoff) = (Box::new(BACKOFF.build()), Box::new(conflict_backoff()));
        Self {
            lease,
            view,
            leadership,
            leading,
            backoff,
            conflict_backoff,
            failure: None,
            logged: RepeatedFailure::default(),
        }
    }

    /// Runs until the lease is lost, which is the error, or until `released` is sent to or dropped, upon
    /// which the lease is vacated.
    pub(super) async fn run(
        mut self,
        records: impl Stream<Item = Option<Record>>,
        mut released: oneshot::Receiver<()>,
    ) -> Result<(), Lost> {
        let mut records = std::pin::pin!(records);
        loop {
            let until = match decide(&self.view, &self.lease.config, self.now()) {
                Decision::Send(request) => {
                    self.send(request).await;
                    continue;
                }
                Decision::Wait(until) => {
                    self.reset_backoff();
                    until
                }
                Decision::BackOff(until) => until,
                Decision::Lose(loss) => {
                    self.revoke();
                    let cause = self.failure.filter(|_| loss == Loss::Expired);
                    return Err(Lost { lease: self.lease.config.lease(), loss, cause });
                }
            };
            tokio::select! {
                biased;
                _ = &mut released => break,
                () = tokio::time::sleep(until.saturating_duration_since(self.now())) => {}
                Some(record) = records.next() => self.update_view(|view, now| view.on_watch_event(record, now)),
            }
        }
        self.vacate().await;
        Ok(())
    }

    fn now(&self) -> LeaseInstant {
        self.leadership.clock().now()
    }

    async fn send(&mut self, request: LeaseRequest) {
        let sent = self.now();
        let timeout = self.request_timeout(sent);
        let acquired = match request {
            LeaseRequest::Read => match self.lease.read(timeout).await {
                Ok(record) => return self.update_view(|view, now| view.on_read(record, now)),
                Err(error) => Err(error),
            },
            LeaseRequest::Create => self.lease.create(wall_clock(), timeout).await,
            LeaseRequest::Acquire { resource_version, transitions } => {
                self.lease.acquire(&resource_version, transitions, wall_clock(), timeout).await
            }
            LeaseRequest::Renew { resource_version } => {
                self.lease.renew(&resource_version, wall_clock(), timeout).await
            }
        };
        match acquired {
            Ok(record) => self.on_acquired(record, sent),
            Err(error) => self.on_failure(error),
        }
    }

    /// Returns the timeout of a request: short enough for others to fit into the rest of the lease held,
    /// or into the one that the request may win.
    fn request_timeout(&self, now: LeaseInstant) -> Duration {
        (self.remaining(now).unwrap_or(self.lease.config.lease_duration) / 2).min(REQUEST_TIMEOUT)
    }

    /// Returns the time left as leader, if this process leads.
    fn remaining(&self, now: LeaseInstant) -> Option<Duration> {
        self.view.expiry(&self.lease.config).map(|expiry| expiry.saturating_duration_since(now))
    }

    /// Updates the view, and logs a new leader.
    fn update_view(&mut self, update: impl FnOnce(&mut View, LeaseInstant)) {
        let before = self.view.holder().map(str::to_owned);
        let now = self.now();
        update(&mut self.view, now);
        match self.view.holder() {
            holder if holder == before.as_deref() => {}
            Some(holder) if holder == self.lease.config.identity => {}
            Some(holder) => info!(holder, "another replica leads"),
            None => info!("no replica leads"),
        }
    }

    fn on_acquired(&mut self, record: Record, sent: LeaseInstant) {
        self.view.on_acquired(record, sent);
        self.leadership.extend(sent + self.lease.config.lease_duration);
        self.reset_backoff();
        if self.leading.send_replace(true) {
            debug!("renewed the lease");
        } else {
            info!(holder = self.lease.config.identity, "this replica leads");
        }
    }

    fn on_failure(&mut self, error: Error) {
        let now = self.now();
        let pause = match error {
            Error::Changed(_) | Error::AlreadyExists(_) => {
                debug!(%error, "another writer came first");
                self.view.invalidate();
                self.conflict_backoff.next().unwrap_or(MIN_BACKOFF)
            }
            _ => {
                if self.logged.begins(&error.to_string()) {
                    warn!("cannot read or write the lease, retrying: {error}");
                }
                // The lease or its namespace may be gone.
                if matches!(error, Error::NotFound(_)) {
                    self.view.invalidate();
                }
                let pause = self.backoff.next().unwrap_or(MIN_BACKOFF);
                // A back-off leaves time to renew the lease before it expires.
                self.remaining(now).map_or(pause, |remaining| pause.min((remaining / 4).max(MIN_BACKOFF)))
            }
        };
        self.view.back_off(now + pause);
        self.failure = Some(error);
    }

    fn reset_backoff(&mut self) {
        if self.logged.ends() {
            info!("reading and writing the lease again");
        }
        if self.failure.take().is_some() {
            self.backoff = Box::new(BACKOFF.build());
            self.conflict_backoff = Box::new(conflict_backoff());
        }
    }

    /// Ends the leadership: from here on this process writes nothing but the lease.
    fn revoke(&self) {
        self.leadership.revoke();
        self.leading.send_replace(false);
    }

    /// Releases the lease, if this process holds it.
    async fn vacate(mut self) {
        self.revoke();
        let Some(expiry) = self.view.expiry(&self.lease.config) else { return };
        let limit = expiry.saturating_duration_since(self.now()).min(VACATE_WITHIN);
        match tokio::time::timeout(limit, self.try_vacate()).await {
            Ok(()) => info!("vacated the lease"),
            Err(_) => warn!("cannot vacate the lease: the next replica has to wait until it expires"),
        }
    }

    /// Retries until this process does not hold the lease any more.
    async fn try_vacate(&mut self) {
        let mut backoff = conflict_backoff();
        while let Some(record) = self.view.held_record() {
            match self.lease.vacate(&record.resource_version, wall_clock(), VACATE_TIMEOUT).await {
                Ok(record) => {
                    let now = self.now();
                    return self.view.on_read(Some(record), now);
                }
                Err(error) => debug!(%error, "cannot vacate the lease yet"),
            }
            tokio::time::sleep(backoff.next().unwrap_or(VACATE_TIMEOUT)).await;
            if let Ok(record) = self.lease.read(VACATE_TIMEOUT).await {
                let now = self.now();
                self.view.on_read(record, now);
            }
        }
    }
}

/// Returns the time written for people who look at the lease; it enters no calculation.
#[expect(clippy::disallowed_methods, reason = "the edge at which the lease is written")]
fn wall_clock() -> MicroTime {
    MicroTime(Timestamp::now())
}
