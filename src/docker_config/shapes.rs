//! The shapes of a stored value: `{"username", "password"}`; `{"auth"}`; a whole docker config, also in the shape of
//! `.dockercfg`, as the text of a field or as base64; `{"username", "accessToken"}`, the shape of
//! [ECR pull-through cache]; a GCP JSON key under `username: _json_key`; a bare password with the username in the
//! spec.
//!
//! Pure. A value that is unmistakable is understood. One that cannot be a password is malformed, so that it never
//! replaces a good one: `unusable` has the forms in which tools print, wrap and encode secrets.
//!
//! [ECR pull-through cache]: https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-creating-secret.html

use secrecy::{ExposeSecret, SecretSlice};
use serde_json::{Map, Value};

use self::text::Json;
use self::unusable::Unusable;
use super::DockerConfig;
use super::entry::{EntryError, decode_auth};
use super::host_key::HostKey;
use super::registry_source::RegistrySource;
use crate::credential::Credential;

mod ecr;
mod google_key;
mod text;
mod unusable;
mod whole_config;

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

/// The credentials in a stored value.
#[derive(Debug, Default)]
pub struct ParsedValue {
    /// The entries that can be used.
    pub config: DockerConfig,
    /// The entries of a whole docker config that cannot be used; none for a registry with a `host`.
    pub rejected: Vec<RejectedEntry>,
}

/// An entry of a whole docker config that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {why}")]
pub struct RejectedEntry {
    /// The registry; `None` where the key is no registry host.
    pub host: Option<HostKey>,
    /// The entry in a message: `entry for ghcr.io`.
    pub name: String,
    /// The cause.
    pub why: Malformed,
}

/// Parses the credentials that `value` holds for `registry`.
pub fn parse(value: &SecretSlice<u8>, registry: &RegistrySource) -> Result<ParsedValue, Malformed> {
    let text = text::read(value.expose_secret())?;
    let json = text::json(text);
    if let Some(config) = whole_config::find(text, &json, registry)? {
        return config.parse(registry.host.as_ref());
    }
    let form = match &json {
        Json::Object(object) => unusable::find_object(object),
        Json::List | Json::Broken | Json::Other => Unusable::find(text),
    };
    let form = form.map(describe);
    let Some(host) = &registry.host else {
        return Err(
            form.unwrap_or_else(|| "without `host` the value must be a docker config with `auths`".into())
        );
    };
    let credential = match (json, form) {
        // Fields of the right names count more than the others.
        (Json::Object(object), form) => {
            fields(object, registry).map_err(|missing| form.unwrap_or(missing))?
        }
        (Json::List, _) => return Err(NO_OBJECT.into()),
        (_, Some(form)) => return Err(form),
        (Json::Broken, None) => return Err(BROKEN_JSON.into()),
        (Json::Other, None) => bare(text, registry)?,
    };
    let config = DockerConfig { auths: [(host.clone(), finish(credential)?)].into() };
    Ok(ParsedValue { config, rejected: Vec::new() })
}

/// Describes a whole value that cannot be used.
fn describe(form: Unusable) -> Malformed {
    match form {
        // It would have been understood.
        Unusable::Config => {
            "the value is a docker config as a whole: remove `usernameKey` and `passwordKey` from the spec"
                .into()
        }
        form => Malformed(format!("the value {form}")),
    }
}

fn names_no_field(registry: &RegistrySource) -> bool {
    registry.username_key.is_none() && registry.password_key.is_none()
}

/// Returns true if an object has a field in which a password is looked for.
fn has_credential(object: &Map<String, Value>) -> bool {
    ["auth", "password", "accessToken"].iter().any(|field| object.contains_key(*field))
}

/// Parses a JSON object with the username and the password in separate fields.
fn fields(mut object: Map<String, Value>, registry: &RegistrySource) -> Result<Credential, Malformed> {
    if registry.username.as_deref() == Some(google_key::USERNAME)
        && registry.password_key.is_none()
        && google_key::is_key(&object)
    {
        let password = Value::Object(object).to_string().into();
        return Ok(Credential { username: google_key::USERNAME.to_owned(), password });
    }
    if names_no_field(registry) && object.contains_key("auth") {
        let auth = string(&mut object, "auth")?;
        let decoded = decode_auth(&auth).map_err(|error| Malformed(error.to_string()))?;
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

/// Parses a value that is the password as a whole.
fn bare(text: &str, registry: &RegistrySource) -> Result<Credential, Malformed> {
    if let Some(key) = registry.username_key.as_ref().or(registry.password_key.as_ref()) {
        return Err(Malformed(format!("the value is not a JSON object, so it has no field `{key}`")));
    }
    if let Some(form) = Unusable::find_wrapped(text, registry.username.as_deref()) {
        return Err(Malformed(format!("the value {form}")));
    }
    let Some(username) = registry.username.clone() else {
        return Err("the value is a bare password: put the `username` into the spec".into());
    };
    Ok(Credential { username, password: text.into() })
}

fn string(object: &mut Map<String, Value>, key: &str) -> Result<String, Malformed> {
    match object.remove(key) {
        Some(Value::String(text)) => Ok(text::without_marks(&text).to_owned()),
        Some(Value::Null) => Err(Malformed(format!("field `{key}` is null"))),
        Some(_) => Err(Malformed(format!("field `{key}` is not a string"))),
        None => Err(Malformed(format!("field `{key}` is missing"))),
    }
}

/// Brings a credential into its final form, and rejects one that no registry accepts.
fn finish(credential: Credential) -> Result<Credential, Malformed> {
    let Credential { username, password } = &credential;
    if username.contains(':') {
        return Err(Malformed(EntryError::Colon.to_string()));
    }
    let fields = [("username", username.as_str()), ("password", password.expose_secret())];
    if let Some((field, _)) = fields.iter().find(|(_, text)| text.is_empty()) {
        return Err(Malformed(format!("the {field} is empty")));
    }
    if let Some(form) = Unusable::find_in_username(username) {
        return Err(Malformed(format!("the username {form}")));
    }
    if google_key::is_username(username) {
        return google_key::finish(credential);
    }
    if let Some(form) = Unusable::find_password(username, password.expose_secret()) {
        return Err(Malformed(format!("the password {form}")));
    }
    match fields.iter().find(|(_, text)| text.chars().any(char::is_control)) {
        Some((field, _)) => Err(Malformed(format!("the {field} has a control character"))),
        None => Ok(credential),
    }
}

#[cfg(test)]
mod tests;
