//! One store of a Config.

use std::sync::Arc;

use globset::GlobSet;
use url::{Host, Url};

use super::super::admission::{HostPatterns, StoreAdmission};
use super::super::config::{Backend, KvVersion, RedirectHost, Store, VaultAuth, VaultSettings, is_loopback};
use super::super::field::{FieldErrors, FieldPath};
use super::super::selection::glob_set;
use super::super::wire::{StoreSpec, VaultAuthSpec, VaultStore};
use super::super::yaml::node::Value;
use super::super::{names, schema};
use super::text::{
    EMPTY, invalid_glob, validate_file, validate_globs, validate_name, validate_text, validate_url,
};
use super::{aws_store, selection};

const REDIRECT_HOST: &str = "must be a host, with or without a port, such as node-1.example.com:8200";

const PLAIN_HTTP: &str = "must be an https URL: with http everybody on the network can read the token and the \
     passwords. Use https, with `caFile` for an authority of your own, or set `allowHttp: true`";

const MORE_THAN_ONE: &str =
    "has more than one of vault, awsSecretsManager, awsEcr and file: make each a store of its own";

const NONE: &str = "has none of vault, awsSecretsManager, awsEcr and file: give one";

/// The fields of which a store has one.
const BACKENDS: [&str; 4] = ["vault", "awsSecretsManager", "awsEcr", "file"];

/// Returns the store, or `None` if it cannot be built; all errors are added either way.
pub(super) fn validate(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Option<Store> {
    validate_name(&path.field("name"), names::dns_label, errors);
    let keys = path.field("keys");
    let keys = keys.node().map(|_| validate_keys(&keys, errors));
    let admission = validate_admission(path, errors);
    let vault_path = path.field("vault");
    let address = validate_vault(&vault_path, errors);
    let redirect_hosts = validate_redirect_hosts(&vault_path.field("redirectHosts"), errors);
    aws_store::validate_secrets_manager(&path.field("awsSecretsManager"), errors);
    aws_store::validate_ecr(&path.field("awsEcr"), errors);
    validate_file(&path.field("file").field("directory"), errors);
    match count_fields(path, &BACKENDS) {
        Some(0) => errors.push(path.error(NONE)),
        None | Some(1) => {}
        Some(_) => errors.push(path.error(MORE_THAN_ONE)),
    }

    let written: StoreSpec = schema::deserialize(path)?;
    let vault = written
        .vault
        .zip(address)
        .map(|(vault, address)| Backend::Vault(Box::new(settings(vault, address, redirect_hosts))));
    let backend = vault
        .or(written.aws_secrets_manager.map(Backend::AwsSecretsManager))
        .or(written.aws_ecr.map(Backend::AwsEcr))
        .or(written.file.map(Backend::File))?;
    Some(Store {
        name: written.name,
        keys,
        admission: Arc::new(admission),
        max_polls_per_second: written.max_polls_per_second,
        backend,
    })
}

/// Returns true for a store if AWS reports its changes by events, and for one without a known backend. ECR reports
/// nothing about its tokens.
pub(super) fn may_have_aws_events(path: &FieldPath<'_>) -> bool {
    path.field("awsSecretsManager").node().is_some()
        || BACKENDS.iter().all(|name| path.field(name).node().is_none())
}

/// Counts how many of these fields a map has, valid or not; `None` if it is no map.
fn count_fields(path: &FieldPath<'_>, names: &[&str]) -> Option<usize> {
    let node = path.node().filter(|node| matches!(node.value, Value::Map(_)))?;
    Some(names.iter().filter(|name| node.field(name).is_some()).count())
}

fn validate_keys(path: &FieldPath<'_>, errors: &mut FieldErrors) -> GlobSet {
    glob_set(&validate_globs(path, errors)).unwrap_or_else(|error| {
        errors.push(invalid_glob(path, &error));
        GlobSet::empty()
    })
}

/// Validates the allow-lists of namespaces and hosts.
fn validate_admission(path: &FieldPath<'_>, errors: &mut FieldErrors) -> StoreAdmission {
    let (namespaces, selector) = (path.field("namespaces"), path.field("namespaceSelector"));
    let hosts = path.field("hosts");
    selection::validate_selector(&selector, errors);
    StoreAdmission {
        namespaces: namespaces.node().map(|_| selection::validate_patterns(&namespaces, errors)),
        selector: schema::deserialize(&selector).unwrap_or_default(),
        hosts: hosts.node().map(|_| validate_hosts(&hosts, errors)),
    }
}

fn validate_hosts(path: &FieldPath<'_>, errors: &mut FieldErrors) -> HostPatterns {
    let mut valid = Vec::new();
    for path in path.items() {
        let Some(text) = path.text() else { continue };
        match HostPatterns::check(text) {
            Ok(()) => valid.push(text),
            Err(rule) => errors.push(path.error(rule)),
        }
    }
    HostPatterns::compile(&valid).unwrap_or_else(|error| {
        errors.push(invalid_glob(path, &error));
        HostPatterns::default()
    })
}

/// Validates a Vault and returns its address, if that is valid.
fn validate_vault(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Option<Url> {
    let namespace = path.field("namespace");
    validate_visible_ascii(&namespace, namespace.text(), errors);
    validate_file(&path.field("caFile"), errors);
    validate_mount(&path.field("mount"), errors);

    let auth = path.field("auth");
    let (kubernetes, app_role) = (auth.field("kubernetes"), auth.field("appRole"));
    validate_text(&kubernetes.field("role"), errors);
    validate_file(&kubernetes.field("tokenFile"), errors);
    validate_mount(&kubernetes.field("mount"), errors);
    validate_file(&app_role.field("roleIdFile"), errors);
    validate_file(&app_role.field("secretIdFile"), errors);
    validate_mount(&app_role.field("mount"), errors);
    validate_file(&auth.field("tokenFile"), errors);
    if count_fields(&auth, &["kubernetes", "appRole", "tokenFile"]).is_some_and(|count| count > 1) {
        errors.push(auth.error("has more than one of kubernetes, appRole and tokenFile: give one"));
    }

    let address = path.field("address");
    let url = validate_url(&address, "https://vault.example.com:8200", errors)?;
    if url.path().trim_end_matches('/').ends_with("/v1") {
        errors.push(address.error("must not end with /v1: leave it out, every request adds it"));
    }
    let allows_http = path.field("allowHttp").node().is_some_and(|node| node.value == Value::Bool(true));
    if url.scheme() == "http" && !allows_http && !is_loopback(&url) {
        errors.push(address.error(PLAIN_HTTP));
    }
    Some(url)
}

fn validate_redirect_hosts(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Vec<RedirectHost> {
    let mut hosts = Vec::new();
    for path in path.items() {
        match path.text().map(redirect_host) {
            Some(Some(host)) => hosts.push(host),
            Some(None) => errors.push(path.error(REDIRECT_HOST)),
            None => {}
        }
    }
    hosts
}

/// Parses `HOST` or `HOST:PORT`; an IPv6 address is in brackets.
fn redirect_host(text: &str) -> Option<RedirectHost> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = Host::parse(host).ok()?;
    let is_host = !matches!(&host, Host::Domain(name) if names::dns_subdomain(name).is_err());
    is_host.then_some(RedirectHost { host, port })
}

fn settings(written: VaultStore, address: Url, redirect_hosts: Vec<RedirectHost>) -> VaultSettings {
    let VaultAuthSpec { kubernetes, app_role, token_file } = written.auth;
    let auth = if let Some(mut auth) = kubernetes {
        auth.mount = trimmed(&auth.mount).to_owned();
        VaultAuth::Kubernetes(auth)
    } else if let Some(mut auth) = app_role {
        auth.mount = trimmed(&auth.mount).to_owned();
        VaultAuth::AppRole(auth)
    } else {
        token_file.map_or(VaultAuth::Environment, VaultAuth::TokenFile)
    };
    VaultSettings {
        address,
        mount: trimmed(&written.mount).to_owned(),
        kv: if written.kv_version == 1 { KvVersion::V1 } else { KvVersion::V2 },
        namespace: written.namespace,
        ca_file: written.ca_file,
        redirect_hosts,
        allow_http: written.allow_http,
        auth,
    }
}

fn validate_mount(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let mount = path.text().map(trimmed);
    validate_visible_ascii(path, mount, errors);
    if mount.is_some_and(|mount| {
        !mount.is_empty() && mount.split('/').any(|part| matches!(part, "" | "." | ".."))
    }) {
        errors.push(path.error("must not have an empty part, . or .. between its slashes"));
    }
}

/// Strips the slashes at the ends of a mount, which people write and Vault does not expect.
fn trimmed(mount: &str) -> &str {
    mount.trim_matches('/')
}

/// Rejects a text that is empty or cannot be part of HTTP headers and paths.
fn validate_visible_ascii(path: &FieldPath<'_>, text: Option<&str>, errors: &mut FieldErrors) {
    let Some(text) = text else { return };
    if text.is_empty() {
        errors.push(path.error(EMPTY));
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        errors.push(
            path.error("must be ASCII without spaces and control characters: it goes into HTTP requests"),
        );
    }
}
