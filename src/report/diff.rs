//! What a write would change, with passwords shown as `(changed)`.
//!
//! Pure. In go the Secret as observed and the content it is to have, out come the entries that differ.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use serde::Serialize;

use crate::cluster::Secret;
use crate::docker_config::{DockerConfig, versions};
use crate::patcher::DesiredEntry;
use crate::rotator::Content;

/// One thing that would change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// An entry that is not in the Secret yet.
    #[strum(to_string = "+ {host}  {to}  username {username}  password (new)")]
    EntryAdded {
        /// Its host key.
        host: String,
        /// Store and version.
        to: String,
        /// The username.
        username: String,
    },
    /// An entry that differs.
    #[strum(to_string = "~ {host}  {from} → {to}{credential}")]
    EntryChanged {
        /// Its host key.
        host: String,
        /// Store and version as the Secret says.
        from: String,
        /// Store and version that were read.
        to: String,
        /// What of the credential differs, never how.
        credential: CredentialChange,
    },
    /// An entry that the ClusterPullSecret does not name.
    #[strum(to_string = "- {host}")]
    EntryRemoved {
        /// Its host key.
        host: String,
    },
    /// Labels, or bytes that mean the same.
    #[strum(to_string = "~ labels or layout of the Secret")]
    Layout,
    /// The Secret as a whole.
    #[strum(to_string = "- the Secret")]
    SecretRemoved,
    /// A name in the `imagePullSecrets` of a ServiceAccount that is not there yet.
    #[strum(to_string = "+ {secret} in ServiceAccount {service_account}")]
    ReferenceAdded {
        /// The ServiceAccount.
        service_account: String,
        /// The Secret it is to name.
        secret: String,
    },
    /// A name in the `imagePullSecrets` of a ServiceAccount that goes.
    #[strum(to_string = "- {secret} in ServiceAccount {service_account}")]
    ReferenceRemoved {
        /// The ServiceAccount.
        service_account: String,
        /// The Secret it is to name no more.
        secret: String,
    },
}

/// What of a credential differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, strum::Display)]
#[serde(rename_all = "camelCase")]
pub enum CredentialChange {
    /// Nothing: only the version.
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

/// The entries that a write of `content` would change.
#[must_use]
pub fn of_secret(observed: Option<&Secret>, content: &Content) -> Vec<Change> {
    let parse = |bytes: &[u8]| DockerConfig::parse_lenient(bytes).auths;
    let before = observed
        .and_then(|it| it.body.as_ref()?.docker_config.as_ref())
        .map(|it| parse(it.expose_secret()))
        .unwrap_or_default();
    let after = parse(content.docker_config.expose_secret());
    let annotation = observed.and_then(|secret| secret.versions.as_deref()).unwrap_or_default();
    let (from, to) = (versions::parse_lenient(annotation), versions::parse_lenient(&content.versions));
    let shown = |origin: Option<&versions::EntryOrigin>| {
        origin.map_or_else(|| "(unknown)".to_owned(), ToString::to_string)
    };

    let hosts: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |host| match (before.get(host), after.get(host)) {
        (None, Some(new)) => Some(Change::EntryAdded {
            host: host.to_string(),
            to: shown(to.get(host)),
            username: new.username.clone(),
        }),
        (Some(old), Some(new)) => {
            let password = old.password.expose_secret() != new.password.expose_secret();
            let credential = match (old.username != new.username, password) {
                (false, false) => CredentialChange::None,
                (true, false) => CredentialChange::Username,
                (false, true) => CredentialChange::Password,
                (true, true) => CredentialChange::Both,
            };
            let differs = credential != CredentialChange::None || from.get(host) != to.get(host);
            let (from, to) = (shown(from.get(host)), shown(to.get(host)));
            differs.then(|| Change::EntryChanged { host: host.to_string(), from, to, credential })
        }
        (Some(_), None) => Some(Change::EntryRemoved { host: host.to_string() }),
        (None, None) => None,
    };
    let changes: Vec<_> = hosts.into_iter().filter_map(change).collect();
    if changes.is_empty() { vec![Change::Layout] } else { changes }
}

/// What would change in the ServiceAccount that is to name the Secret, or not.
#[must_use]
pub fn of_reference(service_account: &str, wanted: DesiredEntry, secret_name: &str) -> Change {
    let (service_account, secret) = (service_account.to_owned(), secret_name.to_owned());
    match wanted {
        DesiredEntry::Present => Change::ReferenceAdded { service_account, secret },
        DesiredEntry::Absent => Change::ReferenceRemoved { service_account, secret },
    }
}
