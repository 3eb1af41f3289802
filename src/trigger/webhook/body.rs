//! What the body of a request asks for.

use serde::Deserialize;
use serde_json::Value as Json;

use super::error::Refusal;
use crate::credential::StoreKey;
use crate::trigger::{TriggerScope, aws_event};

/// The fields that are regcred's own. An event of AWS has none of them.
const OWN: [&str; 3] = ["store", "key", "pullSecret"];

/// A body with fields of regcred's own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Own {
    StoreKey(OfPlace),
    ClusterPullSecret(OfClusterPullSecret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPlace {
    store: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OfClusterPullSecret {
    cluster_pull_secret: String,
}

/// What to look at: everything where the body is empty, nothing where an event tells of nothing.
pub(super) fn read(body: &[u8]) -> Result<Vec<TriggerScope>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(vec![TriggerScope::All]);
    }
    let json: Json = serde_json::from_slice(body).map_err(|_| Refusal::Unreadable)?;
    if OWN.iter().any(|field| json.get(field).is_some()) {
        let own: Own = serde_json::from_slice(body).map_err(|_| Refusal::Unreadable)?;
        return Ok(vec![own.into()]);
    }
    let sightings = aws_event::parse(body).map_err(|_| Refusal::Unreadable)?;
    Ok(sightings.into_iter().map(TriggerScope::Secret).collect())
}

impl From<Own> for TriggerScope {
    fn from(own: Own) -> Self {
        match own {
            Own::StoreKey(OfPlace { store, key }) => {
                Self::Key(StoreKey { store: store.as_str().into(), key: key.as_str().into() }, None)
            }
            Own::ClusterPullSecret(OfClusterPullSecret { cluster_pull_secret }) => {
                Self::Object(cluster_pull_secret)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expect: Result<TriggerScope, Refusal>) {
        assert_eq!(read(body.as_bytes()), expect.map(|look| vec![look]), "{body}");
    }

    #[test]
    fn an_empty_body_asks_for_everything() {
        check("", Ok(TriggerScope::All));
        check(" \r\n", Ok(TriggerScope::All));
    }

    #[test]
    fn a_body_names_a_key_or_a_cluster_pull_secret() {
        let place = StoreKey { store: "vault".into(), key: "ci/ghcr".into() };
        check(r#"{"store": "vault", "key": "ci/ghcr"}"#, Ok(TriggerScope::Key(place, None)));
        check(r#"{"pullSecret": "images"}"#, Ok(TriggerScope::Object("images".to_owned())));
    }

    #[test]
    fn half_of_it_or_both_or_more_is_nothing() {
        for body in [
            "{}",
            "[]",
            "null",
            "images",
            r#""images""#,
            r#"{"store": "vault"}"#,
            r#"{"key": "ci/ghcr"}"#,
            r#"{"store": "vault", "key": "ci/ghcr", "version": 7}"#,
            r#"{"store": "vault", "key": "ci/ghcr", "pullSecret": "images"}"#,
            r#"{"pullSecret": ["images"]}"#,
            r#"{"pullSecret": null}"#,
            r#"{"pullSecret": "images", "pullSecret": "others"}"#,
            r#"{"pullSecret": "images"} {"pullSecret": "others"}"#,
            r#"{"pullSecret": "images""#,
            r#"{"pull_secret": "images"}"#,
        ] {
            check(body, Err(Refusal::Unreadable));
        }
        assert_eq!(read(b"\xff\xfe"), Err(Refusal::Unreadable));
        assert_eq!(read(&b"[".repeat(60_000)), Err(Refusal::Unreadable));
    }
}
