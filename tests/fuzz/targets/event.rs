//! Bodies of messages and requests: a valid event means the same in every envelope.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcred::credential::Key;
use regcred::trigger::aws_event::{AwsLocation, InvalidEvent, MAX_SECRETS, SecretChange, SecretId, parse};
use serde_json::json;

fuzz_target!(|body: &[u8]| {
    let Ok(changes) = parse(body) else { return };
    assert!(changes.len() <= MAX_SECRETS);
    for change in &changes {
        check_own_key(&change.secret);
        check_native_event(change);
    }
    let body = str::from_utf8(body).expect("JSON is UTF-8");
    for wrapped in [json!({"Type": "Notification", "Message": body}).to_string(), format!("[{body}]")] {
        match parse(wrapped.as_bytes()) {
            Ok(again) => assert_eq!(again, changes),
            // It was a batch, or in an SNS envelope, or of the largest size already.
            Err(error) => {
                assert!(matches!(
                    error,
                    InvalidEvent::Unrelated | InvalidEvent::Nested | InvalidEvent::TooLarge
                ))
            }
        }
    }
});

/// Expects a key with the spelling of the event to mean the secret of the event.
fn check_own_key(secret: &SecretId) {
    let region = secret.region.as_deref().unwrap_or_default();
    let location = AwsLocation { region, account: secret.account.as_deref() };
    assert!(secret.is_key(&Key(secret.id.clone()), location), "{secret:?}");
}

/// Expects the native event about a change to be parsed as the same change.
fn check_native_event(change: &SecretChange) {
    let SecretChange { secret: SecretId { id, account, region }, version } = change;
    let version = version.as_ref().map(ToString::to_string);
    let event = json!({
        "detail-type": "Secret Label Updated", "account": account, "region": region,
        "detail": {"name": id, "labelUpdated": "AWSCURRENT", "versionId": version},
    });
    assert_eq!(parse(event.to_string().as_bytes()).as_deref(), Ok(std::slice::from_ref(change)));
}
