//! The recorded last good entries of the registries that could not be read, in whole or in part.
//!
//! Pure. In go the values from regcred's own namespace, out come the entries for a namespace that has none of its
//! own. They were recorded at the last read, which another process may have written since: none replaces a later
//! version that the Secret of a namespace names for the same key. A tenant who forges that annotation keeps only
//! the own namespace from them, and only while the store is away; one who removes it gets the recorded value.

use std::collections::BTreeMap;

use super::last_good::{SecretEntries, SecretEntry};
use super::resolve::Resolved;
use crate::cluster::Secret;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::EntryOrigin;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::status::reason::FetchedReason;
use crate::rotator::{FetchedVersion, FetchedVersions, OlderLastGood};

/// The recorded last good entries, by host.
#[derive(Default)]
pub(super) struct RecordedEntries {
    pub(super) entries: SecretEntries,
    versions: FetchedVersions,
}

impl RecordedEntries {
    /// Collects the entries of the registries that could not be read, and the entries that cannot be used in those
    /// that could. A key that its store's `keys` admit no more stays where it is, and reaches no other namespace.
    pub(super) fn new(resolved: &Resolved, recorded: &LastGoodValues) -> Self {
        let name = &resolved.cluster_pull_secret.name;
        let mut collected = Self::default();
        let missing = resolved.registries.iter().filter(|registry| registry.needs_last_good());
        for registry in missing.filter(|it| it.report.result != FetchedReason::NotAllowed) {
            let Some(value) = recorded.get(name, &registry.source) else { continue };
            let store_key = &registry.source.store_key;
            let rejected = registry.rejected_hosts();
            let auths = value.config.auths.iter();
            for (host, credential) in auths.filter(|(host, _)| rejected.is_none_or(|it| it.contains(*host))) {
                let origin = EntryOrigin::new(store_key, value.version.clone());
                let version = FetchedVersion::new(store_key, value.version.clone());
                collected
                    .entries
                    .insert(host.clone(), SecretEntry { credential: credential.clone(), origin });
                collected.versions.0.insert(host.clone(), version);
            }
        }
        collected
    }

    /// Returns the entries that are older than the version which a Secret names for the same key.
    pub(super) fn older_than(&self, own: Option<&Secret>) -> BTreeMap<HostKey, OlderLastGood> {
        let later = self.versions.later_than_fetched(own);
        later.into_iter().map(|conflict| (conflict.host.clone(), OlderLastGood(conflict))).collect()
    }
}
