//! Queues of SQS.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};

use super::{LocalStack, text};
use crate::http;

/// How many messages go into one request.
const BATCH: usize = 10;
/// Requests in flight; more do not make one LocalStack faster.
const IN_FLIGHT: usize = 8;

/// A queue, and the one where its messages end that nobody could do anything about.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The URL by which it is asked.
    pub url: String,
    /// The ARN by which others send to it.
    pub arn: String,
    /// The URL of its dead-letter queue.
    pub dead_letter_url: String,
}

impl LocalStack {
    /// Creates a queue that gives a message up once it was received that often.
    pub async fn create_queue(&self, name: &str, receives: u32) -> anyhow::Result<Queue> {
        let (dead_letter_url, dead_letter_arn) = self.bare_queue(&format!("{name}-dead"), &json!({})).await?;
        let redrive = json!({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": receives});
        let (url, arn) = self.bare_queue(name, &json!({"RedrivePolicy": redrive.to_string()})).await?;
        Ok(Queue { url, arn, dead_letter_url })
    }

    async fn bare_queue(&self, name: &str, attributes: &Value) -> anyhow::Result<(String, String)> {
        let body = json!({"QueueName": name, "Attributes": attributes});
        let url = text(&self.request("sqs", "CreateQueue", &body).await?, "QueueUrl")?;
        let body = json!({"QueueUrl": url, "AttributeNames": ["QueueArn"]});
        let answer = self.request("sqs", "GetQueueAttributes", &body).await?;
        Ok((url, text(&answer["Attributes"], "QueueArn")?))
    }

    /// Sends messages that can all be received at the same time, so long from now; at once, as they come, for zero.
    pub async fn send(&self, queue: &Queue, bodies: &[String], after: Duration) -> anyhow::Result<()> {
        let client = http::burst_client(None)?;
        let shown_at = Instant::now() + after;
        let batches: Vec<_> =
            bodies.chunks(BATCH).map(|batch| self.send_batch(&client, queue, batch, shown_at)).collect();
        let sent: Vec<_> = stream::iter(batches).buffer_unordered(IN_FLIGHT).collect().await;
        sent.into_iter().collect()
    }

    async fn send_batch(
        &self,
        client: &Client,
        queue: &Queue,
        bodies: &[String],
        shown_at: Instant,
    ) -> anyhow::Result<()> {
        let wait = shown_at.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
        let entry = |(n, body): (usize, &String)| json!({"Id": n.to_string(), "MessageBody": body, "DelaySeconds": wait});
        let entries: Vec<_> = bodies.iter().enumerate().map(entry).collect();
        let body = json!({"QueueUrl": queue.url, "Entries": entries});
        http::json(self.ask(client, "sqs", "SendMessageBatch", &body)).await?;
        Ok(())
    }

    /// How many messages are in a queue: those that can be received, and those that are hidden or delayed.
    pub async fn messages(&self, url: &str) -> anyhow::Result<usize> {
        const COUNTS: [&str; 3] = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        ];
        let body = json!({"QueueUrl": url, "AttributeNames": COUNTS});
        let answer = self.request("sqs", "GetQueueAttributes", &body).await?;
        let count = |name: &str| anyhow::Ok(text(&answer["Attributes"], name)?.parse::<usize>()?);
        COUNTS.into_iter().map(count).sum()
    }
}
