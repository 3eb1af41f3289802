use std::time::Duration;

use super::*;
use k8s_openapi::api::coordination::v1::LeaseSpec;

/// The lease duration that holders claim, and that of `me`, in seconds.
const DURATION: u64 = 20;

/// A view that is built up by events at given seconds.
struct Scenario {
    start: LeaseInstant,
    view: View,
}

/// A lease of that holder at its `version`-th version, acquired at the version `acquired`.
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

fn config() -> LeaderElectionConfig {
    LeaderElectionConfig { lease_duration: Duration::from_secs(DURATION), ..LeaderElectionConfig::example() }
}

impl Scenario {
    fn new() -> Self {
        let start = LeaseInstant::default();
        Self { start, view: View::new(start) }
    }

    /// A scenario in which `me` acquires the lease at second 0.
    fn leading() -> Self {
        Self::new().acquire(0, lease("me", 7, 7))
    }

    /// A scenario with another holder that claims this duration.
    fn claiming(seconds: Option<i32>) -> Self {
        let mut record = lease("other", 7, 1);
        record.spec.lease_duration_seconds = seconds;
        Self::new().read(0, Some(record))
    }

    fn at(&self, second: u64) -> LeaseInstant {
        self.start + Duration::from_secs(second)
    }

    fn read(mut self, second: u64, record: Option<Record>) -> Self {
        self.view.on_read(record, self.at(second));
        self
    }

    fn watch(mut self, second: u64, record: Option<Record>) -> Self {
        self.view.on_watch_event(record, self.at(second));
        self
    }

    fn acquire(mut self, second: u64, record: Record) -> Self {
        self.view.on_acquired(record, self.at(second));
        self
    }

    fn invalidate(mut self) -> Self {
        self.view.invalidate();
        self
    }

    fn back_off(mut self, until: u64) -> Self {
        self.view.back_off(self.at(until));
        self
    }

    #[track_caller]
    fn check(&self, second: u64, expect: Decision) {
        assert_eq!(decide(&self.view, &config(), self.at(second)), expect, "at {second} s");
    }

    #[track_caller]
    fn sends(&self, second: u64, expect: LeaseRequest) {
        self.check(second, Decision::Send(expect));
    }

    #[track_caller]
    fn acquires(&self, second: u64, version: u32) {
        self.sends(second, LeaseRequest::Acquire { resource_version: version.to_string(), transitions: 5 });
    }

    #[track_caller]
    fn renews(&self, second: u64, version: u32) {
        self.sends(second, LeaseRequest::Renew { resource_version: version.to_string() });
    }

    #[track_caller]
    fn waits(&self, second: u64, until: u64) {
        self.check(second, Decision::Wait(self.at(until)));
    }

    #[track_caller]
    fn backs_off(&self, second: u64, until: u64) {
        self.check(second, Decision::BackOff(self.at(until)));
    }

    #[track_caller]
    fn loses(&self, second: u64, loss: Loss) {
        self.check(second, Decision::Lose(loss));
    }
}

#[test]
fn lease_is_read_first_and_created_if_missing() {
    Scenario::new().sends(0, LeaseRequest::Read);
    Scenario::new().read(0, None).sends(0, LeaseRequest::Create);
}

#[test]
fn holder_first_observed_gets_one_full_duration() {
    let scenario = Scenario::new().read(3, Some(lease("other", 7, 1)));
    scenario.waits(3, 23);
    scenario.waits(22, 23);
    scenario.acquires(23, 7);
}

#[test]
fn each_change_of_the_lease_extends_its_holder() {
    let scenario = Scenario::new().read(0, Some(lease("other", 7, 1))).watch(10, Some(lease("other", 8, 1)));
    scenario.waits(20, 30);
    scenario.acquires(30, 8);
}

#[test]
fn unchanged_lease_does_not_extend_its_holder() {
    let scenario = Scenario::new().read(0, Some(lease("other", 7, 1))).watch(10, Some(lease("other", 7, 1)));
    scenario.acquires(20, 7);
}

#[test]
fn annotation_does_not_extend_the_holder() {
    let annotated = Record { resource_version: "8".to_owned(), ..lease("other", 7, 1) };
    Scenario::new().read(0, Some(lease("other", 7, 1))).watch(10, Some(annotated)).acquires(20, 8);
}

#[test]
fn holder_has_the_duration_it_claims() {
    Scenario::claiming(Some(60)).waits(59, 60);
    Scenario::claiming(Some(60)).acquires(60, 7);
    Scenario::claiming(None).waits(0, DURATION);
    Scenario::claiming(Some(0)).waits(0, DURATION);
}

#[test]
fn times_of_other_machines_are_ignored() {
    let mut from_the_future = lease("other", 7, 1);
    from_the_future.spec.renew_time = Some(MicroTime(jiff::Timestamp::MAX));
    Scenario::new().read(0, Some(from_the_future)).acquires(20, 7);
}

#[test]
fn vacated_lease_is_acquired_at_once() {
    Scenario::new().read(0, Some(vacated(7))).acquires(0, 7);
    Scenario::new().read(0, Some(lease("other", 7, 1))).watch(1, Some(vacated(8))).acquires(1, 8);
}

#[test]
fn deleted_lease_is_created_at_once() {
    Scenario::new().read(0, Some(lease("other", 7, 1))).watch(1, None).sends(1, LeaseRequest::Create);
}

#[test]
fn restarted_replica_acquires_its_lease_at_once() {
    Scenario::new().read(0, Some(lease("me", 7, 1))).acquires(0, 7);
}

#[test]
fn leader_renews_at_half_of_the_duration() {
    let scenario = Scenario::new().acquire(3, lease("me", 7, 7));
    scenario.waits(3, 13);
    scenario.waits(12, 13);
    scenario.renews(13, 7);
    let scenario = scenario.acquire(13, lease("me", 8, 7));
    scenario.waits(13, 23);
    scenario.renews(23, 8);
}

#[test]
fn lease_expires_a_duration_after_its_renewal_was_sent() {
    let scenario = Scenario::new().acquire(3, lease("me", 7, 7));
    scenario.renews(22, 7);
    scenario.loses(23, Loss::Expired);
    scenario.loses(1000, Loss::Expired);
}

#[test]
fn rejected_write_reads_the_lease_again() {
    Scenario::new().read(0, Some(lease("other", 7, 1))).invalidate().sends(20, LeaseRequest::Read);
    let scenario = Scenario::leading().invalidate();
    scenario.sends(10, LeaseRequest::Read);
    scenario.read(10, Some(lease("me", 9, 7))).renews(10, 9);
}

#[test]
fn leader_that_reads_another_state_has_lost() {
    for (record, loss) in [
        (Some(lease("other", 9, 9)), Loss::Taken("other".to_owned())),
        (Some(lease("me", 9, 9)), Loss::DuplicateIdentity("me".to_owned())),
        (Some(vacated(9)), Loss::Vacated),
        (None, Loss::Deleted),
    ] {
        Scenario::leading().invalidate().read(1, record).loses(1, loss);
    }
}

#[test]
fn leader_reads_instead_of_trusting_the_watch() {
    for record in [Some(lease("other", 5, 1)), Some(lease("me", 5, 1)), Some(vacated(6)), None] {
        Scenario::leading().watch(1, record).sends(1, LeaseRequest::Read);
    }
    // The event of its own write, or of an annotation.
    Scenario::leading().watch(1, Some(lease("me", 7, 7))).waits(1, 10);
    Scenario::leading().watch(1, Some(lease("me", 8, 7))).waits(1, 10);
}

#[test]
fn leader_misled_by_the_watch_continues() {
    let scenario = Scenario::leading().watch(1, Some(vacated(6)));
    scenario.read(1, Some(lease("me", 7, 7))).waits(1, 10);
}

#[test]
fn failure_is_followed_by_a_backoff() {
    let scenario = Scenario::new().back_off(5);
    scenario.backs_off(4, 5);
    scenario.sends(5, LeaseRequest::Read);
    let scenario = Scenario::new().read(0, Some(lease("other", 7, 1))).back_off(22);
    scenario.waits(19, 20);
    scenario.backs_off(20, 22);
    scenario.acquires(22, 7);
}

#[test]
fn backoff_never_outlasts_the_lease() {
    let scenario = Scenario::leading().back_off(30);
    scenario.backs_off(10, 20);
    scenario.loses(20, Loss::Expired);
}
