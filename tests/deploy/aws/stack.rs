//! What the template makes of a real EventBridge and a real SQS.

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

    /// Puts events on the bus: type and detail of each.
    async fn put(&self, events: &[(&str, Value)]) {
        let entries: Vec<Value> = events
            .iter()
            .map(|(kind, detail)| json!({"Source": "aws.secretsmanager", "DetailType": kind, "Detail": detail.to_string()}))
            .collect();
        let answer = self.localstack.request("events", "PutEvents", &json!({"Entries": entries})).await;
        assert_eq!(answer.expect("an answer")["FailedEntryCount"], 0);
    }

    /// Asks a queue, waiting for at most this many seconds.
    async fn receive(&self, queue: &str, wait: u32) -> Vec<Value> {
        let body =
            json!({"QueueUrl": self.outputs[queue], "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait});
        let answer = self.localstack.request("sqs", "ReceiveMessage", &body).await.expect("an answer");
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    /// The events of the next `count` messages.
    async fn events(&self, count: usize) -> Vec<Value> {
        let mut events = Vec::new();
        while events.len() < count {
            let messages = self.receive("QueueUrl", 20).await;
            assert!(!messages.is_empty(), "no more came after {events:?}");
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
async fn what_becomes_current_lands_in_the_queue_and_nothing_else_does() {
    let stack = Stack::new(&[]).await;
    let last = label_updated("ci/last", "AWSCURRENT");
    let unheard = [
        label_updated("ci/ghcr", "AWSPENDING"),
        label_updated("other/ghcr", "AWSCURRENT"),
        call("ci/ghcr"),
        rotation(&format!("{ARN}ci/ghcr-a1B2c3")),
    ];
    stack.put(&[&[label_updated("ci/ghcr", "AWSCURRENT")], unheard.as_slice()].concat()).await;
    stack.put(std::slice::from_ref(&last)).await;
    let mut events = stack.events(2).await;
    events.sort_by_key(|event| event["detail"]["name"].to_string());
    let told: Vec<_> =
        events.iter().map(|event| (event["detail-type"].clone(), event["detail"]["name"].clone())).collect();
    let expected = ["ci/ghcr", "ci/last"].map(|name| (json!("Secret Label Updated"), json!(name)));
    assert_eq!(told, expected);
    assert_eq!(stack.receive("QueueUrl", 1).await, Vec::<Value>::new());
}

#[tokio::test]
async fn with_every_choice_taken_what_cloud_trail_tells_lands_there_too() {
    let stack = Stack::new(&[
        ("Name", "other"),
        ("CloudTrailEvents", "true"),
        ("BatchReads", "false"),
        ("SecretsKeyArn", "arn:aws:kms:us-east-1:000000000000:key/1"),
        ("AlarmTopicArn", "arn:aws:sns:us-east-1:000000000000:people"),
        ("Trust", "Irsa"),
        ("OidcProvider", "oidc.example.com/id/1"),
    ])
    .await;
    assert!(stack.outputs["QueueUrl"].ends_with("/other-events"), "{:?}", stack.outputs);
    let told = [
        call("ci/name"),
        call(&format!("{ARN}ci/arn-a1B2c3")),
        rotation(&format!("{ARN}ci/rotated-a1B2c3")),
        label_updated("ci/label", "AWSCURRENT"),
    ];
    let unheard = [
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
    stack.put(&[unheard.as_slice(), told.as_slice()].concat()).await;
    let mut seen: Vec<String> =
        stack.events(told.len()).await.iter().map(|event| event["detail"].to_string()).collect();
    let mut expected: Vec<String> = told.iter().map(|(_, detail)| detail.to_string()).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_message_that_is_let_go_ten_times_is_kept_for_people() {
    let stack = Stack::new(&[]).await;
    stack.put(&[label_updated("ci/ghcr", "AWSCURRENT")]).await;
    for attempt in 1..=10 {
        let messages = stack.receive("QueueUrl", 20).await;
        let [message] = messages.as_slice() else { panic!("attempt {attempt}: {messages:?}") };
        let body = json!({
            "QueueUrl": stack.outputs["QueueUrl"], "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0,
        });
        stack.localstack.request("sqs", "ChangeMessageVisibility", &body).await.expect("it is let go");
    }
    assert_eq!(stack.receive("QueueUrl", 0).await, Vec::<Value>::new());
    let dead = stack.receive("DeadLetterQueueUrl", 20).await;
    assert!(dead[0]["Body"].as_str().is_some_and(|body| body.contains("ci/ghcr")), "{dead:?}");
}
