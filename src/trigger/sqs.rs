//! A queue of Amazon SQS that tells of changes in AWS Secrets Manager.
//!
//! Read while this replica leads. In come messages, out go [`TriggerEvent`]s, and what a message caused decides
//! what becomes of it: it is deleted once every target is written, and left to redelivery where that
//! failed, where the process ends, or where nobody could tell what it says. Meanwhile it is hidden from
//! others. `held` decides what is to be asked of the queue, `appetite` how much is taken in.

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
use self::failure::{News, Right, Trouble};
use self::in_flight::{Errand, Id, InFlight};
use self::queue::{BATCH, BRIEF_WAIT, Message, Queue, WAIT};
use super::aws_event::{self, SecretChange, Unreadable};
use super::channel::Gone;
use super::{Ack, Trigger, TriggerEvent, TriggerScope, TriggerSender};
use crate::log_throttle::LogThrottle;
use crate::manifest::config::triggers::SqsQueue;
use crate::metrics::{Metrics, TriggerOutcome};
use crate::provider::failure::Failure;

mod concurrency;
mod failure;
mod in_flight;
mod queue;

/// How many requests about held messages are under way at once.
const ERRANDS: usize = 4;

/// The same at the end, when everything that is held is given back.
const LAST_ERRANDS: usize = 16;

/// How long giving back may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// The longest that SQS keeps a message; one that is older was sent by another clock.
const OLDEST: Duration = Duration::from_hours(14 * 24);

/// How far apart the clocks of a queue's servers may be, and what they call approximate.
const SKEW: Duration = Duration::from_secs(1);

/// The longest that a message is believed to have waited. Our clock stands still while the machine is
/// suspended, and the queue's does not; a burst is over long before.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How long nothing at all may happen.
const IDLE: Duration = Duration::from_hours(1);

/// What reading a queue takes.
pub struct Settings {
    /// The queue.
    pub queue: SqsQueue,
    /// Where messages are counted.
    pub metrics: Arc<Metrics>,
    /// The clock on the wall.
    pub wall_clock: fn() -> Timestamp,
    /// A random number from 0 to 1.
    pub jitter: fn() -> f64,
}

/// Reads a queue while this replica leads, until it is told to stop or the controller is gone; gives back
/// what it holds then.
pub async fn run(
    settings: Settings,
    triggers: TriggerSender,
    leading: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
) {
    let queue = Queue::open(&settings.queue).await;
    Reader::new(settings, queue, triggers).run(leading, stop).await;
}

/// Who reads the queue, and everything that is under way for it.
struct Reader {
    settings: Settings,
    queue: Arc<Queue>,
    triggers: TriggerSender,
    appetite: ReceiveConcurrency,
    held: InFlight,
    /// Requests for messages.
    receives: FuturesUnordered<BoxFuture<'static, Result<Vec<Message>, Failure>>>,
    /// Messages that wait for everything they caused.
    waiting: FuturesUnordered<BoxFuture<'static, Result<Settled, Gone>>>,
    /// Requests about messages that are held.
    errands: FuturesUnordered<BoxFuture<'static, (Right, Result<(), Failure>)>>,
    troubles: [Trouble; 3],
    unreadable: LogThrottle,
    /// The queue answered once.
    is_read: bool,
}

/// What became of a message.
struct Settled {
    id: Id,
    is_done: bool,
}

impl Reader {
    fn new(settings: Settings, queue: Queue, triggers: TriggerSender) -> Self {
        Self {
            settings,
            queue: Arc::new(queue),
            triggers,
            appetite: ReceiveConcurrency::default(),
            held: InFlight::default(),
            receives: FuturesUnordered::new(),
            waiting: FuturesUnordered::new(),
            errands: FuturesUnordered::new(),
            troubles: Default::default(),
            unreadable: LogThrottle::default(),
            is_read: false,
        }
    }

    async fn run(mut self, mut leading: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        // A sender that is gone means the same.
        let mut over = pin!(async move { drop(stop.wait_for(|stop| *stop).await) });
        loop {
            tokio::select! {
                biased;
                () = &mut over => return,
                leads = leading.wait_for(|leads| *leads) => if leads.is_err() { return },
            }
            let is_over = tokio::select! {
                biased;
                () = &mut over => true,
                follows = leading.wait_for(|leads| !*leads) => follows.is_err(),
                Gone = self.read() => true,
            };
            self.give_back().await;
            if is_over {
                return;
            }
        }
    }

    /// Reads until the controller is gone.
    async fn read(&mut self) -> Gone {
        loop {
            let now = Instant::now();
            self.ask_for_messages(now);
            self.begin_errands(BATCH, ERRANDS, now);
            let until = self.wake_at(now);
            let is_a_part_due = self.errands.len() < ERRANDS && self.held.has_errand();
            tokio::select! {
                biased;
                Some(settled) = self.waiting.next() => match settled {
                    Ok(settled) => self.settled(settled),
                    Err(gone) => return gone,
                },
                Some((right, outcome)) = self.errands.next() => self.note(right, outcome),
                Some(messages) = self.receives.next() => self.received(messages),
                // Nothing else comes just now, so a batch need not wait until it is full.
                () = std::future::ready(()), if is_a_part_due => self.begin_errands(1, ERRANDS, now),
                () = sleep_until(until) => {}
            }
        }
    }

    /// When to go on, if nothing happens before.
    fn wake_at(&self, now: Instant) -> Instant {
        let next = self.appetite.next().into_iter().chain(self.held.next());
        next.filter(|at| *at > now).min().unwrap_or(now + IDLE)
    }

    fn ask_for_messages(&mut self, now: Instant) {
        while self.appetite.allows(self.receives.len(), self.held.room(), now) {
            let wait = if self.held.nothing_waits() && self.receives.is_empty() { WAIT } else { BRIEF_WAIT };
            let queue = Arc::clone(&self.queue);
            self.receives.push(Box::pin(async move { queue.receive(wait).await }));
        }
    }

    /// Begins what is to be asked about held messages, where there is so much of it at least.
    fn begin_errands(&mut self, least: usize, at_once: usize, now: Instant) {
        while self.errands.len() < at_once
            && let Some(errand) = self.held.errand(least, now)
        {
            let queue = Arc::clone(&self.queue);
            self.errands.push(Box::pin(async move {
                match errand {
                    Errand::Delete(handles) => (Right::Delete, queue.delete(handles).await),
                    Errand::Hide(messages) => (Right::Hide, queue.hide(messages).await),
                }
            }));
        }
    }

    fn received(&mut self, messages: Result<Vec<Message>, Failure>) {
        let outcome = match messages {
            Ok(messages) => {
                self.appetite.received(messages.len());
                for message in messages {
                    self.take(message);
                }
                Ok(())
            }
            Err(failure) => {
                self.appetite.failed(Instant::now(), (self.settings.jitter)());
                Err(failure)
            }
        };
        let told = outcome.as_ref().copied().map_err(Failure::reason);
        self.settings.metrics.received(&self.settings.queue.queue_url, told);
        if outcome.is_ok() && !std::mem::replace(&mut self.is_read, true) {
            info!(queue = self.settings.queue.queue_url, "the queue is read");
        }
        self.note(Right::Receive, outcome);
    }

    /// Rings for a message, unless there is nothing to do about it.
    fn take(&mut self, message: Message) {
        match aws_event::parse(message.body.as_bytes()) {
            Err(unreadable) => self.leave(&message, unreadable),
            Ok(sightings) if sightings.is_empty() => {
                debug!(message = message.id, "a message of nothing to do");
                self.settings.metrics.triggered(Trigger::Sqs, TriggerOutcome::Ignored);
                self.held.discard(message);
            }
            Ok(sightings) => self.ring(&message, sightings),
        }
    }

    /// Leaves a message that nobody can read to the queue, which knows what to do with those.
    fn leave(&mut self, message: &Message, unreadable: Unreadable) {
        self.settings.metrics.triggered(Trigger::Sqs, TriggerOutcome::Invalid);
        if let Some(messages) = self.unreadable.count(Instant::now()) {
            let (queue, last_message) = (&self.settings.queue.queue_url, &message.id);
            warn!(
                queue,
                messages,
                last_message,
                "a message cannot be read: {unreadable}; it is left to the queue's redrive policy"
            );
        }
    }

    fn ring(&mut self, message: &Message, sightings: Vec<SecretChange>) {
        let now = (Instant::now(), (self.settings.wall_clock)());
        let looks = sightings.into_iter().map(TriggerScope::Secret).collect();
        let (receipt, done) = Ack::new();
        let wake = TriggerEvent {
            receipt: Some(receipt),
            before: before(message.waited, now.0),
            ..TriggerEvent::new(Trigger::Sqs, looks, age(message.sent_at, now.1), now)
        };
        let id = self.held.hold(message, now.0);
        let triggers = self.triggers.clone();
        self.waiting.push(Box::pin(async move {
            triggers.ring(wake).await?;
            Ok(Settled { id, is_done: done.await.is_ok() })
        }));
    }

    fn settled(&mut self, Settled { id, is_done }: Settled) {
        if is_done {
            self.held.settle(id);
        } else {
            self.held.postpone(id);
        }
    }

    /// Gives back whatever is not done yet: others may have it when requests of ours that were begun since are over.
    async fn give_back(&mut self) {
        let after = if self.receives.is_empty() { Duration::ZERO } else { BRIEF_WAIT };
        self.receives.clear();
        while let Some(Some(Ok(settled))) = self.waiting.next().now_or_never() {
            if settled.is_done {
                self.settled(settled);
            }
        }
        self.waiting.clear();
        self.held.release(after);
        let last = async {
            self.begin_errands(1, LAST_ERRANDS, Instant::now());
            while let Some((right, outcome)) = self.errands.next().await {
                self.note(right, outcome);
                self.begin_errands(1, LAST_ERRANDS, Instant::now());
            }
        };
        // What is not given back in time is shown to others when its time is over.
        let _ = timeout(FAREWELL, last).await;
        self.errands.clear();
    }

    /// Says what does not work, once, and that it works again.
    fn note(&mut self, right: Right, outcome: Result<(), Failure>) {
        let queue = &self.settings.queue.queue_url;
        let Some(news) = self.troubles[right as usize].note(outcome) else { return };
        match (right, news) {
            (Right::Receive, News::Began(what)) => {
                warn!(queue, "the queue cannot be read, and is tried again until it can: {what}");
            }
            (Right::Receive, News::Ended) => info!(queue, "the queue is read again"),
            (Right::Delete, News::Began(what)) => {
                warn!(queue, "messages cannot be deleted, so they come again: {what}");
            }
            (Right::Delete, News::Ended) => info!(queue, "messages are deleted again"),
            (Right::Hide, News::Began(what)) => {
                warn!(queue, "messages cannot be hidden for longer, so some come twice: {what}");
            }
            (Right::Hide, News::Ended) => info!(queue, "messages are hidden for longer again"),
        }
    }
}

/// How long ago a message was sent, as far as its clock and ours agree.
fn age(sent_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let age = sent_at.and_then(|sent_at| Duration::try_from(now.duration_since(sent_at)).ok());
    age.unwrap_or_default().min(OLDEST)
}

/// When at the latest a message was sent that is received now, and had waited so long when it was first
/// received.
fn before(waited: Duration, now: Instant) -> Instant {
    now.checked_sub(waited.min(LONGEST_WAIT).saturating_sub(SKEW)).unwrap_or(now)
}

#[cfg(test)]
mod tests;
