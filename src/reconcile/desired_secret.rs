//! The desired content of the pull secret in each namespace.
//!
//! Pure. Where every read succeeded, the bytes are the same in every namespace, so that nodes can share
//! verified credentials. Where a read failed, that registry keeps the entry of the namespace, else gets the last
//! good value that regcred recorded, and the other registries in the same Secret are still updated. Where the
//! recorded value is older than the version that the Secret names, its entry stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use secrecy::ExposeSecret;

use super::last_good::{self, SecretEntries, SecretEntry};
use super::namespace_keys::NamespaceKey;
use super::no_content::NoContent;
use super::recorded::RecordedEntries;
use super::resolve::{FetchedCredentials, Resolved, ResolvedRegistry};
use crate::cluster::{Namespace, Secret};
use crate::credential::{StoreKey, StoreName};
use crate::docker_config::capacity::{self, TooLarge};
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::EntryOrigin;
use crate::docker_config::{DockerConfig, versions};
use crate::installation::Installation;
use crate::installation::last_good::LastGoodValues;
use crate::manifest::cluster_pull_secret::ClusterPullSecret;
use crate::manifest::status::reason::AppliedReason;
use crate::provider::stores::Values;
use crate::report::{Problem, RegistryReport};
use crate::rotator::{AcceptedOlder, Content, FetchedVersion, FetchedVersions, OlderLastGood};

mod namespace_view;

pub use namespace_view::{KnownValues, NamespaceView};

/// The desired content for each namespace: the same for all where every read succeeded and every store
/// admits the namespace.
pub struct DesiredSecret {
    resolved: Resolved,
    /// The content where no last good entry is needed; `None` where a read failed.
    fetched: Option<Rendered>,
    /// The recorded last good entries of registries that could not be read.
    recorded: RecordedEntries,
    /// The keys at which an older version may replace the one in a Secret.
    accepted_older: AcceptedOlder,
    /// The stores that do not admit the namespace: none of their entries is kept.
    denied_stores: BTreeSet<StoreName>,
}

/// The entries for one namespace.
#[derive(Default)]
struct NamespaceEntries {
    entries: SecretEntries,
    /// The versions of those that were not fetched.
    last_good: FetchedVersions,
    /// The recorded entries that are older than the versions which the Secret names.
    withheld: Vec<OlderLastGood>,
}

/// A last good entry of a registry.
struct LastGoodEntry<'a> {
    host: &'a HostKey,
    entry: &'a SecretEntry,
    /// True if the namespace does not hold it itself.
    is_recorded: bool,
}

impl<'a> LastGoodEntry<'a> {
    fn all(entries: Vec<(&'a HostKey, &'a SecretEntry)>, is_recorded: bool) -> Vec<Self> {
        entries.into_iter().map(|(host, entry)| Self { host, entry, is_recorded }).collect()
    }
}

/// The content of some entries; `None` without entries.
type Rendered = Result<Option<Arc<Content>>, TooLarge>;

/// The credentials of one registry before and after a read.
type BeforeAndAfter<'a> = (Option<&'a FetchedCredentials>, Option<&'a FetchedCredentials>);

impl DesiredSecret {
    /// Combines the fetched credentials with the recorded last good values where a read failed.
    #[must_use]
    pub fn new(resolved: Resolved, recorded: &LastGoodValues) -> Self {
        let recorded = RecordedEntries::new(&resolved, recorded);
        let mut desired = Self {
            resolved,
            fetched: None,
            recorded,
            accepted_older: AcceptedOlder::default(),
            denied_stores: BTreeSet::new(),
        };
        if desired.is_complete() {
            desired.fetched = Some(desired.render(desired.entries(None)));
        }
        desired
    }

    /// Collects the recorded last good values again, where a read failed.
    pub fn refresh_last_good(&mut self, recorded: &LastGoodValues) {
        self.recorded = RecordedEntries::new(&self.resolved, recorded);
    }

    /// Records the values that were read as the last good ones, unless a later one is recorded.
    pub fn record(&self, installation: &mut Installation) {
        self.resolved.record(installation, &self.accepted_older);
    }

    /// Permits writes of older versions than Secrets hold.
    #[must_use]
    pub fn accepting_older(self, accepted_older: AcceptedOlder) -> Self {
        Self { accepted_older, ..self }
    }

    /// Returns the keys at which an older version may replace the one in a Secret.
    #[must_use]
    pub fn accepted_older(&self) -> &AcceptedOlder {
        &self.accepted_older
    }

    /// Returns the ClusterPullSecret.
    #[must_use]
    pub fn cluster_pull_secret(&self) -> &Arc<ClusterPullSecret> {
        &self.resolved.cluster_pull_secret
    }

    /// Returns the result of the read of each registry.
    #[must_use]
    pub fn registries(&self) -> Vec<RegistryReport> {
        self.resolved.registries.iter().map(|registry| registry.report.clone()).collect()
    }

    /// Returns true if every entry could be read, apart from those with a key for each namespace.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.resolved.registries.iter().all(ResolvedRegistry::is_complete)
    }

    /// Returns true if every registry has the same credentials as before, or none again.
    #[must_use]
    pub fn has_same_credentials(&self, resolved: &Resolved) -> bool {
        self.resolved.registries.len() == resolved.registries.len()
            && self.pairs(resolved).all(|pair| match pair {
                (Some(before), Some(after)) => {
                    before.config.is_same_as(&after.config) && before.rejected == after.rejected
                }
                (None, None) => true,
                _ => false,
            })
    }

    /// Returns true if a registry that had a credential has another one.
    #[must_use]
    pub fn is_rotated_by(&self, resolved: &Resolved) -> bool {
        self.pairs(resolved).any(|pair| match pair {
            (Some(before), Some(after)) => {
                // An entry that cannot be used any more stays as it is.
                let mut before = before.config.clone();
                before.auths.retain(|host, _| !after.rejected.hosts.contains(host));
                !before.is_same_as(&after.config)
            }
            _ => false,
        })
    }

    fn pairs<'a>(&'a self, resolved: &'a Resolved) -> impl Iterator<Item = BeforeAndAfter<'a>> {
        let pairs = self.resolved.registries.iter().zip(&resolved.registries);
        pairs.map(|(before, after)| (before.fetched.as_ref(), after.fetched.as_ref()))
    }

    /// Replaces the results of the reads by later ones with the same credentials. Their versions may differ, and
    /// are compared with those of the Secrets; the bytes stay the ones that the Secrets share.
    pub fn update_resolved(&mut self, resolved: Resolved) {
        self.resolved = resolved;
        let Some(Ok(Some(before))) = &self.fetched else { return };
        if before.fetched == self.fetched_versions() {
            return;
        }
        let before = Arc::clone(&before.docker_config);
        let rendered = self.render(self.entries(None));
        self.fetched = Some(rendered.map(|rendered| {
            rendered.map(|rendered| {
                let (versions, fetched) = (rendered.versions.clone(), rendered.fetched.clone());
                Arc::new(Content::new(before, versions, fetched))
            })
        }));
    }

    /// Reports the keys of the namespaces, for each registry that has some.
    pub fn summarise<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a NamespaceKey> + Clone,
        values: &Values,
    ) {
        self.resolved.summarise(keys, values);
    }

    /// Returns the problem of the ClusterPullSecret as a whole: what was read fits into no Secret.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let error = self.fetched.as_ref()?.as_ref().err()?;
        Some(Problem { reason: AppliedReason::TooLarge.into(), message: error.to_string() })
    }

    /// Returns the content for one namespace.
    pub fn content_for(&self, namespace: &Namespace) -> Result<Arc<Content>, NoContent> {
        if let Some(fetched) = &self.fetched {
            let content = fetched.as_ref().map_err(|_| NoContent::TooLarge)?;
            return content.clone().ok_or(NoContent::NoCredential);
        }
        let own =
            last_good::own_secret(namespace, &self.resolved.cluster_pull_secret).map(|(_, secret)| secret);
        let entries = self.entries(own);
        let withheld = entries.withheld.first().cloned();
        let no_content =
            withheld.map_or(NoContent::NoCredential, |it| NoContent::OlderLastGood(Box::new(it)));
        self.render(entries).map_err(NoContent::TooLargeHere)?.ok_or(no_content)
    }

    /// Returns the fetched entries, else those of the Secret of this namespace, else the recorded ones.
    fn entries(&self, own: Option<&Secret>) -> NamespaceEntries {
        let mut found = NamespaceEntries::default();
        for registry in &self.resolved.registries {
            let Some(fetched) = &registry.fetched else { continue };
            found.entries.extend(fetched.config.auths.iter().map(|(host, credential)| {
                (host.clone(), SecretEntry { credential: credential.clone(), origin: fetched.origin.clone() })
            }));
        }
        if self.is_complete() {
            return found;
        }
        let (own, older) =
            (own.map(last_good::from_secret).unwrap_or_default(), self.recorded.older_than(own));
        for registry in &self.resolved.registries {
            for LastGoodEntry { host, entry, is_recorded } in self.last_good_entries(registry, &own) {
                match older.get(host) {
                    _ if found.entries.contains_key(host) || !self.is_admitted(host, entry) => {}
                    Some(older) if is_recorded => found.withheld.push(older.clone()),
                    _ => found.add_last_good(host, entry, &registry.source.store_key),
                }
            }
        }
        found
    }

    /// Returns the last good entries of a registry: all where it could not be read, else those that cannot be used in
    /// the docker config that was read.
    fn last_good_entries<'e>(
        &'e self,
        registry: &ResolvedRegistry,
        own: &'e SecretEntries,
    ) -> Vec<LastGoodEntry<'e>> {
        let own = self.entries_of(registry, own);
        let recorded = self.entries_of(registry, &self.recorded.entries);
        let (own, recorded) = (LastGoodEntry::all(own, false), LastGoodEntry::all(recorded, true));
        match registry.rejected_hosts() {
            None if own.is_empty() => recorded,
            None => own,
            Some(rejected) => {
                let held: BTreeSet<_> = own.iter().map(|it| it.host).collect();
                let recorded = recorded.into_iter().filter(|it| !held.contains(it.host));
                let both = own.into_iter().chain(recorded);
                both.filter(|it| rejected.contains(it.host)).collect()
            }
        }
    }

    /// Returns the entries that belong to a registry.
    fn entries_of<'e>(
        &self,
        registry: &ResolvedRegistry,
        entries: &'e SecretEntries,
    ) -> Vec<(&'e HostKey, &'e SecretEntry)> {
        match &registry.source.host {
            Some(host) => entries.get_key_value(host).into_iter().collect(),
            // A whole docker config: every entry of its store that no other registry names.
            None => {
                let store = &registry.source.store_key.store;
                let entries = entries.iter();
                let entries =
                    entries.filter(|(host, entry)| entry.origin.store == *store && !self.is_named(host));
                entries.collect()
            }
        }
    }

    /// Returns true if the store of a last good entry may serve the host, in this namespace.
    fn is_admitted(&self, host: &HostKey, entry: &SecretEntry) -> bool {
        let store = &entry.origin.store;
        !self.denied_stores.contains(store)
            && self.resolved.cluster_pull_secret.admission.admits_host(store, host)
    }

    /// Renders the content; `None` where there is no entry.
    fn render(&self, NamespaceEntries { entries, last_good, withheld }: NamespaceEntries) -> Rendered {
        if entries.is_empty() {
            return Ok(None);
        }
        let mut origins: BTreeMap<_, _> =
            entries.iter().map(|(host, entry)| (host.clone(), entry.origin.clone())).collect();
        // The later version is still known at the next decision.
        origins.extend(
            withheld
                .iter()
                .map(|OlderLastGood(it)| (it.host.clone(), EntryOrigin::new(&it.store_key, it.held.clone()))),
        );
        let versions = versions::render(&origins);
        let auths = entries.into_iter().map(|(host, entry)| (host, entry.credential)).collect();
        let config = DockerConfig { auths };
        let docker_config = config.render();
        capacity::check(&config, docker_config.expose_secret().len(), &versions)?;
        let content = Content::new(Arc::new(docker_config), versions, self.fetched_versions());
        Ok(Some(Arc::new(Content { last_good, withheld, ..content })))
    }

    /// Returns the version of every fetched entry.
    fn fetched_versions(&self) -> FetchedVersions {
        let mut versions = FetchedVersions::default();
        for registry in &self.resolved.registries {
            let Some((fetched, version)) = registry.fetched.as_ref().zip(registry.fetched_version()) else {
                continue;
            };
            versions.0.extend(fetched.config.auths.keys().map(|host| (host.clone(), version.clone())));
        }
        versions
    }

    /// Returns true if a registry names this host itself.
    fn is_named(&self, host: &HostKey) -> bool {
        let registries = &self.resolved.cluster_pull_secret.registries;
        registries.iter().any(|registry| registry.host.as_ref() == Some(host))
    }
}

impl NamespaceEntries {
    fn add_last_good(&mut self, host: &HostKey, entry: &SecretEntry, store_key: &StoreKey) {
        self.entries.insert(host.clone(), entry.clone());
        // Versions of two keys have no order.
        if entry.origin.is_from(store_key) {
            self.last_good
                .0
                .insert(host.clone(), FetchedVersion::new(store_key, entry.origin.version.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
