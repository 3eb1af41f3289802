//! One of the Secrets with the last good values and the record of Secrets, as bytes.
//!
//! Pure. The values are JSON, the record has a compact form of its own; both are compressed. A shard
//! stays below the limit of a Secret: the largest values are left out first.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::last_good::{LastGoodValue, ValueId};
use super::records::{self, Record};
use crate::credential::{Credential, StoreKey};
use crate::docker_config::DockerConfig;
use crate::docker_config::host_key::HostKey;

mod index;

pub use index::{RecordShards, index_of_record, index_of_value};

/// The prefix of the names of these Secrets; the number of the shard follows.
pub const NAME_PREFIX: &str = "regcred-last-good-";
/// The type of these Secrets.
pub const TYPE: &str = "regcred.dev/last-good";

/// The most bytes of a shard; a Secret has room for 1 MiB.
pub const MAX_BYTES: usize = 900 * 1024;

/// The most bytes that a part of a shard may have when it is decompressed.
const MAX_DECOMPRESSED: usize = 32 * 1024 * 1024;
/// The version of the form, the first byte of each part.
const FORM: u8 = 1;
/// The level of compression, from 0 to 10. UIDs and passwords hardly compress, and a higher level only takes longer.
const LEVEL: u8 = 1;

/// The part with the values.
const VALUES: &str = "values";
/// The part with the record.
const SECRETS: &str = "secrets";

/// The content of a shard.
#[derive(Debug, Default)]
pub struct Shard {
    /// Last good values.
    pub values: Vec<(ValueId, LastGoodValue)>,
    /// Secrets that regcred wrote.
    pub records: Vec<Record>,
}

/// The bytes of a shard.
pub struct EncodedShard {
    /// The data of the Secret.
    pub data: BTreeMap<String, ByteString>,
    /// The ClusterPullSecrets of which something has no room.
    pub left_out: BTreeSet<String>,
}

/// A shard that was edited or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` cannot be parsed")]
pub struct InvalidShard {
    part: &'static str,
}

impl std::fmt::Debug for EncodedShard {
    /// Shows the sizes only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sizes: BTreeMap<_, _> = self.data.iter().map(|(part, bytes)| (part, bytes.0.len())).collect();
        f.debug_struct("EncodedShard").field("sizes", &sizes).field("left_out", &self.left_out).finish()
    }
}

/// A value as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValueToWrite<'a> {
    cluster_pull_secret: &'a str,
    host: Option<&'a str>,
    store: &'a str,
    key: &'a str,
    version: String,
    auths: BTreeMap<&'a str, (&'a str, &'a str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

/// The same as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadValue {
    cluster_pull_secret: String,
    host: Option<String>,
    store: String,
    key: String,
    version: String,
    auths: BTreeMap<String, (String, SecretString)>,
    #[serde(default)]
    expires: Option<Timestamp>,
}

impl<'a> ValueToWrite<'a> {
    fn new((id, value): &'a (ValueId, LastGoodValue)) -> Self {
        let auths = value.config.auths.iter().map(|(host, credential)| {
            (host.as_str(), (credential.username.as_str(), credential.password.expose_secret()))
        });
        Self {
            cluster_pull_secret: &id.cluster_pull_secret,
            host: id.host.as_ref().map(HostKey::as_str),
            store: &id.store_key.store.0,
            key: &id.store_key.key.0,
            version: value.version.serialized(),
            auths: auths.collect(),
            expires: value.expires,
        }
    }

    /// Estimates the size; passwords hardly compress.
    fn size(&self) -> usize {
        self.auths
            .iter()
            .map(|(host, (username, password))| host.len() + username.len() + password.len())
            .sum()
    }
}

impl ReadValue {
    fn into_value(self) -> Option<(ValueId, LastGoodValue)> {
        let host = self.host.map(|host| HostKey::parse(&host)).transpose().ok()?;
        let store_key = StoreKey { store: self.store.as_str().into(), key: self.key.as_str().into() };
        let auths = self.auths.into_iter().map(|(host, (username, password))| {
            Some((HostKey::parse(&host).ok()?, Credential { username, password }))
        });
        let config = DockerConfig { auths: auths.collect::<Option<_>>()? };
        let id = ValueId { cluster_pull_secret: self.cluster_pull_secret, host, store_key };
        let expires = self.expires;
        Some((id, LastGoodValue { version: self.version.as_str().into(), config, expires }))
    }
}

impl Shard {
    /// Encodes what has room, and names the ClusterPullSecrets of the rest.
    #[must_use]
    pub fn encode(&self) -> EncodedShard {
        let mut values: Vec<_> = self.values.iter().map(ValueToWrite::new).collect();
        values.sort_by_key(ValueToWrite::size);
        let render_values = |count: usize| {
            // Text in maps: nothing that JSON could not hold.
            compress(&serde_json::to_vec(&values[..count]).unwrap_or_default())
        };
        let (kept_values, value_bytes) = largest_fit(values.len(), MAX_BYTES, render_values);
        let room = MAX_BYTES - value_bytes.len();
        let render_records = |count: usize| compress(&records::render(&self.records[..count]));
        let (kept_records, record_bytes) = largest_fit(self.records.len(), room, render_records);
        let values_left = values[kept_values..].iter().map(|value| value.cluster_pull_secret.to_owned());
        let records_left =
            self.records[kept_records..].iter().map(|(_, _, owned)| owned.cluster_pull_secret.to_string());
        let parts = [(VALUES, value_bytes), (SECRETS, record_bytes)];
        EncodedShard {
            data: parts.map(|(part, bytes)| (part.to_owned(), ByteString(bytes))).into(),
            left_out: values_left.chain(records_left).collect(),
        }
    }

    /// Decodes the data of a Secret.
    pub fn decode(data: &BTreeMap<String, ByteString>) -> Result<Self, InvalidShard> {
        let bytes = |part: &'static str| {
            data.get(part).and_then(|bytes| decompress(&bytes.0)).ok_or(InvalidShard { part })
        };
        let values: Vec<ReadValue> =
            serde_json::from_slice(&bytes(VALUES)?).map_err(|_| InvalidShard { part: VALUES })?;
        let values = values.into_iter().map(ReadValue::into_value).collect::<Option<_>>();
        Ok(Self {
            values: values.ok_or(InvalidShard { part: VALUES })?,
            records: records::parse(&bytes(SECRETS)?).map_err(|_| InvalidShard { part: SECRETS })?,
        })
    }
}

/// Returns the largest count up to `all` whose rendering has room, with the rendering. An empty one always has.
fn largest_fit(all: usize, room: usize, render: impl Fn(usize) -> Vec<u8>) -> (usize, Vec<u8>) {
    let whole = render(all);
    if whole.len() <= room {
        return (all, whole);
    }
    let (mut fits, mut excess) = (0, all);
    let mut rendered = render(0);
    while excess - fits > 1 {
        let middle = fits.midpoint(excess);
        let bytes = render(middle);
        if bytes.len() <= room {
            (fits, rendered) = (middle, bytes);
        } else {
            excess = middle;
        }
    }
    (fits, rendered)
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    [FORM].into_iter().chain(compress_to_vec(bytes, LEVEL)).collect()
}

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&FORM, compressed) = bytes.split_first()? else { return None };
    decompress_to_vec_with_limit(compressed, MAX_DECOMPRESSED).ok()
}

#[cfg(test)]
mod tests;
