//! The log of a sidecar: each problem once when it begins, and once when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tracing::{debug, info, warn};

use super::output_file::{AppliedFile, OutputError};
use super::plan::Hindrance;
use crate::docker_config::portable::PortabilityLimit;
use crate::repeated_failure::RepeatedFailure;

/// The problems that were logged.
#[derive(Debug, Default)]
pub(super) struct Journal {
    registries: BTreeMap<String, RepeatedFailure>,
    write: RepeatedFailure,
    limits: BTreeSet<PortabilityLimit>,
    hindrances: BTreeSet<Hindrance>,
}

impl Journal {
    /// Logs the problems of registries that are new or over.
    pub(super) fn log_registries(&mut self, problems: &BTreeMap<String, Option<String>>) {
        for (registry, problem) in problems {
            let known = self.registries.entry(registry.clone()).or_default();
            match problem {
                Some(message) if known.begins(message) => {
                    warn!(%registry, "the file may not be current: {message}");
                }
                None if known.ends() => info!(%registry, "fetched again"),
                _ => {}
            }
        }
    }

    /// Logs what no form of the file expresses for every client.
    pub(super) fn log_limits(&mut self, limits: &[PortabilityLimit]) {
        for limit in limits {
            if self.limits.insert(limit.clone()) {
                if limit.is_harmless() { info!("{limit}") } else { warn!("{limit}") }
            }
        }
    }

    /// Logs the result of a write.
    pub(super) fn log_write(&mut self, path: &Path, outcome: &Result<AppliedFile, OutputError>) {
        let file = path.display();
        match outcome {
            Ok(AppliedFile { is_written, entries, hindrances, .. }) => {
                if *is_written {
                    info!(%file, entries, "docker config written");
                } else {
                    debug!(%file, entries, "docker config is current");
                }
                self.write.ends();
                for hindrance in hindrances {
                    if self.hindrances.insert(hindrance.clone()) {
                        warn!(%file, "{hindrance}");
                    }
                }
            }
            Err(error) if self.write.begins(&error.to_string()) => warn!("{error}; {}", error.hint()),
            Err(_) => {}
        }
    }
}
