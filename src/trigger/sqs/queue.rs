//! One queue of Amazon SQS, as it is asked.
//!
//! The SDK retries by itself; `trouble` says what an error means without quoting it. No body is logged,
//! and neither is what it takes to delete a message.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::BuildError;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageSystemAttributeName as Attribute,
};
use jiff::Timestamp;
use tracing::debug;

use super::failure::{self, Right};
use crate::manifest::config::triggers::SqsQueue;
use crate::provider::ErrorKind as Failure;
use crate::provider::REQUEST_TIMEOUT;
use crate::provider::aws;
use crate::provider::without_tracing::without_tracing;

/// How many messages go into one request.
pub(super) const BATCH: usize = 10;

/// For how long a message is hidden from others when it is received, and each time that is extended.
pub(super) const VISIBILITY: Duration = Duration::from_secs(30);

/// How long a request waits for a message: the longest that SQS allows.
pub(super) const WAIT: Duration = Duration::from_secs(20);

/// The same while messages are held. A request that nobody waits for any more may still take a message,
/// and hide it from everybody: what is given back should not end there.
pub(super) const BRIEF_WAIT: Duration = Duration::from_secs(2);

/// How often the SDK tries a request.
const ATTEMPTS: u32 = 3;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    url: String,
    client: Client,
    /// What `AWS_PROFILE` says.
    profile: Option<String>,
}

/// What it takes to delete a message, or to hide it for longer: good for one time that it was received.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Handle(pub(super) String);

/// A message, hidden from others for [`VISIBILITY`].
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) sent_at: Option<Timestamp>,
    /// How long it had been in the queue when it was first received, by the queue's own clock.
    pub(super) waited: Duration,
    /// How often it was received, this time included.
    pub(super) receives: u32,
    pub(super) handle: Handle,
}

impl Queue {
    /// Makes no request. Credentials come from the SDK's default chain when the first one needs them.
    pub(super) async fn open(settings: &SqsQueue) -> Self {
        let (shared, profile) = aws::chain(&settings.region).await;
        Self { profile, ..Self::with_config(settings, &shared) }
    }

    /// As [`Queue::open`], with credentials as somebody has loaded them.
    pub(super) fn with_config(settings: &SqsQueue, shared: &SdkConfig) -> Self {
        let SqsQueue { queue_url, region, endpoint_url } = settings;
        let mut config = aws_sdk_sqs::config::Builder::from(shared)
            .region(Region::new(region.clone()))
            .timeout_config(patience(REQUEST_TIMEOUT))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(url) = endpoint_url {
            // Here and not in what is shared, where it would be the endpoint of STS as well.
            config = config.endpoint_url(url);
        }
        Self { url: queue_url.clone(), client: Client::from_conf(config.build()), profile: None }
    }

    /// Waits so long for messages; none where none came.
    pub(super) async fn receive(&self, wait: Duration) -> Result<Vec<Message>, Failure> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(whole(BATCH as u64))
            .wait_time_seconds(whole(wait.as_secs()))
            .visibility_timeout(whole(VISIBILITY.as_secs()))
            .message_system_attribute_names(Attribute::SentTimestamp)
            .message_system_attribute_names(Attribute::ApproximateFirstReceiveTimestamp)
            .message_system_attribute_names(Attribute::ApproximateReceiveCount)
            .customize()
            .config_override(
                aws_sdk_sqs::config::Builder::new().timeout_config(patience(wait + REQUEST_TIMEOUT)),
            );
        let answer = without_tracing(request.send()).await;
        let answer = answer.map_err(|error| failure::of(&error, Right::Receive, self.profile.as_deref()))?;
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(message).collect())
    }

    /// Deletes up to [`BATCH`] messages.
    pub(super) async fn delete(&self, handles: Vec<Handle>) -> Result<(), Failure> {
        let entry = |(n, Handle(handle)): (usize, Handle)| {
            DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(handle).build()
        };
        let entries = complete(handles.into_iter().enumerate().map(entry));
        let request =
            self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let answer = without_tracing(request).await;
        let answer = answer.map_err(|error| failure::of(&error, Right::Delete, self.profile.as_deref()))?;
        self.note(answer.failed());
        Ok(())
    }

    /// Hides up to [`BATCH`] messages for so long from now on, each by itself.
    pub(super) async fn hide(&self, messages: Vec<(Handle, Duration)>) -> Result<(), Failure> {
        let entry = |(n, (Handle(handle), time)): (usize, (Handle, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(n.to_string())
                .receipt_handle(handle)
                .visibility_timeout(whole(time.as_secs()))
                .build()
        };
        let entries = complete(messages.into_iter().enumerate().map(entry));
        let request = self
            .client
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send();
        let answer = without_tracing(request).await;
        let answer = answer.map_err(|error| failure::of(&error, Right::Hide, self.profile.as_deref()))?;
        self.note(answer.failed());
        Ok(())
    }

    /// Messages that were shown to somebody else meanwhile: those come again, which is no harm.
    fn note(&self, failed: &[BatchResultErrorEntry]) {
        if !failed.is_empty() {
            debug!(queue = self.url, messages = failed.len(), "messages are no longer held");
        }
    }
}

fn patience(time: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(time).build()
}

/// A number that a constant of this file makes small.
fn whole(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Entries, of which none lacks what it must have.
fn complete<T>(entries: impl Iterator<Item = Result<T, BuildError>>) -> Vec<T> {
    entries.map(|entry| entry.expect("an entry has an id and a handle")).collect()
}

/// A message, unless it is one that nobody could delete.
fn message(message: aws_sdk_sqs::types::Message) -> Option<Message> {
    let number = |name: &Attribute| message.attributes()?.get(name)?.parse::<i64>().ok();
    let moment = |name: &Attribute| Timestamp::from_millisecond(number(name)?).ok();
    let sent_at = moment(&Attribute::SentTimestamp);
    let waited = moment(&Attribute::ApproximateFirstReceiveTimestamp)
        .zip(sent_at)
        .and_then(|(received_at, sent_at)| Duration::try_from(received_at.duration_since(sent_at)).ok());
    let receives = number(&Attribute::ApproximateReceiveCount);
    Some(Message {
        sent_at,
        waited: waited.unwrap_or_default(),
        receives: receives.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        handle: Handle(message.receipt_handle?),
    })
}
