//! Responses of the KV engines: a value with its version, or the metadata of the versions.
//!
//! Pure: a body goes in, a value or a version comes out. Of a value no copy but the result stays in memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use secrecy::zeroize::{Zeroize, Zeroizing};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::client::Response;
use super::error;
use crate::credential::{Expiry, StoredValue, Version};
use crate::provider::{ErrorKind, MAX_VALUE_BYTES};

/// The body of a response to a read.
#[derive(Deserialize)]
struct KvResponse<T> {
    data: T,
}

/// The `data` of a read of KV v2.
#[derive(Deserialize)]
struct VersionedData {
    data: Value,
    metadata: VersionMetadata,
}

#[derive(Deserialize)]
struct VersionMetadata {
    version: u64,
    /// The time at which this version was created.
    #[serde(default)]
    created_time: String,
    /// The time at which this version was deleted or, with `delete_version_after`, will be; empty where it
    /// stays.
    #[serde(default)]
    deletion_time: String,
}

/// The `data` of a metadata read: the versions of a key.
#[derive(Deserialize)]
struct KeyMetadata {
    current_version: u64,
    #[serde(default)]
    versions: BTreeMap<String, VersionState>,
}

/// The state of one version.
#[derive(Default, Deserialize)]
#[serde(default)]
struct VersionState {
    /// As in [`VersionMetadata`].
    created_time: String,
    /// As in [`VersionMetadata`].
    deletion_time: String,
    destroyed: bool,
}

impl VersionState {
    /// Returns true if this version is deleted by the clock of the Vault, which sends the date of its
    /// response to the second.
    fn is_deleted(&self, date: Option<Timestamp>) -> bool {
        let deletion = self.deletion_time.parse::<Timestamp>().ok();
        self.destroyed || deletion.zip(date).is_some_and(|(deletion, now)| deletion <= now)
    }
}

/// Parses a value of KV v1.
pub(super) fn value_v1(Response { body, .. }: &Response) -> Result<StoredValue, ErrorKind> {
    Ok(StoredValue {
        version: Version::unversioned(),
        bytes: render(data(body, 1)?)?,
        expiry: None,
        account: None,
    })
}

/// Parses a value of KV v2.
pub(super) fn value_v2(Response { body, .. }: &Response) -> Result<StoredValue, ErrorKind> {
    let VersionedData { data, metadata } = data(body, 2)?;
    if data.is_null() {
        return Err(ErrorKind::Deleted);
    }
    let VersionMetadata { version, created_time, deletion_time } = metadata;
    Ok(StoredValue {
        version: numbered(version, &created_time),
        bytes: render(data)?,
        // A time in the past by our clock is ignored: the Vault's clock counts, and it returned the value.
        expiry: deletion_time.parse().ok().map(Expiry::Deletion),
        account: None,
    })
}

/// Parses the version at which a read of KV v2 would return a value.
pub(super) fn version(Response { body, date }: &Response) -> Result<Version, ErrorKind> {
    let KeyMetadata { current_version: current, versions } = data(body, 2)?;
    match versions.get(&current.to_string()) {
        // Only the metadata of the key was ever written.
        _ if current == 0 => Err(ErrorKind::NotFound),
        Some(state) if state.is_deleted(*date) => Err(ErrorKind::Deleted),
        state => Ok(numbered(current, state.map_or("", |state| state.created_time.as_str()))),
    }
}

/// A version with the time of its creation, which every Vault sends.
fn numbered(number: u64, created_time: &str) -> Version {
    Version::Numbered { number, created: created_time.parse().ok() }
}

fn data<T: DeserializeOwned>(body: &SecretSlice<u8>, engine: u8) -> Result<T, ErrorKind> {
    let response = serde_json::from_slice::<KvResponse<T>>(body.expose_secret());
    response
        .map(|response| response.data)
        .map_err(|_| ErrorKind::Misconfigured(error::unexpected_response(engine)))
}

/// Renders a value as JSON and wipes every other copy.
pub(super) fn render(mut value: Value) -> Result<SecretSlice<u8>, ErrorKind> {
    let json = Zeroizing::new(value.to_string());
    wipe(&mut value);
    if json.len() > MAX_VALUE_BYTES {
        return Err(ErrorKind::Malformed("the value is larger than 1 MiB".to_owned()));
    }
    Ok(json.as_bytes().to_vec().into())
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
