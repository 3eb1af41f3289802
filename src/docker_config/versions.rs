//! The versions annotation of a pull secret: the store and the version of each entry.
//!
//! `docker.io=aws:6a7e8feb-…,ghcr.io=vault:7@2026-11-27T10:00:00Z#91017b86`: a version of KV
//! v2 has the time of its creation, and every version with an order the fingerprint of its key, because versions of
//! two keys have no order.
//! Host keys hold neither comma nor equals sign, and Docker Hub is one entry. The annotation holds no secret and no hash of one, so that
//! anyone may read it. An older regcred wrote `ghcr.io=vault:7`, and reads this form as a name.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use super::host_key::HostKey;
use crate::credential::{Key, StoreKey, StoreName, Version};
use crate::message;

/// The origin of an entry: the store, and the version at which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryOrigin {
    /// The store.
    pub store: StoreName,
    /// The fingerprint of the key, where the annotation has one.
    pub key: Option<KeyFingerprint>,
    /// The store's name for the value.
    pub version: Version,
}

/// The start of the hash of a key's path, which tells the versions of two keys apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFingerprint(String);

impl From<&Key> for KeyFingerprint {
    fn from(Key(key): &Key) -> Self {
        let hash = digest(&SHA256, key.as_bytes());
        let start = hash.as_ref().first_chunk().copied().unwrap_or_default();
        Self(format!("{:08x}", u32::from_be_bytes(start)))
    }
}

impl EntryOrigin {
    /// Creates the origin of a value that was read from a key.
    #[must_use]
    pub fn new(StoreKey { store, key }: &StoreKey, version: Version) -> Self {
        Self { store: store.clone(), key: Some(key.into()), version }
    }

    /// Returns true if the entry may have been read from this key.
    #[must_use]
    pub fn is_from(&self, StoreKey { store, key }: &StoreKey) -> bool {
        self.is_from_fingerprint(store, &key.into())
    }

    /// Returns true if the entry may have been read from the key with this fingerprint.
    #[must_use]
    pub fn is_from_fingerprint(&self, store: &StoreName, key: &KeyFingerprint) -> bool {
        self.store == *store && self.key.as_ref().is_none_or(|it| it == key)
    }

    /// Returns the text of the origin in the annotation.
    #[must_use]
    pub fn annotation(&self) -> String {
        let Self { store, key, version } = self;
        let version_text = version.serialized();
        match (version, key) {
            (
                Version::Numbered { created: Some(_), .. } | Version::Issued { .. },
                Some(KeyFingerprint(key)),
            ) => {
                format!("{store}:{version_text}#{key}")
            }
            _ => format!("{store}:{version_text}"),
        }
    }
}

/// Writes the origin for people.
impl fmt::Display for EntryOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.version)
    }
}

/// Renders the annotation of these entries.
#[must_use]
pub fn render<'a>(origins: impl IntoIterator<Item = (&'a HostKey, &'a EntryOrigin)>) -> String {
    let entries: Vec<_> =
        origins.into_iter().map(|(host, origin)| format!("{host}={}", origin.annotation())).collect();
    entries.join(",")
}

/// Parses an annotation that people may have edited, and drops invalid entries.
#[must_use]
pub fn parse_lenient(annotation: &str) -> BTreeMap<HostKey, EntryOrigin> {
    annotation.split(',').filter_map(parse_entry).collect()
}

fn parse_entry(entry: &str) -> Option<(HostKey, EntryOrigin)> {
    let (host, origin) = entry.split_once('=')?;
    // No host and no version of a store is longer, and both are shown.
    let (host, origin) = (message::printable(host)?, message::printable(origin)?);
    let (store, version) = origin.split_once(':')?;
    let host = HostKey::parse(host).ok()?;
    let (version, key) = match version.split_once('#') {
        Some((version, key)) => (version, Some(KeyFingerprint(key.to_owned()))),
        None => (version, None),
    };
    Some((host, EntryOrigin { store: store.into(), key, version: version.into() }))
}

/// The store of each entry of an annotation, for any version.
#[must_use]
pub fn stores(annotation: &str) -> BTreeMap<HostKey, StoreName> {
    parse_lenient(annotation).into_iter().map(|(host, origin)| (host, origin.store)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_key(key: &str) -> StoreKey {
        StoreKey { store: "vault".into(), key: key.into() }
    }

    #[test]
    fn rendered_annotation_is_parsed_back() {
        let annotation = "a.io=vault:7@2026-11-27T10:00:00.123456789Z#5f2c9a01,b.io=vault:7@2026-11-27T10:00:00Z,\
            c.io=ecr:expires@2026-11-27T22:00:00.123Z#5f2c9a01,docker.io=aws:6a7e-8feb,ghcr.io=vault:7,r.example.com:5000/t=files:2026-11-22T10:00:00Z";
        let origins = parse_lenient(annotation);
        assert_eq!(render(&origins), annotation);
        assert_eq!(origins.len(), 6);
    }

    #[test]
    fn docker_hub_in_an_earlier_annotation_is_the_same_entry() {
        let earlier = "ghcr.io=vault:7,https://index.docker.io/v1/=aws:6a7e-8feb";
        assert_eq!(stores(earlier), stores("docker.io=aws:9,ghcr.io=vault:8"));
    }

    #[test]
    fn invalid_entry_is_dropped() {
        for annotation in ["", ",,", "ghcr.io", "ghcr.io=", "=vault:7", "ghcr.io=vault"] {
            assert!(parse_lenient(annotation).is_empty(), "{annotation}");
        }
    }

    #[test]
    fn entry_that_cannot_be_shown_is_dropped() {
        let (host, version) = (format!("{}.io", "a".repeat(300)), "1".repeat(300));
        for entry in
            [format!("{host}=vault:1"), format!("ghcr.io=vault:{version}"), "ghcr.io=vault:\u{1b}[2J".into()]
        {
            assert_eq!(stores(&format!("{entry},quay.io=vault:1")).len(), 1, "{entry:?}");
        }
    }

    #[test]
    fn origin_belongs_to_the_key_it_was_read_from() {
        let version = Version::from("7@2026-11-27T10:00:00Z");
        let origin = EntryOrigin::new(&store_key("ci/ghcr"), version);
        assert_eq!(origin.annotation(), "vault:7@2026-11-27T10:00:00Z#91017b86");
        assert_eq!(origin.to_string(), "vault:7");
        assert!(origin.is_from(&store_key("ci/ghcr")) && !origin.is_from(&store_key("prod/ghcr")));
        let without_key = EntryOrigin { key: None, ..origin };
        assert!(without_key.is_from(&store_key("prod/ghcr")));
        assert!(!without_key.is_from(&StoreKey { store: "aws".into(), key: "ci/ghcr".into() }));
    }

    #[test]
    fn issued_version_has_the_fingerprint_of_its_key() {
        let key = store_key("123456789012");
        let origin = EntryOrigin::new(&key, "expires@2026-11-27T22:00:00Z".into());
        let annotation = origin.annotation();
        assert!(annotation.starts_with("vault:expires@2026-11-27T22:00:00Z#"), "{annotation}");
        let parsed = parse_lenient(&format!("ghcr.io={annotation}"));
        assert_eq!(parsed.into_values().collect::<Vec<_>>(), [origin]);
    }

    #[test]
    fn name_has_no_fingerprint() {
        let origin = EntryOrigin::new(&store_key("ci/ghcr"), "6a7e-8feb".into());
        assert_eq!(origin.annotation(), "vault:6a7e-8feb");
    }
}
