//! The owner references of a Secret that name a ClusterPullSecret, which earlier versions wrote.
//!
//! Pure. A tenant may add thousands of references to live objects of its own: they are skipped while they are decoded.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::manifest::{API_VERSION, CLUSTER_PULL_SECRET};

/// The most bytes of names and UIDs that are kept. Earlier versions wrote one reference; of more, the rest is removed
/// by later writes.
const MAX_BYTES: usize = 1024;

/// The references to ClusterPullSecrets.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnerReferences {
    /// The first of them.
    pub(super) kept: Vec<OwnerReference>,
    bytes: usize,
}

impl OwnerReferences {
    fn push(&mut self, reference: OwnerReference) {
        if reference.kind != CLUSTER_PULL_SECRET || reference.api_version != API_VERSION {
            return;
        }
        let bytes = self.bytes.saturating_add(reference.name.len() + reference.uid.len() + 1);
        if bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.kept.push(reference);
        }
    }
}

impl<'de> Deserialize<'de> for OwnerReferences {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ReferencesVisitor)
    }
}

struct ReferencesVisitor;

impl<'de> Visitor<'de> for ReferencesVisitor {
    type Value = OwnerReferences;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of owner references")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut references: A) -> Result<OwnerReferences, A::Error> {
        let mut owners = OwnerReferences::default();
        while let Some(reference) = references.next_element()? {
            owners.push(reference);
        }
        owners.kept.shrink_to_fit();
        Ok(owners)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn reference(kind: &str, uid: &str) -> Json {
        let api_version = if kind == CLUSTER_PULL_SECRET { API_VERSION } else { "v1" };
        json!({"apiVersion": api_version, "kind": kind, "name": "images", "uid": uid})
    }

    fn kept(references: Vec<Json>) -> Vec<String> {
        let owners: OwnerReferences = serde_json::from_value(references.into()).expect("a list");
        owners.kept.into_iter().map(|it| it.uid).collect()
    }

    #[test]
    fn only_references_to_cluster_pull_secrets_are_kept() {
        let others = (0..10_000).map(|n| reference("ConfigMap", &n.to_string()));
        assert_eq!(kept(others.chain([reference(CLUSTER_PULL_SECRET, "u")]).collect()), ["u"]);
        let other_group = json!({"apiVersion": "v1", "kind": CLUSTER_PULL_SECRET, "name": "x", "uid": "x"});
        assert_eq!(kept(vec![other_group]), Vec::<String>::new());
    }

    #[test]
    fn kept_references_are_bounded() {
        let references = (0..10_000).map(|n| reference(CLUSTER_PULL_SECRET, &n.to_string()));
        assert!(kept(references.collect()).len() < MAX_BYTES / 6);
        let long = "u".repeat(MAX_BYTES);
        assert_eq!(
            kept(vec![reference(CLUSTER_PULL_SECRET, &long), reference(CLUSTER_PULL_SECRET, "u")]),
            ["u"]
        );
    }
}
