//! The bus of EventBridge, and what it sends events to: queues, and topics of SNS in between.

use anyhow::ensure;
use serde_json::{Value, json};

use super::{LocalStack, text};

impl LocalStack {
    /// Sends the events that a pattern matches to a queue or a topic.
    pub async fn create_rule(&self, name: &str, pattern: &Value, target: &str) -> anyhow::Result<()> {
        let rule = json!({"Name": name, "EventPattern": pattern.to_string()});
        self.request("events", "PutRule", &rule).await?;
        let targets = json!({"Rule": name, "Targets": [{"Id": "target", "Arn": target}]});
        self.request("events", "PutTargets", &targets).await?;
        Ok(())
    }

    /// Puts an event of Secrets Manager on the bus, which AWS itself would do.
    pub async fn put_event(&self, kind: &str, resources: &[&str], detail: &Value) -> anyhow::Result<()> {
        let entry = json!({
            "Source": "aws.secretsmanager", "DetailType": kind, "Resources": resources, "Detail": detail.to_string(),
        });
        let answer = self.request("events", "PutEvents", &json!({"Entries": [entry]})).await?;
        ensure!(answer["FailedEntryCount"] == 0, "EventBridge did not take an event: {answer}");
        Ok(())
    }

    /// Creates a topic that a queue is subscribed to, and returns its ARN.
    pub async fn create_topic(&self, name: &str, queue: &str) -> anyhow::Result<String> {
        const VERSION: &str = "2010-03-31";
        let form = [("Name".to_owned(), name)];
        let answer = self.form("sns", VERSION, "CreateTopic", &form).await?;
        let topic = text(&answer["CreateTopicResponse"]["CreateTopicResult"], "TopicArn")?;
        let form = [("TopicArn", topic.as_str()), ("Protocol", "sqs"), ("Endpoint", queue)];
        let form = form.map(|(field, value)| (field.to_owned(), value));
        self.form("sns", VERSION, "Subscribe", &form).await?;
        Ok(topic)
    }
}
