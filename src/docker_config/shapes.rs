//! The shapes a stored value may have.
//!
//! In: a stored value. Out: credentials by host key, or the name of the malformed field, never its
//! content. Recognised are, in this order: the fields that the spec names;
//! a whole docker config; `{"auth"}`; `{"username", "password"}`; `{"username", "accessToken"}`, the
//! shape of [ECR pull-through cache]; a GCP JSON key under `username: _json_key`; a bare password
//! with the username in the spec.
//!
//! [ECR pull-through cache]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-secret.html

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Map, Value};

use super::host_key::{self, HostKey};
use super::registry_source::RegistrySource;
use super::{COLON, DockerConfig, decode_auth, entry_credential};
use crate::credential::Credential;

/// The username under which Google's registries accept a service account key as the password.
const GCP_JSON_KEY: &str = "_json_key";

const BROKEN_JSON: &str = "the value begins like JSON but is not valid JSON: correct it, or put a password that begins like this into a field `password`";

const NO_OBJECT: &str = "the value is JSON but not an object: correct it, or put a password that begins like this into a field `password`";

/// The reason a value is malformed: names the field, never its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl From<&str> for Malformed {
    fn from(what: &str) -> Self {
        Self(what.to_owned())
    }
}

/// Parses the credentials that `value` holds for `registry`.
pub fn parse(value: &SecretSlice<u8>, registry: &RegistrySource) -> Result<DockerConfig, Malformed> {
    let text =
        str::from_utf8(value.expose_secret()).map_err(|_| Malformed::from("the value is not UTF-8"))?;
    let text = without_line_end(text);
    if text.is_empty() {
        return Err("the value is empty".into());
    }
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Some(object),
        // A broken object must not become the password of a thousand namespaces.
        Err(_) if text.trim_start().starts_with(['{', '[']) => return Err(BROKEN_JSON.into()),
        Ok(Value::Array(_)) => return Err(NO_OBJECT.into()),
        _ => None,
    };
    let mut auths = match (object, &registry.host) {
        (Some(mut object), host) if names_no_field(registry) && object.contains_key("auths") => {
            docker_config(object.remove("auths").unwrap_or_default(), host.as_ref())?
        }
        (_, None) => {
            return Err("without `host` the value must be a docker config with `auths`".into());
        }
        (Some(object), Some(host)) => BTreeMap::from([(host.clone(), fields(object, registry)?)]),
        (None, Some(host)) => BTreeMap::from([(host.clone(), bare(text, registry)?)]),
    };
    for (host, credential) in &mut auths {
        compact_gcp_key(credential);
        validate(credential).map_err(|Malformed(what)| match registry.host {
            Some(_) => Malformed(what),
            None => Malformed(format!("{what}, in the entry for {host}")),
        })?;
    }
    Ok(DockerConfig { auths })
}

fn names_no_field(registry: &RegistrySource) -> bool {
    registry.username_key.is_none() && registry.password_key.is_none()
}

/// Parses a whole docker config: the entry for `host`, or every entry without a `host`.
fn docker_config(auths: Value, host: Option<&HostKey>) -> Result<BTreeMap<HostKey, Credential>, Malformed> {
    let Value::Object(auths) = auths else {
        return Err("`auths` is not an object".into());
    };
    let [last_resort, others] = host_key::split_last_resort(auths);
    let mut found = entries(last_resort, host)?;
    // Where both keys of Docker Hub are there, the kubelet takes `docker.io`.
    found.extend(entries(others, host)?);
    match host {
        Some(host) if found.is_empty() => Err(Malformed(format!("`auths` has no entry for {host}"))),
        None if found.is_empty() => Err("`auths` has no entry".into()),
        _ => Ok(found),
    }
}

fn entries(
    auths: Vec<(String, Value)>,
    host: Option<&HostKey>,
) -> Result<BTreeMap<HostKey, Credential>, Malformed> {
    let mut found = BTreeMap::new();
    for (name, entry) in auths {
        let key = match (HostKey::parse(&name), host) {
            (Ok(key), _) => key,
            (Err(_), Some(_)) => continue,
            (Err(error), None) => {
                return Err(Malformed(format!(
                    "`auths` holds a key that is not a registry host: it {error}"
                )));
            }
        };
        if host.is_some_and(|host| *host != key) {
            continue;
        }
        let credential =
            entry_credential(entry).map_err(|what| Malformed(format!("`auths`, entry for {key}: {what}")))?;
        if found.insert(key.clone(), credential).is_some() {
            return Err(Malformed(format!("`auths` holds {key} twice, spelled differently")));
        }
    }
    Ok(found)
}

/// Parses a JSON object with the username and the password in separate fields.
fn fields(mut object: Map<String, Value>, registry: &RegistrySource) -> Result<Credential, Malformed> {
    if registry.username.as_deref() == Some(GCP_JSON_KEY)
        && registry.password_key.is_none()
        && object.contains_key("private_key")
    {
        let password = Value::Object(object).to_string().into();
        return Ok(Credential { username: GCP_JSON_KEY.to_owned(), password });
    }
    if names_no_field(registry) && object.contains_key("auth") {
        let auth = string(&mut object, "auth")?;
        let decoded = decode_auth(&auth).map_err(Malformed::from)?;
        let username = registry.username.clone().unwrap_or(decoded.username);
        return Ok(Credential { username, password: decoded.password });
    }
    let username = match (&registry.username, &registry.username_key) {
        (Some(username), _) => username.clone(),
        (None, key) => string(&mut object, key.as_deref().unwrap_or("username"))?,
    };
    let password_key = match &registry.password_key {
        Some(key) => key.as_str(),
        None if !object.contains_key("password") && object.contains_key("accessToken") => "accessToken",
        None => "password",
    };
    Ok(Credential { username, password: string(&mut object, password_key)?.into() })
}

/// Removes the line ends between the fields of a GCP key as Google issues it; the key stays the same.
fn compact_gcp_key(credential: &mut Credential) {
    if credential.username != GCP_JSON_KEY {
        return;
    }
    if let Ok(Value::Object(key)) = serde_json::from_str(credential.password.expose_secret()) {
        credential.password = Value::Object(key).to_string().into();
    }
}

/// Parses a value that is the password as a whole.
fn bare(text: &str, registry: &RegistrySource) -> Result<Credential, Malformed> {
    if let Some(key) = registry.username_key.as_ref().or(registry.password_key.as_ref()) {
        return Err(Malformed(format!("the value is not a JSON object, so it has no field `{key}`")));
    }
    let Some(username) = registry.username.clone() else {
        return Err("the value is a bare password: put the `username` into the spec".into());
    };
    Ok(Credential { username, password: text.into() })
}

fn string(object: &mut Map<String, Value>, key: &str) -> Result<String, Malformed> {
    match object.remove(key) {
        Some(Value::String(text)) => Ok(without_line_end(&text).to_owned()),
        Some(_) => Err(Malformed(format!("field `{key}` is not a string"))),
        None => Err(Malformed(format!("field `{key}` is missing"))),
    }
}

/// Drops one trailing line end, as `docker login --password-stdin` does.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Rejects credentials that no registry accepts, and the placeholder of a template without a value.
fn validate(credential: &Credential) -> Result<(), Malformed> {
    if credential.username.contains(':') {
        return Err(COLON.into());
    }
    for (field, text) in
        [("username", credential.username.as_str()), ("password", credential.password.expose_secret())]
    {
        if text.is_empty() {
            return Err(Malformed(format!("the {field} is empty")));
        }
        if text.chars().any(char::is_control) {
            return Err(Malformed(format!("the {field} has a control character")));
        }
        if text.contains("<no value>") {
            return Err(Malformed(format!(
                "the {field} is the placeholder of a template that found no value"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
