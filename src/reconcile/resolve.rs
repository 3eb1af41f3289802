//! Resolves each registry of a ClusterPullSecret to credentials.
//!
//! Pure. In go the values as read, out come docker configs with their origin, or the error with store and
//! key. One value may serve many registries; it was read once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::credential::Version;
use crate::docker_config::versions::EntryOrigin;
use crate::docker_config::{DockerConfig, shapes};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, RegistrySource};
use crate::manifest::status::reason::FetchedReason;
use crate::provider::stores::Values;
use crate::provider::{Error, ErrorKind};
use crate::report::RegistryReport;

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
    /// The report about the registry.
    pub report: RegistryReport,
}

/// The credentials that were read and parsed.
pub struct FetchedCredentials {
    /// The entries.
    pub config: DockerConfig,
    /// The store and the version of the value.
    pub origin: EntryOrigin,
    /// A later version that was given up for this one.
    pub given_up: Option<Version>,
}

/// Resolves every registry of one ClusterPullSecret.
#[must_use]
pub fn resolve(cluster_pull_secret: &Arc<ClusterPullSecret>, values: &Values) -> Resolved {
    let named: BTreeSet<_> =
        cluster_pull_secret.registries.iter().filter_map(|it| it.host.as_ref()).collect();
    let mut hosts = BTreeSet::new();
    let registries = cluster_pull_secret.registries.iter().map(|source| {
        let outcome = parse_value(source, values).and_then(|mut fetched| {
            // A host that another registry names is not taken from a whole docker config, even where the
            // other registry could not be read.
            fetched.config.auths.retain(|host, _| source.host.is_some() || !named.contains(host));
            match fetched.config.auths.keys().find(|host| hosts.contains(*host)) {
                Some(host) => {
                    let what = format!("an earlier registry of the ClusterPullSecret already has {host}");
                    Err(FailedFetch::malformed(source, Some(fetched.origin.version), what))
                }
                None => Ok(fetched),
            }
        });
        if let Ok(fetched) = &outcome {
            hosts.extend(fetched.config.auths.keys().cloned());
        }
        ResolvedRegistry::new(source, outcome)
    });
    Resolved { cluster_pull_secret: Arc::clone(cluster_pull_secret), registries: registries.collect() }
}

/// An error reduced to the fields of a report: many registries may share one failed read.
struct FailedFetch {
    version: Option<Version>,
    reason: FetchedReason,
    message: String,
}

impl FailedFetch {
    fn new(version: Option<Version>, error: &Error) -> Self {
        Self { version, reason: error.reason(), message: error.to_string() }
    }

    fn malformed(source: &RegistrySource, version: Option<Version>, what: String) -> Self {
        Self::new(version, &ErrorKind::Malformed(what).at(source.store_key.clone()))
    }
}

fn parse_value(source: &RegistrySource, values: &Values) -> Result<FetchedCredentials, FailedFetch> {
    let value = match values.get(&source.store_key) {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(FailedFetch::new(None, error)),
        None => {
            let what = "the store was not read".to_owned();
            return Err(FailedFetch::new(None, &ErrorKind::Misconfigured(what).at(source.store_key.clone())));
        }
    };
    let config = shapes::parse(&value.bytes, source)
        .map_err(|what| FailedFetch::malformed(source, Some(value.version.clone()), what.to_string()))?;
    Ok(FetchedCredentials {
        config,
        origin: EntryOrigin::new(&source.store_key, value.version.clone()),
        given_up: None,
    })
}

impl ResolvedRegistry {
    fn new(source: &RegistrySource, outcome: Result<FetchedCredentials, FailedFetch>) -> Self {
        let mut report = RegistryReport {
            host: source.host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string),
            store: source.store_key.store.to_string(),
            key: source.store_key.key.to_string(),
            version: None,
            result: FetchedReason::Fetched,
            message: None,
        };
        let fetched = match outcome {
            Ok(fetched) => {
                report.version = Some(fetched.origin.version.to_string());
                Some(fetched)
            }
            Err(FailedFetch { version, reason, message }) => {
                report.version = version.map(|version| version.to_string());
                report.result = reason;
                report.message = Some(message);
                None
            }
        };
        Self { source: source.clone(), fetched, report }
    }
}
