//! The desired content of a pull secret, with the versions of its entries.
//!
//! Pure. In go the rendered entries, out comes the conflict with what another writer wrote since the plan.

use std::sync::Arc;

use super::{CheckedAnnotation, FetchedVersions, OlderLastGood, VersionConflict};
use crate::cluster::{DockerConfigBytes, Secret};

/// The desired content of a pull secret.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes of `.dockerconfigjson`.
    pub docker_config: DockerConfigBytes,
    /// The versions annotation: `ghcr.io=vault:7,…`.
    pub versions: Arc<str>,
    /// The versions that a later one in the Secret is compared with.
    pub fetched: FetchedVersions,
    /// The versions of the last good entries: they replace nothing that another writer wrote since the plan.
    pub last_good: FetchedVersions,
    /// The entries that stay as they are in this namespace, although their registry has a last good value.
    pub withheld: Vec<OlderLastGood>,
    /// The annotation of the Secrets that were compared last.
    pub checked: CheckedAnnotation,
}

impl Content {
    /// Creates the content of entries that were all fetched.
    #[must_use]
    pub fn new(
        docker_config: DockerConfigBytes,
        versions: impl Into<Arc<str>>,
        fetched: FetchedVersions,
    ) -> Self {
        Self {
            docker_config,
            versions: versions.into(),
            fetched,
            last_good: FetchedVersions::default(),
            withheld: Vec::new(),
            checked: CheckedAnnotation::default(),
        }
    }

    /// Returns the first entry of a Secret that is later than the one of this content.
    pub(super) fn later_entry(&self, observed: &Secret) -> Option<VersionConflict> {
        let annotation = observed.versions.as_deref().unwrap_or_default();
        if self.checked.is(annotation) {
            return None;
        }
        let later = self.fetched.later_than_fetched(Some(observed)).into_iter().next();
        if later.is_none() {
            self.checked.record(annotation);
        }
        later
    }

    /// Returns the first entry that another writer wrote since the plan, at a version that this content must not
    /// replace before the store was read again.
    pub(super) fn overtaken_since(
        &self,
        planned_for: Option<&str>,
        observed: Option<&Secret>,
    ) -> Option<VersionConflict> {
        let fetched = self.fetched.unknown_since(planned_for, observed);
        fetched.or_else(|| self.last_good.overtaken_since(planned_for, observed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixture::{host_key, store_key};
    use crate::rotator::FetchedVersion;

    #[test]
    fn later_entry_is_found_after_secrets_without_one() {
        let fetched = FetchedVersion::new(&store_key("ghcr.io"), "7".into());
        let fetched = FetchedVersions([(host_key("ghcr.io"), fetched)].into());
        let bytes = DockerConfigBytes::new(Vec::new().into());
        let content = Content::new(bytes, String::new(), fetched);
        let later = |versions: &str| {
            let secret = Secret { versions: Some(versions.into()), ..Secret::default() };
            content.later_entry(&secret).map(|it| it.held.to_string())
        };
        for (versions, expect) in [
            ("ghcr.io=vault:6", None),
            ("ghcr.io=vault:6", None),
            ("ghcr.io=vault:8", Some("8")),
            ("ghcr.io=vault:8", Some("8")),
            ("ghcr.io=vault:7", None),
            ("", None),
            ("ghcr.io=vault:9", Some("9")),
            ("ghcr.io=vault:7", None),
        ] {
            assert_eq!(later(versions).as_deref(), expect, "{versions}");
        }
    }
}
