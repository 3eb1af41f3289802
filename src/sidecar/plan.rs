//! The next content of the file: the entries that are desired, and what stays of the file that exists.
//!
//! Pure. In go the file as it is, the record of regcred's own entries, and the desired ones; out come the bytes, or the
//! reason why the file is left alone. The same input always gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretSlice;
use serde_json::{Map, Value, json};

use super::existing::{AUTH, ExistingConfig, NotADockerConfig};
use super::record::EntryRecord;
use crate::credential::Credential;
use crate::docker_config::encode_auth;
use crate::docker_config::host_key::HostKey;
use crate::named;

/// The entries that a file should have.
#[derive(Clone, Debug, Default)]
pub struct DesiredEntries {
    /// The credentials by key of the file.
    pub entries: BTreeMap<String, Credential>,
    /// The registries that this process could not read yet: their entries stay as they are in the file.
    pub unread: Vec<UnreadRegistry>,
    /// The registries that their stores may not serve: they have no entry.
    pub denied: Vec<String>,
    /// The keys of entries that stay as they are, because a docker config that was read has no usable one.
    pub kept: BTreeSet<String>,
}

/// A registry that this process could not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadRegistry {
    /// The name in messages: a host, or the key of a whole docker config.
    pub name: String,
    /// Its keys in the file; none of a whole docker config, of which the hosts are unknown.
    pub keys: Option<Vec<String>>,
}

/// The decision about a file.
pub(super) struct FilePlan {
    /// The new bytes; `None` if the file has the desired content, or there is nothing to write yet.
    pub(super) content: Option<SecretSlice<u8>>,
    /// The record of the file with that content.
    pub(super) record: EntryRecord,
    /// Parts of the file that keep clients from regcred's entries.
    pub(super) hindrances: Vec<Hindrance>,
}

/// A reason why a file is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileRefusal {
    /// It holds what regcred did not write.
    #[error("the file holds what regcred did not write: {}", named::join(.0, ", "))]
    Foreign(Vec<String>),
    /// It cannot be read as a docker config.
    #[error(transparent)]
    NotADockerConfig(#[from] NotADockerConfig),
}

/// A part of a file for which clients pass over regcred's entries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Hindrance {
    /// A credential store for every registry.
    #[error(
        "`credsStore` is set: docker, BuildKit, crane, cosign, nerdctl, oras, helm, docker-py and Testcontainers ask it and not the entries of the file. Remove it, or give this file a directory of its own"
    )]
    CredsStore,
    /// A credential helper for registries of regcred.
    #[error(
        "`credHelpers` has {0}: nearly every client asks the helper and not the entry of the file. Remove it, or give this file a directory of its own"
    )]
    CredHelper(String),
    /// Another entry for a registry of regcred.
    #[error(
        "`auths` has {0}, which is another spelling of a registry of regcred: some clients take that entry. Remove it"
    )]
    OtherSpelling(String),
    /// An entry by another program under a key of regcred.
    #[error("`auths` had {0} by another program: the entry of regcred replaces it")]
    Replaced(String),
    /// A group of the directory that the file cannot have.
    #[error(
        "the directory has the group {0}, which this process may not give to the file: only its own user reads it. Run it as a member of that group, set the setgid bit of the directory, or pass --mode"
    )]
    Group(u32),
}

/// Decides about a file. With `merge` everything that regcred did not write stays.
pub(super) fn plan(
    existing: Option<&[u8]>,
    record: &EntryRecord,
    desired: &DesiredEntries,
    merge: bool,
) -> Result<FilePlan, FileRefusal> {
    let existing = existing.map(ExistingConfig::parse).transpose()?;
    let is_absent = existing.is_none();
    let existing = existing.unwrap_or_default();
    let owner = EntryOwnership { record, desired };
    if !merge {
        let entries = owner.foreign(&existing).map(|key| format!("auths.{key}"));
        let foreign: Vec<_> = existing.others.keys().cloned().chain(entries).collect();
        if !foreign.is_empty() {
            return Err(FileRefusal::Foreign(foreign));
        }
    }
    let own: Map<_, _> = owner.own_entries(&existing);
    let written: BTreeSet<String> = own.keys().cloned().collect();
    let missing = desired.missing(&own);
    let mut entries: Map<_, _> = existing.entries.clone();
    entries.retain(|key, _| !owner.is_own(key));
    entries.extend(own);
    let mut hindrances = hindrances(&existing, &entries, &written);
    let replaced = owner.foreign(&existing).filter(|key| desired.entries.contains_key(*key));
    hindrances.extend(replaced.cloned().map(Hindrance::Replaced));
    let next = ExistingConfig { entries, others: existing.others.clone() };
    let is_current = next == existing && (!is_absent || written.is_empty());
    let content = (!is_current).then(|| next.render().into());
    Ok(FilePlan { content, record: EntryRecord { written, missing }, hindrances })
}

/// The rule by which an entry of the file is regcred's: the record has it. The form of an entry says nothing, because
/// `docker login` writes the same.
struct EntryOwnership<'a> {
    record: &'a EntryRecord,
    desired: &'a DesiredEntries,
}

impl EntryOwnership<'_> {
    fn is_own(&self, key: &str) -> bool {
        self.record.written.contains(key)
    }

    /// Returns true if an entry has another author, and other content than regcred would write.
    fn is_foreign(&self, key: &str, entry: &Value) -> bool {
        !self.is_own(key) && self.desired.entry(key).is_none_or(|desired| desired != *entry)
    }

    /// Returns true if an entry of regcred stays as it is, because its registry could not be read.
    fn is_kept(&self, key: &str) -> bool {
        self.is_own(key) && (self.desired.keeps(key) || self.desired.has_unknown_hosts())
    }

    /// Returns the keys of the entries that another program wrote.
    fn foreign<'b>(&self, existing: &'b ExistingConfig) -> impl Iterator<Item = &'b String> {
        let entries = existing.entries.iter().filter(|(key, entry)| self.is_foreign(key, entry));
        entries.map(|(key, _)| key)
    }

    /// Returns the entries that regcred has in the next file.
    fn own_entries(&self, existing: &ExistingConfig) -> Map<String, Value> {
        let kept = existing.entries.iter().filter(|(key, _)| self.is_kept(key));
        let kept = kept.map(|(key, entry)| (key.clone(), entry.clone()));
        let new = self.desired.entries.keys();
        let new = new.filter_map(|key| Some((key.clone(), self.desired.entry(key)?)));
        kept.chain(new).collect()
    }
}

impl DesiredEntries {
    /// Returns the entry of a key as regcred writes it.
    fn entry(&self, key: &str) -> Option<Value> {
        self.entries.get(key).map(|credential| json!({AUTH: encode_auth(credential)}))
    }

    /// Returns true if the entry of a key stays as it is.
    fn keeps(&self, key: &str) -> bool {
        let mut unread = self.unread.iter().flat_map(|it| it.keys.iter().flatten());
        self.kept.contains(key) || unread.any(|it| it == key)
    }

    /// Returns true if a whole docker config was not read yet: any entry of the file may be one of its hosts.
    fn has_unknown_hosts(&self) -> bool {
        self.unread.iter().any(|it| it.keys.is_none())
    }

    /// Returns the registries of which the next file has no entry.
    fn missing(&self, own: &Map<String, Value>) -> BTreeSet<String> {
        let unread = self.unread.iter().filter(|it| it.is_missing(own, self)).map(|it| it.name.clone());
        unread.chain(self.denied.iter().cloned()).collect()
    }
}

impl UnreadRegistry {
    /// Returns true if the next file has no entry of the registry.
    fn is_missing(&self, own: &Map<String, Value>, desired: &DesiredEntries) -> bool {
        match &self.keys {
            Some(keys) => !keys.iter().all(|key| own.contains_key(key)),
            None => own.keys().all(|key| desired.entries.contains_key(key)),
        }
    }
}

/// Returns the parts of a file for which clients pass over the entries that regcred wrote.
fn hindrances(
    existing: &ExistingConfig,
    entries: &Map<String, Value>,
    written: &BTreeSet<String>,
) -> Vec<Hindrance> {
    let has_store =
        existing.others.get("credsStore").and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    let helpers = existing.others.get("credHelpers").and_then(Value::as_object);
    let helpers = helpers.into_iter().flat_map(Map::keys).filter(|host| written.contains(*host));
    let hosts: BTreeSet<_> = written.iter().filter_map(|key| HostKey::parse(key).ok()).collect();
    let others = entries.keys().filter(|key| !written.contains(*key));
    let spellings = others.filter(|key| HostKey::parse(key).is_ok_and(|host| hosts.contains(&host)));
    has_store
        .then_some(Hindrance::CredsStore)
        .into_iter()
        .chain(helpers.cloned().map(Hindrance::CredHelper))
        .chain(spellings.cloned().map(Hindrance::OtherSpelling))
        .collect()
}

#[cfg(test)]
mod tests;
