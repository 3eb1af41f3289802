//! A reader for an Amazon SQS queue with events about changes in AWS Secrets Manager.
//!
//! Runs while this replica leads. In come messages, out go [`TriggerEvent`]s. A message is deleted once every
//! target is written, and left to redelivery if that failed, if the process ends, or if the message is
//! invalid. Until then it is hidden from other readers. `in_flight` decides which requests to make about
//! messages, `concurrency` how many to receive.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info, warn};

use self::concurrency::ReceiveConcurrency;
use self::failure::{FailureChange, FailureLog, Permission};
use self::in_flight::{BatchRequest, InFlight, InFlightId};
use self::queue::{BATCH, BRIEF_POLL, LONG_POLL, Message, QueueClient};
use super::aws_event::{self, InvalidEvent, SecretChange};
use super::channel::ChannelClosed;
use super::{Ack, Trigger, TriggerEvent, TriggerScope, TriggerSender};
use crate::log_throttle::LogThrottle;
use crate::manifest::config::triggers::SqsQueue;
use crate::metrics::{Metrics, TriggerOutcome};
use crate::provider::ErrorKind;

mod concurrency;
mod failure;
mod in_flight;
mod queue;

/// The largest number of concurrent batch requests.
const MAX_REQUESTS: usize = 4;

/// The same while all messages in flight are released.
const MAX_RELEASE_REQUESTS: usize = 16;

/// The longest time that the release may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest retention of a message in SQS; the timestamp of an older one comes from another clock.
const MAX_AGE: Duration = Duration::from_hours(14 * 24);

/// The skew between the clocks of a queue's servers, and of what they call approximate.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// The longest time in the queue that a message is credited with. Our clock stands still while the machine
/// is suspended, and the queue's does not; a burst is over long before.
const MAX_QUEUE_TIME: Duration = Duration::from_mins(1);

/// The longest sleep of an idle reader.
const IDLE: Duration = Duration::from_hours(1);

/// The settings of a queue's reader.
pub struct SqsSettings {
    /// The queue.
    pub queue: SqsQueue,
    /// Counts messages.
    pub metrics: Arc<Metrics>,
    /// The wall clock.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// Reads a queue while this replica leads, until `stop` or until the controller is gone; then releases the
/// messages in flight.
pub async fn run(
    settings: SqsSettings,
    triggers: TriggerSender,
    leading: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
) {
    let client = QueueClient::open(&settings.queue).await;
    QueueReader::new(settings, client, triggers).run(leading, stop).await;
}

/// The state of the reader, with all of its pending requests.
struct QueueReader {
    settings: SqsSettings,
    client: Arc<QueueClient>,
    triggers: TriggerSender,
    concurrency: ReceiveConcurrency,
    in_flight: InFlight,
    /// Pending requests for messages.
    receives: FuturesUnordered<BoxFuture<'static, Result<Vec<Message>, ErrorKind>>>,
    /// Messages that wait for their ack.
    acks: FuturesUnordered<BoxFuture<'static, Result<Processed, ChannelClosed>>>,
    /// Pending batch requests about messages in flight.
    requests: FuturesUnordered<BoxFuture<'static, (Permission, Result<(), ErrorKind>)>>,
    failure_logs: [FailureLog; 3],
    invalid_messages: LogThrottle,
    /// The queue answered once.
    has_received: bool,
}

/// A message with an acked trigger, or with one that will never be.
struct Processed {
    id: InFlightId,
    is_acked: bool,
}

impl QueueReader {
    fn new(settings: SqsSettings, client: QueueClient, triggers: TriggerSender) -> Self {
        Self {
            settings,
            client: Arc::new(client),
            triggers,
            concurrency: ReceiveConcurrency::default(),
            in_flight: InFlight::default(),
            receives: FuturesUnordered::new(),
            acks: FuturesUnordered::new(),
            requests: FuturesUnordered::new(),
            failure_logs: Default::default(),
            invalid_messages: LogThrottle::default(),
            has_received: false,
        }
    }

    async fn run(mut self, mut leading: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        // A sender that is gone means the same.
        let mut stopped = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return,
                leads = leading.wait_for(|leads| *leads) => if leads.is_err() { return },
            }
            let is_over = tokio::select! {
                biased;
                () = &mut stopped => true,
                follows = leading.wait_for(|leads| !*leads) => follows.is_err(),
                ChannelClosed = self.read() => true,
            };
            self.release().await;
            if is_over {
                return;
            }
        }
    }

    /// Reads until the controller is gone.
    async fn read(&mut self) -> ChannelClosed {
        loop {
            let now = Instant::now();
            self.start_receives(now);
            self.start_requests(BATCH, MAX_REQUESTS, now);
            let until = self.next_wakeup(now);
            let has_partial_batch = self.requests.len() < MAX_REQUESTS && self.in_flight.has_request();
            tokio::select! {
                biased;
                Some(processed) = self.acks.next() => match processed {
                    Ok(processed) => self.on_processed(processed),
                    Err(closed) => return closed,
                },
                Some((permission, outcome)) = self.requests.next() => self.log_outcome(permission, outcome),
                Some(messages) = self.receives.next() => self.on_received(messages),
                // Nothing else is ready, so a batch need not wait until it is full.
                () = std::future::ready(()), if has_partial_batch => self.start_requests(1, MAX_REQUESTS, now),
                () = sleep_until(until) => {}
            }
        }
    }

    /// The time to go on, if nothing happens before.
    fn next_wakeup(&self, now: Instant) -> Instant {
        let next = self.concurrency.paused_until().into_iter().chain(self.in_flight.next_extension());
        next.filter(|at| *at > now).min().unwrap_or(now + IDLE)
    }

    fn start_receives(&mut self, now: Instant) {
        while self.concurrency.allows(self.receives.len(), self.in_flight.capacity(), now) {
            let is_idle = self.in_flight.is_idle() && self.receives.is_empty();
            let wait = if is_idle { LONG_POLL } else { BRIEF_POLL };
            let client = Arc::clone(&self.client);
            self.receives.push(Box::pin(async move { client.receive(wait).await }));
        }
    }

    /// Starts batch requests of at least that many entries.
    fn start_requests(&mut self, min_entries: usize, max_requests: usize, now: Instant) {
        while self.requests.len() < max_requests
            && let Some(request) = self.in_flight.next_request(min_entries, now)
        {
            let client = Arc::clone(&self.client);
            self.requests.push(Box::pin(async move {
                match request {
                    BatchRequest::Delete(handles) => (Permission::Delete, client.delete(handles).await),
                    BatchRequest::ChangeVisibility(messages) => {
                        (Permission::ChangeVisibility, client.change_visibility(messages).await)
                    }
                }
            }));
        }
    }

    fn on_received(&mut self, messages: Result<Vec<Message>, ErrorKind>) {
        let outcome = match messages {
            Ok(messages) => {
                self.concurrency.on_received(messages.len());
                for message in messages {
                    self.on_message(message);
                }
                Ok(())
            }
            Err(failure) => {
                self.concurrency.on_failure(Instant::now(), (self.settings.jitter)());
                Err(failure)
            }
        };
        let reason = outcome.as_ref().copied().map_err(|failure| failure.reason().into());
        self.settings.metrics.received(&self.settings.queue.queue_url, reason);
        if outcome.is_ok() && !std::mem::replace(&mut self.has_received, true) {
            info!(queue = self.settings.queue.queue_url, "receiving messages");
        }
        self.log_outcome(Permission::Receive, outcome);
    }

    /// Sends a trigger for a message, unless there is nothing to do about it.
    fn on_message(&mut self, message: Message) {
        match aws_event::parse(message.body.as_bytes()) {
            Err(error) => self.leave_invalid(&message, error),
            Ok(changes) if changes.is_empty() => {
                debug!(message = message.id, "a message without changes");
                self.settings.metrics.triggered(Trigger::Sqs, TriggerOutcome::Ignored);
                self.in_flight.discard(message);
            }
            Ok(changes) => self.send(&message, changes),
        }
    }

    /// Leaves an invalid message to the redrive policy of the queue.
    fn leave_invalid(&mut self, message: &Message, error: InvalidEvent) {
        self.settings.metrics.triggered(Trigger::Sqs, TriggerOutcome::Invalid);
        if let Some(messages) = self.invalid_messages.count(Instant::now()) {
            let (queue, last_message) = (&self.settings.queue.queue_url, &message.id);
            warn!(
                queue,
                messages, last_message, "invalid message, left to the queue's redrive policy: {error}"
            );
        }
    }

    fn send(&mut self, message: &Message, changes: Vec<SecretChange>) {
        let now = (Instant::now(), (self.settings.wall_clock)());
        let scopes = changes.into_iter().map(TriggerScope::Secret).collect();
        let (ack, done) = Ack::new();
        let event = TriggerEvent {
            ack: Some(ack),
            before: sent_before(message.queue_time, now.0),
            ..TriggerEvent::new(Trigger::Sqs, scopes, age(message.sent_at, now.1), now)
        };
        let id = self.in_flight.add(message, now.0);
        let triggers = self.triggers.clone();
        self.acks.push(Box::pin(async move {
            triggers.send(event).await?;
            Ok(Processed { id, is_acked: done.await.is_ok() })
        }));
    }

    fn on_processed(&mut self, Processed { id, is_acked }: Processed) {
        if is_acked {
            self.in_flight.ack(id);
        } else {
            self.in_flight.nack(id);
        }
    }

    /// Releases unacked messages: other readers may have them when our abandoned requests for messages are over.
    async fn release(&mut self) {
        let after = if self.receives.is_empty() { Duration::ZERO } else { BRIEF_POLL };
        self.receives.clear();
        while let Some(Some(Ok(processed))) = self.acks.next().now_or_never() {
            if processed.is_acked {
                self.on_processed(processed);
            }
        }
        self.acks.clear();
        self.in_flight.release(after);
        let last = async {
            self.start_requests(1, MAX_RELEASE_REQUESTS, Instant::now());
            while let Some((permission, outcome)) = self.requests.next().await {
                self.log_outcome(permission, outcome);
                self.start_requests(1, MAX_RELEASE_REQUESTS, Instant::now());
            }
        };
        // A message that is not released in time is redelivered after its visibility timeout.
        let _ = timeout(RELEASE_TIMEOUT, last).await;
        self.requests.clear();
    }

    /// Logs a failure once, and its end.
    fn log_outcome(&mut self, permission: Permission, outcome: Result<(), ErrorKind>) {
        let queue = &self.settings.queue.queue_url;
        let Some(change) = self.failure_logs[permission as usize].record(outcome) else { return };
        match (permission, change) {
            (Permission::Receive, FailureChange::Started(what)) => {
                warn!(queue, "cannot receive messages, retrying: {what}");
            }
            (Permission::Receive, FailureChange::Resolved) => info!(queue, "receiving messages again"),
            (Permission::Delete, FailureChange::Started(what)) => {
                warn!(queue, "cannot delete messages, which are redelivered: {what}");
            }
            (Permission::Delete, FailureChange::Resolved) => info!(queue, "deleting messages again"),
            (Permission::ChangeVisibility, FailureChange::Started(what)) => {
                warn!(
                    queue,
                    "cannot change the visibility timeout, so some messages are redelivered: {what}"
                );
            }
            (Permission::ChangeVisibility, FailureChange::Resolved) => {
                info!(queue, "changing the visibility timeout again");
            }
        }
    }
}

/// The age of a message, as far as the queue's clock and ours agree.
fn age(sent_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let age = sent_at.and_then(|sent_at| Duration::try_from(now.duration_since(sent_at)).ok());
    age.unwrap_or_default().min(MAX_AGE)
}

/// The latest time at which a message can have been sent that is received now and spent `queue_time` in the
/// queue until its first receive.
fn sent_before(queue_time: Duration, now: Instant) -> Instant {
    now.checked_sub(queue_time.min(MAX_QUEUE_TIME).saturating_sub(CLOCK_SKEW)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
