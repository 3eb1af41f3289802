//! A queue that does what neither SQS nor an emulator can be made to do at will.

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use wiremock::matchers::header;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::provider::without_tracing::tests::Log;
use crate::trigger::{TriggerReceiver, channel};

const SESSION_TOKEN: &str = "IQoJb3JpZ2luX2VjE";
const RECEIVE: &str = "AmazonSQS.ReceiveMessage";
const DELETE: &str = "AmazonSQS.DeleteMessageBatch";
const HIDE: &str = "AmazonSQS.ChangeMessageVisibilityBatch";
/// When messages are sent, and a minute later.
const SENT: i64 = 1_800_000_000;
const NOW: fn() -> Timestamp = || Timestamp::from_second(SENT + 60).unwrap();

/// A queue that hands out what it is given, and a reader of it.
struct Scene {
    server: MockServer,
    metrics: Arc<Metrics>,
    leading: watch::Sender<bool>,
    stop: watch::Sender<bool>,
    trigger_receiver: TriggerReceiver,
    reader: JoinHandle<()>,
}

impl Scene {
    /// The first request for messages is answered so, and the next ones not for a long time.
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
        let client = Queue::with_config(&queue, &shared());
        let settings = Settings { queue, metrics: Arc::clone(&metrics), wall_clock: NOW, jitter: || 1.0 };
        let reader = tokio::spawn(Reader::new(settings, client, triggers).run(leads, stopped));
        Self { server, metrics, leading, stop, trigger_receiver, reader }
    }

    /// The bodies of the requests with this target.
    async fn asked(&self, target: &str) -> Vec<Value> {
        let requests = self.server.received_requests().await.unwrap();
        let requests = requests.iter().filter(|request| request.headers["x-amz-target"] == target);
        requests.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }

    /// What was asked about messages, in words.
    async fn errands(&self) -> Vec<String> {
        let mut errands = Vec::new();
        for target in [DELETE, HIDE] {
            for request in self.asked(target).await {
                for entry in request["Entries"].as_array().unwrap() {
                    let handle = entry["ReceiptHandle"].as_str().unwrap();
                    errands.push(match entry["VisibilityTimeout"].as_u64() {
                        None => format!("delete {handle}"),
                        Some(seconds) => format!("hide {handle} {seconds}"),
                    });
                }
            }
        }
        errands
    }

    async fn until(&self, errands: &[&str]) {
        until(async || self.errands().await == errands).await;
    }

    /// Ends the reader: what was asked about messages.
    async fn end(self) -> Vec<String> {
        self.stop.send(true).unwrap();
        until(async || self.reader.is_finished()).await;
        self.errands().await
    }

    fn count(&self, outcome: &str) -> usize {
        let text = self.metrics.encode();
        let series = format!("regcred_triggers_total{{trigger=\"sqs\",outcome=\"{outcome}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

async fn until(condition: impl AsyncFn() -> bool) {
    let is_so = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), is_so).await.expect("it comes true");
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
async fn a_message_is_deleted_when_everything_it_caused_is_done_and_not_before() {
    let begun = Instant::now();
    let mut scene = Scene::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let wake = scene.trigger_receiver.recv().await.unwrap();
    assert_eq!(wake.trigger, Trigger::Sqs);
    let spare = Duration::from_secs(19);
    assert!((begun..=Instant::now()).contains(&(wake.before + spare)), "by the queue's clock, 20 s ago");
    assert_eq!(wake.at, Timestamp::from_second(SENT).unwrap());
    let Some(TriggerScope::Secret(sighting)) = wake.looks.first() else { panic!("{:?}", wake.looks) };
    assert_eq!(sighting.version, Some("v2".into()));
    let asked = scene.asked(RECEIVE).await;
    assert_eq!((&asked[0]["WaitTimeSeconds"], &asked[0]["VisibilityTimeout"]), (&json!(20), &json!(30)));
    assert_eq!(scene.errands().await, Vec::<String>::new());
    until(async || scene.asked(RECEIVE).await.len() == 2).await;
    assert_eq!(scene.asked(RECEIVE).await[1]["WaitTimeSeconds"], 2, "while it is held");
    wake.receipt.unwrap().settle();
    scene.until(&["delete handle-1"]).await;
    assert_eq!(scene.end().await, ["delete handle-1"]);
}

#[tokio::test]
async fn what_could_not_be_done_is_left_to_redelivery_later_each_time() {
    let body = event("AWSCURRENT");
    let mut scene = Scene::new(messages(&[received(1, &body, 1), received(2, &body, 2)])).await;
    for _ in 0..2 {
        drop(scene.trigger_receiver.recv().await.unwrap());
    }
    until(async || scene.errands().await.len() == 2).await;
    let mut errands = scene.end().await;
    errands.sort_unstable();
    assert_eq!(errands, ["hide handle-1 30", "hide handle-2 60"]);
}

#[tokio::test]
async fn what_is_no_work_is_deleted_and_what_nobody_can_read_is_left_there() {
    let (log, _guard) = Log::listen();
    let bodies = ["hunter2", "{}", &event("AWSPENDING")];
    let received: Vec<_> = (0..).zip(bodies).map(|(n, body)| received(n, body, 1)).collect();
    let mut scene = Scene::new(messages(&received)).await;
    scene.until(&["delete handle-2"]).await;
    assert!(scene.trigger_receiver.try_recv().is_err());
    assert_eq!((scene.count("invalid"), scene.count("ignored")), (2, 1));
    scene.end().await;
    let text = log.text();
    assert_eq!(
        text.matches("a message cannot be read: the body is neither a JSON object").count(),
        1,
        "{text}"
    );
    for secret in ["hunter2", SESSION_TOKEN, "handle-"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn what_is_held_at_the_end_is_given_back() {
    let body = event("AWSCURRENT");
    let mut scene = Scene::new(messages(&[received(1, &body, 1), received(2, &body, 1)])).await;
    let (first, _second) =
        (scene.trigger_receiver.recv().await.unwrap(), scene.trigger_receiver.recv().await.unwrap());
    first.receipt.unwrap().settle();
    let begun = Instant::now();
    let mut errands = scene.end().await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    errands.sort_unstable();
    let [deleted, hidden] = errands.as_slice() else { panic!("{errands:?}") };
    assert!(deleted.starts_with("delete ") && hidden.starts_with("hide ") && hidden.ends_with(" 2"));
}

#[tokio::test]
async fn only_who_leads_reads() {
    let mut scene = Scene::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let _wake = scene.trigger_receiver.recv().await.unwrap();
    scene.leading.send(false).unwrap();
    scene.until(&["hide handle-1 2"]).await;
    let asked = scene.asked(RECEIVE).await.len();
    scene.leading.send(true).unwrap();
    until(async || scene.asked(RECEIVE).await.len() > asked).await;
    scene.end().await;
}

#[tokio::test]
async fn without_a_controller_it_ends() {
    let scene = Scene::new(messages(&[received(1, &event("AWSCURRENT"), 1)])).await;
    let Scene { trigger_receiver, reader, server: _server, leading: _leading, stop: _stop, .. } = scene;
    drop(trigger_receiver);
    timeout(Duration::from_secs(10), reader).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_is_told_once_and_tried_again() {
    let (log, _guard) = Log::listen();
    let scene = Scene::new(error(400, "AccessDenied")).await;
    until(async || scene.asked(RECEIVE).await.len() > 1).await;
    scene.end().await;
    let told = "the queue cannot be read, and is tried again until it can: access denied: no policy grants \
                `sqs:ReceiveMessage` on the queue";
    let text = log.text();
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn every_refusal_says_what_to_mend() {
    let check = async |answer: ResponseTemplate, expect: &str| {
        let server = MockServer::start().await;
        Mock::given(header("X-Amz-Target", RECEIVE)).respond_with(answer).mount(&server).await;
        let queue = SqsQueue {
            queue_url: format!("{}/123456789012/regcred", server.uri()),
            region: "eu-west-1".to_owned(),
            endpoint_url: Some(server.uri()),
        };
        let answer = Queue::with_config(&queue, &shared()).receive(WAIT).await;
        let failure = answer.err().unwrap();
        assert_eq!(failure::told(&failure), expect);
    };
    let query = |code: &str| error(400, "X").insert_header("x-amzn-query-error", format!("{code};Sender"));
    let missing = "there is no such queue: check `queueUrl` and `region`";
    check(error(400, "com.amazonaws.sqs#QueueDoesNotExist"), missing).await;
    check(query("AWS.SimpleQueueService.NonExistentQueue"), missing).await;
    let key = "access denied: no policy grants `kms:Decrypt` on the key of the queue, or the key is disabled";
    check(error(400, "com.amazonaws.sqs#KmsAccessDenied"), key).await;
    check(query("KMS.DisabledException"), key).await;
    let address = "`queueUrl` is not the URL of a queue in this region";
    check(error(400, "com.amazonaws.sqs#InvalidAddress"), address).await;
    let credentials =
        "access denied: AWS does not accept the credentials: check the key and this machine's clock";
    check(error(403, "InvalidClientTokenId"), credentials).await;
    let unknown = "status 418, and not for a known reason; check `endpointUrl`";
    check(error(418, "Hunter2"), unknown).await;
}

#[test]
fn an_age_is_what_both_clocks_agree_on() {
    let at = |seconds: i64| Timestamp::from_second(SENT + seconds).unwrap();
    assert_eq!(age(Some(at(0)), at(7)), Duration::from_secs(7));
    assert_eq!(age(Some(at(7)), at(0)), Duration::ZERO);
    assert_eq!(age(None, at(0)), Duration::ZERO);
    assert_eq!(age(Some(Timestamp::UNIX_EPOCH), at(0)), OLDEST);
}
