//! Two replicas: one leads, the other takes over when the leader fails, and the two never both write.

use std::time::Duration;

use harness::{NAMESPACE, REPLICAS, TestCluster, is_write, line, until};
use jiff::Timestamp;
use world::{AuditEvent, AuditMark};

use crate::cluster::{QUIET, now, quiet_cluster_with_shared_namespaces, quiet_test_cluster, test_cluster};
use crate::controller::{Controller, RunController as _};

/// The shortest lease duration that is allowed, so that a test can wait for its end.
const LEASE: Duration = Duration::from_secs(3);
/// The bound from the end of a Lease to the first write of its next holder.
const TAKEOVER: Duration = Duration::from_secs(2);
/// The time in which a leader may finish writes in flight.
const GRACE: Duration = Duration::from_secs(10);
const NAMESPACES: usize = 300;

struct Pair {
    leader: Controller,
    other: Controller,
    // Dropped last: the next test begins when it is.
    cluster: TestCluster,
}

impl Pair {
    /// Starts two replicas of which the first leads, and syncs a password. One request at a time makes a rotation long
    /// enough for a test to act in the middle of it.
    async fn new(name: &'static str) -> Self {
        let cluster = quiet_cluster_with_shared_namespaces(name, NAMESPACES).await;
        cluster.put_password("one").await;
        cluster.apply(&cluster.cluster_pull_secret(name)).await;
        let arguments = ["--lease-duration", "3s", "--concurrency", "1"];
        let leader = cluster.controller().replica(REPLICAS[0]).args(&arguments).start().await;
        until("a leader", async || leader.is_leader().await).await;
        let other = cluster.controller().replica(REPLICAS[1]).args(&arguments).start().await;
        cluster.until_synced("one").await;
        assert!(!other.is_leader().await, "one leads");
        Self { leader, other, cluster }
    }

    /// Starts a rotation, and returns in the middle of it.
    async fn rotate(&self) -> AuditMark {
        self.cluster.put_password("two").await;
        let mark = self.cluster.mark();
        self.cluster.request_rotation(self.cluster.name).await;
        until("the middle of a rotation", async || {
            let left = self.cluster.out_of_sync("two").await.len();
            assert!(left > 0, "the rotation is over before its middle was seen");
            left < NAMESPACES
        })
        .await;
        mark
    }

    /// The successful writes of a replica.
    async fn successes(&self, replica: &str, mark: AuditMark) -> Vec<AuditEvent> {
        let requests = self.cluster.requests_as(replica, mark).await;
        requests.into_iter().filter(|it| it.is_write() && it.code < 300).collect()
    }

    /// The time from an instant to the first write of the other replica to a target.
    async fn takeover(&self, mark: AuditMark, since: Timestamp) -> Duration {
        let successes = self.successes(REPLICAS[1], mark).await;
        let first = successes.iter().find(|it| is_write(it) && it.resource == "secrets").expect("it writes");
        Duration::try_from(first.answered.duration_since(since)).expect("it did not write before")
    }
}

#[tokio::test]
async fn follower_is_ready_and_writes_nothing() {
    let pair = Pair::new("ha-idle").await;
    pair.cluster.put_password("two").await;
    let mark = pair.cluster.mark();
    pair.cluster.request_rotation("ha-idle").await;
    pair.cluster.until_synced("two").await;
    assert!(pair.other.is_ready().await);
    let writes: Vec<_> = pair.cluster.requests_as(REPLICAS[1], mark).await;
    let writes: Vec<_> = writes.iter().filter(|it| it.is_write()).map(line).collect();
    assert_eq!(writes, Vec::<String>::new(), "not even the Lease");
}

#[tokio::test]
async fn killed_leader_is_replaced_within_lease_plus_two_seconds() {
    let pair = Pair::new("ha-kill").await;
    let mark = pair.rotate().await;
    let since = now();
    pair.leader.kill().await;
    pair.cluster.until_synced("two").await;
    let takeover = pair.takeover(mark, since).await;
    assert!(takeover < LEASE + TAKEOVER, "the first write came {takeover:?} after the leader was killed");
}

#[tokio::test]
async fn terminated_leader_releases_the_lease_at_once_and_exits() {
    let pair = Pair::new("ha-term").await;
    let mark = pair.rotate().await;
    let since = now();
    let (code, took) = pair.leader.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < GRACE, "it took {took:?} to end");
    pair.cluster.until_synced("two").await;
    let takeover = pair.takeover(mark, since).await;
    assert!(takeover < TAKEOVER, "the first write came {takeover:?} after the signal");
    // Writes in flight were finished: none was cut off.
    let cut: Vec<_> = pair.cluster.requests_as(REPLICAS[0], mark).await;
    let cut: Vec<_> = cut.iter().filter(|it| is_write(it) && it.code == 0).map(line).collect();
    assert_eq!(cut, Vec::<String>::new());
}

#[tokio::test]
async fn leader_paused_past_its_lease_writes_nothing_and_exits() {
    let pair = Pair::new("ha-sleep").await;
    let mark = pair.rotate().await;
    pair.leader.pause();
    pair.cluster.until_synced("two").await;
    assert!(pair.other.is_leader().await);
    pair.cluster.put_password("three").await;
    pair.cluster.request_rotation("ha-sleep").await;
    // Both replicas are in the middle of a rotation.
    let awake = now();
    pair.leader.resume();
    assert_eq!(pair.leader.wait().await, Some(3), "a lost Lease ends the process");
    pair.cluster.until_synced("three").await;
    tokio::time::sleep(QUIET).await;
    let late = pair.successes(REPLICAS[0], mark).await;
    let late: Vec<_> = late.iter().filter(|it| it.received >= awake).map(line).collect();
    assert_eq!(late, Vec::<String>::new());
    assert!(pair.leader.log().lines().last().is_some_and(|line| line.to_lowercase().contains("lease")));
}

#[tokio::test]
async fn restarted_replica_with_same_identity_leads_at_once() {
    let cluster = quiet_test_cluster("ha-back", 2).await;
    let first = cluster.start_synced("one").await;
    first.kill().await;
    cluster.put_password("two").await;
    let mark = cluster.mark();
    let begun = now();
    let _second = cluster.controller().start().await;
    cluster.until_synced("two").await;
    let requests = cluster.requests(mark).await;
    let first = requests.iter().find(|it| it.resource == "secrets" && it.is_write()).expect("a write");
    let took = Duration::try_from(first.answered.duration_since(begun)).expect("it came later");
    assert!(took < Duration::from_secs(10), "the default lease of 20 s was waited for: {took:?}");
}

#[tokio::test]
async fn lease_held_by_another_holder_prevents_all_writes() {
    let cluster = test_cluster("ha-foreign", 1).await;
    // Another holder has the Lease for longer than the test takes.
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases");
    let lease = serde_json::json!({
        "metadata": {"name": "regcred"},
        "spec": {
            "holderIdentity": "another-holder", "leaseDurationSeconds": 600,
            "renewTime": format!("{:.6}", now()), "acquireTime": format!("{:.6}", now()), "leaseTransitions": 0,
        },
    });
    cluster.kube.post(&path, &lease).await.expect("a Lease");
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let mark = cluster.mark();
    let controller = cluster.controller().start().await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.writes(mark).await, Vec::<String>::new());
    assert!(!controller.is_leader().await);
    // A released Lease is acquired.
    let free = serde_json::json!({"spec": {"holderIdentity": ""}});
    cluster.kube.patch(&format!("{path}/regcred"), &free).await.expect("a free Lease");
    cluster.until_synced("one").await;
}
