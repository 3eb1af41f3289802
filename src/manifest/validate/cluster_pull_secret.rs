//! One ClusterPullSecret, from a file or from the API server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::cluster_pull_secret::{ClusterPullSecret, RegistrySource, ServiceAccounts};
use super::super::field::{FieldErrors, FieldPath};
use super::super::names::Rule;
use super::super::wire::{self, ClusterPullSecretSpec, CredentialSource, PathMethod, Registry};
use super::super::yaml::node::Value;
use super::super::{interval, names, schema, suggest};
use super::text::{validate_name, validate_text};
use super::{DEFAULT_STORE, selection};
use crate::credential::dynamic_path::{self, Method, PathError};
use crate::credential::{Key, StoreKey, StoreName};
use crate::docker_config::host_key::HostKey;

/// All ServiceAccounts of a namespace.
const ALL: &str = "*";

/// The field that the API server keeps with the object: no part of the desired state, so it is ignored.
pub(super) const STATUS: &str = "status";

pub(crate) const NO_REGISTRY: Rule = "must have at least one registry";
pub(crate) const LONG_NAME: Rule = "must have at most 63 characters: it is also the value of a label";
pub(crate) const DOTS: Rule = "must not have . or .. between its slashes";
pub(crate) const BRACES: Rule =
    "must have no braces but those of {{namespace}}, which stands for the name of the namespace";
pub(crate) const KEY_IS_PATH: Rule = "must not begin with GET / or POST /: give the path in `path`";
pub(crate) const KEY_OR_PATH: Rule = "must have either key or path";
pub(crate) const NEEDS_PATH: Rule = "is for a path: give one, or remove the method";
pub(crate) const SERVER_PATH: Rule =
    "must not have a part sys, auth or cubbyhole: these belong to the server itself";
pub(crate) const PATH_SPELLING: Rule =
    "must be at least two parts of letters, digits and _-.:@+ between single slashes, without . and ..";
pub(crate) const COLON: Rule = "must not have a colon";
pub(crate) const TWO_USERNAMES: Rule = "cannot be combined with from.usernameKey: use only one of them";
pub(crate) const WITH_CONFIG: Rule =
    "cannot be combined with from.configKey: each entry of a docker config has its own username and password";
pub(crate) const NEEDS_HOST: Rule =
    "needs a host: without one every entry of a docker config is taken as it is";
const ONLY_DEFAULT: &str = " (the store `files` exists only if no Config defines a store)";
pub(crate) const NOT_ALONE: Rule = "* stands for all: it must be the only entry";

/// Returns the ClusterPullSecret, or `None` if it cannot be built; all errors are added either way.
///
/// `stores` are the names of the configured stores, if they are known.
pub(crate) fn validate(
    path: &FieldPath<'_>,
    stores: Option<&[String]>,
    errors: &mut FieldErrors,
) -> Option<ClusterPullSecret> {
    schema::validate::<wire::ClusterPullSecret>(path, &[STATUS], errors);
    let (name, spec) = (path.field("metadata").field("name"), path.field("spec"));
    validate_name(&name, object_name, errors);
    validate_name(&spec.field("secretName"), names::dns_subdomain, errors);
    let registries = validate_registries(&spec.field("registries"), stores, errors);
    let selection = selection::validate(&spec.field("namespaces"), errors);
    validate_service_accounts(&spec.field("serviceAccounts"), errors);
    validate_name(&spec.field("refreshInterval"), |text| interval::parse(text).map(drop), errors);

    let name = name.text()?.to_owned();
    let written: ClusterPullSecretSpec = schema::deserialize(&spec)?;
    Some(ClusterPullSecret {
        secret_name: written.secret_name.unwrap_or_else(|| name.clone()).into(),
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
        admission: Arc::default(),
        object: None,
    })
}

/// Checks the name of an object that is also the value of the label by which its Secrets are found.
fn object_name(name: &str) -> Result<(), Rule> {
    names::dns_subdomain(name)?;
    if name.len() <= 63 { Ok(()) } else { Err(LONG_NAME) }
}

fn validate_registries(
    path: &FieldPath<'_>,
    stores: Option<&[String]>,
    errors: &mut FieldErrors,
) -> Vec<RegistrySource> {
    if path.node().is_some_and(|node| node.value == Value::List(Vec::new())) {
        errors.push(path.error(NO_REGISTRY));
    }
    let mut first_uses = FirstUses::default();
    let mut registries = Vec::new();
    for path in path.items() {
        let host = validate_host(&path.field("host"), errors);
        validate_source(&path.field("from"), stores, errors);
        validate_username(&path, errors);
        first_uses.add(&path, host.as_ref(), errors);
        if let Some(Registry { host: _, from, username }) = schema::deserialize(&path) {
            registries.push(RegistrySource {
                host,
                store_key: StoreKey { key: key(&from), store: StoreName(from.store) },
                username,
                username_key: from.username_key,
                password_key: from.password_key,
                config_key: from.config_key,
            });
        }
    }
    registries
}

/// Returns the key of a source, which has a key or a path.
fn key(from: &CredentialSource) -> Key {
    let method = match from.method {
        PathMethod::Read => Method::Read,
        PathMethod::Write => Method::Write,
    };
    match &from.path {
        Some(path) => Key::from_path(method, path),
        None => Key(from.key.clone().unwrap_or_default()),
    }
}

/// The first place of every host, and of every whole docker config taken by registries without a host.
#[derive(Default)]
struct FirstUses<'a> {
    hosts: BTreeMap<HostKey, FieldPath<'a>>,
    /// By store and key.
    configs: BTreeMap<(&'a str, &'a str), FieldPath<'a>>,
}

impl<'a> FirstUses<'a> {
    fn add(&mut self, path: &FieldPath<'a>, host: Option<&HostKey>, errors: &mut FieldErrors) {
        let (host_path, from) = (path.field("host"), path.field("from"));
        if let Some(host) = host {
            match self.hosts.get(host) {
                Some(first) => {
                    let detail =
                        format!("is {host}, which {first} has already: list each registry only once");
                    errors.push(host_path.error(detail));
                }
                None => {
                    self.hosts.insert(host.clone(), host_path);
                }
            }
        } else if host_path.node().is_none()
            && let Some(store) = from.field("store").text()
            && let Some(key) = from.field("key").text().or(from.field("path").text())
        {
            match self.configs.get(&(store, key)) {
                Some(first) => {
                    errors.push(path.error(format!("takes every entry of the same key as {first}")));
                }
                None => {
                    self.configs.insert((store, key), path.clone());
                }
            }
        }
    }
}

fn validate_host(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Option<HostKey> {
    match HostKey::parse(path.text()?) {
        Ok(host) => Some(host),
        Err(error) => {
            errors.push(path.error(error.to_string()));
            None
        }
    }
}

fn validate_source(path: &FieldPath<'_>, stores: Option<&[String]>, errors: &mut FieldErrors) {
    let (store, key) = (path.field("store"), path.field("key"));
    validate_store_name(&store, stores, errors);
    validate_text(&key, errors);
    // A store with an HTTP API would resolve these to a path outside its mount.
    if key.text().is_some_and(|key| key.split('/').any(|part| matches!(part, "." | ".."))) {
        errors.push(key.error(DOTS));
    }
    if key.text().is_some_and(Key::has_other_braces) {
        errors.push(key.error(BRACES));
    }
    if key.text().is_some_and(|key| Key::from(key).dynamic_path().is_some()) {
        errors.push(key.error(KEY_IS_PATH));
    }
    validate_path(path, errors);
    validate_text(&path.field("usernameKey"), errors);
    validate_text(&path.field("passwordKey"), errors);
    validate_text(&path.field("configKey"), errors);
}

fn validate_path(from: &FieldPath<'_>, errors: &mut FieldErrors) {
    let (key, path, method) = (from.field("key"), from.field("path"), from.field("method"));
    let is_map = from.node().is_some_and(|node| matches!(node.value, Value::Map(_)));
    if is_map && key.node().is_some() == path.node().is_some() {
        errors.push(from.error(KEY_OR_PATH));
    }
    if method.text() == Some("write") && path.node().is_none() {
        errors.push(method.error(NEEDS_PATH));
    }
    let Some(text) = path.text() else { return };
    if Key::has_other_braces(text) {
        errors.push(path.error(BRACES));
        return;
    }
    // The name of a namespace is checked when it is put in.
    match dynamic_path::check(&Key::from(text).in_namespace(&"x".into()).0) {
        Err(PathError::Server) => errors.push(path.error(SERVER_PATH)),
        Err(PathError::Spelling) => errors.push(path.error(PATH_SPELLING)),
        Ok(()) => {}
    }
}

fn validate_store_name(path: &FieldPath<'_>, stores: Option<&[String]>, errors: &mut FieldErrors) {
    let Some(name) = path.text() else { return };
    match stores {
        Some(stores) if stores.iter().any(|known| known == name) => {}
        // A name that no store can have needs no list of the known ones.
        _ if names::dns_label(name).is_err() => validate_name(path, names::dns_label, errors),
        Some(stores) => {
            let known: Vec<&str> = stores.iter().map(String::as_str).collect();
            let hint = suggest::hint(name, &known);
            let note = if name == DEFAULT_STORE { ONLY_DEFAULT } else { "" };
            errors.push(path.error(format!("no store has this name; {hint}{note}")));
        }
        None => {}
    }
}

/// Validates the username of a registry together with the fields that exclude or require it.
fn validate_username(registry: &FieldPath<'_>, errors: &mut FieldErrors) {
    let (username, from) = (registry.field("username"), registry.field("from"));
    validate_text(&username, errors);
    // A docker config writes `username:password`, so a colon would move a part of the name to the password.
    if username.text().is_some_and(|username| username.contains(':')) {
        errors.push(username.error(COLON));
    }
    let (username_key, password_key) = (from.field("usernameKey"), from.field("passwordKey"));
    if username.node().is_some() && username_key.node().is_some() {
        errors.push(username.error(TWO_USERNAMES));
    }
    if from.field("configKey").node().is_some() {
        for path in [&username, &username_key, &password_key].iter().filter(|path| path.node().is_some()) {
            errors.push(path.error(WITH_CONFIG));
        }
    }
    if registry.field("host").node().is_none() {
        for path in [username, username_key, password_key].iter().filter(|path| path.node().is_some()) {
            errors.push(path.error(NEEDS_HOST));
        }
    }
}

fn validate_service_accounts(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for item in path.items() {
        let Some(name) = item.text() else { continue };
        if name != ALL {
            validate_name(&item, names::dns_subdomain, errors);
        } else if path.items().nth(1).is_some() {
            errors.push(item.error(NOT_ALONE));
        }
        if !seen.insert(name) {
            errors.push(item.error("is listed twice: remove one"));
        }
    }
}
