//! One replica that wants to lead: asks [`decide`] what to do, and does it, until it has lost or is
//! told to retire.
//!
//! In come the sightings of the watch and the word to retire, out go the [`Leadership`] and whether this
//! process leads. The only loop that writes the lease; it writes nothing else.

use std::time::Duration;

use backon::BackoffBuilder;
use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::api::{LeaseClient, MIN_PAUSE, PAUSES};
use super::decision::{Decision, Request, View, decide};
use super::record::Record;
use super::{Leadership, Loss, Lost};
use crate::cluster::error::{Error, conflict_backoff};

/// How long a request may take when nothing presses.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it is tried to vacate the lease. A replica that is being shut down has seconds.
const VACATE_WITHIN: Duration = Duration::from_secs(3);
/// How long each request of that may take.
const VACATE_TIMEOUT: Duration = Duration::from_secs(1);

type Pauses = Box<dyn Iterator<Item = Duration> + Send>;

pub(super) struct Elector {
    seat: LeaseClient,
    view: View,
    /// What the rest of the process reads.
    term: Leadership,
    leading: watch::Sender<bool>,
    /// The pauses after failures in a row, and after refusals because another writer came first.
    pauses: Pauses,
    conflict_pauses: Pauses,
    /// The last failure or refusal since all was well.
    failure: Option<Error>,
}

impl Elector {
    pub(super) fn new(seat: LeaseClient, term: Leadership, leading: watch::Sender<bool>) -> Self {
        let view = View::new(Instant::now());
        let (pauses, conflict_pauses) = (Box::new(PAUSES.build()), Box::new(conflict_backoff()));
        Self { seat, view, term, leading, pauses, conflict_pauses, failure: None }
    }

    /// Runs until the lease is lost, which is the error, or until `retired` is told or dropped, upon
    /// which the lease is vacated.
    pub(super) async fn run(
        mut self,
        sightings: impl Stream<Item = Option<Record>>,
        mut retired: oneshot::Receiver<()>,
    ) -> Result<(), Lost> {
        let mut sightings = std::pin::pin!(sightings);
        loop {
            let until = match decide(&self.view, &self.seat.settings, Instant::now()) {
                Decision::Ask(request) => {
                    self.ask(request).await;
                    continue;
                }
                Decision::Wait(until) => {
                    self.recover();
                    until
                }
                Decision::Rest(until) => until,
                Decision::Lose(loss) => {
                    self.lay_down();
                    let cause = self.failure.filter(|_| loss == Loss::Expired);
                    return Err(Lost { lease: self.seat.settings.lease(), loss, cause });
                }
            };
            tokio::select! {
                biased;
                _ = &mut retired => break,
                () = tokio::time::sleep_until(until) => {}
                Some(record) = sightings.next() => self.look(|view, now| view.hear(record, now)),
            }
        }
        self.vacate().await;
        Ok(())
    }

    async fn ask(&mut self, request: Request) {
        let sent = Instant::now();
        let limit = self.patience(sent);
        let won = match request {
            Request::Read => match self.seat.read(limit).await {
                Ok(record) => return self.look(|view, now| view.read(record, now)),
                Err(error) => Err(error),
            },
            Request::Create => self.seat.create(wall_clock(), limit).await,
            Request::Take { resource_version, transitions } => {
                self.seat.take(&resource_version, transitions, wall_clock(), limit).await
            }
            Request::Renew { resource_version } => {
                self.seat.renew(&resource_version, wall_clock(), limit).await
            }
        };
        match won {
            Ok(record) => self.win(record, sent),
            Err(error) => self.fail(error),
        }
    }

    /// How long a request may take: so short that others fit into what is left of the term, or, where
    /// there is none, into the one that it might win.
    fn patience(&self, now: Instant) -> Duration {
        (self.left(now).unwrap_or(self.seat.settings.duration) / 2).min(REQUEST_TIMEOUT)
    }

    /// What is left of the term, where this process leads.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.view.end_of_term(&self.seat.settings).map(|end| end.saturating_duration_since(now))
    }

    /// Takes in how the lease stands.
    fn look(&mut self, look: impl FnOnce(&mut View, Instant)) {
        let before = self.view.holder().map(str::to_owned);
        look(&mut self.view, Instant::now());
        match self.view.holder() {
            holder if holder == before.as_deref() => {}
            Some(holder) if holder == self.seat.settings.holder => {}
            Some(holder) => info!(holder, "another replica leads"),
            None => info!("nobody leads"),
        }
    }

    fn win(&mut self, record: Record, sent: Instant) {
        self.view.win(record, sent);
        self.term.extend(sent + self.seat.settings.duration);
        self.recover();
        if self.leading.send_replace(true) {
            debug!("renewed the lease");
        } else {
            info!(holder = self.seat.settings.holder, "this replica leads");
        }
    }

    fn fail(&mut self, error: Error) {
        let now = Instant::now();
        let pause = match error {
            Error::Changed(_) | Error::AlreadyExists(_) => {
                debug!(%error, "another writer came first");
                self.view.doubt();
                self.conflict_pauses.next().unwrap_or(MIN_PAUSE)
            }
            _ => {
                warn!(%error, "cannot read or write the lease");
                // It may be gone, or its namespace.
                if matches!(error, Error::NotFound(_)) {
                    self.view.doubt();
                }
                let pause = self.pauses.next().unwrap_or(MIN_PAUSE);
                // The rest of a term is not slept away.
                self.left(now).map_or(pause, |left| pause.min((left / 4).max(MIN_PAUSE)))
            }
        };
        self.view.rest(now + pause);
        self.failure = Some(error);
    }

    fn recover(&mut self) {
        if self.failure.take().is_some() {
            self.pauses = Box::new(PAUSES.build());
            self.conflict_pauses = Box::new(conflict_backoff());
        }
    }

    /// From here on this process writes nothing but the lease.
    fn lay_down(&self) {
        self.term.lay_down();
        self.leading.send_replace(false);
    }

    /// Gives the lease back, if this process has it.
    async fn vacate(mut self) {
        self.lay_down();
        let Some(end) = self.view.end_of_term(&self.seat.settings) else { return };
        let deadline = end.min(Instant::now() + VACATE_WITHIN);
        match tokio::time::timeout_at(deadline, self.try_vacate()).await {
            Ok(()) => info!("the lease is vacated"),
            Err(_) => warn!("cannot vacate the lease: the next replica has to wait until its term is over"),
        }
    }

    /// Tries until the lease is not ours any more.
    async fn try_vacate(&mut self) {
        let mut pauses = conflict_backoff();
        while let Some(record) = self.view.held() {
            match self.seat.vacate(&record.resource_version, wall_clock(), VACATE_TIMEOUT).await {
                Ok(record) => return self.view.read(Some(record), Instant::now()),
                Err(error) => debug!(%error, "cannot vacate the lease yet"),
            }
            tokio::time::sleep(pauses.next().unwrap_or(VACATE_TIMEOUT)).await;
            if let Ok(record) = self.seat.read(VACATE_TIMEOUT).await {
                self.view.read(record, Instant::now());
            }
        }
    }
}

/// The time for people who look at the lease; nobody calculates with it.
#[expect(clippy::disallowed_methods, reason = "the edge at which the lease is written")]
fn wall_clock() -> MicroTime {
    MicroTime(Timestamp::now())
}
