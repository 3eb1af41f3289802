//! Messages of a queue: what AWS tells of a rotation reaches every namespace, and no message is lost or left.

mod burst;
mod cloud;
mod killing;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use self::cloud::{ACCOUNT, Cloud, triggered};
use crate::stage::{AT_ONCE, HOST, Stage, password_of, until};

const CROWD: usize = 100;

#[expect(clippy::disallowed_methods, reason = "the edge of this process is this test")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
async fn a_rotation_that_the_bus_tells_of_reaches_the_last_of_a_hundred_namespaces_in_a_second_and_its_writes()
 {
    let stage = Stage::with_crowd("queue-chain", CROWD).await;
    let cloud = Cloud::new(&stage, "0").await;
    let controller = cloud.serve("0").await;
    let topic = cloud.localstack.create_topic(stage.name, &cloud.queue.arn).await.expect("a topic");
    let mut password = 0;
    // Straight to the queue, then in the envelope of a topic.
    for target in [&cloud.queue.arn, &topic] {
        cloud.route(target).await;
        for _ in 0..3 {
            password += 1;
            let (mark, reads) = (stage.mark(), cloud.reads(&controller).await);
            let version = cloud.put(&password.to_string()).await;
            let told_at = now();
            cloud.tell(&version).await;
            stage.until_served(&password.to_string()).await;
            let delay = stage.delay_beyond_writes(mark, told_at).await;
            assert!(delay < AT_ONCE, "{delay:?} beyond the writes");
            assert_eq!(cloud.reads(&controller).await, reads + 1);
            cloud.until_empty().await;
        }
    }
    until("a status that tells of the queue", async || {
        stage.status(stage.name).await["lastRotation"]["trigger"] == "Sqs"
    })
    .await;
}

#[tokio::test]
async fn what_is_about_nobody_is_deleted_without_a_read() {
    let stage = Stage::new("queue-nobody", 1).await;
    let cloud = Cloud::new(&stage, "one").await;
    let controller = cloud.serve("one").await;
    let reads = cloud.reads(&controller).await;
    let pending = cloud.event("AWSPENDING", "v2");
    let mut other = cloud.event("AWSCURRENT", "v2");
    other["resources"] = json!([format!("arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:other-a1B2c3")]);
    let elsewhere = |from: &str, to: &str| cloud.event("AWSCURRENT", "v2").to_string().replace(from, to);
    let bodies = [
        pending.to_string(),
        other.to_string(),
        elsewhere(ACCOUNT, "111111111111"),
        elsewhere("us-east-1", "eu-west-1"),
    ];
    cloud.send(&cloud.queue, &bodies, Duration::ZERO).await;
    until("all are heard", async || triggered(&controller, "ignored").await == bodies.len()).await;
    cloud.until_empty().await;
    assert_eq!(triggered(&controller, "accepted").await, 0);
    assert_eq!(cloud.reads(&controller).await, reads);
}

#[tokio::test]
async fn what_cannot_be_done_yet_is_kept_and_what_cannot_be_read_is_given_up() {
    const SENTINEL: &str = "s3ntinel-in-a-message";
    let mut stage = Stage::new("queue-kept", 2).await;
    let full = stage.namespaces.pop().expect("a namespace");
    let path = stage.forbid_secrets(&full).await;
    let mut cloud = Cloud::new(&stage, "one").await;
    let strict = cloud.localstack.create_queue("queue-strict", 1).await.expect("a queue");
    cloud.more.push(strict.clone());
    let controller = cloud.controller().with(&["-vvv"]).start().await;
    stage.until_served("one").await;

    cloud.send(&strict, &[SENTINEL.to_owned()], Duration::ZERO).await;
    let version = cloud.put("two").await;
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", &version).to_string()], Duration::ZERO).await;
    stage.until_served("two").await;
    until("the other target fails", async || stage.status(stage.name).await["namespaces"]["failed"] == 1)
        .await;
    assert_eq!(cloud.messages(&cloud.queue.url).await, 1, "a target is not written yet");
    stage.kube.delete(&path).await.expect("the quota goes");
    until("the other target is written", async || {
        stage.secret(&full).await.and_then(|it| password_of(&it, HOST)).as_deref() == Some("two")
    })
    .await;
    cloud.until_empty().await;

    let is_given_up = async || cloud.messages(&strict.dead_letter_url).await == 1;
    until("the dead-letter queue has what nobody can read", is_given_up).await;
    assert_eq!(cloud.messages(&strict.url).await, 0);
    assert_eq!(triggered(&controller, "invalid").await, 1);
    let log = controller.log();
    assert!(log.contains("invalid message") && !log.contains(SENTINEL), "{log}");
}

#[tokio::test]
async fn a_store_that_still_answers_the_old_version_is_read_again() {
    const VERSION: &str = "0a1b2c3d-0000-4000-8000-000000000002";
    let stage = Stage::new("queue-stale", 2).await;
    let cloud = Cloud::new(&stage, "one").await;
    cloud.route(&cloud.queue.arn).await;
    let controller = cloud.serve("one").await;
    let reads = cloud.reads(&controller).await;
    cloud.tell(VERSION).await;
    until("the old version is read again", async || cloud.reads(&controller).await >= reads + 2).await;
    assert_eq!(cloud.messages(&cloud.queue.url).await, 1, "what it tells of is not there yet");
    until("it is told so", async || {
        let is_told = |line: &&str| line.contains("answers an older version");
        controller.log().lines().filter(is_told).count() == 1
    })
    .await;
    cloud.put_version("two", VERSION).await;
    stage.until_served("two").await;
    cloud.until_empty().await;
}

#[tokio::test]
async fn at_the_end_nothing_is_waited_for_and_what_is_held_is_given_back() {
    let stage = Stage::new("queue-end", 1).await;
    let cloud = Cloud::new(&stage, "one").await;
    let controller = cloud.serve("one").await;
    let reads = cloud.reads(&controller).await;
    // It waits for a version that never comes.
    cloud.send(&cloud.queue, &[cloud.event("AWSCURRENT", "v2").to_string()], Duration::ZERO).await;
    until("the message is held", async || cloud.reads(&controller).await > reads).await;
    let (code, took) = controller.terminate().await;
    assert!(code == Some(0) && took < Duration::from_secs(3), "{code:?} after {took:?}");
    // Well before the message would come by itself.
    let body = json!({"QueueUrl": cloud.queue.url, "WaitTimeSeconds": 5});
    let mut received = 0;
    for _ in 0..3 {
        let answer = cloud.localstack.request("sqs", "ReceiveMessage", &body).await.expect("an answer");
        received += answer["Messages"].as_array().map_or(0, Vec::len);
        if received > 0 {
            break;
        }
    }
    assert_eq!(received, 1, "others may have it");
}
