//! An AWS with a secret, a queue that receives its events, and a controller that reads both.

use std::path::PathBuf;
use std::time::Duration;

use harness::{HOST, TestCluster, until_within};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{LocalStack, Queue, REGION, Reaper};

use crate::controller::{Controller, Launch, RunController as _};

/// The `detail-type` of the events that Secrets Manager sends by itself.
const KIND: &str = "Secret Label Updated";
/// The account of all resources.
pub(super) const ACCOUNT: &str = "000000000000";
/// The receives of a message before it is dead-lettered.
const RECEIVES: u32 = 10;
/// The longest time until a queue is empty: a message in flight in a killed process is visible again after half a minute.
const TIMEOUT: Duration = Duration::from_secs(90);

/// The AWS of one test.
pub(super) struct Cloud<'a> {
    cluster: &'a TestCluster,
    pub(super) localstack: &'static LocalStack,
    pub(super) queue: Queue,
    /// Further queues that the controller reads.
    pub(super) more: Vec<Queue>,
    /// The name of the secret.
    name: String,
    arn: String,
}

impl<'a> Cloud<'a> {
    /// Creates a secret with this password, a ClusterPullSecret that names it, and a queue that no rule targets yet.
    pub(super) async fn new(cluster: &'a TestCluster, password: &str) -> Self {
        let localstack = localstack(&cluster.reaper).await;
        let name = cluster.key("ghcr");
        let arn = localstack.create_secret(&name, &value(password)).await.expect("a secret");
        let queue = localstack.create_queue(cluster.name, RECEIVES).await.expect("a queue");
        let cloud = Self { cluster, localstack, queue, more: Vec::new(), name, arn };
        cluster.apply(&cloud.cluster_pull_secret(cluster.name)).await;
        cloud
    }

    /// A ClusterPullSecret with the secret as its key.
    pub(super) fn cluster_pull_secret(&self, name: &str) -> Value {
        let mut cluster_pull_secret = self.cluster.cluster_pull_secret(name);
        cluster_pull_secret["spec"]["registries"] =
            json!([{"host": HOST, "from": {"store": "aws", "key": self.name}}]);
        cluster_pull_secret
    }

    /// Routes the events about the secret to the queue or to a topic.
    pub(super) async fn route(&self, target: &str) {
        let pattern = json!({
            "source": ["aws.secretsmanager"], "detail-type": [KIND],
            "detail": {"name": [self.name], "labelUpdated": ["AWSCURRENT"]},
        });
        self.localstack.create_rule(self.cluster.name, &pattern, target).await.expect("a rule");
    }

    /// Prepares a controller that reads the secret and the queues.
    pub(super) fn controller(&self) -> Launch<'a> {
        self.cluster.controller().manifests(&self.manifests()).aws(self.localstack)
    }

    fn manifests(&self) -> PathBuf {
        let endpoint = &self.localstack.endpoint;
        let queues = [&self.queue].into_iter().chain(&self.more);
        let queues: Vec<_> = queues
            .map(|queue| json!({"queueUrl": queue.url, "region": REGION, "endpointUrl": endpoint}))
            .collect();
        let more = format!(
            "- name: aws\n  awsSecretsManager: {{region: {REGION}, endpointUrl: \"{endpoint}\"}}\n\
             triggers: {{pollInterval: 0s, sqs: {}}}\n",
            json!(queues)
        );
        self.cluster.write(&[&self.cluster.config(&more)])
    }

    /// Starts such a controller and waits until every namespace is in sync.
    pub(super) async fn start_synced(&self, password: &str) -> Controller {
        let controller = self.controller().start().await;
        self.cluster.until_synced(password).await;
        controller
    }

    /// Rotates the secret without an event; returns the new version.
    pub(super) async fn put(&self, password: &str) -> String {
        self.localstack.put_secret(&self.name, &value(password)).await.expect("a version")
    }

    /// Rotates the secret to a version with a known id.
    pub(super) async fn put_version(&self, password: &str, version: &str) {
        self.localstack.put_secret_version(&self.name, &value(password), version).await.expect("a version");
    }

    /// Publishes the event about a version on the bus.
    pub(super) async fn publish(&self, version: &str) {
        let detail = json!({"name": self.name, "labelUpdated": "AWSCURRENT", "versionId": version});
        self.localstack.put_event(KIND, &[&self.arn], &detail).await.expect("an event");
    }

    /// The event about a version with a label, as a queue receives it.
    pub(super) fn event(&self, label: &str, version: &str) -> Value {
        json!({
            "version": "0", "detail-type": KIND, "source": "aws.secretsmanager", "account": ACCOUNT, "region": REGION,
            "resources": [self.arn],
            "detail": {"name": self.name, "labelUpdated": label, "versionId": version},
        })
    }

    /// The event of CloudTrail about a rotation, as a queue receives it.
    pub(super) fn rotated(&self) -> Value {
        json!({
            "version": "0", "detail-type": "AWS Service Event via CloudTrail", "source": "aws.secretsmanager",
            "account": ACCOUNT, "region": REGION, "resources": [],
            "detail": {
                "eventSource": "secretsmanager.amazonaws.com", "eventName": "RotationSucceeded",
                "requestParameters": null, "responseElements": null,
                "additionalEventData": {"SecretId": self.arn},
            },
        })
    }

    /// Sends messages to a queue, which are received after this time.
    pub(super) async fn send(&self, queue: &Queue, bodies: &[String], after: Duration) {
        self.localstack.send(queue, bodies, after).await.expect("messages are sent");
    }

    /// Waits until every message is deleted.
    pub(super) async fn until_empty(&self) {
        until_within(TIMEOUT, "an empty queue", async || self.messages(&self.queue.url).await == 0).await;
        assert_eq!(self.messages(&self.queue.dead_letter_url).await, 0, "no message is dead-lettered");
    }

    /// The number of messages in a queue.
    pub(super) async fn messages(&self, url: &str) -> usize {
        self.localstack.messages(url).await.expect("a queue")
    }

    /// The number of fetches of the secret.
    pub(super) async fn reads(&self, controller: &Controller) -> usize {
        count(controller, "regcred_fetches_total{store=\"aws\",outcome=\"fetched\"}").await
    }
}

/// The number of reconciliations of a ClusterPullSecret.
pub(super) async fn reconciliations(controller: &Controller, cluster_pull_secret: &str) -> usize {
    let of = async |outcome: &str| {
        let labels = format!("cluster_pull_secret=\"{cluster_pull_secret}\",outcome=\"{outcome}\"");
        count(controller, &format!("regcred_reconciliations_total{{{labels}}}")).await
    };
    of("in_sync").await + of("out_of_sync").await
}

/// The number of messages with this outcome.
pub(super) async fn triggered(controller: &Controller, outcome: &str) -> usize {
    count(controller, &format!("regcred_triggers_total{{trigger=\"sqs\",outcome=\"{outcome}\"}}")).await
}

/// The LocalStack of all tests that need one; the first starts it.
async fn localstack(reaper: &Reaper) -> &'static LocalStack {
    static SHARED: OnceCell<LocalStack> = OnceCell::const_new();
    let localstack = SHARED.get_or_try_init(|| LocalStack::start(reaper)).await;
    localstack.unwrap_or_else(|error| panic!("LocalStack did not start: {error:#}"))
}

async fn count(controller: &Controller, series: &str) -> usize {
    let value = controller.metric(series).await.unwrap_or_default();
    format!("{value:.0}").parse().expect("a whole number")
}

fn value(password: &str) -> String {
    json!({"username": "robot", "password": password}).to_string()
}
