//! The event bus of EventBridge, and its targets: queues, and SNS topics that forward to queues.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{LocalStack, text};

impl LocalStack {
    /// Creates a rule that sends the events of a pattern to a queue or a topic.
    pub async fn create_rule(&self, name: &str, pattern: &Value, target: &str) -> anyhow::Result<()> {
        let rule = json!({"Name": name, "EventPattern": pattern.to_string()});
        self.request("events", "PutRule", &rule).await?;
        let targets = json!({"Rule": name, "Targets": [{"Id": "target", "Arn": target}]});
        self.request("events", "PutTargets", &targets).await?;
        Ok(())
    }

    /// Puts an event of Secrets Manager on the bus, in the place of AWS.
    pub async fn put_event(&self, kind: &str, resources: &[&str], detail: &Value) -> anyhow::Result<()> {
        let entry = json!({
            "Source": "aws.secretsmanager", "DetailType": kind, "Resources": resources, "Detail": detail.to_string(),
        });
        let answer = self.request("events", "PutEvents", &json!({"Entries": [entry]})).await?;
        ensure!(answer["FailedEntryCount"] == 0, "EventBridge rejected an event: {answer}");
        Ok(())
    }

    /// Creates a topic with a queue as subscriber, and returns the ARN of the topic.
    pub async fn create_topic(&self, name: &str, queue: &str) -> anyhow::Result<String> {
        const VERSION: &str = "2010-03-31";
        let form = [("Name".to_owned(), name)];
        let answer = self.query_request("sns", VERSION, "CreateTopic", &form).await?;
        let topic = text(&answer["CreateTopicResponse"]["CreateTopicResult"], "TopicArn")?;
        let form = [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", queue)];
        let form = form.map(|(field, value)| (field.to_owned(), value));
        self.query_request("sns", VERSION, "Subscribe", &form).await?;
        Ok(topic)
    }
}
