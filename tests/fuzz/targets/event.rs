//! Bodies of messages and requests: whatever is understood says the same in every wrapping.

#![no_main]

use libfuzzer_sys::fuzz_target;
use regcred::credential::{Key, Version};
use regcred::trigger::aws_event::{Home, MAX_SECRETS, SecretId, SecretChange, Unreadable, parse};
use serde_json::json;

fuzz_target!(|body: &[u8]| {
    let Ok(sightings) = parse(body) else { return };
    assert!(sightings.len() <= MAX_SECRETS);
    for sighting in &sightings {
        is_its_own_key(&sighting.secret);
        is_told_again(sighting);
    }
    let body = str::from_utf8(body).expect("JSON is UTF-8");
    for wrapped in [json!({"Type": "Notification", "Message": body}).to_string(), format!("[{body}]")] {
        match parse(wrapped.as_bytes()) {
            Ok(seen) => assert_eq!(seen, sightings),
            // It was a batch, or in the envelope of SNS, or as long as may be already.
            Err(why) => {
                assert!(matches!(why, Unreadable::Foreign | Unreadable::Nested | Unreadable::TooLarge))
            }
        }
    }
});

/// A key that is spelled as the event spells it means the secret of the event.
fn is_its_own_key(secret: &SecretId) {
    let region = secret.region.as_deref().unwrap_or_default();
    let home = Home { region, account: secret.account.as_deref() };
    assert!(secret.is_key(&Key(secret.id.clone()), home), "{secret:?}");
}

/// The native event about it is read as the same sighting.
fn is_told_again(sighting: &SecretChange) {
    let SecretChange { secret: SecretId { id, account, region }, version } = sighting;
    let version = version.as_ref().map(|Version(id)| id);
    let event = json!({
        "detail-type": "Secret Label Updated", "account": account, "region": region,
        "detail": {"name": id, "labelUpdated": "AWSCURRENT", "versionId": version},
    });
    assert_eq!(parse(event.to_string().as_bytes()).as_deref(), Ok(std::slice::from_ref(sighting)));
}
