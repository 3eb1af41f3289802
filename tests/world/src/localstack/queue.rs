//! SQS queues.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};

use super::{LocalStack, text};
use crate::http;

/// The number of messages in one request.
const BATCH: usize = 10;
/// The number of requests in flight; a higher one does not make one LocalStack faster.
const IN_FLIGHT: usize = 8;

/// A queue and its dead-letter queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The URL, for consumers.
    pub url: String,
    /// The ARN, for rules and subscriptions that send to the queue.
    pub arn: String,
    /// The URL of the dead-letter queue.
    pub dead_letter_url: String,
}

impl LocalStack {
    /// Creates a queue that moves a message to the dead-letter queue after `max_receives` receives.
    pub async fn create_queue(&self, name: &str, max_receives: u32) -> anyhow::Result<Queue> {
        let (dead_letter_url, dead_letter_arn) =
            self.create_single_queue(&format!("{name}-dead"), &json!({})).await?;
        let redrive = json!({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": max_receives});
        let (url, arn) =
            self.create_single_queue(name, &json!({"RedrivePolicy": redrive.to_string()})).await?;
        Ok(Queue { url, arn, dead_letter_url })
    }

    async fn create_single_queue(&self, name: &str, attributes: &Value) -> anyhow::Result<(String, String)> {
        let body = json!({"QueueName": name, "Attributes": attributes});
        let url = text(&self.request("sqs", "CreateQueue", &body).await?, "QueueUrl")?;
        let body = json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]});
        let answer = self.request("sqs", "GetQueueAttributes", &body).await?;
        Ok((url, text(&answer["Attributes"], "QueueArn")?))
    }

    /// Sends messages that all become visible at the same time, after a delay; with a delay of zero each one at once.
    pub async fn send(&self, queue: &Queue, bodies: &[String], delay: Duration) -> anyhow::Result<()> {
        let client = http::burst_client(None)?;
        let visible_at = Instant::now() + delay;
        let batches: Vec<_> =
            bodies.chunks(BATCH).map(|batch| self.send_batch(&client, queue, batch, visible_at)).collect();
        let sent: Vec<_> = stream::iter(batches).buffer_unordered(IN_FLIGHT).collect().await;
        sent.into_iter().collect()
    }

    async fn send_batch(
        &self,
        client: &Client,
        queue: &Queue,
        bodies: &[String],
        visible_at: Instant,
    ) -> anyhow::Result<()> {
        let delay = visible_at.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
        let entries: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| json!({"Id": n.to_string(), "MessageBody": body, "DelaySeconds": delay}))
            .collect();
        let body = json!({"QueueUrl": queue.url, "Entries": entries});
        http::json(self.build_request(client, "sqs", "SendMessageBatch", &body)).await?;
        Ok(())
    }

    /// Counts the messages in a queue: visible, in flight and delayed.
    pub async fn messages(&self, url: &str) -> anyhow::Result<usize> {
        const COUNTS: [&str; 3] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let body = json!({"QueueUrl": url, "AttributeNames": COUNTS});
        let answer = self.request("sqs", "GetQueueAttributes", &body).await?;
        COUNTS.into_iter().map(|name| Ok(text(&answer["Attributes"], name)?.parse::<usize>()?)).sum()
    }
}
