//! Resolves each registry of a ClusterPullSecret to credentials.
//!
//! Pure. In go the values as read, out come docker configs with their origin, or the error with store and
//! key. One value may serve many registries; it was read once. A registry with a host that its store may not
//! serve fails before anything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::namespace_keys::{KeySummary, NamespaceKey};
use crate::credential::{Version, VersionOrder};
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::shapes::RejectedEntry;
use crate::docker_config::versions::EntryOrigin;
use crate::installation::Installation;
use crate::installation::last_good::LastGoodValue;
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, RegistrySource};
use crate::manifest::status::reason::FetchedReason;
use crate::named;
use crate::object_map::ObjectMap;
use crate::object_name::NamespaceName;
use crate::provider::stores::Values;
use crate::report::RegistryReport;
use crate::rotator::{AcceptedOlder, FetchedVersion};

mod fetch;
mod own_keys;
mod rejected;

use fetch::{FailedFetch, parse_value};
pub use own_keys::OwnKeyResolver;
pub use rejected::RejectedEntries;
use rejected::nothing_usable;

/// A ClusterPullSecret with the results of its reads.
pub struct Resolved {
    /// The ClusterPullSecret.
    pub cluster_pull_secret: Arc<ClusterPullSecret>,
    /// Its registries, in their order.
    pub registries: Vec<ResolvedRegistry>,
}

/// One registry with the result of its read.
pub struct ResolvedRegistry {
    /// The registry as the spec describes it.
    pub source: RegistrySource,
    /// The fetched entries; `None` where the read failed and the last good entries are kept.
    pub fetched: Option<FetchedCredentials>,
    /// True if each namespace has a key of its own, so that there is nothing to fetch for all of them.
    pub is_deferred: bool,
    /// The report about the registry.
    pub report: RegistryReport,
}

/// The credentials that were read and parsed.
pub struct FetchedCredentials {
    /// The entries.
    pub config: DockerConfig,
    /// The store and the version of the value.
    pub origin: EntryOrigin,
    /// The time from which the credentials are invalid, if the store issued them for a time.
    pub expires: Option<Timestamp>,
    /// A later version that was given up for this one.
    pub given_up: Option<Version>,
    /// The entries of a whole docker config that cannot be used.
    pub rejected: RejectedEntries,
}

/// Resolves every registry of one ClusterPullSecret. Registries with a key for each namespace are left to
/// [`resolve_in`].
#[must_use]
pub fn resolve(cluster_pull_secret: &Arc<ClusterPullSecret>, values: &Values) -> Resolved {
    let mut resolver = Resolver::new(cluster_pull_secret, values);
    for source in &cluster_pull_secret.registries {
        if source.store_key.is_per_namespace() && resolver.host_not_allowed(source).is_none() {
            resolver.defer(source.clone());
        } else {
            resolver.fetch_next(source.clone());
        }
    }
    resolver.finish()
}

/// Resolves the registries of one ClusterPullSecret that a namespace may have.
#[must_use]
pub fn resolve_in(
    cluster_pull_secret: &Arc<ClusterPullSecret>,
    namespace_name: &NamespaceName,
    labels: &ObjectMap<String, String>,
    values: &Values,
) -> Resolved {
    let mut resolver = Resolver::new(cluster_pull_secret, values);
    let ClusterPullSecret { registries, admission, .. } = cluster_pull_secret.as_ref();
    let admitted = registries
        .iter()
        .filter(|source| admission.admits_namespace(&source.store_key.store, namespace_name, labels));
    for source in admitted {
        resolver.fetch_next(source.in_namespace(namespace_name));
    }
    resolver.finish()
}

impl FetchedCredentials {
    /// Returns the value to record as the last good one. An entry that cannot be used stays as it was recorded.
    #[must_use]
    pub fn with_last_good(&self, known: Option<&LastGoodValue>) -> LastGoodValue {
        let config = self.rejected.with_last_good(&self.config, known);
        LastGoodValue { version: self.origin.version.clone(), config, expires: self.expires }
    }
}

impl ResolvedRegistry {
    /// Returns true if the registry needs no last good entry: all its entries were fetched, or each namespace has a
    /// key of its own.
    pub(super) fn is_complete(&self) -> bool {
        self.is_deferred || !self.needs_last_good()
    }

    /// Returns true if an entry was not fetched.
    pub(super) fn needs_last_good(&self) -> bool {
        self.fetched.as_ref().is_none_or(|fetched| !fetched.rejected.hosts.is_empty())
    }

    /// Returns the entries that cannot be used, if the others were fetched.
    pub(super) fn rejected_hosts(&self) -> Option<&BTreeSet<HostKey>> {
        self.fetched.as_ref().map(|fetched| &fetched.rejected.hosts)
    }

    /// Returns the version of the fetched entries; `None` where the read failed.
    pub(super) fn fetched_version(&self) -> Option<FetchedVersion> {
        let fetched = self.fetched.as_ref()?;
        let mut version = FetchedVersion::new(&self.source.store_key, fetched.origin.version.clone());
        version.given_up.clone_from(&fetched.given_up);
        Some(version)
    }
}

impl Resolved {
    /// Records the values that were read as the last good ones, unless a later one is recorded. An entry that cannot
    /// be used stays as it was recorded.
    pub fn record(&self, installation: &mut Installation, accepted_older: &AcceptedOlder) {
        let name = &self.cluster_pull_secret.name;
        for registry in &self.registries {
            let Some(fetched) = &registry.fetched else { continue };
            let version = &fetched.origin.version;
            let known = installation.values().get(name, &registry.source);
            let is_later = known.is_some_and(|LastGoodValue { version: known, .. }| {
                known.compare(version) == VersionOrder::Older
                    && !registry.fetched_version().is_some_and(|fetched| fetched.has_given_up(known))
            });
            if !is_later || accepted_older.contains(&registry.source.store_key) {
                installation.record_value(name, &registry.source, fetched.with_last_good(known));
            }
        }
    }

    /// Reports the keys of the namespaces, for each registry that has some.
    pub fn summarise<'a>(
        &mut self,
        keys: impl IntoIterator<Item = &'a NamespaceKey> + Clone,
        values: &Values,
    ) {
        for (index, registry) in self.registries.iter_mut().enumerate().filter(|(_, it)| it.is_deferred) {
            KeySummary::new(index, keys.clone(), values).apply_to(&mut registry.report);
        }
    }
}

/// Resolves registries in their order: the first one that has a host keeps it.
struct Resolver<'a> {
    cluster_pull_secret: &'a Arc<ClusterPullSecret>,
    values: &'a Values,
    /// The hosts that registries name.
    named: BTreeSet<&'a HostKey>,
    /// The hosts that were fetched so far.
    hosts: BTreeSet<HostKey>,
    /// The registries so far; `None` for one with a key for each namespace, which is resolved there.
    fetches: Vec<(RegistrySource, Option<Result<FetchedValue, FailedFetch>>)>,
}

/// A value as fetched and parsed, before the entries that are not needed are known.
struct FetchedValue {
    credentials: FetchedCredentials,
    /// The hosts of its docker config that the store may not serve.
    left_out: Vec<HostKey>,
    /// The entries of its docker config that cannot be used.
    rejected: Vec<RejectedEntry>,
}

/// A docker config without the entries that the store may not serve.
struct AdmittedConfig {
    config: DockerConfig,
    left_out: Vec<HostKey>,
}

impl<'a> Resolver<'a> {
    fn new(cluster_pull_secret: &'a Arc<ClusterPullSecret>, values: &'a Values) -> Self {
        let named = cluster_pull_secret.registries.iter().filter_map(|it| it.host.as_ref()).collect();
        Self { cluster_pull_secret, values, named, hosts: BTreeSet::new(), fetches: Vec::new() }
    }

    /// Adds a registry, and remembers its hosts.
    fn fetch_next(&mut self, source: RegistrySource) {
        let fetch = self.fetch(&source);
        if let Ok(fetched) = &fetch {
            self.hosts.extend(fetched.credentials.config.auths.keys().cloned());
        }
        self.fetches.push((source, Some(fetch)));
    }

    /// Adds a registry with a key for each namespace.
    fn defer(&mut self, source: RegistrySource) {
        self.fetches.push((source, None));
    }

    /// Resolves the registries once all were fetched: an entry that cannot be used is no loss where a usable one has its
    /// host.
    fn finish(mut self) -> Resolved {
        let fetches = std::mem::take(&mut self.fetches);
        let registries = fetches.into_iter().map(|(source, fetch)| match fetch {
            None => ResolvedRegistry::deferred(source),
            Some(fetch) => {
                let outcome = fetch.and_then(|fetched| self.without_unneeded(&source, fetched));
                ResolvedRegistry::new(source, outcome)
            }
        });
        let registries = registries.collect();
        Resolved { cluster_pull_secret: Arc::clone(self.cluster_pull_secret), registries }
    }

    /// Returns the value of a registry.
    fn fetch(&self, source: &RegistrySource) -> Result<FetchedValue, FailedFetch> {
        if let Some(host) = self.host_not_allowed(source) {
            return Err(FailedFetch::hosts_not_allowed(source, [host]));
        }
        let (mut credentials, rejected) = parse_value(source, self.values)?;
        // A host that another registry names is not taken from a whole docker config, even where the
        // other registry could not be read.
        credentials.config.auths.retain(|host, _| source.host.is_some() || !self.named.contains(host));
        let AdmittedConfig { config, left_out } = self.admitted(source, credentials.config);
        if config.auths.is_empty() && !left_out.is_empty() {
            return Err(FailedFetch::hosts_not_allowed(source, &left_out));
        }
        if let Some(host) = config.auths.keys().find(|host| self.hosts.contains(*host)) {
            let what = format!("an earlier registry of the ClusterPullSecret already has {host}");
            return Err(FailedFetch::malformed(source, Some(credentials.origin.version), what));
        }
        credentials.config = config;
        Ok(FetchedValue { credentials, left_out, rejected })
    }

    /// Returns the credentials without the entries that cannot be used and are not needed; fails if no other is
    /// left.
    fn without_unneeded(
        &self,
        source: &RegistrySource,
        FetchedValue { mut credentials, left_out, mut rejected }: FetchedValue,
    ) -> Result<(FetchedCredentials, Vec<HostKey>), FailedFetch> {
        rejected.retain(|entry| {
            entry.host.as_ref().is_none_or(|host| !self.named.contains(host) && !self.hosts.contains(host))
        });
        if credentials.config.auths.is_empty() && !rejected.is_empty() {
            let what = nothing_usable(&rejected);
            return Err(FailedFetch::malformed(source, Some(credentials.origin.version), what));
        }
        // An entry that its store may not serve is no loss.
        let (admission, store) = (&self.cluster_pull_secret.admission, &source.store_key.store);
        rejected.retain(|entry| entry.host.as_ref().is_none_or(|host| admission.admits_host(store, host)));
        credentials.rejected = RejectedEntries::new(rejected, &source.store_key);
        Ok((credentials, left_out))
    }

    /// Returns the host of a registry that its store may not serve.
    fn host_not_allowed<'s>(&self, source: &'s RegistrySource) -> Option<&'s HostKey> {
        let admission = &self.cluster_pull_secret.admission;
        source.host.as_ref().filter(|host| !admission.admits_host(&source.store_key.store, host))
    }

    fn admitted(&self, source: &RegistrySource, config: DockerConfig) -> AdmittedConfig {
        let (admission, store) = (&self.cluster_pull_secret.admission, &source.store_key.store);
        let (auths, left_out): (BTreeMap<_, _>, BTreeMap<_, _>) =
            config.auths.into_iter().partition(|(host, _)| admission.admits_host(store, host));
        AdmittedConfig { config: DockerConfig { auths }, left_out: left_out.into_keys().collect() }
    }
}

impl ResolvedRegistry {
    fn new(source: RegistrySource, outcome: Result<(FetchedCredentials, Vec<HostKey>), FailedFetch>) -> Self {
        let mut registry = Self { is_deferred: false, ..Self::deferred(source) };
        match outcome {
            Ok((fetched, left_out)) => {
                registry.report.version = Some(fetched.origin.version.to_string());
                let rejected = fetched.rejected.message.clone();
                if rejected.is_some() {
                    registry.report.result = FetchedReason::Malformed;
                }
                let messages: Vec<_> = rejected.into_iter().chain(left_out_message(&left_out)).collect();
                registry.report.message = (!messages.is_empty()).then(|| messages.join("; "));
                registry.fetched = Some(fetched);
            }
            Err(FailedFetch { version, reason, message, is_host_denied }) => {
                registry.report.is_host_denied = is_host_denied;
                registry.report.version = version.map(|version| version.to_string());
                registry.report.result = reason;
                registry.report.message = Some(message);
            }
        }
        registry
    }

    fn deferred(source: RegistrySource) -> Self {
        let report = RegistryReport {
            host: source.host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string),
            store: source.store_key.store.to_string(),
            key: source.store_key.key.to_string(),
            version: None,
            result: FetchedReason::Fetched,
            message: None,
            is_host_denied: false,
        };
        Self { source, fetched: None, is_deferred: true, report }
    }
}

/// Reports the entries of a docker config that the store may not serve.
fn left_out_message(left_out: &[HostKey]) -> Option<String> {
    let hosts = named::join(left_out.iter().map(HostKey::as_str), ", ");
    (!left_out.is_empty()).then(|| format!("left out, as not allowed by the store's `hosts`: {hosts}"))
}

#[cfg(test)]
mod tests;
