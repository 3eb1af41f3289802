//! The messages in flight: which of them await a reconciliation, and the requests to make about them.
//!
//! Pure. The visibility timeout of a waiting message is extended long before it would be redelivered. A
//! message with a failed reconciliation is hidden for longer each time, so that a target that stays broken
//! for an hour does not send its message to the dead-letter queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{BATCH, Message, ReceiptHandle, VISIBILITY_TIMEOUT};

/// The largest number of messages in flight.
pub(super) const MAX_IN_FLIGHT: usize = 1000;

/// The interval at which the visibility timeout of a waiting message is extended: two of these requests may fail.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The longest visibility timeout of a message after a failed reconciliation.
const MAX_PAUSE: Duration = Duration::from_mins(15);

/// A message in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InFlightId(u64);

/// All messages in flight.
#[derive(Default)]
pub(super) struct InFlight {
    last: u64,
    waiting: BTreeMap<InFlightId, WaitingMessage>,
    /// The times at which waiting messages are extended, the next ones first. Some may have been acked since.
    extensions: VecDeque<(Instant, InFlightId)>,
    /// The messages to delete.
    deletions: Vec<ReceiptHandle>,
    /// The visibility timeouts to set.
    timeouts: Vec<(ReceiptHandle, Duration)>,
}

struct WaitingMessage {
    handle: ReceiptHandle,
    receive_count: u32,
}

/// A batch request to the queue.
#[derive(PartialEq, Eq)]
pub(super) enum BatchRequest {
    /// Delete these messages.
    Delete(Vec<ReceiptHandle>),
    /// Set these visibility timeouts, counted from now.
    ChangeVisibility(Vec<(ReceiptHandle, Duration)>),
}

impl InFlight {
    /// The number of further messages that may be received.
    pub(super) fn capacity(&self) -> usize {
        MAX_IN_FLIGHT.saturating_sub(self.waiting.len() + self.deletions.len() + self.timeouts.len())
    }

    /// Adds a message that waits for its ack.
    pub(super) fn add(&mut self, message: &Message, now: Instant) -> InFlightId {
        self.last += 1;
        let id = InFlightId(self.last);
        let Message { handle, receive_count, .. } = message;
        self.waiting.insert(id, WaitingMessage { handle: handle.clone(), receive_count: *receive_count });
        self.extensions.push_back((now + EXTEND_EVERY, id));
        id
    }

    /// Deletes a message: everything it caused is done.
    pub(super) fn ack(&mut self, id: InFlightId) {
        self.deletions.extend(self.waiting.remove(&id).map(|message| message.handle));
    }

    /// Deletes a message that causes nothing.
    pub(super) fn discard(&mut self, message: Message) {
        self.deletions.push(message.handle);
    }

    /// Leaves a message to redelivery after a while: something it caused failed.
    pub(super) fn nack(&mut self, id: InFlightId) {
        let message = self.waiting.remove(&id);
        self.timeouts.extend(message.map(|it| (it.handle, pause_after(it.receive_count))));
    }

    /// The time of the next extension.
    pub(super) fn next_extension(&self) -> Option<Instant> {
        self.extensions.front().map(|(at, _)| *at)
    }

    /// Returns true if there is anything to request.
    pub(super) fn has_request(&self) -> bool {
        !self.deletions.is_empty() || !self.timeouts.is_empty()
    }

    /// Takes the next batch request, if it has at least that many entries.
    pub(super) fn next_request(&mut self, min_entries: usize, now: Instant) -> Option<BatchRequest> {
        self.extend_visibility(now);
        if let Some(length) = batch_length(self.deletions.len(), min_entries) {
            return Some(BatchRequest::Delete(self.deletions.drain(..length).collect()));
        }
        let length = batch_length(self.timeouts.len(), min_entries)?;
        Some(BatchRequest::ChangeVisibility(self.timeouts.drain(..length).collect()))
    }

    /// Returns true if no message waits for its ack.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Releases all waiting messages, for redelivery after a pause.
    pub(super) fn release(&mut self, after: Duration) {
        self.extensions.clear();
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|message| message.handle);
        let hidden = std::mem::take(&mut self.timeouts).into_iter().map(|(handle, _)| handle);
        self.timeouts = waiting.chain(hidden).map(|handle| (handle, after)).collect();
    }

    /// Extends the visibility timeouts that are due.
    fn extend_visibility(&mut self, now: Instant) {
        while let Some((_, id)) = self.extensions.pop_front_if(|(at, _)| *at <= now) {
            if let Some(message) = self.waiting.get(&id) {
                self.timeouts.push((message.handle.clone(), VISIBILITY_TIMEOUT));
                self.extensions.push_back((now + EXTEND_EVERY, id));
            }
        }
    }
}

/// The entries of a batch, of those pending; none where that is too few.
fn batch_length(pending: usize, min_entries: usize) -> Option<usize> {
    (pending >= min_entries.max(1)).then_some(pending.min(BATCH))
}

/// The visibility timeout of a failed message, by the number of its receives.
fn pause_after(receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(16);
    VISIBILITY_TIMEOUT.saturating_mul(1 << doublings).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize, receive_count: u32) -> Message {
        let handle = ReceiptHandle(n.to_string());
        let (id, body) = Default::default();
        Message { id, body, sent_at: None, queue_time: Duration::ZERO, receive_count, handle }
    }

    /// The request in words.
    fn text(request: Option<BatchRequest>) -> String {
        let (verb, entries): (_, Vec<_>) = match request {
            None => return "nothing".to_owned(),
            Some(BatchRequest::Delete(handles)) => {
                ("delete", handles.into_iter().map(|ReceiptHandle(it)| it).collect())
            }
            Some(BatchRequest::ChangeVisibility(entries)) => (
                "hide",
                entries
                    .into_iter()
                    .map(|(ReceiptHandle(it), timeout)| format!("{it}:{}", timeout.as_secs()))
                    .collect(),
            ),
        };
        format!("{verb} {}", entries.join(" "))
    }

    #[test]
    fn acked_messages_deleted_in_tens_and_the_rest_when_idle() {
        let (now, mut in_flight) = (Instant::now(), InFlight::default());
        let ids: Vec<_> = (0..12).map(|n| in_flight.add(&message(n, 1), now)).collect();
        assert_eq!(text(in_flight.next_request(1, now)), "nothing");
        for id in ids {
            in_flight.ack(id);
        }
        assert_eq!(text(in_flight.next_request(BATCH, now)), "delete 0 1 2 3 4 5 6 7 8 9");
        assert_eq!(text(in_flight.next_request(BATCH, now)), "nothing");
        assert_eq!(text(in_flight.next_request(1, now)), "delete 10 11");
        in_flight.discard(message(12, 1));
        assert_eq!(text(in_flight.next_request(1, now)), "delete 12");
        assert_eq!(in_flight.capacity(), MAX_IN_FLIGHT);
    }

    #[test]
    fn visibility_extended_until_acked() {
        let (begin, mut in_flight) = (Instant::now(), InFlight::default());
        let (first, _) = (in_flight.add(&message(1, 1), begin), in_flight.add(&message(2, 1), begin));
        let mut requests = Vec::new();
        for second in 0..32 {
            if second == 15 {
                in_flight.ack(first);
            }
            while let Some(request) = in_flight.next_request(1, begin + Duration::from_secs(second)) {
                requests.push(format!("{second}: {}", text(Some(request))));
            }
        }
        assert_eq!(requests, ["10: hide 1:30 2:30", "15: delete 1", "20: hide 2:30", "30: hide 2:30"]);
    }

    #[test]
    fn nacked_message_hidden_for_longer_each_time() {
        let (now, mut in_flight) = (Instant::now(), InFlight::default());
        for receive_count in [1, 2, 3, 6, u32::MAX] {
            let id = in_flight.add(&message(0, receive_count), now);
            in_flight.nack(id);
        }
        assert_eq!(text(in_flight.next_request(1, now)), "hide 0:30 0:60 0:120 0:900 0:900");
    }

    #[test]
    fn released_messages_become_visible_soon() {
        let (now, mut in_flight) = (Instant::now(), InFlight::default());
        let ids: Vec<_> = (0..3).map(|n| in_flight.add(&message(n, 1), now)).collect();
        in_flight.ack(ids[0]);
        in_flight.nack(ids[1]);
        in_flight.release(Duration::from_secs(2));
        assert_eq!(text(in_flight.next_request(1, now)), "delete 0");
        assert_eq!(text(in_flight.next_request(1, now)), "hide 2:2 1:2");
        assert_eq!(in_flight.next_extension(), None);
    }

    #[test]
    fn messages_in_flight_are_bounded() {
        let mut in_flight = InFlight::default();
        for n in 0..MAX_IN_FLIGHT {
            assert_eq!(in_flight.capacity(), MAX_IN_FLIGHT - n);
            in_flight.add(&message(n, 1), Instant::now());
        }
        assert_eq!(in_flight.capacity(), 0);
    }
}
