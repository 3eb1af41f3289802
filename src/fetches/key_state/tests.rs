//! The start of each read of a key, and the requests it serves.

use super::*;

/// A key with a clock that its reads advance.
struct TestKey {
    state: KeyState,
    now: Instant,
}

impl TestKey {
    /// A key that was read at these versions, one after the other.
    fn read_at(versions: &[&str]) -> Self {
        let mut key = Self { state: KeyState::default(), now: Instant::now() };
        for version in versions {
            key.state.request(key.now);
            key.read(version);
        }
        key
    }

    /// An event that names a version, or none.
    fn event(&mut self, version: &str) {
        self.event_before(self.now, version);
    }

    /// The same for a change before an instant.
    fn event_before(&mut self, before: Instant, version: &str) {
        let until = self.now + Duration::from_secs(30);
        let version = (!version.is_empty()).then(|| (version.into(), until));
        self.state.on_change_notice(ChangeNotice { before, version, can_lag: false }, self.now);
    }

    /// An event without a version, from a store of which replicas may lag behind.
    fn lagging_event(&mut self) {
        self.state
            .on_change_notice(ChangeNotice { before: self.now, version: None, can_lag: true }, self.now);
    }

    fn start(&mut self) {
        self.now = self.state.next_due().unwrap_or(self.now);
        assert!(self.state.start(self.now), "a read begins");
    }

    fn finish(&mut self, version: &str) {
        let version = (!version.is_empty()).then(|| version.into());
        let started = self.state.in_flight.expect("a read");
        let gain = match &version {
            None => ReadGain::Failed,
            version if *version == self.state.answered => ReadGain::Nothing,
            Some(_) => ReadGain::New,
        };
        self.state.finish(started, version.as_ref(), gain, self.now);
    }

    /// Reads, with an immediate answer.
    fn read(&mut self, version: &str) {
        self.start();
        self.finish(version);
    }

    /// Reads until no request is left, with the same answer each time. Returns the number of reads, and the
    /// seconds they took.
    fn read_on(&mut self, version: &str) -> (u32, u64) {
        let since = self.now;
        let mut reads = 0;
        while self.state.state() != FetchState::Settled {
            self.read(version);
            reads += 1;
        }
        (reads, (self.now - since).as_secs())
    }

    #[track_caller]
    fn check(&self, expect: FetchState) {
        assert_eq!(self.state.state(), expect);
    }
}

#[test]
fn stale_answer_is_retried_until_its_deadline() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    assert_eq!(key.read_on("1"), (9, 30));
    assert!(key.state.stale_answer().is_some_and(|stale_answer| stale_answer.is_final));
    key.state.request(key.now);
    key.read("1");
    assert_eq!(key.state.stale_answer(), None, "the next read is for another reconciliation");
}

#[test]
fn stale_answer_is_reported_after_three_seconds_and_at_the_end() {
    let mut key = TestKey::read_at(&["1"]);
    let since = key.now;
    key.event("2");
    let mut reported = Vec::new();
    while key.state.state() != FetchState::Settled {
        key.read("1");
        reported.extend(
            key.state.stale_answer().cloned().map(|stale_answer| ((key.now - since).as_secs(), stale_answer)),
        );
    }
    let answered = Version::from("1");
    assert_eq!(reported, [(3, StaleAnswer::new(&answered, false)), (30, StaleAnswer::new(&answered, true))]);
}

#[test]
fn awaited_version_ends_the_wait() {
    let mut key = TestKey::read_at(&["1"]);
    for version in ["2", "3"] {
        key.event(version);
        key.read(version);
        key.check(FetchState::Settled);
        assert_eq!(key.state.stale_answer(), None);
    }
}

#[test]
fn unknown_version_is_not_stale() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    key.read("3");
    key.check(FetchState::Settled);
}

#[test]
fn version_answered_before_is_not_awaited() {
    let mut key = TestKey::read_at(&["1", "2"]);
    key.event("1");
    assert_eq!(key.read_on("2"), (1, 0));
}

#[test]
fn event_during_an_older_read_is_not_lost() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    key.start();
    key.now += Duration::from_millis(1);
    key.event("3");
    key.finish("2");
    key.check(FetchState::Pending);
    key.read("2");
    key.check(FetchState::Pending);
    key.read("3");
    key.check(FetchState::Settled);
}

#[test]
fn event_before_the_first_answer_is_awaited() {
    let mut key = TestKey::read_at(&[]);
    key.state.request(key.now);
    key.start();
    key.now += Duration::from_millis(1);
    key.event("2");
    key.finish("1");
    key.read("1");
    key.check(FetchState::Pending);
    key.read("2");
    key.check(FetchState::Settled);
}

#[test]
fn failed_read_keeps_the_awaited_version() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    key.read("");
    key.check(FetchState::Settled);
    key.state.request(key.now);
    key.read("1");
    key.check(FetchState::Pending);
}

#[test]
fn unchanged_read_delays_events_but_not_requests() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("");
    assert_eq!(key.state.next_due(), None, "the first read returned something new");
    key.read("1");
    let started = key.now;
    key.event("");
    assert_eq!(key.state.next_due(), Some(started + PAUSE));
    key.check(FetchState::Deferred(started));
    assert!(!key.state.start(key.now));
    key.state.request(key.now);
    key.check(FetchState::Pending);
    assert!(key.state.start(key.now));
}

/// Sends events during each of ten reads of this length, and checks that a read serves every earlier event.
/// Returns the seconds that the reads took.
fn stream(mut key: TestKey, read: Duration) -> u64 {
    let since = key.now;
    for _ in 0..10 {
        key.event("");
        key.start();
        let started = key.now;
        key.now += read;
        key.event("");
        key.finish("1");
        key.check(FetchState::Deferred(started));
    }
    (key.now - since).as_secs()
}

#[test]
fn event_stream_costs_one_read_per_pause() {
    assert_eq!(stream(TestKey::read_at(&["1", "1"]), Duration::from_millis(10)), 10);
    assert_eq!(stream(TestKey::read_at(&["1", "1"]), Duration::from_millis(1500)), 16);
    // The first of the reads is for a person only.
    let mut key = TestKey::read_at(&["1", "1"]);
    key.state.request(key.now);
    assert_eq!(stream(key, Duration::from_millis(10)), 9);
}

#[test]
fn event_older_than_a_read_in_flight_is_served_by_it() {
    let mut key = TestKey::read_at(&["1"]);
    let sent = key.now;
    key.now += Duration::from_secs(5);
    assert!(!key.state.has_read_since(key.now));
    key.event("");
    key.start();
    key.now += Duration::from_millis(10);
    key.event_before(sent, "");
    key.finish("1");
    key.check(FetchState::Settled);
    assert!(key.state.has_read_since(sent) && !key.state.has_read_since(key.now));
    key.state.request(key.now);
    key.read("");
    assert!(!key.state.has_read_since(sent), "the last read failed");
}

#[test]
fn event_with_version_needs_a_later_read() {
    let mut key = TestKey::read_at(&["1"]);
    let sent = key.now;
    key.now += Duration::from_secs(1);
    key.state.request(key.now);
    key.start();
    key.now += Duration::from_millis(1);
    key.event_before(sent, "3");
    // A version in between, which was never answered before.
    key.finish("2");
    key.check(FetchState::Pending);
    key.read("3");
    key.check(FetchState::Settled);
}

#[test]
fn stale_answer_serves_no_event() {
    let mut key = TestKey::read_at(&["1"]);
    let sent = key.now;
    key.event("2");
    key.read("1");
    assert!(!key.state.has_read_since(sent), "it is read again");
    key.read_on("1");
    assert!(!key.state.has_read_since(sent), "the retries failed");
    key.event_before(sent, "");
    key.read("1");
    assert!(key.state.has_read_since(sent), "another read accepts any answer");
}

#[test]
fn second_event_keeps_the_first_awaited_version() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    key.start();
    key.now += Duration::from_millis(1);
    key.event("");
    key.finish("1");
    key.check(FetchState::Pending);
    key.read("2");
    key.check(FetchState::Settled);
}

#[test]
fn expired_wait_does_not_shorten_a_later_one() {
    let mut key = TestKey::read_at(&["1"]);
    key.event("2");
    key.read("");
    key.now += Duration::from_mins(1);
    key.event("3");
    key.read("1");
    key.check(FetchState::Pending);
    assert_eq!(key.read_on("1").1, 30);
}

#[test]
fn result_of_another_read_is_not_its_own() {
    let mut key = TestKey::read_at(&["1"]);
    key.state.request(key.now);
    key.start();
    assert!(key.state.is_in_flight(key.now));
    assert!(!key.state.is_in_flight(key.now + Duration::from_secs(1)));
    key.finish("2");
    key.check(FetchState::Settled);
    assert!(!key.state.is_in_flight(key.now));
}

#[test]
fn ever_newer_versions_are_not_awaited_forever() {
    let mut key = TestKey::read_at(&["0", "0"]);
    let since = key.now;
    for n in 1..100 {
        key.event(&n.to_string());
        key.read("0");
        if key.state.state() == FetchState::Settled {
            break;
        }
    }
    assert!((key.now - since).as_secs() <= 30);
    key.check(FetchState::Settled);
}

#[test]
fn event_of_a_number_alone_reads_a_key_created_again() {
    let mut key = TestKey::read_at(&["1@2026-11-27T10:00:00Z"]);
    key.event("1");
    key.read("1@2026-11-27T11:00:00Z");
    key.check(FetchState::Settled);
    assert_eq!(key.state.stale_answer(), None);
}

#[test]
fn event_of_a_number_alone_awaits_that_number() {
    let mut key = TestKey::read_at(&["1@2026-11-27T10:00:00Z"]);
    key.event("2");
    key.read("1@2026-11-27T10:00:00Z");
    key.check(FetchState::Pending);
    key.read("2@2026-11-27T11:00:00Z");
    key.check(FetchState::Settled);
}

#[test]
fn event_without_news_is_read_four_times_in_three_seconds() {
    let mut key = TestKey::read_at(&["1", "1"]);
    key.now += Duration::from_millis(1);
    let sent = key.now;
    key.lagging_event();
    key.now = key.state.next_due().expect("a pause");
    let since = key.now;
    assert_eq!(key.read_on("1"), (4, 3));
    assert!(key.state.is_in_vain() && !key.state.has_news_since(sent));
    assert!(key.state.has_read_since(since) && !key.state.has_read_since(key.now));
}

#[test]
fn news_at_a_further_read_confirms_the_event() {
    for lagging in 0..4 {
        let mut key = TestKey::read_at(&["1"]);
        key.now += Duration::from_millis(1);
        let sent = key.now;
        key.lagging_event();
        for _ in 0..lagging {
            key.read("1");
            assert!(!key.state.has_read_since(sent), "the event waits");
        }
        key.read("2");
        key.check(FetchState::Settled);
        assert!(key.state.has_news_since(sent) && !key.state.is_in_vain());
    }
}

#[test]
fn failed_read_ends_the_further_reads() {
    let mut key = TestKey::read_at(&["1"]);
    key.lagging_event();
    key.read("1");
    key.read("");
    key.check(FetchState::Settled);
    assert!(!key.state.is_in_vain(), "the store says nothing about a version");
}

#[test]
fn burst_shares_the_further_reads() {
    let mut key = TestKey::read_at(&["1", "1"]);
    let since = key.now;
    let (mut reads, mut served) = (0, key.now);
    while key.now < since + Duration::from_mins(1) {
        key.lagging_event();
        let due = key.state.next_due().unwrap_or(key.now).max(key.now);
        if due <= key.now {
            key.read("1");
            reads += 1;
        }
        if let FetchState::Deferred(until) = key.state.state() {
            assert!(until >= served, "it never goes back");
            served = until;
        }
        key.now += Duration::from_millis(10);
    }
    assert!(reads <= 80, "{reads} reads in a minute of 6,000 events");
    assert!(key.now - served < Duration::from_secs(9), "endless events are served");
}

#[test]
fn request_during_the_further_reads_is_served_at_once() {
    let mut key = TestKey::read_at(&["1"]);
    key.lagging_event();
    key.read("1");
    assert!(key.state.next_due().is_some_and(|at| at > key.now));
    key.state.request(key.now);
    assert!(key.state.start(key.now));
    key.finish("1");
    assert!(key.state.next_due().is_some(), "the event still waits");
}
