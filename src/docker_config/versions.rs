//! The versions annotation of a pull secret: the store and the version of each entry.
//!
//! `docker.io=aws:6a7e8feb-…,ghcr.io=vault:7`: host keys hold neither comma nor equals sign. Docker Hub is one
//! entry here. The annotation holds no secret and no hash of one, so that anyone may read it.

use std::collections::BTreeMap;
use std::fmt;

use super::host_key::HostKey;
use crate::credential::{StoreName, Version};

/// The origin of an entry: the store, and the version at which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryOrigin {
    /// The store.
    pub store: StoreName,
    /// The store's name for the value.
    pub version: Version,
}

impl fmt::Display for EntryOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.version)
    }
}

/// Renders the annotation of these entries.
#[must_use]
pub fn render<'a>(origins: impl IntoIterator<Item = (&'a HostKey, &'a EntryOrigin)>) -> String {
    let entries: Vec<_> = origins.into_iter().map(|(host, origin)| format!("{host}={origin}")).collect();
    entries.join(",")
}

/// Parses an annotation that people may have edited, and drops invalid entries.
#[must_use]
pub fn parse_lenient(annotation: &str) -> BTreeMap<HostKey, EntryOrigin> {
    annotation.split(',').filter_map(parse_entry).collect()
}

fn parse_entry(entry: &str) -> Option<(HostKey, EntryOrigin)> {
    let (host, origin) = entry.split_once('=')?;
    let (store, version) = origin.split_once(':')?;
    let host = HostKey::parse(host).ok()?;
    Some((host, EntryOrigin { store: store.into(), version: version.into() }))
}

/// The store of each entry of an annotation, for any version.
#[must_use]
pub fn stores(annotation: &str) -> BTreeMap<HostKey, StoreName> {
    parse_lenient(annotation).into_iter().map(|(host, origin)| (host, origin.store)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_annotation_is_parsed_back() {
        let annotation =
            "docker.io=aws:6a7e-8feb,ghcr.io=vault:7,r.example.com:5000/t=files:2026-11-22T10:00:00Z";
        let origins = parse_lenient(annotation);
        assert_eq!(render(&origins), annotation);
        assert_eq!(origins.len(), 3);
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
}
