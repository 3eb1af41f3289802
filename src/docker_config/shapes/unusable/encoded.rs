//! JSON where a password is expected, and secrets that were encoded once more.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::super::google_key;
use super::super::whole_config::WholeConfig;
use super::Unusable;
use crate::docker_config::entry::{decode_auth, decode_base64};

/// The fields of an answer that reports an error.
const ERROR_FIELDS: [&str; 5] = ["errors", "error", "Error", "message", "__type"];

/// The shortest username that base64 does not begin with by chance.
const MIN_USERNAME: usize = 3;

/// Recognises JSON, and base64 of a docker config, of JSON with a credential, or of another text that is no password.
pub(super) fn find(text: &str) -> Option<Unusable> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => return Some(find_object(&object).unwrap_or(Unusable::Json)),
        Ok(Value::Array(_)) => return Some(Unusable::Json),
        _ => {}
    }
    if text.starts_with("%7B%22") {
        return Some(Unusable::Encoded);
    }
    if WholeConfig::from_text(text, 2).is_some() {
        return Some(Unusable::Config);
    }
    let decoded = decode_base64(text)?;
    let decoded = decoded.expose_secret().trim();
    match serde_json::from_str(decoded) {
        // Tokens such as those of ECR are base64 of JSON with other fields.
        Ok(Value::Object(object)) if has_password(&object) => Some(Unusable::Encoded),
        Ok(_) if decoded != "null" => None,
        _ => Unusable::find_plain(decoded),
    }
}

/// Recognises base64 of a service account key of Google.
pub(super) fn find_google_key(text: &str) -> Option<Unusable> {
    let decoded = decode_base64(text)?;
    let key: Map<String, Value> = serde_json::from_str(decoded.expose_secret()).ok()?;
    google_key::is_key(&key).then_some(Unusable::GoogleKey)
}

/// Recognises a JSON object that holds no credential of a known shape.
pub(super) fn find_object(object: &Map<String, Value>) -> Option<Unusable> {
    if WholeConfig::from_object(object).is_some() {
        Some(Unusable::Config)
    } else if google_key::is_key(object) {
        Some(Unusable::GoogleKey)
    } else if object.get("kind").is_some_and(Value::is_string) && object.contains_key("apiVersion") {
        Some(Unusable::Manifest)
    } else if object.get("data").is_some_and(Value::is_object) {
        Some(Unusable::Enveloped)
    } else if !has_password(object) && ERROR_FIELDS.iter().any(|field| object.contains_key(*field)) {
        Some(Unusable::ApiError)
    } else {
        None
    }
}

/// Returns the text of a JSON string.
pub(super) fn json_string(text: &str) -> Option<SecretString> {
    match serde_json::from_str(text.trim()) {
        Ok(Value::String(text)) if !text.is_empty() => Some(text.into()),
        _ => None,
    }
}

/// Returns true for base64 of the username, a colon and a password.
pub(super) fn is_auth(username: &str, text: &str) -> bool {
    username.len() >= MIN_USERNAME
        && decode_auth(text).is_ok_and(|credential| {
            let password = credential.password.expose_secret();
            credential.username == username
                && !password.is_empty()
                && !password.trim().contains(char::is_control)
        })
}

fn has_password(object: &Map<String, Value>) -> bool {
    super::super::has_credential(object)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::super::tests::{check, check_near_misses};
    use super::*;

    fn base64(text: &str) -> String {
        BASE64_STANDARD.encode(text)
    }

    const CONFIG: &str = r#"{"auths":{"ghcr.io":{"auth":"cm9ib3Q6cHc="}}}"#;

    #[test]
    fn json_in_the_place_of_a_password_is_recognised() {
        check(find, Unusable::Config, &[CONFIG, r#"{"ghcr.io":{"auth":"cm9ib3Q6cHc="}}"#]);
        check(find, Unusable::GoogleKey, &[r#"{"private_key":"x"}"#]);
        check(
            find,
            Unusable::ApiError,
            &[r#"{"errors":["permission denied"]}"#, r#"{"message":"not found"}"#],
        );
        check(find, Unusable::Enveloped, &[r#"{"data":{"password":"pw"}}"#]);
        check(find, Unusable::Manifest, &[r#"{"apiVersion":"v1","kind":"Secret","data":{}}"#]);
        check(find, Unusable::Json, &["{}", "[]", r#"{"username":"robot","password":"pw"}"#, r#"["pw"]"#]);
        check_near_misses(find, &["{pw}", "{", "[pw]", "12345", "1e5", "true", "{\"pw"]);
    }

    #[test]
    fn base64_of_another_form_is_recognised() {
        let wrapped =
            base64(CONFIG).as_bytes().chunks(20).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\n");
        let quoted = Value::from(CONFIG).to_string();
        check(
            find,
            Unusable::Config,
            &[&base64(CONFIG), &wrapped, &quoted, &base64(&format!("\u{feff}{CONFIG}\n"))],
        );
        check(find, Unusable::Encoded, &[&base64(r#"{"username":"robot","password":"pw"}"#)]);
        check(find, Unusable::Encoded, &["%7B%22auths%22%3A%7B%7D%7D"]);
        check(find, Unusable::NoValue, &[&base64("null")]);
        check(find, Unusable::ErrorText, &[&base64("Error: no such secret\n")]);
        // A token of ECR, a JWT, and base64 of a password.
        let ecr = base64(
            r#"{"payload":"x","datakey":"y","version":"2","type":"DATA_KEY","expiration":1700000000}"#,
        );
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2lnbmF0dXJl";
        check_near_misses(
            find,
            &[&ecr, jwt, &base64("pw"), &base64("password"), &base64("12345"), &base64("{")],
        );
    }

    #[test]
    fn auth_of_the_same_user_is_recognised() {
        let auth = base64("robot:pw");
        assert!(is_auth("robot", &auth));
        assert!(!is_auth("other", &auth) && !is_auth("robot", "cm9ib3Q6") && !is_auth("robot", "pw"));
        assert!(!is_auth("ab", &base64("ab:pw")), "too short to be meant");
    }
}
