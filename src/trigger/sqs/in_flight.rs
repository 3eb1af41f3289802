//! The messages that were received: which of them wait for a pass, and what is to be asked of the queue
//! about them.
//!
//! Pure. A message that waits is hidden anew long before it would be shown to others. One that could not
//! be carried out is hidden for longer each time, so that a target that stays broken for an hour does not
//! send its message to the dead-letter queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::queue::{BATCH, Handle, Message, VISIBILITY};

/// How many messages are held at once.
pub(super) const MOST: usize = 1000;

/// How often a message that waits is hidden anew: two of these requests may fail.
const EXTEND_EVERY: Duration = Duration::from_secs(10);

/// The longest that a message is hidden that could not be carried out.
const LONGEST_PAUSE: Duration = Duration::from_mins(15);

/// A message that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u64);

/// All that are held.
#[derive(Default)]
pub(super) struct InFlight {
    last: u64,
    waiting: BTreeMap<Id, Waiting>,
    /// When those that wait are hidden anew, the next ones first. Some may have been settled since.
    extensions: VecDeque<(Instant, Id)>,
    /// What can be deleted.
    done: Vec<Handle>,
    /// What is to be hidden for so long.
    hidden: Vec<(Handle, Duration)>,
}

struct Waiting {
    handle: Handle,
    receives: u32,
}

/// What is asked of the queue.
#[derive(PartialEq, Eq)]
pub(super) enum Errand {
    /// Delete these messages.
    Delete(Vec<Handle>),
    /// Hide these for so long from now on.
    Hide(Vec<(Handle, Duration)>),
}

impl InFlight {
    /// How many more may be taken in.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.waiting.len() + self.done.len() + self.hidden.len())
    }

    /// Holds a message until it is settled.
    pub(super) fn hold(&mut self, message: &Message, now: Instant) -> Id {
        self.last += 1;
        let id = Id(self.last);
        let Message { handle, receives, .. } = message;
        self.waiting.insert(id, Waiting { handle: handle.clone(), receives: *receives });
        self.extensions.push_back((now + EXTEND_EVERY, id));
        id
    }

    /// Everything that the message caused is done.
    pub(super) fn settle(&mut self, id: Id) {
        self.done.extend(self.waiting.remove(&id).map(|message| message.handle));
    }

    /// There is nothing to do about a message.
    pub(super) fn discard(&mut self, message: Message) {
        self.done.push(message.handle);
    }

    /// What the message caused was not done: it comes again after a while.
    pub(super) fn postpone(&mut self, id: Id) {
        let message = self.waiting.remove(&id);
        self.hidden.extend(message.map(|it| (it.handle, pause_after(it.receives))));
    }

    /// When there is something to ask that is not there yet.
    pub(super) fn next(&self) -> Option<Instant> {
        self.extensions.front().map(|(at, _)| *at)
    }

    /// Whether there is anything to ask.
    pub(super) fn has_errand(&self) -> bool {
        !self.done.is_empty() || !self.hidden.is_empty()
    }

    /// The next thing to ask, if there is at least so much of it.
    pub(super) fn errand(&mut self, least: usize, now: Instant) -> Option<Errand> {
        self.extend(now);
        let batch = |length: usize| (length >= least.max(1)).then_some(length.min(BATCH));
        if let Some(length) = batch(self.done.len()) {
            return Some(Errand::Delete(self.done.drain(..length).collect()));
        }
        batch(self.hidden.len()).map(|length| Errand::Hide(self.hidden.drain(..length).collect()))
    }

    /// Whether no message waits for what it caused.
    pub(super) fn nothing_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Gives up all that wait, to be shown to others after so long.
    pub(super) fn release(&mut self, after: Duration) {
        self.extensions.clear();
        let waiting = std::mem::take(&mut self.waiting).into_values().map(|message| message.handle);
        let hidden = std::mem::take(&mut self.hidden).into_iter().map(|(handle, _)| handle);
        self.hidden = waiting.chain(hidden).map(|handle| (handle, after)).collect();
    }

    /// Those that wait since long enough are to be hidden anew.
    fn extend(&mut self, now: Instant) {
        while let Some((_, id)) = self.extensions.pop_front_if(|(at, _)| *at <= now) {
            if let Some(message) = self.waiting.get(&id) {
                self.hidden.push((message.handle.clone(), VISIBILITY));
                self.extensions.push_back((now + EXTEND_EVERY, id));
            }
        }
    }
}

/// How long a message is hidden that was received so often.
fn pause_after(receives: u32) -> Duration {
    let doublings = receives.saturating_sub(1).min(16);
    VISIBILITY.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize, receives: u32) -> Message {
        let handle = Handle(n.to_string());
        let (id, body) = Default::default();
        Message { id, body, sent_at: None, waited: Duration::ZERO, receives, handle }
    }

    /// The errand in words.
    fn told(errand: Option<Errand>) -> String {
        let join = |words: Vec<String>| words.join(" ");
        match errand {
            None => "nothing".to_owned(),
            Some(Errand::Delete(handles)) => {
                format!("delete {}", join(handles.into_iter().map(|Handle(it)| it).collect()))
            }
            Some(Errand::Hide(handles)) => {
                let words = handles.into_iter().map(|(Handle(it), time)| format!("{it}:{}", time.as_secs()));
                format!("hide {}", join(words.collect()))
            }
        }
    }

    #[test]
    fn what_is_done_is_deleted_ten_at_a_time_and_the_rest_when_nothing_else_comes() {
        let (now, mut held) = (Instant::now(), InFlight::default());
        let ids: Vec<_> = (0..12).map(|n| held.hold(&message(n, 1), now)).collect();
        assert_eq!(told(held.errand(1, now)), "nothing");
        for id in ids {
            held.settle(id);
        }
        assert_eq!(told(held.errand(BATCH, now)), "delete 0 1 2 3 4 5 6 7 8 9");
        assert_eq!(told(held.errand(BATCH, now)), "nothing");
        assert_eq!(told(held.errand(1, now)), "delete 10 11");
        held.discard(message(12, 1));
        assert_eq!(told(held.errand(1, now)), "delete 12");
        assert_eq!(held.room(), MOST);
    }

    #[test]
    fn what_waits_is_hidden_anew_until_it_is_settled() {
        let (begin, mut held) = (Instant::now(), InFlight::default());
        let (first, _) = (held.hold(&message(1, 1), begin), held.hold(&message(2, 1), begin));
        let mut told_at = Vec::new();
        for second in 0..32 {
            if second == 15 {
                held.settle(first);
            }
            while let Some(errand) = held.errand(1, begin + Duration::from_secs(second)) {
                told_at.push(format!("{second}: {}", told(Some(errand))));
            }
        }
        assert_eq!(told_at, ["10: hide 1:30 2:30", "15: delete 1", "20: hide 2:30", "30: hide 2:30"]);
    }

    #[test]
    fn what_could_not_be_done_comes_again_later_each_time() {
        let (now, mut held) = (Instant::now(), InFlight::default());
        for receives in [1, 2, 3, 6, u32::MAX] {
            let id = held.hold(&message(0, receives), now);
            held.postpone(id);
        }
        assert_eq!(told(held.errand(1, now)), "hide 0:30 0:60 0:120 0:900 0:900");
    }

    #[test]
    fn at_the_end_what_waits_is_shown_to_others_soon() {
        let (now, mut held) = (Instant::now(), InFlight::default());
        let ids: Vec<_> = (0..3).map(|n| held.hold(&message(n, 1), now)).collect();
        held.settle(ids[0]);
        held.postpone(ids[1]);
        held.release(Duration::from_secs(2));
        assert_eq!(told(held.errand(1, now)), "delete 0");
        assert_eq!(told(held.errand(1, now)), "hide 2:2 1:2");
        assert_eq!(held.next(), None);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut held = InFlight::default();
        for n in 0..MOST {
            assert_eq!(held.room(), MOST - n);
            held.hold(&message(n, 1), Instant::now());
        }
        assert_eq!(held.room(), 0);
    }
}
