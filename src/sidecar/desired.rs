//! The entries that the file should have: what was fetched, or the last good value of each registry.
//!
//! Pure. In go the registries, the reads and the last good values, which it updates; out come the entries by key of the
//! file, and the problem of each registry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plan::{DesiredEntries, UnreadRegistry};
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::portable::{PortabilityLimit, PortableKeys};
use crate::fetches::Fetches;
use crate::installation::last_good::{LastGoodValue, LastGoodValues};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, RegistrySource};
use crate::manifest::status::reason::FetchedReason;
use crate::reconcile::resolve::{self, ResolvedRegistry};
use crate::report::RegistryReport;

/// The entries that the file should have, and what is known about each registry.
#[derive(Default)]
pub(super) struct DesiredFile {
    pub(super) entries: DesiredEntries,
    /// The registries that were read, by name, with the problem of those that failed.
    pub(super) problems: BTreeMap<String, Option<String>>,
    /// The registries that no form expresses for every client.
    pub(super) limits: Vec<PortabilityLimit>,
}

/// The content of a registry, as far as it is known.
enum RegistryContent {
    Known {
        config: DockerConfig,
        /// The hosts that a docker config has without a usable entry.
        unusable: BTreeSet<HostKey>,
    },
    Unread,
    /// The store may not serve the host.
    Denied,
}

impl DesiredFile {
    /// Resolves the registries, and records the last good value of each. `split` are the servers that have entries by
    /// path in the file: while a docker config is unread, it may have the entry of such a server itself.
    pub(super) fn resolve(
        registries: &Arc<ClusterPullSecret>,
        fetches: &Fetches,
        last_good: &mut LastGoodValues,
        split: &BTreeSet<HostKey>,
    ) -> Self {
        let resolved = resolve::resolve(registries, fetches.all_values())
            .with_order(|store_key| fetches.order(store_key));
        let mut desired = Self::default();
        let mut contents = Vec::new();
        for registry in &resolved.registries {
            let ResolvedRegistry { source, report, .. } = registry;
            if fetches.has_read(&source.store_key) || report.is_host_denied {
                desired.problems.insert(name(source), problem(report));
            }
            contents.push((source, RegistryContent::new(registry, &registries.name, last_good)));
        }
        let declared = registries.registries.iter().filter_map(|it| it.host.as_ref());
        let known = contents.iter().flat_map(|(_, content)| content.hosts());
        let has_unknown_hosts = contents
            .iter()
            .any(|(source, content)| source.host.is_none() && matches!(content, RegistryContent::Unread));
        let split = split.iter().filter(|_| has_unknown_hosts);
        let keys = PortableKeys::new(declared.chain(known).chain(split));
        for (source, content) in &contents {
            content.add_to(&mut desired.entries, source, &keys);
        }
        desired.limits = keys.limits;
        desired
    }
}

impl RegistryContent {
    /// Returns what was fetched, or the last good value.
    fn new(registry: &ResolvedRegistry, owner: &str, last_good: &mut LastGoodValues) -> Self {
        let source = &registry.source;
        if let Some(fetched) = &registry.fetched {
            let value = fetched.with_last_good(last_good.get(owner, source));
            last_good.record(owner, source, value);
        } else if registry.report.is_host_denied {
            return Self::Denied;
        }
        let Some(LastGoodValue { config, .. }) = last_good.get(owner, source) else { return Self::Unread };
        let unusable = registry.fetched.iter().flat_map(|it| &it.rejected.hosts);
        let unusable = unusable.filter(|host| !config.auths.contains_key(host)).cloned().collect();
        Self::Known { config: config.clone(), unusable }
    }

    fn hosts(&self) -> impl Iterator<Item = &HostKey> {
        let known = if let Self::Known { config, unusable } = self { Some((config, unusable)) } else { None };
        known.into_iter().flat_map(|(config, unusable)| config.auths.keys().chain(unusable))
    }

    /// Adds the entries; of two docker configs with the same host the first one has it.
    fn add_to(&self, desired: &mut DesiredEntries, source: &RegistrySource, keys: &PortableKeys) {
        match self {
            Self::Known { config, unusable } => {
                for (host, credential) in &config.auths {
                    for key in keys.keys_of(host) {
                        desired.entries.entry(key.to_owned()).or_insert_with(|| credential.clone());
                    }
                }
                desired.kept.extend(unusable.iter().flat_map(|host| keys.keys_of(host)).map(str::to_owned));
            }
            Self::Unread => {
                let keys = source.host.as_ref().map(|host| keys.keys_of(host).map(str::to_owned).collect());
                desired.unread.push(UnreadRegistry { name: name(source), keys });
            }
            Self::Denied => desired.denied.push(name(source)),
        }
    }
}

/// Returns the name of a registry in messages: its host, or the key of its docker config.
fn name(source: &RegistrySource) -> String {
    source
        .host
        .as_ref()
        .map_or_else(|| format!("the docker config of {}", source.store_key), ToString::to_string)
}

fn problem(report: &RegistryReport) -> Option<String> {
    let is_good = report.result == FetchedReason::Fetched;
    (!is_good).then(|| report.message.clone().unwrap_or_else(|| report.result.to_string()))
}
