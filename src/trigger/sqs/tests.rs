//! A scripted queue, for behaviour that neither SQS nor an emulator shows on demand.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::provider::without_tracing::tests::Log;
use crate::trigger::{AckOutcome, TriggerReceiver, channel};

const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjE";
const RECEIVE: &str = "AmazonSQS.ReceiveMessage";
const DELETE: &str = "AmazonSQS.DeleteMessageBatch";
const HIDE: &str = "AmazonSQS.ChangeMessageVisibilityBatch";
/// The time at which messages are sent; `NOW` is a minute later.
const SENT: i64 = 1_800_000_000;
const NOW: fn() -> Timestamp = || Timestamp::from_second(SENT + 60).unwrap();

/// A scripted queue and its reader.
struct TestQueue {
    server: MockServer,
    metrics: Arc<Metrics>,
    leading: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    trigger_receiver: TriggerReceiver,
    reader: JoinHandle<()>,
}

impl TestQueue {
    /// Answers the first request for messages at once, and the next ones only after a long time.
    async fn new(first: ResponseTemplate) -> Self {
        let server = MockServer::start().await;
        let scripts = [
            Mock::given(header("X-Amz-Target", RECEIVE)).respond_with(first).up_to_n_times(1),
            Mock::given(header("X-Amz-Target", RECEIVE))
                .respond_with(messages(&[]).set_delay(Duration::from_mins(1))),
            Mock::given(header("X-Amz-Target", DELETE)).respond_with(done()),
            Mock::given(header("X-Amz-Target", HIDE)).respond_with(done()),
        ];
        for script in scripts {
            script.mount(&server).await;
        }
        let (triggers, trigger_receiver) = channel::channel();
        let (leading, leads) = watch::channel(true);
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::new(Metrics::new());
        let queue = SqsQueue {
            queue_url: "https://sqs.eu-west-1.amazonaws.com/123456789012/regcred".to_owned(),
            region: "eu-west-1".to_owned(),
            endpoint_url: Some(server.uri()),
        };
        let client = QueueClient::with_config(&queue, &shared());
        let settings = SqsSettings { queue, metrics: Arc::clone(&metrics), wall_clock: NOW, jitter: || 1.0 };
        let reader = tokio::spawn(QueueReader::new(settings, client, triggers).run(leads, stopped));
        Self { server, metrics, leading, stop, trigger_receiver, reader }
    }

    /// The bodies of the requests with this target.
    async fn requests(&self, target: &str) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        let requests = requests.iter().filter(|request| request.headers["x-amz-target"] == target);
        requests.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// The batch requests in words.
    async fn entries(&self) -> Vec<String> {
        let mut entries = Vec::new();
        for target in [DELETE, HIDE] {
            for request in self.requests(target).await {
                for entry in request["Entries"].as_array().unwrap() {
                    let handle = entry["ReceiptHandle"].as_str().unwrap();
                    entries.push(match entry["VisibilityTimeout"].as_u64() {
                        None => format!("delete {handle}"),
                        Some(seconds) => format!("hide {handle} {seconds}"),
                    });
                }
            }
        }
        entries
    }

    async fn until(&self, expect: &[&str]) {
        until(async || self.entries().await == expect).await;
    }

    /// Stops the reader; returns its batch requests.
    async fn end(self) -> Vec<String> {
        self.stop.send(true).unwrap();
        until(async || self.reader.is_finished()).await;
        self.entries().await
    }

    fn count(&self, outcome: &str) -> usize {
        let text = self.metrics.encode();
        let series = format!("regcred_triggers_total{{trigger=\"sqs\",outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let polled = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), polled).await.expect("the condition becomes true");
}

fn shared() -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "secret", Some(SESSION_TOKEN.to_owned()), None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn event(label: &str) -> String {
    json!({
        "detail-type": "Secret Label Updated", "source": "aws.secretsmanager",
        "account": "123456789012", "region": "eu-west-1",
        "resources": ["arn:aws:secretsmanager:eu-west-1:123456789012:secret:ghcr-a1B2c3"],
        "detail": {"name": "ghcr", "labelUpdated": label, "versionId": "v2"},
    })
    .to_string()
}

fn received(n: usize, body: &str, receives: u32) -> Value {
    json!({
        "MessageId": format!("message-{n}"), "ReceiptHandle": format!("handle-{n}"), "Body": body,
        "Attributes": {
            "SentTimestamp": (SENT * 1000).to_string(), "ApproximateReceiveCount": receives.to_string(),
            "ApproximateFirstReceiveTimestamp": ((SENT + 20) * 1000).to_string(),
        },
    })
}

fn messages(messages: &[Value]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"Messages": messages}))
}

fn done() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({"Successful": [], "Failed": []}))
}

fn error(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({"__type": code, "message": "hunter2"}))
}

#[tokio::test]
async fn message_deleted_once_everything_it_caused_is_done() {
    let begun = Instant::now();
    let mut queue = TestQueue::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let event = queue.trigger_receiver.recv().await.unwrap();
    assert_eq!(event.trigger, Trigger::Sqs);
    let spare = Duration::from_secs(19);
    assert!((begun..=Instant::now()).contains(&(event.before + spare)), "by the queue's clock, 20 s ago");
    assert_eq!(event.at, Timestamp::from_second(SENT).unwrap());
    let Some(TriggerScope::Secret(change)) = event.scopes.first() else { panic!("{:?}", event.scopes) };
    assert_eq!(change.version, Some("v2".into()));
    let requests = queue.requests(RECEIVE).await;
    assert_eq!(
        (&requests[0]["WaitTimeSeconds"], &requests[0]["VisibilityTimeout"]),
        (&json!(20), &json!(30))
    );
    assert_eq!(queue.entries().await, Vec::<String>::new());
    until(async || queue.requests(RECEIVE).await.len() == 2).await;
    assert_eq!(queue.requests(RECEIVE).await[1]["WaitTimeSeconds"], 2, "while it is in flight");
    event.ack.unwrap().ack(AckOutcome::Done);
    queue.until(&["delete handle-1"]).await;
    assert_eq!(queue.end().await, ["delete handle-1"]);
}

#[tokio::test]
async fn failed_message_redelivered_later_each_time() {
    let body = event("AWSCURRENT");
    let mut queue = TestQueue::new(messages(&[received(1, &body, 1), received(2, &body, 2)])).await;
    for _ in 0..2 {
        drop(queue.trigger_receiver.recv().await.unwrap());
    }
    until(async || queue.entries().await.len() == 2).await;
    let mut entries = queue.end().await;
    entries.sort_unstable();
    assert_eq!(entries, ["hide handle-1 30", "hide handle-2 60"]);
}

#[tokio::test]
async fn message_without_changes_deleted_and_invalid_one_left() {
    let (log, _guard) = Log::capture();
    let bodies = ["hunter2", "{}", &event("AWSPENDING")];
    let received: Vec<_> = (0..).zip(bodies).map(|(n, body)| received(n, body, 1)).collect();
    let mut queue = TestQueue::new(messages(&received)).await;
    queue.until(&["delete handle-2"]).await;
    assert!(queue.trigger_receiver.try_recv().is_err());
    assert_eq!((queue.count("invalid"), queue.count("ignored")), (2, 1));
    queue.end().await;
    let text = log.text();
    assert_eq!(text.matches("redrive policy: the body is neither a JSON object").count(), 1, "{text}");
    for secret in ["hunter2", SESSION_TOKEN, "handle-"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn unacked_message_released_on_stop() {
    let body = event("AWSCURRENT");
    let mut queue = TestQueue::new(messages(&[received(1, &body, 1), received(2, &body, 1)])).await;
    let (first, _second) =
        (queue.trigger_receiver.recv().await.unwrap(), queue.trigger_receiver.recv().await.unwrap());
    first.ack.unwrap().ack(AckOutcome::Done);
    let begun = Instant::now();
    let mut entries = queue.end().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    entries.sort_unstable();
    let [deleted, hidden] = entries.as_slice() else { panic!("{entries:?}") };
    assert!(deleted.starts_with("delete ") && hidden.starts_with("hide ") && hidden.ends_with(" 2"));
}

#[tokio::test]
async fn only_the_leader_receives() {
    let mut queue = TestQueue::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let _event = queue.trigger_receiver.recv().await.unwrap();
    queue.leading.send(false).unwrap();
    queue.until(&["hide handle-1 2"]).await;
    let requests = queue.requests(RECEIVE).await.len();
    queue.leading.send(true).unwrap();
    until(async || queue.requests(RECEIVE).await.len() > requests).await;
    queue.end().await;
}

#[tokio::test]
async fn reader_ends_without_a_controller() {
    let queue = TestQueue::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let TestQueue { trigger_receiver, reader, server: _server, leading: _leading, stop: _stop, .. } = queue;
    drop(trigger_receiver);
    timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
}

#[tokio::test]
async fn receive_failure_logged_once_and_retried() {
    let (log, _guard) = Log::capture();
    let queue = TestQueue::new(error(400, "AccessDenied")).await;
    until(async || queue.requests(RECEIVE).await.len() > 1).await;
    queue.end().await;
    let expect = "cannot receive messages, retrying: access denied: no policy grants `sqs:ReceiveMessage` on \
                  the queue";
    let text = log.text();
    assert_eq!(text.matches(expect).count(), 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// Expects this description of the failure that an answer means.
async fn check(answer: ResponseTemplate, expect: &str) {
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", RECEIVE)).respond_with(answer).mount(&server).await;
    let queue = SqsQueue {
        queue_url: format!("{}/123456789012/regcred", server.uri()),
        region: "eu-west-1".to_owned(),
        endpoint_url: Some(server.uri()),
    };
    let answer = QueueClient::with_config(&queue, &shared()).receive(LONG_POLL).await;
    let failure = answer.err().unwrap();
    assert_eq!(failure::describe(&failure), expect);
}

/// An error with the code of the query protocol in a header.
fn query_error(code: &str) -> ResponseTemplate {
    error(400, "X").insert_header("x-amzn-query-error", format!("{code};Sender"))
}

#[tokio::test]
async fn every_failure_names_its_fix() {
    let missing = "queue not found; check `queueUrl` and `region`";
    check(error(400, "com.amazonaws.sqs#QueueDoesNotExist"), missing).await;
    check(query_error("AWS.SimpleQueueService.NonExistentQueue"), missing).await;
    let key = "access denied: no policy grants `kms:Decrypt` on the key of the queue, or the key is disabled";
    check(error(400, "com.amazonaws.sqs#KmsAccessDenied"), key).await;
    check(query_error("KMS.DisabledException"), key).await;
    let address = "`queueUrl` is not the URL of a queue in this region";
    check(error(400, "com.amazonaws.sqs#InvalidAddress"), address).await;
    let credentials =
        "access denied: AWS does not accept the credentials: check the key and this machine's clock";
    check(error(403, "InvalidClientTokenId"), credentials).await;
    let unknown = "status 418 without a known error code; check `endpointUrl`";
    check(error(418, "Hunter2"), unknown).await;
}

#[test]
fn message_age_needs_agreeing_clocks() {
    let [sent, later] = [SENT, SENT + 7].map(|second| Timestamp::from_second(second).unwrap());
    assert_eq!(age(Some(sent), later), Duration::from_secs(7));
    assert_eq!(age(Some(later), sent), Duration::ZERO);
    assert_eq!(age(None, sent), Duration::ZERO);
    assert_eq!(age(Some(Timestamp::UNIX_EPOCH), sent), MAX_AGE);
}
