//! One ClusterPullSecret.

use std::collections::{BTreeMap, BTreeSet};

use super::super::cluster_pull_secret::{
    ClusterPullSecret, ClusterPullSecretDocument, ClusterPullSecretSpec, Registry, RegistrySource,
    ServiceAccounts,
};
use super::super::field::{FieldErrors, FieldPath};
use super::super::names::Rule;
use super::super::node::Value;
use super::super::{interval, names, schema, suggest};
use super::{check_name, check_text, selection};
use crate::credential::{Key, StoreKey, StoreName};
use crate::docker_config::host_key::HostKey;

/// All ServiceAccounts of a namespace.
const ALL: &str = "*";

/// What the API server keeps with the object; no wish, so it is passed over.
const STATUS: &str = "status";

pub(crate) const NO_REGISTRY: Rule = "must have at least one registry";
pub(crate) const LONG_NAME: Rule = "must have at most 63 characters: it is also the value of a label";
pub(crate) const DOTS: Rule = "must not have . or .. between its slashes";
pub(crate) const COLON: Rule = "must not have a colon";
pub(crate) const TWO_USERNAMES: Rule = "is given beside from.usernameKey: give one of them";
pub(crate) const NEEDS_HOST: Rule =
    "needs a host: without one every entry of a docker config is taken as it is";
pub(crate) const NOT_ALONE: Rule = "* stands for all: it must be the only entry";

/// The pull secret, or nothing where a mistake leaves no choice; every mistake is noted either way.
///
/// `stores` are the stores there are, where they are known.
pub(crate) fn check(
    spot: &FieldPath<'_>,
    stores: Option<&[String]>,
    mistakes: &mut FieldErrors,
) -> Option<ClusterPullSecret> {
    schema::validate::<ClusterPullSecretDocument>(spot, &[STATUS], mistakes);
    let (name, spec) = (spot.field("metadata").field("name"), spot.field("spec"));
    check_name(&name, object_name, mistakes);
    check_name(&spec.field("secretName"), names::dns_subdomain, mistakes);
    let registries = check_registries(&spec.field("registries"), stores, mistakes);
    let selection = selection::check(&spec.field("namespaces"), mistakes);
    check_service_accounts(&spec.field("serviceAccounts"), mistakes);
    check_name(&spec.field("refreshInterval"), |text| interval::parse(text).map(drop), mistakes);

    let name = name.text()?.to_owned();
    let written: ClusterPullSecretSpec = schema::part(&spec)?;
    Some(ClusterPullSecret {
        secret_name: written.secret_name.unwrap_or_else(|| name.clone()),
        name,
        registries,
        selection,
        service_accounts: match &written.service_accounts[..] {
            [name] if name == ALL => ServiceAccounts::All,
            _ => ServiceAccounts::Named(written.service_accounts),
        },
        existing: written.existing,
        refresh_interval: interval::parse(&written.refresh_interval).ok()?,
        deletion: written.deletion,
        suspend: written.suspend,
        object: None,
    })
}

/// The name of an object that is also the value of the label by which its Secrets are found.
fn object_name(name: &str) -> Result<(), Rule> {
    names::dns_subdomain(name)?;
    if name.len() <= 63 { Ok(()) } else { Err(LONG_NAME) }
}

fn check_registries(
    spot: &FieldPath<'_>,
    stores: Option<&[String]>,
    mistakes: &mut FieldErrors,
) -> Vec<RegistrySource> {
    if spot.node().is_some_and(|node| node.value == Value::List(Vec::new())) {
        mistakes.push(spot.mistake(NO_REGISTRY));
    }
    let mut first_uses = FirstUses::default();
    let mut registries = Vec::new();
    for spot in spot.items() {
        let host = check_host(&spot.field("host"), mistakes);
        check_from(&spot.field("from"), stores, mistakes);
        check_username(&spot, mistakes);
        first_uses.check(&spot, host.as_ref(), mistakes);
        if let Some(Registry { host: _, from, username }) = schema::part(&spot) {
            registries.push(RegistrySource {
                host,
                store_key: StoreKey { store: StoreName(from.store), key: Key(from.key) },
                username,
                username_key: from.username_key,
                password_key: from.password_key,
            });
        }
    }
    registries
}

/// Where a host was first, and, of registries without one, a whole docker config.
#[derive(Default)]
struct FirstUses<'a> {
    hosts: BTreeMap<HostKey, FieldPath<'a>>,
    /// By store and key.
    configs: BTreeMap<(&'a str, &'a str), FieldPath<'a>>,
}

impl<'a> FirstUses<'a> {
    fn check(&mut self, spot: &FieldPath<'a>, host: Option<&HostKey>, mistakes: &mut FieldErrors) {
        let (host_spot, from) = (spot.field("host"), spot.field("from"));
        if let Some(host) = host {
            match self.hosts.get(host) {
                Some(first) => {
                    let what =
                        format!("is {host}, which {first} is already: each registry may be there once");
                    mistakes.push(host_spot.mistake(what));
                }
                None => {
                    self.hosts.insert(host.clone(), host_spot);
                }
            }
        } else if host_spot.node().is_none()
            && let (Some(store), Some(key)) = (from.field("store").text(), from.field("key").text())
        {
            match self.configs.get(&(store, key)) {
                Some(first) => {
                    mistakes.push(spot.mistake(format!("takes every entry of the same key as {first}")));
                }
                None => {
                    self.configs.insert((store, key), spot.clone());
                }
            }
        }
    }
}

fn check_host(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Option<HostKey> {
    match HostKey::parse(spot.text()?) {
        Ok(host) => Some(host),
        Err(error) => {
            mistakes.push(spot.mistake(error.to_string()));
            None
        }
    }
}

fn check_from(spot: &FieldPath<'_>, stores: Option<&[String]>, mistakes: &mut FieldErrors) {
    let (store, key) = (spot.field("store"), spot.field("key"));
    check_store(&store, stores, mistakes);
    check_text(&key, mistakes);
    // A store that is asked over HTTP would take these for a way out of its mount.
    if key.text().is_some_and(|key| key.split('/').any(|part| matches!(part, "." | ".."))) {
        mistakes.push(key.mistake(DOTS));
    }
    check_text(&spot.field("usernameKey"), mistakes);
    check_text(&spot.field("passwordKey"), mistakes);
}

fn check_store(spot: &FieldPath<'_>, stores: Option<&[String]>, mistakes: &mut FieldErrors) {
    let Some(name) = spot.text() else { return };
    match stores {
        Some(stores) if stores.iter().any(|known| known == name) => {}
        // A name that no store can have needs no list of those there are.
        _ if names::dns_label(name).is_err() => check_name(spot, names::dns_label, mistakes),
        Some(stores) => {
            let known: Vec<&str> = stores.iter().map(String::as_str).collect();
            let hint = suggest::hint(name, &known);
            mistakes.push(spot.mistake(format!("no store has this name; {hint}")));
        }
        None => {}
    }
}

/// The username of a registry, and whether the fields beside it have a use for one.
fn check_username(registry: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let (username, from) = (registry.field("username"), registry.field("from"));
    check_text(&username, mistakes);
    // A docker config writes `username:password`, so a colon would move a part of the name to the password.
    if username.text().is_some_and(|username| username.contains(':')) {
        mistakes.push(username.mistake(COLON));
    }
    let (username_key, password_key) = (from.field("usernameKey"), from.field("passwordKey"));
    if username.node().is_some() && username_key.node().is_some() {
        mistakes.push(username.mistake(TWO_USERNAMES));
    }
    if registry.field("host").node().is_none() {
        for spot in [username, username_key, password_key].iter().filter(|spot| spot.node().is_some()) {
            mistakes.push(spot.mistake(NEEDS_HOST));
        }
    }
}

fn check_service_accounts(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for item in spot.items() {
        let Some(name) = item.text() else { continue };
        if name != ALL {
            check_name(&item, names::dns_subdomain, mistakes);
        } else if spot.items().nth(1).is_some() {
            mistakes.push(item.mistake(NOT_ALONE));
        }
        if !seen.insert(name) {
            mistakes.push(item.mistake("is there twice"));
        }
    }
}
