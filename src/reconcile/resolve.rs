//! What each registry of each ClusterPullSecret is to hold, by what the stores said.
//!
//! Pure. In go the values as read, out come docker configs with their origin, or the error that says
//! store and key. One value may serve many registries; it was read once.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::credential::Version;
use crate::docker_config::versions::Origin;
use crate::docker_config::{DockerConfig, shapes};
use crate::manifest::cluster_pull_secret::{ClusterPullSecret, RegistrySource};
use crate::provider::Error;
use crate::provider::stores::Values;
use crate::report::RegistryReport;

/// A ClusterPullSecret with what its stores said.
pub struct Resolved {
    /// What is wanted.
    pub cluster_pull_secret: Arc<ClusterPullSecret>,
    /// One for each of its registries, in their order.
    pub registries: Vec<ResolvedRegistry>,
}

/// One registry with what its store said.
pub struct ResolvedRegistry {
    /// What is wanted.
    pub source: RegistrySource,
    /// The entries it gives; `None` where the read failed and the last good ones are kept.
    pub fresh: Option<FetchedCredentials>,
    /// What the report says of it.
    pub report: RegistryReport,
}

/// What was read and understood.
pub struct FetchedCredentials {
    /// The entries.
    pub config: DockerConfig,
    /// Where they came from.
    pub origin: Origin,
}

/// Looks into the values for every registry of one ClusterPullSecret.
#[must_use]
pub fn resolve(cluster_pull_secret: &Arc<ClusterPullSecret>, values: &Values) -> Resolved {
    let named: BTreeSet<_> =
        cluster_pull_secret.registries.iter().filter_map(|it| it.host.as_ref()).collect();
    let mut hosts = BTreeSet::new();
    let registries = cluster_pull_secret.registries.iter().map(|source| {
        let outcome = look_into(source, values).and_then(|mut fresh| {
            // Of a docker config taken whole, a host that another registry names is not ours to
            // give, whether that one could be read or not.
            fresh.config.auths.retain(|host, _| source.host.is_some() || !named.contains(host));
            match fresh.config.auths.keys().find(|host| hosts.contains(*host)) {
                Some(host) => {
                    let what =
                        format!("{host} is given by an earlier registry of the ClusterPullSecret already");
                    Err((Some(fresh.origin.version), malformed(source, what)))
                }
                None => Ok(fresh),
            }
        });
        if let Ok(fresh) = &outcome {
            hosts.extend(fresh.config.auths.keys().cloned());
        }
        registry(source, outcome)
    });
    Resolved { cluster_pull_secret: Arc::clone(cluster_pull_secret), registries: registries.collect() }
}

/// The version that was read, where there is one, beside the error.
type Failure = (Option<Version>, ErrorText);

/// An error reduced to what a report shows: many registries may share one failed read.
struct ErrorText {
    reason: &'static str,
    message: String,
}

impl From<&Error> for ErrorText {
    fn from(error: &Error) -> Self {
        Self { reason: error.reason(), message: error.to_string() }
    }
}

fn look_into(source: &RegistrySource, values: &Values) -> Result<FetchedCredentials, Failure> {
    let value = match values.get(&source.store_key) {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err((None, error.into())),
        None => {
            let what = "the store was not asked".to_owned();
            return Err((None, (&Error::Misconfigured { at: source.store_key.clone(), what }).into()));
        }
    };
    let config = shapes::parse(&value.bytes, source)
        .map_err(|what| (Some(value.version.clone()), malformed(source, what.to_string())))?;
    Ok(FetchedCredentials {
        config,
        origin: Origin { store: source.store_key.store.clone(), version: value.version.clone() },
    })
}

fn malformed(source: &RegistrySource, what: String) -> ErrorText {
    (&Error::Malformed { at: source.store_key.clone(), what }).into()
}

fn registry(source: &RegistrySource, outcome: Result<FetchedCredentials, Failure>) -> ResolvedRegistry {
    let mut report = RegistryReport {
        host: source.host.as_ref().map_or_else(|| "*".to_owned(), ToString::to_string),
        store: source.store_key.store.to_string(),
        key: source.store_key.key.to_string(),
        version: None,
        result: RegistryReport::FETCHED,
        message: None,
    };
    let fresh = match outcome {
        Ok(fresh) => {
            report.version = Some(fresh.origin.version.to_string());
            Some(fresh)
        }
        Err((version, ErrorText { reason, message })) => {
            report.version = version.map(|version| version.to_string());
            report.result = reason;
            report.message = Some(message);
            None
        }
    };
    ResolvedRegistry { source: source.clone(), fresh, report }
}
