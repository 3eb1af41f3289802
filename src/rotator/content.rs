//! The desired content of a pull secret, with the versions of its entries.
//!
//! Pure. In go the rendered entries, out comes the conflict with what another writer wrote since the plan.

use super::{FetchedVersions, OlderLastGood, VersionConflict};
use crate::cluster::{DockerConfigBytes, Secret};

/// The desired content of a pull secret.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes of `.dockerconfigjson`.
    pub docker_config: DockerConfigBytes,
    /// The versions annotation: `ghcr.io=vault:7,…`.
    pub versions: String,
    /// The versions that a later one in the Secret is compared with.
    pub fetched: FetchedVersions,
    /// The versions of the last good entries: they replace nothing that another writer wrote since the plan.
    pub last_good: FetchedVersions,
    /// The entries that stay as they are in this namespace, although their registry has a last good value.
    pub withheld: Vec<OlderLastGood>,
}

impl Content {
    /// Creates the content of entries that were all fetched.
    #[must_use]
    pub fn new(docker_config: DockerConfigBytes, versions: String, fetched: FetchedVersions) -> Self {
        Self { docker_config, versions, fetched, last_good: FetchedVersions::default(), withheld: Vec::new() }
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
