//! Thousands of messages at one moment.

use std::time::{Duration, Instant};

use serde_json::json;

use super::cloud::{Cloud, passes, triggered};
use crate::controller::Controller;
use crate::stage::{SECOND_SECRET, Stage, until, until_within};

/// The most memory that the controller takes, as it is built for tests.
const MEMORY: u64 = 64 << 20;
/// How long ten thousand messages may take on a busy machine that LocalStack runs on as well.
const PATIENCE: Duration = Duration::from_mins(3);

/// Rotates the secret, has messages about it that can all be received at the same time, so long from now, and waits
/// until all of them are deleted: how often the secret was read. Every other message names no version.
async fn burst(cloud: &Cloud<'_>, controller: &Controller, count: usize, after: Duration) -> usize {
    let reads = cloud.reads(controller).await;
    let version = cloud.put("two").await;
    let pair = [cloud.event("AWSCURRENT", &version).to_string(), cloud.rotated().to_string()];
    let bodies: Vec<_> = pair.into_iter().cycle().take(count).collect();
    let begin = Instant::now() + after;
    cloud.send(&cloud.queue, &bodies, after).await;
    assert!(Instant::now() < begin, "sending took longer than {after:?}");
    let is_heard = async || triggered(controller, "accepted").await >= count;
    until_within(PATIENCE, "every message is heard", is_heard).await;
    cloud.until_empty().await;
    cloud.reads(controller).await - reads
}

#[tokio::test]
async fn a_thousand_messages_at_once_are_one_pass() {
    let stage = Stage::new("queue-thousand", 20).await;
    let cloud = Cloud::new(&stage, "one").await;
    let controller = cloud.serve("one").await;
    stage.until_quiet().await;
    let before = passes(&controller, stage.name).await;
    let reads = burst(&cloud, &controller, 1000, Duration::from_secs(10)).await;
    stage.until_served("two").await;
    assert_eq!(passes(&controller, stage.name).await, before + 1);
    assert!(reads <= 2, "one, and one more for what came during it: {reads}");
}

#[tokio::test]
async fn ten_thousand_messages_are_one_pass_of_each_cluster_pull_secret_or_two_and_take_little_memory() {
    const SECOND: &str = "queue-burst-second";
    let stage = Stage::new("queue-burst", 20).await;
    let cloud = Cloud::new(&stage, "one").await;
    let mut second = cloud.cluster_pull_secret(SECOND);
    second["spec"]["secretName"] = json!(SECOND_SECRET);
    stage.apply(&second).await;
    let controller = cloud.serve("one").await;
    let names = [stage.name, SECOND];
    until("both were looked at", async || passes(&controller, SECOND).await > 0).await;
    stage.until_quiet().await;
    let before = [passes(&controller, names[0]).await, passes(&controller, names[1]).await];
    let reads = burst(&cloud, &controller, 10_000, Duration::from_secs(45)).await;
    stage.until_served("two").await;
    for (name, before) in names.into_iter().zip(before) {
        let passes = passes(&controller, name).await - before;
        assert!((1..=2).contains(&passes), "{passes} passes of {name}");
    }
    assert!(reads <= 2, "one, and one more for what came during it: {reads}");
    let most = controller.most_resident().expect("a process");
    assert!(most < MEMORY, "{most} bytes");
}
