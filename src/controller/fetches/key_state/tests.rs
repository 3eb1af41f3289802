//! When a key is read, and for whom.

use super::*;

/// A key whose clock goes on by what is done with it.
struct Key {
    slot: KeyState,
    now: Instant,
}

impl Key {
    /// One that was read at these versions, one after the other.
    fn read_at(versions: &[&str]) -> Self {
        let mut key = Self { slot: KeyState::default(), now: Instant::now() };
        for version in versions {
            key.slot.want(key.now);
            key.read(version);
        }
        key
    }

    /// An event that names a version, or none.
    fn event(&mut self, version: &str) {
        self.event_before(self.now, version);
    }

    /// The same of one that tells of what was so before an instant.
    fn event_before(&mut self, before: Instant, version: &str) {
        let until = self.now + Duration::from_secs(30);
        let version = (!version.is_empty()).then(|| (version.into(), until));
        self.slot.expect(ChangeNotice { before, version }, self.now);
    }

    fn begin(&mut self) {
        self.now = self.slot.next().unwrap_or(self.now);
        assert!(self.slot.begin(self.now), "a read begins");
    }

    fn end(&mut self, version: &str) {
        let version = (!version.is_empty()).then(|| version.into());
        let began = self.slot.under_way.expect("a read");
        assert!(self.slot.end(began, version.as_ref(), self.now));
    }

    /// One read that ends at once.
    fn read(&mut self, version: &str) {
        self.begin();
        self.end(version);
    }

    /// Reads until nobody wants it any more, and the store always answers the same: how often, and
    /// how many seconds it takes.
    fn read_on(&mut self, version: &str) -> (u32, u64) {
        let since = self.now;
        let mut reads = 0;
        while self.slot.state() != State::Settled {
            self.read(version);
            reads += 1;
        }
        (reads, (self.now - since).as_secs())
    }

    #[track_caller]
    fn check(&self, expect: State) {
        assert_eq!(self.slot.state(), expect);
    }
}

#[test]
fn an_older_answer_than_an_event_named_is_read_again_for_a_while() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    assert_eq!(key.read_on("1"), (9, 30));
    assert!(key.slot.late().is_some_and(|late| late.is_over));
    key.slot.want(key.now);
    key.read("1");
    assert_eq!(key.slot.late(), None, "the next read is of another pass");
}

#[test]
fn an_older_answer_is_told_once_after_three_seconds_and_once_when_its_time_is_over() {
    let mut key = Key::read_at(&["1"]);
    let since = key.now;
    key.event("2");
    let mut told = Vec::new();
    while key.slot.state() != State::Settled {
        key.read("1");
        told.extend(key.slot.late().cloned().map(|late| ((key.now - since).as_secs(), late)));
    }
    let late = |is_over| StaleAnswer { answered: "1".into(), is_over };
    assert_eq!(told, [(3, late(false)), (30, late(true))]);
}

#[test]
fn the_version_that_an_event_named_ends_the_waiting() {
    let mut key = Key::read_at(&["1"]);
    for version in ["2", "3"] {
        key.event(version);
        key.read(version);
        key.check(State::Settled);
        assert_eq!(key.slot.late(), None);
    }
}

#[test]
fn a_version_that_was_never_answered_before_is_no_older_one() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    key.read("3");
    key.check(State::Settled);
}

#[test]
fn a_version_that_was_answered_before_is_not_waited_for() {
    let mut key = Key::read_at(&["1", "2"]);
    key.event("1");
    assert_eq!(key.read_on("2"), (1, 0));
}

#[test]
fn an_event_that_comes_while_an_older_read_is_under_way_is_not_forgotten() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    key.begin();
    key.now += Duration::from_millis(1);
    key.event("3");
    key.end("2");
    key.check(State::Owed);
    key.read("2");
    key.check(State::Owed);
    key.read("3");
    key.check(State::Settled);
}

#[test]
fn an_event_that_comes_before_anything_was_read_is_waited_for_too() {
    let mut key = Key::read_at(&[]);
    key.slot.want(key.now);
    key.begin();
    key.now += Duration::from_millis(1);
    key.event("2");
    key.end("1");
    key.read("1");
    key.check(State::Owed);
    key.read("2");
    key.check(State::Settled);
}

#[test]
fn a_read_that_fails_leaves_the_expectation_to_the_next() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    key.read("");
    key.check(State::Settled);
    key.slot.want(key.now);
    key.read("1");
    key.check(State::Owed);
}

#[test]
fn after_a_read_that_brought_nothing_new_an_event_waits_and_a_person_does_not() {
    let mut key = Key::read_at(&["1"]);
    key.event("");
    assert_eq!(key.slot.next(), None, "the first read brought something");
    key.read("1");
    let began = key.now;
    key.event("");
    assert_eq!(key.slot.next(), Some(began + PAUSE));
    key.check(State::Later(began));
    assert!(!key.slot.begin(key.now));
    key.slot.want(key.now);
    key.check(State::Owed);
    assert!(key.slot.begin(key.now));
}

/// Events that come during each of ten reads, which take so long: how many seconds it takes, while
/// whoever came before a read is served by it.
fn stream(mut key: Key, read: Duration) -> u64 {
    let since = key.now;
    for _ in 0..10 {
        key.event("");
        key.begin();
        let began = key.now;
        key.now += read;
        key.event("");
        key.end("1");
        key.check(State::Later(began));
    }
    (key.now - since).as_secs()
}

#[test]
fn events_without_end_cost_one_read_in_a_pause_and_keep_nobody_waiting() {
    assert_eq!(stream(Key::read_at(&["1", "1"]), Duration::from_millis(10)), 10);
    assert_eq!(stream(Key::read_at(&["1", "1"]), Duration::from_millis(1500)), 16);
    // The first of the reads is one that nobody but a person wanted.
    let mut key = Key::read_at(&["1", "1"]);
    key.slot.want(key.now);
    assert_eq!(stream(key, Duration::from_millis(10)), 9);
}

#[test]
fn an_event_that_is_older_than_a_read_under_way_is_served_by_it() {
    let mut key = Key::read_at(&["1"]);
    let sent = key.now;
    key.now += Duration::from_secs(5);
    assert!(!key.slot.is_read_since(key.now));
    key.event("");
    key.begin();
    key.now += Duration::from_millis(10);
    key.event_before(sent, "");
    key.end("1");
    key.check(State::Settled);
    assert!(key.slot.is_read_since(sent) && !key.slot.is_read_since(key.now));
    key.slot.want(key.now);
    key.read("");
    assert!(!key.slot.is_read_since(sent), "the last read failed");
}

#[test]
fn an_event_that_names_a_version_is_served_by_no_read_that_was_under_way() {
    let mut key = Key::read_at(&["1"]);
    let sent = key.now;
    key.now += Duration::from_secs(1);
    key.slot.want(key.now);
    key.begin();
    key.now += Duration::from_millis(1);
    key.event_before(sent, "3");
    // One in between, which was never answered before.
    key.end("2");
    key.check(State::Owed);
    key.read("3");
    key.check(State::Settled);
}

#[test]
fn an_answer_that_is_known_to_be_old_serves_no_event() {
    let mut key = Key::read_at(&["1"]);
    let sent = key.now;
    key.event("2");
    key.read("1");
    assert!(!key.slot.is_read_since(sent), "it is read again");
    key.read_on("1");
    assert!(!key.slot.is_read_since(sent), "it was read again to no avail");
    key.event_before(sent, "");
    key.read("1");
    assert!(key.slot.is_read_since(sent), "whoever reads again takes what there is");
}

#[test]
fn an_older_answer_during_which_another_event_came_keeps_the_first_one_waiting() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    key.begin();
    key.now += Duration::from_millis(1);
    key.event("");
    key.end("1");
    key.check(State::Owed);
    key.read("2");
    key.check(State::Settled);
}

#[test]
fn an_expectation_that_is_over_cuts_no_later_one_short() {
    let mut key = Key::read_at(&["1"]);
    key.event("2");
    key.read("");
    key.now += Duration::from_mins(1);
    key.event("3");
    key.read("1");
    key.check(State::Owed);
    assert_eq!(key.read_on("1").1, 30);
}

#[test]
fn a_read_that_is_not_this_ones_says_nothing() {
    let mut key = Key::read_at(&["1"]);
    key.slot.want(key.now);
    key.begin();
    let another = key.now + Duration::from_secs(1);
    assert!(!key.slot.end(another, Some(&"2".into()), another));
    key.end("2");
    key.check(State::Settled);
}

#[test]
fn events_of_ever_newer_versions_are_not_waited_for_without_end() {
    let mut key = Key::read_at(&["0", "0"]);
    let since = key.now;
    for n in 1..100 {
        key.event(&n.to_string());
        key.read("0");
        if key.slot.state() == State::Settled {
            break;
        }
    }
    assert!((key.now - since).as_secs() <= 30);
    key.check(State::Settled);
}
