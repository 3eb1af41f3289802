//! Applies the order of the versions of each key to the registries that read it.
//!
//! Pure. In go the resolved registries and, for each key, what its version replaces and what waits to replace
//! it; the reports and the writes follow.

use super::resolve::Resolved;
use crate::credential::{StoreKey, Version};
use crate::manifest::status::reason::FetchedReason;
use crate::provider::ErrorKind;

/// The versions of a key besides the one that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyOrder {
    /// An older version that the store answers, and that is not taken yet.
    pub held_back: Option<Version>,
    /// A later version that was given up for the held one.
    pub given_up: Option<Version>,
}

impl Resolved {
    /// Applies the order of the versions of each key.
    #[must_use]
    pub fn with_order(mut self, order: impl Fn(&StoreKey) -> KeyOrder) -> Self {
        for registry in &mut self.registries {
            let Some(fetched) = &mut registry.fetched else { continue };
            let store_key = &registry.source.store_key;
            let KeyOrder { held_back, given_up } = order(store_key);
            if let Some(found) = held_back {
                let kind = ErrorKind::OlderVersion(older_version(&fetched.origin.version, &found));
                registry.report.result = FetchedReason::OlderVersion;
                registry.report.message = Some(kind.at(store_key.clone()).to_string());
            }
            fetched.given_up = given_up;
        }
        self
    }
}

/// Describes an older version that is held back.
#[must_use]
pub fn older_version(held: &Version, found: &Version) -> String {
    let (held, found) = (held.with_time(), found.with_time());
    format!(
        "the store answers version {found}, which is older than version {held}; it is taken after five minutes"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reconcile::fixture::{cluster_pull_secret, store_key, values};
    use crate::reconcile::resolve::resolve;

    fn resolved(order: impl Fn(&StoreKey) -> KeyOrder) -> Resolved {
        let images = Arc::new(cluster_pull_secret("images", &["ghcr.io", "quay.io"]));
        resolve(&images, &values(&[("ghcr.io", "7", "pw"), ("quay.io", "3", "pw")])).with_order(order)
    }

    #[test]
    fn held_back_version_is_reported_and_the_held_one_stays() {
        let resolved = resolved(|key| KeyOrder {
            held_back: (*key == store_key("ghcr.io")).then(|| "6".into()),
            ..KeyOrder::default()
        });
        let [ghcr, quay] = resolved.registries.as_slice() else { panic!("two registries") };
        assert_eq!(ghcr.report.result, FetchedReason::OlderVersion);
        assert_eq!(ghcr.report.version.as_deref(), Some("7"));
        assert_eq!(
            ghcr.report.message.as_deref(),
            Some(
                "store vault, key ghcr.io: the store answers version 6, which is older than version 7; it is taken after five minutes"
            )
        );
        assert!(ghcr.fetched.is_some());
        assert_eq!((quay.report.result, &quay.report.message), (FetchedReason::Fetched, &None));
    }

    #[test]
    fn given_up_version_reaches_the_content() {
        let resolved = resolved(|_| KeyOrder { given_up: Some("8".into()), ..KeyOrder::default() });
        for registry in &resolved.registries {
            assert_eq!(registry.fetched.as_ref().and_then(|it| it.given_up.clone()), Some("8".into()));
        }
    }
}
