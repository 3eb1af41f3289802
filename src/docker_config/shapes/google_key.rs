//! Service account keys of Google, which its registries accept as the password of two users.
//!
//! Pure. `_json_key` takes the key as JSON, `_json_key_base64` takes base64 of it, and neither takes anything else.

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::Malformed;
use crate::credential::Credential;
use crate::docker_config::entry::decode_base64;

/// The user with a key as JSON for its password.
pub(super) const USERNAME: &str = "_json_key";

/// The user with base64 of a key for its password.
const USERNAME_BASE64: &str = "_json_key_base64";

/// Returns true for one of the two users.
pub(super) fn is_username(username: &str) -> bool {
    matches!(username, USERNAME | USERNAME_BASE64)
}

/// Returns true if a JSON object is a service account key.
pub(super) fn is_key(object: &Map<String, Value>) -> bool {
    object.get("private_key").is_some_and(Value::is_string)
}

/// Checks the key of one of the two users, and removes the line ends between its fields; it stays the same key.
pub(super) fn finish(credential: Credential) -> Result<Credential, Malformed> {
    let Credential { username, password } = &credential;
    let text = password.expose_secret();
    let decoded = decode_base64(text).and_then(|decoded| parse(decoded.expose_secret()));
    match (username.as_str(), parse(text), decoded) {
        (USERNAME, Some(key), _) => {
            Ok(Credential { password: Value::Object(key).to_string().into(), ..credential })
        }
        (USERNAME_BASE64, _, Some(_)) => {
            let password = text.split(['\r', '\n']).collect::<String>().into();
            Ok(Credential { password, ..credential })
        }
        (USERNAME, _, Some(_)) => Err(
            "the password is base64 of a Google key, which `_json_key` does not take: write the username `_json_key_base64`, or store the key decoded"
                .into(),
        ),
        (USERNAME_BASE64, Some(_), _) => Err(
            "the password is a Google key as JSON, which `_json_key_base64` does not take: write the username `_json_key`, or store base64 of the key"
                .into(),
        ),
        _ => Err(Malformed(format!(
            "the password of `{username}` is not a service account key of Google: store the key file"
        ))),
    }
}

fn parse(text: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(text).ok().filter(is_key)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    const KEY: &str = "{\n \"private_key\": \"x\",\n \"type\": \"service_account\"\n}";

    fn outcome(username: &str, password: &str) -> String {
        let credential = Credential { username: username.to_owned(), password: password.into() };
        match finish(credential) {
            Ok(credential) => credential.password.expose_secret().to_owned(),
            Err(malformed) => malformed.to_string(),
        }
    }

    #[test]
    fn each_user_takes_the_key_in_its_own_form() {
        let base64 = BASE64_STANDARD.encode(KEY);
        let (start, end) = base64.split_at(20);
        assert_eq!(outcome(USERNAME, KEY), r#"{"private_key":"x","type":"service_account"}"#);
        assert_eq!(outcome(USERNAME_BASE64, &base64), base64);
        assert_eq!(outcome(USERNAME_BASE64, &format!("{start}\n{end}\n")), base64, "wrapped lines");
    }

    #[test]
    fn key_in_the_form_of_the_other_user_names_it() {
        assert!(
            outcome(USERNAME, &BASE64_STANDARD.encode(KEY)).contains("write the username `_json_key_base64`")
        );
        assert!(outcome(USERNAME_BASE64, KEY).contains("write the username `_json_key`"));
    }

    #[test]
    fn other_password_of_either_user_is_no_key() {
        for password in ["pw", "{}", r#"{"private_key":1}"#, "cHc="] {
            for username in [USERNAME, USERNAME_BASE64] {
                let error = outcome(username, password);
                assert!(error.contains("is not a service account key"), "{username} {password}: {error}");
            }
        }
    }
}
