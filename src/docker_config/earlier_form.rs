//! The form in which earlier versions wrote a docker config: `username`, `password` and `auth` in each entry,
//! and Docker Hub under `https://index.docker.io/v1/` alone.
//!
//! Pure. A pull secret in that form holds the same credentials: its rewrite is neither a rotation nor the
//! correction of another writer's change.

use std::collections::BTreeMap;

use memchr::memmem;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;

use super::{DockerConfig, encode_auth};

/// The field that is in every entry of the earlier form, and in no entry that is written now.
const PASSWORD_FIELD: &[u8] = br#""password":"#;

/// Returns true if `held` are the bytes that earlier versions wrote for the credentials of `rendered`.
#[must_use]
pub fn is_earlier_form(held: &SecretSlice<u8>, rendered: &SecretSlice<u8>) -> bool {
    // Nearly every Secret: neither config is built then.
    if memmem::find(held.expose_secret(), PASSWORD_FIELD).is_none() {
        return false;
    }
    let earlier = render(&DockerConfig::parse_lenient(rendered.expose_secret()));
    held.expose_secret() == earlier.expose_secret()
}

#[derive(Serialize)]
struct EarlierConfig<'a> {
    auths: BTreeMap<&'a str, EarlierEntry<'a>>,
}

#[derive(Serialize)]
struct EarlierEntry<'a> {
    username: &'a str,
    password: &'a str,
    auth: String,
}

/// Renders the bytes that earlier versions wrote.
fn render(config: &DockerConfig) -> SecretSlice<u8> {
    let auths = config.auths.iter().filter_map(|(host, credential)| {
        let entry = EarlierEntry {
            username: &credential.username,
            password: credential.password.expose_secret(),
            auth: encode_auth(credential),
        };
        // Of the two keys of Docker Hub they wrote the second.
        Some((host.config_keys().last()?, entry))
    });
    let config = EarlierConfig { auths: auths.collect() };
    serde_json::to_vec(&config).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    /// As earlier versions wrote it.
    const EARLIER: &str = r#"{"auths":{"ghcr.io":{"username":"c","password":"3","auth":"Yzoz"},"https://index.docker.io/v1/":{"username":"a","password":"one","auth":"YTpvbmU="}}}"#;

    fn is_earlier(held: &str, entries: &[(&str, &str, &str)]) -> bool {
        is_earlier_form(&held.as_bytes().to_vec().into(), &config(entries).render())
    }

    #[test]
    fn same_credentials_in_the_earlier_form_are_recognised() {
        assert!(is_earlier(EARLIER, &[("docker.io", "a", "one"), ("ghcr.io", "c", "3")]));
    }

    #[test]
    fn other_credentials_in_the_earlier_form_are_not() {
        assert!(!is_earlier(EARLIER, &[("docker.io", "a", "two"), ("ghcr.io", "c", "3")]));
        assert!(!is_earlier(EARLIER, &[("ghcr.io", "c", "3")]));
    }

    #[test]
    fn edited_bytes_are_not_the_earlier_form() {
        let entries = [("docker.io", "a", "one"), ("ghcr.io", "c", "3")];
        for edited in
            [EARLIER.replacen(',', ", ", 1), EARLIER.replace("}}}", "},\"x\":{}}}"), "{}".to_owned()]
        {
            assert!(!is_earlier(&edited, &entries), "{edited}");
        }
        let current = String::from_utf8(config(&entries).render().expose_secret().to_vec()).expect("UTF-8");
        assert!(!is_earlier(&current, &entries));
    }

    #[test]
    fn entries_of_the_earlier_form_are_read() {
        let read = DockerConfig::parse_lenient(EARLIER.as_bytes());
        assert!(read.is_same_as(&config(&[("docker.io", "a", "one"), ("ghcr.io", "c", "3")])));
    }
}
