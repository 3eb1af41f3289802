//! Two replicas: one leads, and whatever happens to it the other goes on; they never both write.

use std::time::Duration;

use jiff::Timestamp;
use world::{AuditEvent, AuditMark};

use crate::controller::Controller;
use crate::stage::{NAMESPACE, QUIET, REPLICAS, Stage, is_write, line, until};

/// Short, so that its end can be waited for; the least that is allowed.
const LEASE: Duration = Duration::from_secs(3);
/// From the end of a Lease to the first write of who takes it over.
const TAKEOVER: Duration = Duration::from_secs(2);
/// How long a leader may finish what is under way.
const GRACE: Duration = Duration::from_secs(10);
const CROWD: usize = 300;

struct Pair {
    stage: Stage,
    leader: Controller,
    other: Controller,
}

impl Pair {
    /// Two replicas of which the first leads, and a password that is served. One request at a time, so that a rotation takes
    /// long enough for something to happen in its middle.
    async fn new(name: &'static str) -> Self {
        let stage = Stage::with_crowd(name, CROWD).await;
        stage.put_password("one").await;
        stage.apply(&stage.cluster_pull_secret(name)).await;
        let arguments = ["--lease-duration", "3s", "--concurrency", "1"];
        let leader = stage.controller().replica(REPLICAS[0]).with(&arguments).start().await;
        until("a leader", async || leader.leads().await).await;
        let other = stage.controller().replica(REPLICAS[1]).with(&arguments).start().await;
        stage.until_served("one").await;
        assert!(!other.leads().await, "one leads");
        Self { stage, leader, other }
    }

    /// Begins a rotation, and returns in its middle.
    async fn rotate(&self) -> AuditMark {
        self.stage.put_password("two").await;
        let mark = self.stage.mark();
        self.stage.ask(self.stage.name).await;
        until("the middle of a rotation", async || {
            let left = self.stage.unserved("two").await.len();
            assert!(left > 0, "the rotation is over before its middle was seen");
            left < CROWD
        })
        .await;
        mark
    }

    /// What a replica wrote with success.
    async fn successes(&self, replica: &str, mark: AuditMark) -> Vec<AuditEvent> {
        let requests = self.stage.requests_as(replica, mark).await;
        requests.into_iter().filter(|it| it.is_write() && it.code < 300).collect()
    }

    /// From a moment to the first write of the other replica to a target.
    async fn takeover(&self, mark: AuditMark, since: Timestamp) -> Duration {
        let successes = self.successes(REPLICAS[1], mark).await;
        let first = successes.iter().find(|it| is_write(it) && it.resource == "secrets").expect("it writes");
        Duration::try_from(first.answered.duration_since(since)).expect("it did not write before")
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge of this process is this test")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
async fn the_other_replica_is_ready_and_writes_nothing() {
    let pair = Pair::new("ha-idle").await;
    pair.stage.put_password("two").await;
    let mark = pair.stage.mark();
    pair.stage.ask("ha-idle").await;
    pair.stage.until_served("two").await;
    assert!(pair.other.is_ready().await);
    let writes: Vec<_> = pair.stage.requests_as(REPLICAS[1], mark).await;
    let writes: Vec<_> = writes.iter().filter(|it| it.is_write()).map(line).collect();
    assert_eq!(writes, Vec::<String>::new(), "not even the Lease");
}

#[tokio::test]
async fn when_the_leader_is_killed_the_other_writes_within_the_lease_and_two_seconds() {
    let pair = Pair::new("ha-kill").await;
    let mark = pair.rotate().await;
    let since = now();
    pair.leader.kill().await;
    pair.stage.until_served("two").await;
    let takeover = pair.takeover(mark, since).await;
    assert!(takeover < LEASE + TAKEOVER, "the first write came {takeover:?} after the leader was killed");
}

#[tokio::test]
async fn when_the_leader_is_terminated_it_hands_over_at_once_and_ends() {
    let pair = Pair::new("ha-term").await;
    let mark = pair.rotate().await;
    let since = now();
    let (code, took) = pair.leader.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < GRACE, "it took {took:?} to end");
    pair.stage.until_served("two").await;
    let takeover = pair.takeover(mark, since).await;
    assert!(takeover < TAKEOVER, "the first write came {takeover:?} after the signal");
    // What was under way was finished: nothing was cut off in the middle.
    let cut: Vec<_> = pair.stage.requests_as(REPLICAS[0], mark).await;
    let cut: Vec<_> = cut.iter().filter(|it| is_write(it) && it.code == 0).map(line).collect();
    assert_eq!(cut, Vec::<String>::new());
}

#[tokio::test]
async fn a_leader_that_slept_past_its_lease_writes_nothing_more_and_ends() {
    let pair = Pair::new("ha-sleep").await;
    let mark = pair.rotate().await;
    pair.leader.pause();
    pair.stage.until_served("two").await;
    assert!(pair.other.leads().await);
    pair.stage.put_password("three").await;
    pair.stage.ask("ha-sleep").await;
    // In the middle of the other's rotation as well as of its own.
    let awake = now();
    pair.leader.resume();
    assert_eq!(pair.leader.end().await, Some(3), "a lost Lease ends the process");
    pair.stage.until_served("three").await;
    tokio::time::sleep(QUIET).await;
    let late = pair.successes(REPLICAS[0], mark).await;
    let late: Vec<_> = late.iter().filter(|it| it.received >= awake).map(line).collect();
    assert_eq!(late, Vec::<String>::new());
    assert!(pair.leader.log().lines().last().is_some_and(|line| line.to_lowercase().contains("lease")));
}

#[tokio::test]
async fn a_crashed_replica_that_comes_back_under_its_name_leads_at_once() {
    let stage = Stage::new("ha-back", 2).await;
    let first = stage.serve("one").await;
    first.kill().await;
    stage.put_password("two").await;
    let mark = stage.mark();
    let begun = now();
    let _second = stage.controller().start().await;
    stage.until_served("two").await;
    let requests = stage.requests(mark).await;
    let first = requests.iter().find(|it| it.resource == "secrets" && it.is_write()).expect("a write");
    let took = Duration::try_from(first.answered.duration_since(begun)).expect("it came later");
    assert!(took < Duration::from_secs(10), "the default lease of 20 s was waited for: {took:?}");
}

#[tokio::test]
async fn while_somebody_else_holds_the_lease_nothing_is_written() {
    let stage = Stage::new("ha-foreign", 1).await;
    // Somebody else holds it and renews it for longer than the test takes.
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = serde_json::json!({
        "metadata": {"name": "regcred"},
        "spec": {
            "holderIdentity": "somebody-else", "leaseDurationSeconds": 600,
            "renewTime": format!("{:.6}", now()), "acquireTime": format!("{:.6}", now()), "leaseTransitions": 0,
        },
    });
    stage.kube.post(&path, &lease).await.expect("a Lease");
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let mark = stage.mark();
    let controller = stage.controller().start().await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(stage.writes(mark).await, Vec::<String>::new());
    assert!(!controller.leads().await);
    // Given up, it is taken.
    let free = serde_json::json!({"spec": {"holderIdentity": ""}});
    stage.kube.patch(&format!("{path}/regcred"), &free).await.expect("a free Lease");
    stage.until_served("one").await;
}
