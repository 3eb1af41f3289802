//! The body of a request: in go its bytes, out come the scopes to trigger.

use serde::Deserialize;
use serde_json::Value as Json;

use super::error::Rejection;
use crate::credential::StoreKey;
use crate::trigger::{TriggerScope, aws_event};

/// The fields of regcred's own shapes. An AWS event has none of them.
const OWN_FIELDS: [&str; 3] = ["store", "key", "clusterPullSecret"];

/// A body in one of regcred's own shapes.
#[derive(Deserialize)]
#[serde(untagged)]
enum OwnBody {
    StoreKey(StoreKeyBody),
    ClusterPullSecret(ClusterPullSecretBody),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreKeyBody {
    store: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ClusterPullSecretBody {
    cluster_pull_secret: String,
}

/// Parses a body into scopes: everything if it is empty, nothing if an event is about no secret.
pub(super) fn parse(body: &[u8]) -> Result<Vec<TriggerScope>, Rejection> {
    if body.trim_ascii().is_empty() {
        return Ok(vec![TriggerScope::All]);
    }
    let json: Json = serde_json::from_slice(body).map_err(|_| Rejection::InvalidBody)?;
    if OWN_FIELDS.iter().any(|field| json.get(field).is_some()) {
        let own: OwnBody = serde_json::from_slice(body).map_err(|_| Rejection::InvalidBody)?;
        return Ok(vec![own.into()]);
    }
    let changes = aws_event::parse(body).map_err(|_| Rejection::InvalidBody)?;
    Ok(changes.into_iter().map(TriggerScope::Secret).collect())
}

impl From<OwnBody> for TriggerScope {
    fn from(body: OwnBody) -> Self {
        match body {
            OwnBody::StoreKey(StoreKeyBody { store, key }) => {
                Self::Key(StoreKey { store: store.as_str().into(), key: key.as_str().into() }, None)
            }
            OwnBody::ClusterPullSecret(ClusterPullSecretBody { cluster_pull_secret }) => {
                Self::Object(cluster_pull_secret)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: Result<TriggerScope, Rejection>) {
        assert_eq!(parse(body.as_bytes()), expect.map(|scope| vec![scope]), "{body}");
    }

    #[test]
    fn empty_body_triggers_everything() {
        check("", Ok(TriggerScope::All));
        check(" \r\n", Ok(TriggerScope::All));
    }

    #[test]
    fn body_names_a_key_or_a_cluster_pull_secret() {
        let key = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
        check(r#"{"store": "vault", "key": "ci/ghcr"}"#, Ok(TriggerScope::Key(key, None)));
        check(r#"{"clusterPullSecret": "images"}"#, Ok(TriggerScope::Object("images".to_owned())));
    }

    #[test]
    fn incomplete_ambiguous_or_unknown_body_is_invalid() {
        for body in [
            "{}",
            "[]",
            "null",
            "images",
            r#""images""#,
            r#"{"store": "vault"}"#,
            r#"{"key": "ci/ghcr"}"#,
            r#"{"store": "vault", "key": "ci/ghcr", "version": 7}"#,
            r#"{"store": "vault", "key": "ci/ghcr", "clusterPullSecret": "images"}"#,
            r#"{"clusterPullSecret": ["images"]}"#,
            r#"{"clusterPullSecret": null}"#,
            r#"{"clusterPullSecret": "images", "clusterPullSecret": "others"}"#,
            r#"{"clusterPullSecret": "images"} {"clusterPullSecret": "others"}"#,
            r#"{"clusterPullSecret": "images""#,
            r#"{"cluster_pull_secret": "images"}"#,
            r#"{"pullSecret": "images"}"#,
        ] {
            check(body, Err(Rejection::InvalidBody));
        }
        assert_eq!(parse(b"\xff\xfe"), Err(Rejection::InvalidBody));
        assert_eq!(parse(&b"[".repeat(60_000)), Err(Rejection::InvalidBody));
    }
}
