//! The versions annotation of a pull secret: which version of which store each entry was read at.
//!
//! `ghcr.io=vault:7,https://index.docker.io/v1/=aws:6a7e8feb-…`: host keys hold neither comma nor
//! equals sign. It holds no secret and no hash of one, so that anyone may read it.

use std::collections::BTreeMap;
use std::fmt;

use super::host_key::HostKey;
use crate::credential::{StoreName, Version};

/// Where an entry came from: the store, and the version it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The store.
    pub store: StoreName,
    /// What the store calls the value.
    pub version: Version,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.version)
    }
}

/// The annotation for these entries.
#[must_use]
pub fn render<'a>(origins: impl IntoIterator<Item = (&'a HostKey, &'a Origin)>) -> String {
    let entries: Vec<_> = origins.into_iter().map(|(host, origin)| format!("{host}={origin}")).collect();
    entries.join(",")
}

/// The entries of an annotation that people may have edited: what cannot be read is left out.
#[must_use]
pub fn parse_lenient(annotation: &str) -> BTreeMap<HostKey, Origin> {
    let entry = |entry: &str| {
        let (host, origin) = entry.split_once('=')?;
        let (store, version) = origin.split_once(':')?;
        let host = HostKey::parse(host).ok()?;
        Some((host, Origin { store: store.into(), version: version.into() }))
    };
    annotation.split(',').filter_map(entry).collect()
}

/// The store of each entry of an annotation, whatever the version.
#[must_use]
pub fn stores(annotation: &str) -> BTreeMap<HostKey, StoreName> {
    parse_lenient(annotation).into_iter().map(|(host, origin)| (host, origin.store)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rendered_is_parsed() {
        let annotation = "ghcr.io=vault:7,https://index.docker.io/v1/=aws:6a7e-8feb,r.example.com:5000/t=files:2026-11-22T10:00:00Z";
        let origins = parse_lenient(annotation);
        assert_eq!(render(&origins), annotation);
        assert_eq!(origins.len(), 3);
    }

    #[test]
    fn what_people_broke_is_left_out() {
        for annotation in ["", ",,", "ghcr.io", "ghcr.io=", "=vault:7", "ghcr.io=vault"] {
            assert!(parse_lenient(annotation).is_empty(), "{annotation}");
        }
    }
}
