//! Parser for AWS events about secrets.
//!
//! In goes the body of a message or of a request: an EventBridge event, an SNS envelope around one, or an
//! array of either. Out come the secrets to read again; none where the event changes nothing that a reader
//! would see. The kind of an event is its `detail-type`, and for CloudTrail the `eventSource`, never the
//! `source`, under which a bus accepts custom events too.

use crate::credential::Version;
use crate::credential::arn::Arn;
use crate::provider::secrets_manager::CURRENT;

use value::{EventField, EventValue};

pub use secret_id::{AwsLocation, SecretId};

mod secret_id;
mod value;

/// The largest body that is parsed; the default limit of SQS, and more than EventBridge lets through.
pub const MAX_BYTES: usize = 256 * 1024;

/// The largest number of secrets in one body.
pub const MAX_SECRETS: usize = 256;

/// The longest name of a region, number of an account or id of a version in AWS.
const MAX_NAME: usize = 64;

/// The `detail-type` of the event that Secrets Manager itself emits.
const NATIVE: &str = "Secret Label Updated";

/// The `detail-type`s of CloudTrail's events: about actions of AWS, and about API calls of clients.
const CLOUD_TRAIL: [&str; 2] = ["AWS Service Event via CloudTrail", "AWS API Call via CloudTrail"];

/// The CloudTrail events after which a reader may find another value. The start of a rotation is none of
/// them, and neither is a read, which would make regcred answer its own reads for ever.
const CHANGES: [&str; 7] = [
    "RotationSucceeded",
    "CreateSecret",
    "PutSecretValue",
    "UpdateSecret",
    "UpdateSecretVersionStage",
    "RestoreSecret",
    "DeleteSecret",
];

/// The fields that may hold the name or the ARN of a secret, besides `resources`; the first one present counts.
const SECRET_PATHS: [&[EventField]; 6] = [
    &[EventField::Detail, EventField::AdditionalEventData, EventField::SecretId],
    &[EventField::Detail, EventField::ResponseElements, EventField::Arn],
    &[EventField::Detail, EventField::RequestParameters, EventField::SecretId],
    &[EventField::Detail, EventField::ServiceEventDetails, EventField::SecretId],
    &[EventField::Detail, EventField::Name],
    &[EventField::Detail, EventField::RequestParameters, EventField::Name],
];

/// The fields that may hold the new current version.
const VERSION_PATHS: [&[EventField]; 3] = [
    &[EventField::Detail, EventField::VersionId],
    &[EventField::Detail, EventField::ResponseElements, EventField::VersionId],
    &[EventField::Detail, EventField::RequestParameters, EventField::MoveToVersionId],
];

/// The fields that may hold the staging labels that a CloudTrail event moved.
const STAGE_PATHS: [&[EventField]; 2] = [
    &[EventField::Detail, EventField::RequestParameters, EventField::VersionStages],
    &[EventField::Detail, EventField::RequestParameters, EventField::VersionStage],
];

/// The fields that may hold the account of an event.
const ACCOUNT_PATHS: [&[EventField]; 2] =
    [&[EventField::Account], &[EventField::Detail, EventField::RecipientAccountId]];

/// The fields that may hold the region of an event.
const REGION_PATHS: [&[EventField]; 2] =
    [&[EventField::Region], &[EventField::Detail, EventField::AwsRegion]];

/// A secret that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretChange {
    /// The secret.
    pub secret: SecretId,
    /// The new current version, where the event names it.
    pub version: Option<Version>,
}

/// The reason why a body is not a valid event. Never quotes the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// The body has more than [`MAX_BYTES`].
    #[error("the body is larger than {MAX_BYTES} bytes, the limit for an event")]
    TooLarge,
    /// The body is not JSON, or cannot be an event.
    #[error(
        "the body is neither a JSON object nor an array of objects; send the event as EventBridge emits it"
    )]
    Malformed,
    /// SNS wraps an event once.
    #[error("an SNS notification contains another one; subscribe the queue to a single topic")]
    Nested,
    /// The event is about something else, or the body is no event at all.
    #[error(
        "not a Secrets Manager event; check the pattern of the EventBridge rule, which must send the event without an input transformer"
    )]
    Unrelated,
    /// The event is of a supported kind, but does not name its secret.
    #[error("the event names no secret")]
    MissingSecret,
    /// The body names more than [`MAX_SECRETS`].
    #[error("the body names more than {MAX_SECRETS} secrets; send fewer events at once")]
    TooMany,
}

/// Returns the changed secrets of a body. One invalid event invalidates its whole batch.
pub fn parse(body: &[u8]) -> Result<Vec<SecretChange>, InvalidEvent> {
    if body.len() > MAX_BYTES {
        return Err(InvalidEvent::TooLarge);
    }
    let events = match str::from_utf8(body).ok().and_then(EventValue::parse) {
        Some(EventValue::List(events)) if !events.is_empty() => events,
        Some(event @ EventValue::Object(_)) => vec![event],
        _ => return Err(InvalidEvent::Malformed),
    };
    let mut changes = Vec::new();
    for event in events {
        changes.extend(secret_changes(&unwrap_sns(event)?)?);
        if changes.len() > MAX_SECRETS {
            return Err(InvalidEvent::TooMany);
        }
    }
    Ok(changes)
}

/// Returns the event inside an SNS envelope, or the event itself.
fn unwrap_sns(event: EventValue) -> Result<EventValue, InvalidEvent> {
    if !is_sns_notification(&event) {
        return Ok(event);
    }
    let message = event.text(&[EventField::Message]).and_then(EventValue::parse);
    let event = message.ok_or(InvalidEvent::Malformed)?;
    if is_sns_notification(&event) { Err(InvalidEvent::Nested) } else { Ok(event) }
}

fn is_sns_notification(event: &EventValue) -> bool {
    event.text(&[EventField::Type]) == Some("Notification")
}

/// Returns the changed secrets of one event.
fn secret_changes(event: &EventValue) -> Result<Vec<SecretChange>, InvalidEvent> {
    let is_relevant = match event.text(&[EventField::DetailType]) {
        Some(NATIVE) => {
            let label = event.text(&[EventField::Detail, EventField::LabelUpdated]);
            label.is_none_or(|label| label == CURRENT)
        }
        Some(kind) if CLOUD_TRAIL.contains(&kind) && is_from_secrets_manager(event) => is_change(event),
        _ => return Err(InvalidEvent::Unrelated),
    };
    if !is_relevant {
        return Ok(Vec::new());
    }
    let secrets = secrets(event);
    if secrets.is_empty() {
        return Err(InvalidEvent::MissingSecret);
    }
    // With several secrets it is unknown which of them the version belongs to.
    let version = if secrets.len() == 1 { version(event) } else { None };
    Ok(secrets.into_iter().map(|secret| SecretChange { secret, version: version.clone() }).collect())
}

/// Returns true if a CloudTrail event comes from Secrets Manager; in China its host ends in `.cn`.
fn is_from_secrets_manager(event: &EventValue) -> bool {
    let source = event.text(&[EventField::Detail, EventField::EventSource]);
    source.is_some_and(|source| source.starts_with("secretsmanager.amazonaws.com"))
}

/// Returns true if a reader may find another value after a CloudTrail event.
fn is_change(event: &EventValue) -> bool {
    let mut stages = STAGE_PATHS.iter().flat_map(|path| event.texts(path)).peekable();
    let is_about_current = stages.peek().is_none() || stages.any(|stage| stage == CURRENT);
    let is_done = event.text(&[EventField::Detail, EventField::ErrorCode]).is_none();
    let name = event.text(&[EventField::Detail, EventField::EventName]);
    is_done && is_about_current && name.is_some_and(|name| CHANGES.contains(&name))
}

/// Returns the secrets among the resources, or else the first one found at [`SECRET_PATHS`].
fn secrets(event: &EventValue) -> Vec<SecretId> {
    let resources = event.texts(&[EventField::Resources]).filter(|id| Arn::parse(id).is_some());
    let mut ids: Vec<&str> = resources.take(MAX_SECRETS + 1).collect();
    if ids.is_empty() {
        let texts = SECRET_PATHS.iter().filter_map(|path| event.text(path));
        ids.extend(texts.filter(|id| SecretId::can_parse(id)).take(1));
    }
    let (account, region) = (short_text(event, ACCOUNT_PATHS), short_text(event, REGION_PATHS));
    ids.into_iter()
        .map(|id| SecretId { id: id.to_owned(), account: account.clone(), region: region.clone() })
        .collect()
}

/// Returns the first text at these paths that is no longer than AWS allows: every secret gets a copy.
fn short_text(event: &EventValue, paths: [&[EventField]; 2]) -> Option<String> {
    let mut texts = paths.iter().filter_map(|path| event.text(path));
    texts.find(|text| text.len() <= MAX_NAME).map(str::to_owned)
}

/// Returns the new current version. An id that AWS would not assign is dropped, because versions may be shown to anyone.
fn version(event: &EventValue) -> Option<Version> {
    let id = VERSION_PATHS.iter().find_map(|path| event.text(path));
    id.filter(|id| is_version_id(id)).map(|id| Version::Unordered(id.to_owned()))
}

fn is_version_id(id: &str) -> bool {
    (1..=MAX_NAME).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests;
