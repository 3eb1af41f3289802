//! The entries of a pull secret that regcred did not write.
//!
//! Pure. In go the docker config as observed, the one regcred would write, and the versions annotation, which
//! lists the entries that regcred wrote before. Out come the hosts of all others, or the docker config with the
//! others carried along unchanged.

use std::collections::BTreeSet;

use secrecy::SecretSlice;
use serde_json::{Map, Value};

use super::host_key::HostKey;
use super::versions;

/// The field with the entries.
const AUTHS: &str = "auths";

/// Returns the hosts of the entries that regcred neither wrote nor would write.
#[must_use]
pub fn hosts(observed: &[u8], desired: &[u8], versions: Option<&str>) -> Vec<String> {
    entries(observed, desired, versions).into_iter().map(|(host, _)| host).collect()
}

/// Returns the desired docker config with the entries that regcred did not write; `None` where there are none.
#[must_use]
pub fn carry_over(observed: &[u8], desired: &[u8], versions: Option<&str>) -> Option<SecretSlice<u8>> {
    let kept = entries(observed, desired, versions);
    if kept.is_empty() {
        return None;
    }
    let mut config: Map<String, Value> = serde_json::from_slice(desired).ok()?;
    config.get_mut(AUTHS)?.as_object_mut()?.extend(kept);
    serde_json::to_vec(&config).ok().map(Into::into)
}

fn entries(observed: &[u8], desired: &[u8], versions: Option<&str>) -> Vec<(String, Value)> {
    let written: BTreeSet<HostKey> = versions.map(versions::stores).unwrap_or_default().into_keys().collect();
    let ours: BTreeSet<HostKey> =
        auths(desired).keys().filter_map(|host| HostKey::parse(host).ok()).chain(written).collect();
    let is_foreign = |host: &str| HostKey::parse(host).map_or(true, |host| !ours.contains(&host));
    auths(observed).into_iter().filter(|(host, _)| is_foreign(host)).collect()
}

fn auths(bytes: &[u8]) -> Map<String, Value> {
    let config = serde_json::from_slice::<Map<String, Value>>(bytes).unwrap_or_default();
    match config.into_iter().find(|(name, _)| name == AUTHS) {
        Some((_, Value::Object(auths))) => auths,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const DESIRED: &[u8] = br#"{"auths":{"ghcr.io":{"auth":"bmV3"}}}"#;
    const OBSERVED: &[u8] =
        br#"{"auths":{"ghcr.io":{"auth":"b2xk"},"quay.io":{"auth":"cXVheQ==","email":"a@b"},"gone.io":{"auth":"eA=="}}}"#;

    #[test]
    fn entries_of_the_annotation_are_not_foreign() {
        assert_eq!(hosts(OBSERVED, DESIRED, Some("ghcr.io=vault:1,gone.io=vault:1")), ["quay.io"]);
        assert_eq!(hosts(OBSERVED, DESIRED, None), ["gone.io", "quay.io"]);
    }

    #[test]
    fn foreign_entries_are_carried_along_unchanged() {
        let merged = carry_over(OBSERVED, DESIRED, Some("gone.io=vault:1")).expect("a foreign entry");
        let text = std::str::from_utf8(merged.expose_secret()).expect("JSON");
        let expect = r#"{"auths":{"ghcr.io":{"auth":"bmV3"},"quay.io":{"auth":"cXVheQ==","email":"a@b"}}}"#;
        assert_eq!(text, expect);
        let again = carry_over(merged.expose_secret(), DESIRED, Some("ghcr.io=vault:2"));
        assert_eq!(again.expect("the same entry").expose_secret(), merged.expose_secret());
    }

    #[test]
    fn one_registry_in_two_spellings_is_not_foreign() {
        let observed = br#"{"auths":{"docker.io":{},"https://index.docker.io/v1/":{}}}"#;
        let desired = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"bmV3"}}}"#;
        assert_eq!(hosts(observed, desired, None), Vec::<String>::new());
    }

    #[test]
    fn bytes_without_entries_have_nothing_to_keep() {
        for bytes in ["", "null", "[]", "{}", r#"{"auths":[]}"#, r#"{"auths":null}"#, "not JSON"] {
            assert!(carry_over(bytes.as_bytes(), DESIRED, None).is_none(), "{bytes}");
        }
    }
}
