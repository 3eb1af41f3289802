//! Messages of a queue: an event of AWS about a rotation reaches every namespace, and no message is lost or left behind.

mod burst;
mod cloud;
mod killing;

use std::time::Duration;

use harness::{HOST, password_of, until};
use serde_json::json;

use self::cloud::{ACCOUNT, Cloud, triggered};
use crate::cluster::{AT_ONCE, now, quiet_cluster_with_shared_namespaces, test_cluster};

const NAMESPACES: usize = 100;

#[tokio::test]
async fn event_syncs_all_namespaces_within_a_second_beyond_writes() {
    let cluster = quiet_cluster_with_shared_namespaces("queue-chain", NAMESPACES).await;
    let cloud = Cloud::new(&cluster, "0").await;
    let controller = cloud.start_synced("0").await;
    let topic = cloud.localstack.create_topic(cluster.name, &cloud.queue.arn).await.expect("a topic");
    let mut password = 0;
    // Straight to the queue, then in the envelope of a topic.
    for target in [&cloud.queue.arn, &topic] {
        cloud.route(target).await;
        for _ in 0..3 {
            password += 1;
            let (mark, reads) = (cluster.mark(), cloud.reads(&controller).await);
            let version = cloud.put(&password.to_string()).await;
            let published = now();
            cloud.publish(&version).await;
            cluster.until_synced(&password.to_string()).await;
            let delay = cluster.delay_beyond_writes(mark, published).await;
            assert!(delay < AT_ONCE, "{delay:?} beyond the writes");
            assert_eq!(cloud.reads(&controller).await, reads + 1);
            cloud.until_empty().await;
        }
    }
    until("a status that names the queue", async || {
        cluster.status(cluster.name).await["lastRotation"]["trigger"] == "Sqs"
    })
    .await;
}

#[tokio::test]
async fn irrelevant_messages_are_acked_without_a_fetch() {
    let cluster = test_cluster("queue-nobody", 1).await;
    let cloud = Cloud::new(&cluster, "one").await;
    let controller = cloud.start_synced("one").await;
    let reads = cloud.reads(&controller).await;
    let pending = cloud.event("AWSPENDING", "v2");
    let mut other = cloud.event("AWSCURRENT", "v2");
    other["resources"] = json!([format!("arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:other-a1B2c3")]);
    let current = cloud.event("AWSCURRENT", "v2").to_string();
    let bodies = [
        pending.to_string(),
        other.to_string(),
        current.replace(ACCOUNT, "111111111111"),
        current.replace("us-east-1", "eu-west-1"),
    ];
    cloud.send(&cloud.queue, &bodies, Duration::ZERO).await;
    until("all are heard", async || triggered(&controller, "ignored").await == bodies.len()).await;
    cloud.until_empty().await;
    assert_eq!(triggered(&controller, "accepted").await, 0);
    assert_eq!(cloud.reads(&controller).await, reads);
}

#[tokio::test]
async fn unfinished_message_is_kept_and_invalid_one_dead_lettered() {
    const SENTINEL: &str = "s3ntinel-in-a-message";
    let mut cluster = test_cluster("queue-kept", 2).await;
    let full = cluster.namespaces.pop().expect("a namespace");
    let path = cluster.forbid_secrets(&full).await;
    let mut cloud = Cloud::new(&cluster, "one").await;
    let strict = cloud.localstack.create_queue("queue-strict", 1).await.expect("a queue");
    cloud.more.push(strict.clone());
    let controller = cloud.controller().args(&["-vvv"]).start().await;
    cluster.until_synced("one").await;

    cloud.send(&strict, &[SENTINEL.to_owned()], Duration::ZERO).await;
    let version = cloud.put("two").await;
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", &version).to_string()], Duration::ZERO).await;
    cluster.until_synced("two").await;
    until("the other target fails", async || cluster.status(cluster.name).await["namespaces"]["failed"] == 1)
        .await;
    assert_eq!(cloud.messages(&cloud.queue.url).await, 1, "a target is not written yet");
    cluster.kube.delete(&path).await.expect("the quota is deleted");
    until("the other target is written", async || {
        cluster.secret(&full).await.and_then(|it| password_of(&it, HOST)).as_deref() == Some("two")
    })
    .await;
    cloud.until_empty().await;

    let dead_letters = &strict.dead_letter_url;
    until("the dead-letter queue has the invalid message", async || cloud.messages(dead_letters).await == 1)
        .await;
    assert_eq!(cloud.messages(&strict.url).await, 0);
    assert_eq!(triggered(&controller, "invalid").await, 1);
    let log = controller.log();
    assert!(log.contains("invalid message") && !log.contains(SENTINEL), "{log}");
}

#[tokio::test]
async fn stale_answer_is_fetched_again() {
    const VERSION: &str = "0a1b2c3d-0000-4000-8000-000000000002";
    let cluster = test_cluster("queue-stale", 2).await;
    let cloud = Cloud::new(&cluster, "one").await;
    cloud.route(&cloud.queue.arn).await;
    let controller = cloud.start_synced("one").await;
    let reads = cloud.reads(&controller).await;
    cloud.publish(VERSION).await;
    until("the old version is fetched again", async || cloud.reads(&controller).await >= reads + 2).await;
    assert_eq!(cloud.messages(&cloud.queue.url).await, 1, "its version does not exist yet");
    until("the stale answer is logged once", async || {
        controller.log().lines().filter(|line| line.contains("answers an older version")).count() == 1
    })
    .await;
    cloud.put_version("two", VERSION).await;
    cluster.until_synced("two").await;
    cloud.until_empty().await;
}

#[tokio::test]
async fn shutdown_returns_in_flight_messages_without_waiting() {
    let cluster = test_cluster("queue-end", 1).await;
    let cloud = Cloud::new(&cluster, "one").await;
    let controller = cloud.start_synced("one").await;
    let reads = cloud.reads(&controller).await;
    // Its version never appears.
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", "v2").to_string()], Duration::ZERO).await;
    until("the message is in flight", async || cloud.reads(&controller).await > reads).await;
    let (code, took) = controller.terminate().await;
    assert!(code == Some(0) && took < Duration::from_secs(3), "{code:?} after {took:?}");
    // Well before the visibility timeout ends.
    let body = json!({"QueueUrl": cloud.queue.url, "WaitTimeSeconds": 5});
    let mut received = 0;
    for _ in 0..3 {
        let answer = cloud.localstack.request("sqs", "ReceiveMessage", &body).await.expect("an answer");
        received += answer["Messages"].as_array().map_or(0, Vec::len);
        if received > 0 {
            break;
        }
    }
    assert_eq!(received, 1, "other consumers may receive it");
}
