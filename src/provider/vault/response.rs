//! The answers of the KV engines: a value with its version, or what is known of the versions.
//!
//! Pure: a body goes in. Of a value nothing but the value itself stays behind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::zeroize::{Zeroize, Zeroizing};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::connection::Reply;
use super::failure;
use crate::credential::{StoredValue, Version};
use crate::provider::failure::Failure;

/// An answer to a read.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

/// The `data` of an answer of KV v2.
#[derive(Deserialize)]
struct Versioned {
    data: Value,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    /// When this version was deleted or, with `delete_version_after`, will be; empty where it stays.
    #[serde(default)]
    deletion_time: String,
}

/// The `data` of an answer about the versions of a key.
#[derive(Deserialize)]
struct Versions {
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<String, Life>,
}

/// What became of a version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Life {
    /// As in [`Metadata`].
    deletion_time: String,
    destroyed: bool,
}

/// A value of KV v1.
pub(super) fn value_v1(Reply { body, .. }: &Reply) -> Result<StoredValue, Failure> {
    Ok(StoredValue {
        version: Version::UNVERSIONED.into(),
        bytes: render(data(body, 1)?),
        expires_at: None,
        account: None,
    })
}

/// A value of KV v2.
pub(super) fn value_v2(Reply { body, .. }: &Reply) -> Result<StoredValue, Failure> {
    let Versioned { data, metadata } = data(body, 2)?;
    if data.is_null() {
        return Err(Failure::Deleted);
    }
    let Metadata { version, deletion_time } = metadata;
    Ok(StoredValue {
        version: Version(version.to_string()),
        bytes: render(data),
        // A time that is past by our clock only: it is the Vault's that counts, and it gave the value.
        expires_at: deletion_time.parse::<Timestamp>().ok(),
        account: None,
    })
}

/// The version at which a read of KV v2 would find a value.
pub(super) fn version(Reply { body, date }: &Reply) -> Result<Version, Failure> {
    let Versions { current_version: current, versions } = data(body, 2)?;
    let is_deleted = |life: &Life| {
        // The Vault's own clock says whether a time has come; its answer bears the date, to the second.
        let deletion = life.deletion_time.parse::<Timestamp>().ok();
        life.destroyed || deletion.zip(*date).is_some_and(|(deletion, now)| deletion <= now)
    };
    match versions.get(&current.to_string()) {
        // A key of which only the metadata was ever written.
        _ if current == 0 => Err(Failure::NotFound),
        Some(life) if is_deleted(life) => Err(Failure::Deleted),
        _ => Ok(Version(current.to_string())),
    }
}

fn data<T: DeserializeOwned>(body: &SecretSlice<u8>, engine: u8) -> Result<T, Failure> {
    let answer = serde_json::from_slice::<Answer<T>>(body.expose_secret());
    answer.map(|it| it.data).map_err(|_| Failure::Misconfigured(failure::no_kv(engine)))
}

/// The JSON of a value, of which nothing else stays behind.
fn render(mut value: Value) -> SecretSlice<u8> {
    let json = Zeroizing::new(value.to_string());
    wipe(&mut value);
    json.as_bytes().to_vec().into()
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
