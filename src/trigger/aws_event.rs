//! What an event of AWS says about a secret.
//!
//! In goes the body of a message or of a request: an event of EventBridge, the envelope of SNS around
//! one, or a list of either. Out come the secrets to look at again; none where it tells of nothing that
//! a reader would see. What kind of event it is says its `detail-type`, and for CloudTrail the
//! `eventSource`, never the `source`, under which a bus takes other people's events too.

use crate::credential::Version;
use crate::credential::arn::Arn;
use crate::provider::secrets_manager::CURRENT;

use part::{Field, Part};

pub use secret_id::{Home, SecretId};

mod part;
mod secret_id;

/// The most that is read of a body; what SQS takes by default, and more than EventBridge lets through.
pub const MAX_BYTES: usize = 256 * 1024;

/// How many secrets one body may tell of.
pub const MAX_SECRETS: usize = 256;

/// The most letters AWS gives to the name of a region, the number of an account or the id of a version.
const MAX_NAME: usize = 64;

/// What names the kind of event that Secrets Manager sends by itself.
const NATIVE: &str = "Secret Label Updated";

/// What names the kinds of event that CloudTrail makes: of what AWS did, and of what somebody called.
const CLOUD_TRAIL: [&str; 2] = ["AWS Service Event via CloudTrail", "AWS API Call via CloudTrail"];

/// After which of its events a reader may find something else than before. The start of a rotation is
/// none of them, and neither is a read, which regcred's own would answer for ever.
const CHANGES: [&str; 7] = [
    "RotationSucceeded",
    "CreateSecret",
    "PutSecretValue",
    "UpdateSecret",
    "UpdateSecretVersionStage",
    "RestoreSecret",
    "DeleteSecret",
];

/// Where the name or the ARN of a secret may stand, beside the `resources`; the first that is there counts.
const PLACES: [&[Field]; 6] = [
    &[Field::Detail, Field::AdditionalEventData, Field::SecretId],
    &[Field::Detail, Field::ResponseElements, Field::Arn],
    &[Field::Detail, Field::RequestParameters, Field::SecretId],
    &[Field::Detail, Field::ServiceEventDetails, Field::SecretId],
    &[Field::Detail, Field::Name],
    &[Field::Detail, Field::RequestParameters, Field::Name],
];

/// Where the version may stand that is current since.
const VERSIONS: [&[Field]; 3] = [
    &[Field::Detail, Field::VersionId],
    &[Field::Detail, Field::ResponseElements, Field::VersionId],
    &[Field::Detail, Field::RequestParameters, Field::MoveToVersionId],
];

/// Where the labels may stand that somebody asked CloudTrail's event to move.
const STAGES: [&[Field]; 2] = [
    &[Field::Detail, Field::RequestParameters, Field::VersionStages],
    &[Field::Detail, Field::RequestParameters, Field::VersionStage],
];

/// A secret that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretChange {
    /// Which.
    pub secret: SecretId,
    /// The version that is current since, where the event tells.
    pub version: Option<Version>,
}

/// Why a body is no event that is understood. Never quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has more than [`MAX_BYTES`].
    #[error("the body has more than {MAX_BYTES} bytes, which no event has")]
    TooLarge,
    /// It is no JSON, or nothing that an event could be.
    #[error("the body is neither a JSON object nor a list of them: send the event as EventBridge makes it")]
    Malformed,
    /// SNS wraps an event once.
    #[error("a notification of SNS holds another one: subscribe the queue to one topic")]
    Nested,
    /// It is about something else, or not an event at all.
    #[error(
        "not an event of Secrets Manager: check the pattern of the EventBridge rule, which must send the event without an input transformer"
    )]
    Foreign,
    /// It is of a kind that is understood, and does not say of which secret.
    #[error("the event names no secret")]
    Nameless,
    /// It tells of more than [`MAX_SECRETS`].
    #[error("the body tells of more than {MAX_SECRETS} secrets: send fewer events at once")]
    TooMany,
}

/// The secrets that a body tells of. Of several events one that cannot be read makes all of them unreadable.
pub fn parse(body: &[u8]) -> Result<Vec<SecretChange>, Unreadable> {
    if body.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    let events = match str::from_utf8(body).ok().and_then(Part::parse) {
        Some(Part::List(events)) if !events.is_empty() => events,
        Some(event @ Part::Object(_)) => vec![event],
        _ => return Err(Unreadable::Malformed),
    };
    let mut sightings = Vec::new();
    for event in events {
        sightings.extend(seen(&unwrapped(event)?)?);
        if sightings.len() > MAX_SECRETS {
            return Err(Unreadable::TooMany);
        }
    }
    Ok(sightings)
}

/// The event that SNS has wrapped, or the event itself.
fn unwrapped(event: Part) -> Result<Part, Unreadable> {
    let is_wrapped = |event: &Part| event.text(&[Field::Type]) == Some("Notification");
    if !is_wrapped(&event) {
        return Ok(event);
    }
    let message = event.text(&[Field::Message]).and_then(Part::parse);
    let event = message.ok_or(Unreadable::Malformed)?;
    if is_wrapped(&event) { Err(Unreadable::Nested) } else { Ok(event) }
}

/// The secrets that one event tells of.
fn seen(event: &Part) -> Result<Vec<SecretChange>, Unreadable> {
    let is_news = match event.text(&[Field::DetailType]) {
        Some(NATIVE) => {
            let label = event.text(&[Field::Detail, Field::LabelUpdated]);
            label.is_none_or(|label| label == CURRENT)
        }
        Some(kind) if CLOUD_TRAIL.contains(&kind) && is_of_secrets_manager(event) => is_change(event),
        _ => return Err(Unreadable::Foreign),
    };
    if !is_news {
        return Ok(Vec::new());
    }
    let secrets = secrets(event);
    if secrets.is_empty() {
        return Err(Unreadable::Nameless);
    }
    // Of several secrets nobody knows whose version it is.
    let version = if secrets.len() == 1 { version(event) } else { None };
    Ok(secrets.into_iter().map(|secret| SecretChange { secret, version: version.clone() }).collect())
}

/// Whether CloudTrail tells of Secrets Manager, whose host may end in `.cn`.
fn is_of_secrets_manager(event: &Part) -> bool {
    let source = event.text(&[Field::Detail, Field::EventSource]);
    source.is_some_and(|source| source.starts_with("secretsmanager.amazonaws.com"))
}

/// Whether CloudTrail tells of something after which a reader may find something else.
fn is_change(event: &Part) -> bool {
    let mut stages = STAGES.iter().flat_map(|place| event.texts(place)).peekable();
    let is_of_current = stages.peek().is_none() || stages.any(|stage| stage == CURRENT);
    let is_done = event.text(&[Field::Detail, Field::ErrorCode]).is_none();
    let name = event.text(&[Field::Detail, Field::EventName]);
    is_done && is_of_current && name.is_some_and(|name| CHANGES.contains(&name))
}

/// The secrets among the resources, or else the one that the first place names.
fn secrets(event: &Part) -> Vec<SecretId> {
    let resources = event.texts(&[Field::Resources]).filter(|id| Arn::parse(id).is_some());
    let mut ids: Vec<&str> = resources.take(MAX_SECRETS + 1).collect();
    if ids.is_empty() {
        let texts = PLACES.iter().filter_map(|place| event.text(place));
        ids.extend(texts.filter(|id| SecretId::can_be(id)).take(1));
    }
    // A copy goes with each secret, so a text that is longer than any of AWS must not.
    let is_short = |text: &&str| text.len() <= MAX_NAME;
    let first = |places: [&[Field]; 2]| {
        places.iter().filter_map(|place| event.text(place)).find(is_short).map(str::to_owned)
    };
    let account = first([&[Field::Account], &[Field::Detail, Field::RecipientAccountId]]);
    let region = first([&[Field::Region], &[Field::Detail, Field::AwsRegion]]);
    let secret = |id: &str| SecretId { id: id.to_owned(), account: account.clone(), region: region.clone() };
    ids.into_iter().map(secret).collect()
}

/// The version that is current since. What AWS would not call one is none: it may be shown to anyone.
fn version(event: &Part) -> Option<Version> {
    let is_id = |id: &&str| {
        (1..=MAX_NAME).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let id = VERSIONS.iter().find_map(|place| event.text(place));
    id.filter(is_id).map(Version::from)
}

#[cfg(test)]
mod tests;
