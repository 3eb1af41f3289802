//! The changes that a write would make, with passwords shown as `(changed)`.
//!
//! Pure. In go the Secret as observed and its desired content, out come the entries that differ.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::ExposeSecret;
use serde::Serialize;

use crate::cluster::Secret;
use crate::credential::Credential;
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;
use crate::docker_config::versions::{self, EntryOrigin};
use crate::message;
use crate::object_name::SecretName;
use crate::patcher::DesiredEntry;
use crate::rotator::Content;

/// One planned change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum PlannedChange {
    /// A new entry in the Secret.
    #[strum(to_string = "+ {host}  {to}  username {username}  password (new)")]
    EntryAdded {
        /// The host key.
        host: String,
        /// The store and version.
        to: String,
        /// The username.
        username: String,
    },
    /// An entry that differs.
    #[strum(to_string = "~ {host}  {from} → {to}{credential}")]
    EntryChanged {
        /// The host key.
        host: String,
        /// The store and version in the annotation of the Secret.
        from: String,
        /// The store and version that were read.
        to: String,
        /// The parts of the credential that differ, never their values.
        credential: CredentialChange,
    },
    /// An entry that the ClusterPullSecret does not name.
    #[strum(to_string = "- {host}")]
    EntryRemoved {
        /// The host key.
        host: String,
    },
    /// Labels, or different bytes with the same meaning.
    #[strum(to_string = "~ labels or layout of the Secret")]
    Layout,
    /// The Secret as a whole.
    #[strum(to_string = "- the Secret")]
    SecretRemoved,
    /// A new name in the `imagePullSecrets` of a ServiceAccount.
    #[strum(to_string = "+ {secret} in ServiceAccount {service_account}")]
    ReferenceAdded {
        /// The ServiceAccount.
        service_account: String,
        /// The Secret to name.
        secret: SecretName,
    },
    /// A name that is removed from the `imagePullSecrets` of a ServiceAccount.
    #[strum(to_string = "- {secret} in ServiceAccount {service_account}")]
    ReferenceRemoved {
        /// The ServiceAccount.
        service_account: String,
        /// The Secret to name no longer.
        secret: SecretName,
    },
}

/// The parts of a credential that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "camelCase")]
pub enum CredentialChange {
    /// Neither: only the version.
    #[strum(to_string = "")]
    None,
    /// The username.
    #[strum(to_string = "  username (changed)")]
    Username,
    /// The password.
    #[strum(to_string = "  password (changed)")]
    Password,
    /// Both.
    #[strum(to_string = "  username (changed)  password (changed)")]
    Both,
}

/// Returns the entries that a write of `content` would change.
#[must_use]
pub fn secret_changes(observed: Option<&Secret>, content: &Content) -> Vec<PlannedChange> {
    let before = observed.and_then(|it| it.body.as_ref()?.docker_config.as_ref());
    let before = Entries {
        auths: before.map(|it| DockerConfig::parse_lenient(it.expose_secret()).auths).unwrap_or_default(),
        origins: versions::parse_lenient(
            observed.and_then(|secret| secret.versions.as_deref()).unwrap_or_default(),
        ),
    };
    let after = Entries {
        auths: DockerConfig::parse_lenient(content.docker_config.expose_secret()).auths,
        origins: versions::parse_lenient(&content.versions),
    };
    let hosts: BTreeSet<_> = before.auths.keys().chain(after.auths.keys()).collect();
    let changes: Vec<_> = hosts.into_iter().filter_map(|host| entry_change(host, &before, &after)).collect();
    if changes.is_empty() { vec![PlannedChange::Layout] } else { changes }
}

/// The entries of a Secret, with their origins.
struct Entries {
    auths: BTreeMap<HostKey, Credential>,
    origins: BTreeMap<HostKey, EntryOrigin>,
}

impl Entries {
    fn origin(&self, host: &HostKey) -> String {
        self.origins.get(host).map_or_else(|| "(unknown)".to_owned(), ToString::to_string)
    }
}

fn entry_change(host: &HostKey, before: &Entries, after: &Entries) -> Option<PlannedChange> {
    match (before.auths.get(host), after.auths.get(host)) {
        (None, Some(new)) => Some(PlannedChange::EntryAdded {
            host: host.to_string(),
            to: after.origin(host),
            username: new.username.clone(),
        }),
        (Some(old), Some(new)) => {
            let credential = CredentialChange::between(old, new);
            let differs =
                credential != CredentialChange::None || before.origins.get(host) != after.origins.get(host);
            let (from, to) = (before.origin(host), after.origin(host));
            differs.then(|| PlannedChange::EntryChanged { host: host.to_string(), from, to, credential })
        }
        (Some(_), None) => Some(PlannedChange::EntryRemoved { host: message::bounded(host.as_str()) }),
        (None, None) => None,
    }
}

impl CredentialChange {
    fn between(old: &Credential, new: &Credential) -> Self {
        let password = old.password.expose_secret() != new.password.expose_secret();
        match (old.username != new.username, password) {
            (false, false) => Self::None,
            (true, false) => Self::Username,
            (false, true) => Self::Password,
            (true, true) => Self::Both,
        }
    }
}

impl PlannedChange {
    /// Describes the change of an entry of a ServiceAccount.
    #[must_use]
    pub fn from_entry(service_account: &str, desired: DesiredEntry, secret_name: &SecretName) -> Self {
        let (service_account, secret) = (service_account.to_owned(), secret_name.clone());
        match desired {
            DesiredEntry::Present => Self::ReferenceAdded { service_account, secret },
            DesiredEntry::Absent | DesiredEntry::Dangling => {
                Self::ReferenceRemoved { service_account, secret }
            }
        }
    }
}
