//! One store of a Config.

use globset::GlobSet;
use url::Url;

use super::super::config::{
    Backend, KvVersion, Store, StoreDocument, VaultAuth, VaultAuthDocument, VaultSettings, VaultStore,
};
use super::super::field::{FieldErrors, FieldPath};
use super::super::node::Value;
use super::super::selection::glob_set;
use super::super::{names, schema};
use super::{check_globs, check_name, check_text, no_glob};

const MORE_THAN_ONE: &str =
    "has more than one of vault, awsSecretsManager and file: make each a store of its own";

/// The store, or nothing where a mistake leaves no choice; every mistake is noted either way.
pub(super) fn check(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Option<Store> {
    check_name(&spot.field("name"), names::dns_label, mistakes);
    let keys = spot.field("keys");
    let keys = keys.node().map(|_| check_keys(&keys, mistakes));
    let address = check_vault(&spot.field("vault"), mistakes);
    check_secrets_manager(&spot.field("awsSecretsManager"), mistakes);
    check_path(&spot.field("file").field("directory"), mistakes);
    match given(spot, ["vault", "awsSecretsManager", "file"]) {
        Some(0) => mistakes.push(spot.mistake("has none of vault, awsSecretsManager and file: give one")),
        None | Some(1) => {}
        Some(_) => mistakes.push(spot.mistake(MORE_THAN_ONE)),
    }

    let written: StoreDocument = schema::part(spot)?;
    let vault = written.vault.zip(address).map(|(vault, address)| Backend::Vault(settings(vault, address)));
    let backend = vault
        .or(written.aws_secrets_manager.map(Backend::AwsSecretsManager))
        .or(written.file.map(Backend::File))?;
    Some(Store { name: written.name, keys, backend })
}

/// Whether it is one of AWS, or says of itself no other kind.
pub(super) fn may_be_of_aws(spot: &FieldPath<'_>) -> bool {
    let has = |name| spot.field(name).node().is_some();
    has("awsSecretsManager") || !(has("vault") || has("file"))
}

/// How many of these fields there are, right or wrong, where there can be fields at all.
fn given(spot: &FieldPath<'_>, names: [&str; 3]) -> Option<usize> {
    let node = spot.node().filter(|node| matches!(node.value, Value::Map(_)))?;
    Some(names.into_iter().filter(|name| node.field(name).is_some()).count())
}

fn check_keys(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> GlobSet {
    glob_set(&check_globs(spot, mistakes)).unwrap_or_else(|error| {
        mistakes.push(no_glob(spot, &error));
        GlobSet::empty()
    })
}

/// The address, where it is one.
fn check_vault(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Option<Url> {
    let namespace = spot.field("namespace");
    check_visible(&namespace, namespace.text(), mistakes);
    check_path(&spot.field("caFile"), mistakes);
    check_mount(&spot.field("mount"), mistakes);

    let auth = spot.field("auth");
    let (kubernetes, app_role) = (auth.field("kubernetes"), auth.field("appRole"));
    check_text(&kubernetes.field("role"), mistakes);
    check_path(&kubernetes.field("tokenFile"), mistakes);
    check_mount(&kubernetes.field("mount"), mistakes);
    check_path(&app_role.field("roleIdFile"), mistakes);
    check_path(&app_role.field("secretIdFile"), mistakes);
    check_mount(&app_role.field("mount"), mistakes);
    check_path(&auth.field("tokenFile"), mistakes);
    if given(&auth, ["kubernetes", "appRole", "tokenFile"]).is_some_and(|given| given > 1) {
        mistakes.push(auth.mistake("has more than one of kubernetes, appRole and tokenFile: give one"));
    }

    let address = spot.field("address");
    let url = check_url(&address, "https://vault.example.com:8200", mistakes)?;
    if url.path() != "/" {
        mistakes.push(address.mistake("must not have a path: end it with the host and port"));
    }
    Some(url)
}

fn settings(written: VaultStore, address: Url) -> VaultSettings {
    let VaultAuthDocument { kubernetes, app_role, token_file } = written.auth;
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
        auth,
    }
}

fn check_secrets_manager(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    check_region(&spot.field("region"), mistakes);
    check_url(&spot.field("endpointUrl"), "https://secretsmanager.eu-west-1.amazonaws.com", mistakes);
}

pub(super) fn check_region(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if spot.text().is_some_and(|text| text.is_empty() || !text.chars().all(is_inner)) {
        mistakes.push(spot.mistake("must be the name of a region, such as eu-west-1"));
    }
}

fn check_mount(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let mount = spot.text().map(trimmed);
    check_visible(spot, mount, mistakes);
    if mount.is_some_and(|mount| {
        !mount.is_empty() && mount.split('/').any(|part| matches!(part, "" | "." | ".."))
    }) {
        mistakes.push(spot.mistake("must not have an empty part, . or .. between its slashes"));
    }
}

/// A mount without slashes at its ends, which people write and Vault does not mean.
fn trimmed(mount: &str) -> &str {
    mount.trim_matches('/')
}

/// Notes a text that is empty or cannot stand in the headers and paths of HTTP.
fn check_visible(spot: &FieldPath<'_>, text: Option<&str>, mistakes: &mut FieldErrors) {
    let Some(text) = text else { return };
    if text.is_empty() {
        mistakes.push(spot.mistake("must not be empty"));
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        mistakes.push(
            spot.mistake("must be ASCII without spaces and control characters: it goes into HTTP requests"),
        );
    }
}

pub(super) fn check_path(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    if spot.text() == Some("") {
        mistakes.push(spot.mistake("must not be empty"));
    }
}

pub(super) fn check_url(spot: &FieldPath<'_>, example: &str, mistakes: &mut FieldErrors) -> Option<Url> {
    let what = match Url::parse(spot.text()?) {
        Err(error) => format!("must be a URL, such as {example}: {error}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "must be an http or https URL".to_owned(),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "must not hold a username or password".to_owned()
        }
        Ok(url) if url.query().is_some() || url.fragment().is_some() => {
            "must not have a query or a fragment".to_owned()
        }
        Ok(url) => return Some(url),
    };
    mistakes.push(spot.mistake(what));
    None
}
