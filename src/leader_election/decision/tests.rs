use std::time::Duration;

use super::*;
use k8s_openapi::api::coordination::v1::LeaseSpec;

/// The duration that holders claim, and that of `me`.
const DURATION: u64 = 20;

/// A view in the making: what happened at which second, of which the test looks at the last.
struct Story {
    start: Instant,
    view: View,
}

/// A lease of that holder at its `version`-th version, acquired at the version in parentheses.
fn lease(holder: &str, version: u32, acquired: u32) -> Record {
    let time =
        |version: u32| Some(MicroTime(jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(version.into())));
    let spec = LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(i32::try_from(DURATION).expect("a small number")),
        acquire_time: time(acquired),
        renew_time: time(version),
        lease_transitions: Some(4),
        ..LeaseSpec::default()
    };
    Record { resource_version: version.to_string(), spec }
}

fn vacated(version: u32) -> Record {
    lease("", version, 1)
}

fn settings() -> Settings {
    Settings { duration: Duration::from_secs(DURATION), ..Settings::example() }
}

impl Story {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, view: View::new(start) }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    fn read(mut self, second: u64, record: Option<Record>) -> Self {
        self.view.read(record, self.at(second));
        self
    }

    fn hear(mut self, second: u64, record: Option<Record>) -> Self {
        self.view.hear(record, self.at(second));
        self
    }

    fn win(mut self, second: u64, record: Record) -> Self {
        self.view.win(record, self.at(second));
        self
    }

    fn doubt(mut self) -> Self {
        self.view.doubt();
        self
    }

    fn rest(mut self, until: u64) -> Self {
        self.view.rest(self.at(until));
        self
    }

    #[track_caller]
    fn check(&self, second: u64, expect: Decision) {
        assert_eq!(decide(&self.view, &settings(), self.at(second)), expect, "at {second} s");
    }

    #[track_caller]
    fn asks(&self, second: u64, expect: Request) {
        self.check(second, Decision::Ask(expect));
    }

    #[track_caller]
    fn takes(&self, second: u64, version: u32) {
        self.asks(second, Request::Take { resource_version: version.to_string(), transitions: 5 });
    }

    #[track_caller]
    fn renews(&self, second: u64, version: u32) {
        self.asks(second, Request::Renew { resource_version: version.to_string() });
    }

    #[track_caller]
    fn waits(&self, second: u64, until: u64) {
        self.check(second, Decision::Wait(self.at(until)));
    }

    #[track_caller]
    fn rests(&self, second: u64, until: u64) {
        self.check(second, Decision::Rest(self.at(until)));
    }

    #[track_caller]
    fn loses(&self, second: u64, loss: Loss) {
        self.check(second, Decision::Lose(loss));
    }
}

#[test]
fn the_lease_is_read_first_and_created_where_there_is_none() {
    Story::new().asks(0, Request::Read);
    Story::new().read(0, None).asks(0, Request::Create);
}

#[test]
fn a_holder_seen_for_the_first_time_has_one_full_duration() {
    let story = Story::new().read(3, Some(lease("other", 7, 1)));
    story.waits(3, 23);
    story.waits(22, 23);
    story.takes(23, 7);
}

#[test]
fn each_change_of_the_lease_gives_its_holder_another_duration() {
    let story = Story::new().read(0, Some(lease("other", 7, 1))).hear(10, Some(lease("other", 8, 1)));
    story.waits(20, 30);
    story.takes(30, 8);
}

#[test]
fn seeing_the_same_again_gives_its_holder_nothing() {
    let story = Story::new().read(0, Some(lease("other", 7, 1))).hear(10, Some(lease("other", 7, 1)));
    story.takes(20, 7);
}

#[test]
fn who_annotates_the_lease_does_not_speak_for_its_holder() {
    let annotated = Record { resource_version: "8".to_owned(), ..lease("other", 7, 1) };
    Story::new().read(0, Some(lease("other", 7, 1))).hear(10, Some(annotated)).takes(20, 8);
}

#[test]
fn a_holder_has_the_duration_it_claims_itself() {
    let of = |seconds| {
        let mut record = lease("other", 7, 1);
        record.spec.lease_duration_seconds = seconds;
        Story::new().read(0, Some(record))
    };
    of(Some(60)).waits(59, 60);
    of(Some(60)).takes(60, 7);
    of(None).waits(0, DURATION);
    of(Some(0)).waits(0, DURATION);
}

#[test]
fn the_clocks_of_others_play_no_part() {
    let mut from_the_future = lease("other", 7, 1);
    from_the_future.spec.renew_time = Some(MicroTime(jiff::Timestamp::MAX));
    Story::new().read(0, Some(from_the_future)).takes(20, 7);
}

#[test]
fn a_vacated_lease_is_taken_at_once() {
    Story::new().read(0, Some(vacated(7))).takes(0, 7);
    Story::new().read(0, Some(lease("other", 7, 1))).hear(1, Some(vacated(8))).takes(1, 8);
}

#[test]
fn a_lease_that_is_deleted_is_created_at_once() {
    Story::new().read(0, Some(lease("other", 7, 1))).hear(1, None).asks(1, Request::Create);
}

#[test]
fn a_replica_that_was_started_again_takes_its_lease_at_once() {
    Story::new().read(0, Some(lease("me", 7, 1))).takes(0, 7);
}

#[test]
fn a_leader_renews_at_half_of_its_term() {
    let story = Story::new().win(3, lease("me", 7, 7));
    story.waits(3, 13);
    story.waits(12, 13);
    story.renews(13, 7);
    let story = story.win(13, lease("me", 8, 7));
    story.waits(13, 23);
    story.renews(23, 8);
}

#[test]
fn a_term_is_over_a_duration_after_its_last_renewal_was_sent() {
    let story = Story::new().win(3, lease("me", 7, 7));
    story.renews(22, 7);
    story.loses(23, Loss::Expired);
    story.loses(1000, Loss::Expired);
}

#[test]
fn a_refused_write_reads_the_lease_anew() {
    Story::new().read(0, Some(lease("other", 7, 1))).doubt().asks(20, Request::Read);
    let story = Story::new().win(0, lease("me", 7, 7)).doubt();
    story.asks(10, Request::Read);
    story.read(10, Some(lease("me", 9, 7))).renews(10, 9);
}

#[test]
fn a_leader_who_reads_that_it_is_none_has_lost() {
    let reads = |record| Story::new().win(0, lease("me", 7, 7)).doubt().read(1, record);
    reads(Some(lease("other", 9, 9))).loses(1, Loss::Taken("other".to_owned()));
    reads(Some(lease("me", 9, 9))).loses(1, Loss::Namesake("me".to_owned()));
    reads(Some(vacated(9))).loses(1, Loss::Vacated);
    reads(None).loses(1, Loss::Deleted);
}

#[test]
fn a_leader_does_not_believe_the_watch_but_reads() {
    let hears = |record| Story::new().win(0, lease("me", 7, 7)).hear(1, record);
    for record in [Some(lease("other", 5, 1)), Some(lease("me", 5, 1)), Some(vacated(6)), None] {
        hears(record).asks(1, Request::Read);
    }
    // The echo of its own writes, or an annotation.
    hears(Some(lease("me", 7, 7))).waits(1, 10);
    hears(Some(lease("me", 8, 7))).waits(1, 10);
}

#[test]
fn a_leader_whom_the_watch_misled_goes_on() {
    let story = Story::new().win(0, lease("me", 7, 7)).hear(1, Some(vacated(6)));
    story.read(1, Some(lease("me", 7, 7))).waits(1, 10);
}

#[test]
fn after_a_failure_nothing_is_asked_for_a_while() {
    let story = Story::new().rest(5);
    story.rests(4, 5);
    story.asks(5, Request::Read);
    let story = Story::new().read(0, Some(lease("other", 7, 1))).rest(22);
    story.waits(19, 20);
    story.rests(20, 22);
    story.takes(22, 7);
}

#[test]
fn the_end_of_the_term_is_not_slept_over() {
    let story = Story::new().win(0, lease("me", 7, 7)).rest(30);
    story.rests(10, 20);
    story.loses(20, Loss::Expired);
}
