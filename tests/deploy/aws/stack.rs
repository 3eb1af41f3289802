//! The template, deployed to an EventBridge and an SQS of LocalStack.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use world::{LocalStack, Reaper};

use crate::rendering::read;

/// A stack in a LocalStack of its own.
struct Stack {
    localstack: LocalStack,
    outputs: BTreeMap<String, String>,
    _guardian: Reaper,
}

impl Stack {
    async fn new(parameters: &[(&str, &str)]) -> Self {
        let reaper = Reaper::new().expect("a reaper");
        let localstack = LocalStack::start(&reaper).await.expect("LocalStack");
        let parameters = [&[("SecretNamePrefix", "ci/")], parameters].concat();
        let outputs = localstack.create_stack("regcred", &read("aws/events.yaml"), &parameters).await;
        Self { localstack, outputs: outputs.expect("a complete stack"), _guardian: reaper }
    }

    /// Puts events on the bus, each with its type and detail.
    async fn put(&self, events: &[(&str, Value)]) {
        let entries: Vec<Value> = events
            .iter()
            .map(|(kind, detail)| json!({"Source": "aws.secretsmanager", "DetailType": kind, "Detail": detail.to_string()}))
            .collect();
        let answer = self.localstack.request("events", "PutEvents", &json!({"Entries": entries})).await;
        assert_eq!(answer.expect("an answer")["FailedEntryCount"], 0);
    }

    /// Receives messages from a queue, with a wait of at most this many seconds.
    async fn receive(&self, queue: &str, wait: u32) -> Vec<Value> {
        let body =
            json!({"QueueUrl": self.outputs[queue], "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait});
        let answer = self.localstack.request("sqs", "ReceiveMessage", &body).await.expect("an answer");
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    /// Returns the events of the next `count` messages.
    async fn events(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let messages = self.receive("QueueUrl", 20).await;
            assert!(!messages.is_empty(), "no more messages after {events:?}");
            let bodies = messages.iter().filter_map(|message| message["Body"].as_str());
            events.extend(bodies.map(|body| serde_json::from_str::<Value>(body).expect("an event")));
        }
        events
    }
}

fn label_updated(name: &str, label: &str) -> (&'static str, Value) {
    ("Secret Label Updated", json!({"name": name, "labelUpdated": label, "versionId": "EXAMPLE1-90ab-cdef"}))
}

fn call(secret: &str) -> (&'static str, Value) {
    let detail = json!({"eventName": "PutSecretValue", "requestParameters": {"secretId": secret}});
    ("AWS API Call via CloudTrail", detail)
}

fn rotation(secret: &str) -> (&'static str, Value) {
    let detail = json!({"eventName": "RotationSucceeded", "additionalEventData": {"SecretId": secret}});
    ("AWS Service Event via CloudTrail", detail)
}

const ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:";

#[tokio::test]
async fn only_events_about_current_versions_reach_the_queue() {
    let stack = Stack::new(&[]).await;
    let last = label_updated("ci/last", "AWSCURRENT");
    let ignored = [
        label_updated("ci/ghcr", "AWSPENDING"),
        label_updated("other/ghcr", "AWSCURRENT"),
        call("ci/ghcr"),
        rotation(&format!("{ARN}ci/ghcr-a1B2c3")),
    ];
    stack.put(&[&[label_updated("ci/ghcr", "AWSCURRENT")], ignored.as_slice()].concat()).await;
    stack.put(std::slice::from_ref(&last)).await;
    let mut events = stack.events(2).await;
    events.sort_by_key(|event| event["detail"]["name"].to_string());
    let received: Vec<_> =
        events.iter().map(|event| (event["detail-type"].clone(), event["detail"]["name"].clone())).collect();
    let expected = ["ci/ghcr", "ci/last"].map(|name| (json!("Secret Label Updated"), json!(name)));
    assert_eq!(received, expected);
    assert_eq!(stack.receive("QueueUrl", 1).await, Vec::<Value>::new());
}

#[tokio::test]
async fn cloud_trail_events_reach_the_queue_with_all_options() {
    let stack = Stack::new(&[
        ("Name", "other"),
        ("CloudTrailEvents", "true"),
        ("BatchReads", "false"),
        ("SecretsKeyArn", "arn:aws:kms:us-east-1:000000000000:key/1"),
        ("EcrRepositoryPrefix", "team/"),
        ("AssumedRoleArn", "arn:aws:iam::999999999999:role/puller"),
        ("AlarmTopicArn", "arn:aws:sns:us-east-1:000000000000:people"),
        ("Trust", "Irsa"),
        ("OidcProvider", "oidc.example.com/id/1"),
    ])
    .await;
    assert!(stack.outputs["QueueUrl"].ends_with("/other-events"), "{:?}", stack.outputs);
    let delivered = [
        call("ci/name"),
        call(&format!("{ARN}ci/arn-a1B2c3")),
        rotation(&format!("{ARN}ci/rotated-a1B2c3")),
        label_updated("ci/label", "AWSCURRENT"),
    ];
    let ignored = [
        call("other/name"),
        rotation(&format!("{ARN}other/ghcr-a1B2c3")),
        (
            "AWS API Call via CloudTrail",
            json!({"eventName": "GetSecretValue", "requestParameters": {"secretId": "ci/name"}}),
        ),
        (
            "AWS Service Event via CloudTrail",
            json!({"eventName": "RotationStarted", "additionalEventData": {"SecretId": ARN}}),
        ),
    ];
    stack.put(&[ignored.as_slice(), delivered.as_slice()].concat()).await;
    let mut received: Vec<String> =
        stack.events(delivered.len()).await.iter().map(|event| event["detail"].to_string()).collect();
    let mut expected: Vec<String> = delivered.iter().map(|(_, detail)| detail.to_string()).collect();
    received.sort();
    expected.sort();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn message_released_ten_times_is_moved_to_dead_letters() {
    let stack = Stack::new(&[]).await;
    stack.put(&[label_updated("ci/ghcr", "AWSCURRENT")]).await;
    for attempt in 1..=10 {
        let messages = stack.receive("QueueUrl", 20).await;
        let [message] = messages.as_slice() else { panic!("attempt {attempt}: {messages:?}") };
        let body = json!({
            "QueueUrl": stack.outputs["QueueUrl"], "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0,
        });
        stack
            .localstack
            .request("sqs", "ChangeMessageVisibility", &body)
            .await
            .expect("the message is released");
    }
    assert_eq!(stack.receive("QueueUrl", 0).await, Vec::<Value>::new());
    let dead = stack.receive("DeadLetterQueueUrl", 20).await;
    assert!(dead[0]["Body"].as_str().is_some_and(|body| body.contains("ci/ghcr")), "{dead:?}");
}
