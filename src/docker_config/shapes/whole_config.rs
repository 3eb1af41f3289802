//! A whole docker config in a stored value: as JSON, as a text in a field, or as base64, and its entries.
//!
//! Pure. In go the value and the source of a registry, out come the credentials, and the entries that cannot be
//! used with their reasons: one bad entry does not hold back its neighbours.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::text::{self, Json};
use super::{Malformed, ParsedValue, RejectedEntry, ecr, finish};
use crate::credential::Credential;
use crate::docker_config::entry::{self, EntryError};
use crate::docker_config::host_key::{self, HostKey};
use crate::docker_config::registry_source::RegistrySource;
use crate::message;

/// The fields in which a docker config is looked for where the spec names none.
const CONFIG_FIELDS: [&str; 4] = [".dockerconfigjson", "dockerconfigjson", "DOCKER_CONFIG", "value"];

/// The fields of a docker config that name the programs which hold its passwords.
const HELPERS: [&str; 3] = ["credsStore", "credHelpers", "credStore"];

/// The most layers of base64 and JSON text around a docker config.
const MAX_LAYERS: u8 = 3;

const TWICE: &str = "it is there twice, spelled differently, with different credentials. Remove one";

const IN_HELPER: &str = ": its password is in the credential store that `credsStore` or `credHelpers` names, on the machine that wrote the docker config. Log in with a docker config without these fields, and store that";

/// A docker config in a stored value.
pub(super) struct WholeConfig {
    /// The entries; `None` where the docker config names credential stores alone.
    auths: Option<Value>,
    /// True if it names a credential store.
    has_helper: bool,
}

/// Finds the docker config of a value, if it holds one for this registry.
pub(super) fn find(
    text: &str,
    json: &Json,
    registry: &RegistrySource,
) -> Result<Option<WholeConfig>, Malformed> {
    match (json, &registry.config_key) {
        (Json::Object(object), Some(key)) => {
            let field = object.get(key).ok_or_else(|| Malformed(format!("field `{key}` is missing")))?;
            WholeConfig::from_value(field, MAX_LAYERS).map(Some).ok_or_else(|| no_config(key, field))
        }
        (_, Some(key)) => {
            Err(Malformed(format!("the value is not a JSON object, so it has no field `{key}`")))
        }
        (Json::Object(object), None) => in_object(object, registry),
        (_, None) if super::names_no_field(registry) => Ok(WholeConfig::from_text(text, MAX_LAYERS)),
        (_, None) => Ok(None),
    }
}

fn in_object(
    object: &Map<String, Value>,
    registry: &RegistrySource,
) -> Result<Option<WholeConfig>, Malformed> {
    if let Some(key) = &registry.password_key {
        let field = object.get(key).filter(|_| CONFIG_FIELDS.contains(&key.as_str()));
        return Ok(field.and_then(|field| WholeConfig::from_value(field, MAX_LAYERS)));
    }
    if registry.username_key.is_some() {
        return Ok(None);
    }
    if let Some(config) = WholeConfig::from_object(object) {
        return Ok(Some(config));
    }
    if registry.host.is_some() && super::has_credential(object) {
        return Ok(None);
    }
    let fields = CONFIG_FIELDS.iter().filter_map(|key| Some((*key, object.get(*key)?)));
    let mut configs =
        fields.clone().filter_map(|(key, field)| Some((key, WholeConfig::from_value(field, MAX_LAYERS)?)));
    match (configs.next(), configs.next()) {
        (Some((first, _)), Some((second, _))) => Err(Malformed(format!(
            "the fields `{first}` and `{second}` both hold a docker config: name one of them with `configKey`"
        ))),
        (Some((_, config)), None) => Ok(Some(config)),
        // The other names are used for other content, too.
        (None, _) => match fields.clone().find(|(key, _)| key.ends_with("dockerconfigjson")) {
            Some((key, field)) => Err(no_config(key, field)),
            None => Ok(None),
        },
    }
}

/// Describes a field that should hold a docker config.
fn no_config(key: &str, field: &Value) -> Malformed {
    let what = match field {
        Value::Null => "it is null",
        Value::Object(_) => "its object has neither `auths` nor registry hosts",
        Value::String(text) if text.is_empty() => "it is empty",
        Value::String(_) => "its text is neither the JSON of one nor base64 of that",
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => "it is neither an object nor a text",
    };
    Malformed(format!("field `{key}` holds no docker config: {what}"))
}

impl WholeConfig {
    /// Recognises a docker config by `auths`, by credential stores, or by hosts at the top level, which is the shape
    /// of `.dockercfg`.
    pub(super) fn from_object(object: &Map<String, Value>) -> Option<Self> {
        let has_helper = HELPERS.iter().any(|field| object.contains_key(*field));
        if object.contains_key("auths") || has_helper && !super::has_credential(object) {
            return Some(Self { auths: object.get("auths").cloned(), has_helper });
        }
        is_dockercfg(object).then(|| Self { auths: Some(Value::Object(object.clone())), has_helper: false })
    }

    /// Recognises a docker config as JSON, as a JSON string of it, and as base64 of it, one in the other.
    pub(super) fn from_text(text: &str, layers: u8) -> Option<Self> {
        let layers = layers.checked_sub(1)?;
        let text = text::without_marks(text).trim();
        if text.starts_with(['{', '"']) {
            return Self::from_value(&serde_json::from_str(text).ok()?, layers);
        }
        Self::from_text(entry::decode_base64(text)?.expose_secret(), layers)
    }

    fn from_value(value: &Value, layers: u8) -> Option<Self> {
        match value {
            Value::Object(object) => Self::from_object(object),
            Value::String(text) => Self::from_text(text, layers),
            _ => None,
        }
    }

    /// Parses the entry for `host`, or every entry without a `host`.
    pub(super) fn parse(self, host: Option<&HostKey>) -> Result<ParsedValue, Malformed> {
        let Self { auths, has_helper } = self;
        let hint = if has_helper { IN_HELPER } else { "" };
        let auths = match auths {
            Some(Value::Object(auths)) => ecr::with_alias(auths, host),
            None => return Err(Malformed(format!("the docker config has no `auths`{hint}"))),
            Some(_) => return Err("`auths` is not an object".into()),
        };
        let absence = ecr::describe_absence(&auths, host);
        let mut parsed = ParsedValue::default();
        // Where both keys of Docker Hub are there, the kubelet takes `docker.io`.
        for part in host_key::split_last_resort(auths) {
            for (key, spellings) in group(part, host, hint, &mut parsed.rejected) {
                spellings.settle(key, &mut parsed);
            }
        }
        let Some(host) = host else {
            let is_empty = parsed.config.auths.is_empty() && parsed.rejected.is_empty();
            return if is_empty { Err(Malformed(format!("`auths` has no entry{hint}"))) } else { Ok(parsed) };
        };
        if parsed.config.auths.contains_key(host) {
            return Ok(ParsedValue { rejected: Vec::new(), ..parsed });
        }
        Err(match parsed.rejected.into_iter().next() {
            Some(entry) => Malformed(format!("`auths`, {entry}")),
            None => absence.unwrap_or_else(|| Malformed(format!("`auths` has no entry for {host}{hint}"))),
        })
    }
}

/// The entries of one registry, which may be spelled in several ways.
#[derive(Default)]
struct Spellings {
    usable: Vec<Credential>,
    errors: Vec<Malformed>,
}

impl Spellings {
    fn settle(self, host: HostKey, parsed: &mut ParsedValue) {
        let mut errors = self.errors;
        let mut usable = self.usable.into_iter();
        match usable.next() {
            Some(first) if usable.all(|other| is_same(&first, &other)) => {
                parsed.config.auths.insert(host.clone(), first);
            }
            Some(_) => errors.push(TWICE.into()),
            None => {}
        }
        parsed.rejected.extend(errors.into_iter().map(|why| RejectedEntry {
            host: Some(host.clone()),
            name: format!("entry for {host}"),
            why,
        }));
    }
}

fn is_same(one: &Credential, other: &Credential) -> bool {
    one.username == other.username && one.password.expose_secret() == other.password.expose_secret()
}

/// Groups entries by registry; a key that is no registry host is rejected, unless one `host` is looked for.
fn group(
    auths: Vec<(String, Value)>,
    host: Option<&HostKey>,
    hint: &str,
    rejected: &mut Vec<RejectedEntry>,
) -> BTreeMap<HostKey, Spellings> {
    let mut groups: BTreeMap<HostKey, Spellings> = BTreeMap::new();
    for (name, entry) in auths {
        let key = match HostKey::parse(&name) {
            Ok(key) if host.is_none_or(|host| *host == key) => key,
            Err(error) if host.is_none() => {
                let why = Malformed(format!("it is not a registry host: it {error}"));
                rejected.push(RejectedEntry { host: None, name: key_name(&name), why });
                continue;
            }
            Ok(_) | Err(_) => continue,
        };
        let hint = if entry.is_object() { hint } else { "" };
        let credential = entry::credential(entry).map_err(|error| match error {
            EntryError::NoCredential => Malformed(format!("{error}{hint}")),
            _ => Malformed(error.to_string()),
        });
        let spellings = groups.entry(key.clone()).or_default();
        match credential.and_then(finish) {
            Ok(credential) => spellings.usable.push(credential),
            Err(why) => spellings.errors.push(why),
        }
    }
    groups
}

/// Names a key that is not a registry host, unless it may hold a password: before an `@` or after a colon.
fn key_name(key: &str) -> String {
    let (_, authority) = key.split_once("://").unwrap_or(("", key));
    match message::printable(key).filter(|_| !authority.contains(['@', ':'])) {
        Some(key) => format!("key `{key}`"),
        None => "a key that is not shown".to_owned(),
    }
}

/// Returns true for the shape of `.dockercfg`: entries at the top level, at least one of them under a registry host.
fn is_dockercfg(object: &Map<String, Value>) -> bool {
    object.values().all(Value::is_object)
        && object.iter().any(|(key, entry)| HostKey::parse(key).is_ok() && has_entry_fields(entry))
}

fn has_entry_fields(entry: &Value) -> bool {
    [&["auth"][..], &["identitytoken"], &["username", "password"]]
        .iter()
        .any(|fields| fields.iter().all(|field| entry[*field].is_string()))
}

#[cfg(test)]
mod tests;
