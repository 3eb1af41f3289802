//! An AWS with a secret, a queue that hears of it, and a controller that reads both.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use world::{LocalStack, Queue, REGION};

use crate::controller::{Controller, Launch};
use crate::stage::{HOST, Stage, until_within};

/// How EventBridge calls what Secrets Manager sends by itself.
const KIND: &str = "Secret Label Updated";
/// The account that everything is made in.
pub(super) const ACCOUNT: &str = "000000000000";
/// How often a message of the queue may be received.
const RECEIVES: u32 = 10;
/// How long a queue takes to be empty: what was held by who died is shown again after half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The AWS of one stage.
pub(super) struct Cloud<'a> {
    stage: &'a Stage,
    pub(super) localstack: &'static LocalStack,
    pub(super) queue: Queue,
    /// Further queues that the controller reads.
    pub(super) more: Vec<Queue>,
    /// The name of the secret.
    name: String,
    arn: String,
}

impl<'a> Cloud<'a> {
    /// A secret with this password, a ClusterPullSecret that names it, and a queue that nothing comes to yet.
    pub(super) async fn new(stage: &'a Stage, password: &str) -> Self {
        let localstack = stage.localstack().await;
        let name = stage.key("ghcr");
        let arn = localstack.create_secret(&name, &value(password)).await.expect("a secret");
        let queue = localstack.create_queue(stage.name, RECEIVES).await.expect("a queue");
        let cloud = Self { stage, localstack, queue, more: Vec::new(), name, arn };
        stage.apply(&cloud.cluster_pull_secret(stage.name)).await;
        cloud
    }

    /// A ClusterPullSecret of that name that names the secret.
    pub(super) fn cluster_pull_secret(&self, name: &str) -> Value {
        let mut cluster_pull_secret = self.stage.cluster_pull_secret(name);
        cluster_pull_secret["spec"]["registries"] =
            json!([{"host": HOST, "from": {"store": "aws", "key": self.name}}]);
        cluster_pull_secret
    }

    /// Sends what the bus tells of the secret to the queue or to a topic.
    pub(super) async fn route(&self, target: &str) {
        let pattern = json!({
            "source": ["aws.secretsmanager"], "detail-type": [KIND],
            "detail": {"name": [self.name], "labelUpdated": ["AWSCURRENT"]},
        });
        self.localstack.create_rule(self.stage.name, &pattern, target).await.expect("a rule");
    }

    /// How a controller is started that reads the secret and the queues.
    pub(super) fn controller(&self) -> Launch<'a> {
        self.stage.controller().of(&self.manifests()).in_aws(self.localstack)
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
        self.stage.write(&[&self.stage.config(&more)])
    }

    /// The same, started and served.
    pub(super) async fn serve(&self, password: &str) -> Controller {
        let controller = self.controller().start().await;
        self.stage.until_served(password).await;
        controller
    }

    /// Rotates the secret, and does not tell of it: the new version.
    pub(super) async fn put(&self, password: &str) -> String {
        self.localstack.put_secret(&self.name, &value(password)).await.expect("a version")
    }

    /// Rotates the secret to a version of which the id was told before.
    pub(super) async fn put_version(&self, password: &str, version: &str) {
        self.localstack.put_secret_version(&self.name, &value(password), version).await.expect("a version");
    }

    /// Puts the event that tells of a version on the bus.
    pub(super) async fn tell(&self, version: &str) {
        let detail = json!({"name": self.name, "labelUpdated": "AWSCURRENT", "versionId": version});
        self.localstack.put_event(KIND, &[&self.arn], &detail).await.expect("an event");
    }

    /// The event that tells of a version with a label, as it comes to a queue.
    pub(super) fn event(&self, label: &str, version: &str) -> Value {
        json!({
            "version": "0", "detail-type": KIND, "source": "aws.secretsmanager", "account": ACCOUNT, "region": REGION,
            "resources": [self.arn],
            "detail": {"name": self.name, "labelUpdated": label, "versionId": version},
        })
    }

    /// What CloudTrail tells of a rotation, as it comes to a queue.
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

    /// Sends messages to a queue, to be received so long from now.
    pub(super) async fn send(&self, queue: &Queue, bodies: &[String], after: Duration) {
        self.localstack.send(queue, bodies, after).await.expect("messages are sent");
    }

    /// Waits until every message is deleted.
    pub(super) async fn until_empty(&self) {
        until_within(PATIENCE, "an empty queue", async || self.messages(&self.queue.url).await == 0).await;
        assert_eq!(self.messages(&self.queue.dead_letter_url).await, 0, "nothing is given up");
    }

    /// How many messages are in a queue.
    pub(super) async fn messages(&self, url: &str) -> usize {
        self.localstack.messages(url).await.expect("a queue")
    }

    /// How often the secret was read.
    pub(super) async fn reads(&self, controller: &Controller) -> usize {
        count(controller, "regcred_fetches_total{store=\"aws\",outcome=\"fetched\"}").await
    }
}

/// How many passes over a ClusterPullSecret there were.
pub(super) async fn passes(controller: &Controller, cluster_pull_secret: &str) -> usize {
    let of = async |outcome: &str| {
        let labels = format!("cluster_pull_secret=\"{cluster_pull_secret}\",outcome=\"{outcome}\"");
        count(controller, &format!("regcred_reconciliations_total{{{labels}}}")).await
    };
    of("in_sync").await + of("out_of_sync").await
}

/// What came of messages.
pub(super) async fn triggered(controller: &Controller, outcome: &str) -> usize {
    count(controller, &format!("regcred_triggers_total{{trigger=\"sqs\",outcome=\"{outcome}\"}}")).await
}

async fn count(controller: &Controller, series: &str) -> usize {
    let value = controller.metric(series).await.unwrap_or_default();
    format!("{value:.0}").parse().expect("a whole number")
}

fn value(password: &str) -> String {
    json!({"username": "robot", "password": password}).to_string()
}
