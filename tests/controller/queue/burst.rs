//! Thousands of messages at the same time.

use std::time::{Duration, Instant};

use harness::{SECOND_SECRET, repetitions, until, until_within};
use serde_json::json;

use super::cloud::{Cloud, reconciliations, triggered};
use crate::cluster::test_cluster;
use crate::controller::Controller;

/// The most memory of the controller, as it is built for tests.
const MEMORY: u64 = 64 << 20;
/// The messages of the two tests.
const OF_ONE: usize = 1000;
const OF_TWO: usize = 10_000;
/// The messages that are sent in a second on a busy machine.
const SENT: usize = 200;
/// The longest time for ten thousand messages on a busy machine that also runs LocalStack.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Rotates the secret, sends messages about it that become visible together, and waits until all of them are deleted;
/// returns the number of fetches. Every other message names no version.
async fn burst(cloud: &Cloud<'_>, controller: &Controller, count: usize) -> usize {
    let after = Duration::from_secs(5 + u64::try_from(count / SENT).expect("a small number"));
    let reads = cloud.reads(controller).await;
    let version = cloud.put("two").await;
    let pair = [cloud.event("AWSCURRENT", &version).to_string(), cloud.rotated().to_string()];
    let bodies: Vec<_> = pair.into_iter().cycle().take(count).collect();
    let begin = Instant::now() + after;
    cloud.send(&cloud.queue, &bodies, after).await;
    assert!(Instant::now() < begin, "sending took longer than {after:?}");
    let is_heard = async || triggered(controller, "accepted").await >= count;
    until_within(TIMEOUT, "every message is counted", is_heard).await;
    cloud.until_empty().await;
    cloud.reads(controller).await - reads
}

#[tokio::test]
async fn messages_at_once_cause_one_reconciliation() {
    let cluster = test_cluster("queue-thousand", 20).await;
    let cloud = Cloud::new(&cluster, "one").await;
    let controller = cloud.start_synced("one").await;
    cluster.until_idle().await;
    let before = reconciliations(&controller, cluster.name).await;
    let reads = burst(&cloud, &controller, repetitions(OF_ONE)).await;
    cluster.until_synced("two").await;
    assert_eq!(reconciliations(&controller, cluster.name).await, before + 1);
    assert!(reads <= 2, "one, and one more for what came during it: {reads}");
}

#[tokio::test]
async fn messages_of_two_objects_cause_few_reconciliations() {
    const SECOND: &str = "queue-burst-second";
    let cluster = test_cluster("queue-burst", 20).await;
    let cloud = Cloud::new(&cluster, "one").await;
    let mut second = cloud.cluster_pull_secret(SECOND);
    second["spec"]["secretName"] = json!(SECOND_SECRET);
    cluster.apply(&second).await;
    let controller = cloud.start_synced("one").await;
    let names = [cluster.name, SECOND];
    until("both are reconciled", async || reconciliations(&controller, SECOND).await > 0).await;
    cluster.until_idle().await;
    let before = [reconciliations(&controller, names[0]).await, reconciliations(&controller, names[1]).await];
    let reads = burst(&cloud, &controller, repetitions(OF_TWO)).await;
    cluster.until_synced("two").await;
    for (name, before) in names.into_iter().zip(before) {
        let count = reconciliations(&controller, name).await - before;
        assert!((1..=2).contains(&count), "{count} reconciliations of {name}");
    }
    assert!(reads <= 2, "one, and one more for what came during it: {reads}");
    let most = controller.peak_resident().expect("a process");
    assert!(most < MEMORY, "{most} bytes");
}
