//! The credentials of one registry in the values as read, or the error in the words of a report.
//!
//! Pure.

use super::FetchedCredentials;
use super::rejected::RejectedEntries;
use crate::credential::{Expiry, Version};
use crate::docker_config::host_key::HostKey;
use crate::docker_config::shapes::{self, ParsedValue, RejectedEntry};
use crate::docker_config::versions::EntryOrigin;
use crate::manifest::cluster_pull_secret::RegistrySource;
use crate::manifest::status::reason::FetchedReason;
use crate::named;
use crate::provider::stores::Values;
use crate::provider::{Error, ErrorKind};

/// An error reduced to the fields of a report: many registries may share one failed read.
pub(super) struct FailedFetch {
    pub(super) version: Option<Version>,
    pub(super) reason: FetchedReason,
    pub(super) message: String,
    pub(super) is_host_denied: bool,
}

impl FailedFetch {
    fn new(version: Option<Version>, error: &Error) -> Self {
        Self { version, reason: error.reason(), message: error.to_string(), is_host_denied: false }
    }

    pub(super) fn malformed(source: &RegistrySource, version: Option<Version>, what: String) -> Self {
        Self::new(version, &ErrorKind::Malformed(what).at(source.store_key.clone()))
    }

    pub(super) fn hosts_not_allowed<'h>(
        source: &RegistrySource,
        hosts: impl IntoIterator<Item = &'h HostKey>,
    ) -> Self {
        let hosts: Vec<_> = hosts.into_iter().map(HostKey::as_str).collect();
        let removed = match hosts.as_slice() {
            [_] => "its entries are removed. Add it to `hosts` of the store",
            _ => "their entries are removed. Add them to `hosts` of the store",
        };
        let hosts = named::join(hosts, ", ");
        let message = format!("{}: not allowed by the store's `hosts`: {hosts}; {removed}", source.store_key);
        Self { version: None, reason: FetchedReason::NotAllowed, message, is_host_denied: true }
    }
}

/// Returns the credentials of a value, which may be none, and the entries that cannot be used.
pub(super) fn parse_value(
    source: &RegistrySource,
    values: &Values,
) -> Result<(FetchedCredentials, Vec<RejectedEntry>), FailedFetch> {
    let value = match values.get(&source.store_key) {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(FailedFetch::new(None, error)),
        None => {
            let what = "the store was not read".to_owned();
            return Err(FailedFetch::new(None, &ErrorKind::Misconfigured(what).at(source.store_key.clone())));
        }
    };
    let ParsedValue { config, rejected } = shapes::parse(&value.bytes, source)
        .map_err(|what| FailedFetch::malformed(source, Some(value.version.clone()), what.to_string()))?;
    let origin = EntryOrigin::new(&source.store_key, value.version.clone());
    let expires = value.expiry.as_ref().and_then(Expiry::life).map(|life| life.expires);
    let rejected_entries = RejectedEntries::default();
    let fetched = FetchedCredentials { config, origin, expires, given_up: None, rejected: rejected_entries };
    Ok((fetched, rejected))
}
