//! The docker config in a pull secret.
//!
//! In: credentials by host key. Out: the bytes of `.dockerconfigjson`, and the reverse. Entries are written
//! with `auth` alone, as `docker login` does: every client reads that form, and docker, crane, buildx and
//! nerdctl refuse the other fields in `DOCKER_AUTH_CONFIG`. The same credentials always render to the same bytes,
//! so that nodes can reuse in every namespace the credentials verified in one. JSON is written by serde, never
//! by string.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};

use crate::credential::Credential;
use host_key::HostKey;

pub mod capacity;
pub mod earlier_form;
pub mod ecr_host;
mod entry;
pub mod foreign;
pub mod host_key;
pub mod portable;
pub mod registry_source;
pub mod shapes;
pub mod versions;

/// The credentials of one pull secret by host key.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    /// One credential for each host key.
    pub auths: BTreeMap<HostKey, Credential>,
}

impl DockerConfig {
    /// Renders the bytes of `.dockerconfigjson`: entries in the order of their keys, Docker Hub under both of
    /// its keys, each with `auth` alone. No `email`: it is part of the hash by which a node recognises a
    /// credential.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a map of strings always has a JSON form")]
    pub fn render(&self) -> SecretSlice<u8> {
        let entries = self.auths.iter().flat_map(|(host, credential)| {
            host.config_keys().map(move |key| (key, RenderedEntry { auth: encode_auth(credential) }))
        });
        let config = RenderedConfig { auths: entries.collect() };
        serde_json::to_vec(&config).expect("a map of strings always has a JSON form").into()
    }

    /// Returns true if both hold the same credentials.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.render().expose_secret() == other.render().expose_secret()
    }

    /// Parses the entries of a pull secret in the cluster and drops malformed ones, because the caller
    /// needs only the entries worth keeping. Where both keys of Docker Hub are there, `docker.io` is taken, as
    /// by the kubelet.
    #[must_use]
    pub fn parse_lenient(bytes: &[u8]) -> Self {
        let Ok(config) = serde_json::from_slice::<RawConfig>(bytes) else {
            return Self::default();
        };
        // A later entry replaces an earlier one of the same registry.
        let auths = host_key::split_last_resort(config.auths)
            .into_iter()
            .flatten()
            .filter_map(|(host, entry)| Some((HostKey::parse(&host).ok()?, entry::credential(entry).ok()?)))
            .collect();
        Self { auths }
    }
}

/// A docker config as regcred writes it.
#[derive(Serialize)]
struct RenderedConfig<'a> {
    auths: BTreeMap<&'a str, RenderedEntry>,
}

#[derive(Serialize)]
struct RenderedEntry {
    auth: String,
}

/// Encodes `auth`: base64 of `username:password`.
pub(crate) fn encode_auth(credential: &Credential) -> String {
    let text: SecretString =
        format!("{}:{}", credential.username, credential.password.expose_secret()).into();
    STANDARD.encode(text.expose_secret())
}

/// A docker config from any author.
#[derive(Deserialize)]
struct RawConfig {
    #[serde(default)]
    auths: BTreeMap<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn config(entries: &[(&str, &str, &str)]) -> DockerConfig {
        let auths = entries
            .iter()
            .map(|&(host, username, password)| {
                let host = HostKey::parse(host).expect("a valid host");
                (host, Credential { username: username.into(), password: password.into() })
            })
            .collect();
        DockerConfig { auths }
    }

    fn text(config: &DockerConfig) -> String {
        String::from_utf8(config.render().expose_secret().to_vec()).expect("JSON is UTF-8")
    }

    #[test]
    fn entries_are_ordered_and_hold_auth_alone() {
        let config =
            config(&[("registry:5000", "b", "two"), ("docker.io", "a", "one"), ("ghcr.io", "c", "3")]);
        insta::assert_snapshot!(text(&config), @r#"{"auths":{"docker.io":{"auth":"YTpvbmU="},"ghcr.io":{"auth":"Yzoz"},"https://index.docker.io/v1/":{"auth":"YTpvbmU="},"registry:5000":{"auth":"Yjp0d28="}}}"#);
    }

    #[test]
    fn path_of_docker_hub_has_one_key() {
        let config = config(&[("docker.io/team", "a", "one")]);
        assert_eq!(text(&config), r#"{"auths":{"docker.io/team":{"auth":"YTpvbmU="}}}"#);
    }

    #[test]
    fn docker_hub_under_both_keys_is_one_entry_as_for_the_kubelet() {
        let both = br#"{"auths":{"docker.io":{"auth":"YTpvbmU="},"https://index.docker.io/v1/":{"auth":"Yjp0d28="}}}"#;
        let only =
            br#"{"auths":{"docker.io":{"auth":"!"},"https://index.docker.io/v1/":{"auth":"Yjp0d28="}}}"#;
        assert!(DockerConfig::parse_lenient(both).is_same_as(&config(&[("docker.io", "a", "one")])));
        assert!(DockerConfig::parse_lenient(only).is_same_as(&config(&[("docker.io", "b", "two")])));
    }

    #[test]
    fn malformed_entry_is_dropped() {
        let bytes = br#"{"auths":{"ghcr.io":{"auth":"YTpvbmU="},"quay.io":{"auth":"!"},"x y":{"auth":"YTpvbmU="},"q.io":{"auth":1},"r.io":{"username":"a:b","password":"one"}}}"#;
        let hosts: Vec<_> =
            DockerConfig::parse_lenient(bytes).auths.into_keys().map(|host| host.to_string()).collect();
        assert_eq!(hosts, ["ghcr.io"]);
    }

    #[test]
    fn text_that_is_no_docker_config_has_no_entries() {
        for bytes in ["null", "[]", "{}", r#"{"auths":null}"#, r#"{"AUTHS":{}}"#, "not JSON"] {
            assert!(DockerConfig::parse_lenient(bytes.as_bytes()).auths.is_empty(), "{bytes}");
        }
    }

    #[test]
    fn debug_does_not_show_the_password() {
        let config = config(&[("ghcr.io", "robot", "s3cret-sentinel")]);
        assert!(!format!("{config:?} {:?}", config.render()).contains("s3cret-sentinel"));
    }

    proptest! {
        #[test]
        fn any_username_and_password_survive_a_round_trip(username in "[^:]*", password in "\\PC*") {
            let before = config(&[("ghcr.io", &username, &password)]);
            let bytes = before.render();
            let after = DockerConfig::parse_lenient(bytes.expose_secret());
            let (_, credential) = after.auths.first_key_value().expect("one entry");
            prop_assert_eq!(&credential.username, &username);
            prop_assert_eq!(credential.password.expose_secret(), &password);
            let again = after.render();
            prop_assert_eq!(again.expose_secret(), bytes.expose_secret());
        }

        #[test]
        fn leniently_parsed_entries_survive_a_round_trip(
            host in "(ghcr.io|docker.io|\\[::1\\]:5000|a.b:1)(/[a-z]{0,3})?", username in "[a-z:]{0,4}", password in "[a-z:]{0,4}",
            auth in proptest::option::of("[a-z:]{0,8}"),
        ) {
            let auth = auth.map(|text| STANDARD.encode(text));
            let entry = serde_json::json!({"username": username, "password": password, "auth": auth});
            let config = DockerConfig::parse_lenient(serde_json::json!({"auths": {host: entry}}).to_string().as_bytes());
            prop_assert!(config.is_same_as(&DockerConfig::parse_lenient(config.render().expose_secret())));
            prop_assert!(config.auths.values().all(|it| !it.username.contains(':')));
        }

        #[test]
        fn parsing_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DockerConfig::parse_lenient(&bytes);
        }
    }
}
