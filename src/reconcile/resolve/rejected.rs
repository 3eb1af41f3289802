//! The entries of a whole docker config that cannot be used: they keep their last good values, and are reported.
//!
//! Pure. The other entries of the same value are written.

use std::collections::BTreeSet;

use crate::credential::StoreKey;
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::shapes::{Malformed, RejectedEntry};
use crate::installation::last_good::LastGoodValue;
use crate::named;
use crate::provider::ErrorKind;

/// The entries of a whole docker config that cannot be used, of registries without a usable one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectedEntries {
    /// Their registries.
    pub hosts: BTreeSet<HostKey>,
    /// The entries and what is wrong with them; `None` if all can be used.
    pub message: Option<String>,
}

impl RejectedEntries {
    pub(super) fn new(rejected: Vec<RejectedEntry>, store_key: &StoreKey) -> Self {
        if rejected.is_empty() {
            return Self::default();
        }
        let what = format!("`auths` holds what cannot be used: {}", reasons(&rejected));
        Self {
            hosts: rejected.into_iter().filter_map(|entry| entry.host).collect(),
            message: Some(ErrorKind::Malformed(what).at(store_key.clone()).to_string()),
        }
    }

    /// Returns the entries that were fetched, and the last good value of each that cannot be used. The whole has the
    /// version of the value: this is what the value amounts to.
    pub(super) fn with_last_good(
        &self,
        config: &DockerConfig,
        known: Option<&LastGoodValue>,
    ) -> DockerConfig {
        let mut config = config.clone();
        let known = known.into_iter().flat_map(|known| &known.config.auths);
        let kept = known.filter(|(host, _)| self.hosts.contains(*host));
        config.auths.extend(kept.map(|(host, credential)| (host.clone(), credential.clone())));
        config
    }
}

/// Describes a docker config without any entry that can be used.
pub(super) fn nothing_usable(rejected: &[RejectedEntry]) -> String {
    format!("`auths` holds nothing that can be used: {}", reasons(rejected))
}

/// Names the entries, those with the same cause together.
fn reasons(rejected: &[RejectedEntry]) -> String {
    let mut causes: Vec<(&Malformed, Vec<&str>)> = Vec::new();
    for RejectedEntry { name, why, .. } in rejected {
        match causes.iter_mut().find(|(cause, _)| *cause == why) {
            Some((_, names)) => names.push(name),
            None => causes.push((why, vec![name])),
        }
    }
    let causes = causes.iter().map(|(cause, names)| format!("{}: {cause}", named::join(names, ", ")));
    named::join(causes, "; ")
}
