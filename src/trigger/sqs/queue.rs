//! A client for one SQS queue.
//!
//! The SDK retries by itself; `failure` classifies errors without quoting them. Neither bodies nor receipt
//! handles are logged.

use std::error::Error as StdError;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_sdk_sqs::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    Message as SdkMessage, MessageSystemAttributeName as Attribute,
};
use jiff::Timestamp;
use tracing::debug;

use super::failure::{self, Permission};
use crate::manifest::config::triggers::SqsQueue;
use crate::provider::ErrorKind;
use crate::provider::REQUEST_TIMEOUT;
use crate::provider::aws::{self, ClientContext};
use crate::provider::proxy::StoreProxy;
use crate::provider::without_tracing::without_tracing;

/// The largest number of messages in one request.
pub(super) const BATCH: usize = 10;

/// The visibility timeout of a received message, and of each extension.
pub(super) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest time that a request waits for a message; the limit of SQS.
pub(super) const LONG_POLL: Duration = Duration::from_secs(20);

/// The same while messages are in flight. An abandoned request may still take a message and hide it from
/// every reader: a released message should not end up there.
pub(super) const BRIEF_POLL: Duration = Duration::from_secs(2);

/// The number of attempts that the SDK makes for a request.
const ATTEMPTS: u32 = 3;

/// The client.
#[derive(Debug)]
pub(super) struct QueueClient {
    url: String,
    client: Client,
    /// The profile and the proxy, for messages about requests that were never sent.
    context: ClientContext,
}

/// The token for deleting or hiding a message; valid for one receive of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ReceiptHandle(pub(super) String);

/// A message, hidden from other readers for [`VISIBILITY_TIMEOUT`].
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) sent_at: Option<Timestamp>,
    /// Its time in the queue until the first receive, by the queue's own clock.
    pub(super) queue_time: Duration,
    /// The number of its receives, including this one.
    pub(super) receive_count: u32,
    pub(super) handle: ReceiptHandle,
}

impl QueueClient {
    /// Makes no request. Credentials come from the SDK's default chain when the first one needs them.
    pub(super) async fn open(settings: &SqsQueue) -> Self {
        let (shared, profile) = aws::chain(&settings.region).await;
        let mut opened = Self::with_config(settings, &shared);
        opened.context.profile = profile;
        opened
    }

    /// As [`QueueClient::open`], with credentials that are already loaded.
    pub(super) fn with_config(settings: &SqsQueue, shared: &SdkConfig) -> Self {
        let SqsQueue { queue_url, region, endpoint_url } = settings;
        let mut config = aws_sdk_sqs::config::Builder::from(shared)
            .region(Region::new(region.clone()))
            .timeout_config(attempt_timeout(REQUEST_TIMEOUT))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            // Else all queues of a region share one quota of retries.
            .retry_partition(RetryPartition::custom(queue_url.clone()).build());
        if let Some(url) = endpoint_url {
            // Not in the shared config, where it would be the endpoint of STS as well.
            config = config.endpoint_url(url);
        }
        let proxy = StoreProxy::from_environment(endpoint_url.as_ref().unwrap_or(queue_url));
        let context = ClientContext { proxy, ..ClientContext::default() };
        Self { url: queue_url.clone(), client: Client::from_conf(config.build()), context }
    }

    /// Waits for messages up to a time; returns none where none came.
    pub(super) async fn receive(&self, wait: Duration) -> Result<Vec<Message>, ErrorKind> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(to_i32(BATCH as u64))
            .wait_time_seconds(to_i32(wait.as_secs()))
            .visibility_timeout(to_i32(VISIBILITY_TIMEOUT.as_secs()))
            .message_system_attribute_names(Attribute::SentTimestamp)
            .message_system_attribute_names(Attribute::ApproximateFirstReceiveTimestamp)
            .message_system_attribute_names(Attribute::ApproximateReceiveCount)
            .customize()
            .config_override(
                aws_sdk_sqs::config::Builder::new().timeout_config(attempt_timeout(wait + REQUEST_TIMEOUT)),
            );
        let answer = without_tracing(request.send()).await;
        let answer = answer.map_err(|error| self.classify(&error, Permission::Receive))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(Message::from_sdk).collect())
    }

    /// Deletes up to [`BATCH`] messages.
    pub(super) async fn delete(&self, handles: Vec<ReceiptHandle>) -> Result<(), ErrorKind> {
        let entries = handles.into_iter().enumerate().map(|(n, ReceiptHandle(handle))| {
            DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build()
        });
        let request =
            self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(built(entries))).send();
        let answer = without_tracing(request).await;
        let answer = answer.map_err(|error| self.classify(&error, Permission::Delete))?;
        self.log_expired(answer.failed());
        Ok(())
    }

    /// Sets the visibility timeouts of up to [`BATCH`] messages, counted from now.
    pub(super) async fn change_visibility(
        &self,
        messages: Vec<(ReceiptHandle, Duration)>,
    ) -> Result<(), ErrorKind> {
        let entries = messages.into_iter().enumerate().map(|(n, (ReceiptHandle(handle), timeout))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(n.to_string())
                .receipt_handle(handle)
                .visibility_timeout(to_i32(timeout.as_secs()))
                .build()
        });
        let request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(built(entries)))
            .send();
        let answer = without_tracing(request).await;
        let answer = answer.map_err(|error| self.classify(&error, Permission::ChangeVisibility))?;
        self.log_expired(answer.failed());
        Ok(())
    }

    fn classify<E>(&self, error: &SdkError<E, HttpResponse>, permission: Permission) -> ErrorKind
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        failure::classify(error, permission, &self.context)
    }

    /// Logs messages that another reader has received since; they are redelivered, which is harmless.
    fn log_expired(&self, failed: &[BatchResultErrorEntry]) {
        if !failed.is_empty() {
            debug!(queue = self.url, messages = failed.len(), "messages are no longer in flight");
        }
    }
}

impl Message {
    /// Converts a message of the SDK; returns none for one that could not be deleted.
    fn from_sdk(message: SdkMessage) -> Option<Self> {
        let sent_at = timestamp(&message, &Attribute::SentTimestamp);
        let queue_time = timestamp(&message, &Attribute::ApproximateFirstReceiveTimestamp)
            .zip(sent_at)
            .and_then(|(received_at, sent_at)| Duration::try_from(received_at.duration_since(sent_at)).ok());
        let receive_count = number(&message, &Attribute::ApproximateReceiveCount);
        Some(Self {
            sent_at,
            queue_time: queue_time.unwrap_or_default(),
            receive_count: receive_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
            id: message.message_id.unwrap_or_default(),
            body: message.body.unwrap_or_default(),
            handle: ReceiptHandle(message.receipt_handle?),
        })
    }
}

fn number(message: &SdkMessage, name: &Attribute) -> Option<i64> {
    message.attributes()?.get(name)?.parse().ok()
}

fn timestamp(message: &SdkMessage, name: &Attribute) -> Option<Timestamp> {
    Timestamp::from_millisecond(number(message, name)?).ok()
}

fn attempt_timeout(time: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(time).build()
}

/// Converts a number that a constant of this file makes small.
fn to_i32(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The built entries, none of which lacks a required field.
fn built<T>(entries: impl Iterator<Item = Result<T, BuildError>>) -> Vec<T> {
    entries.map(|entry| entry.expect("an entry has an id and a handle")).collect()
}
