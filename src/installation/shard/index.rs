//! The shard of each value and of each record.
//!
//! Pure. A stable hash decides: another one would move everything that is stored.

use aws_lc_rs::digest::{SHA256, digest};

use crate::credential::StoreKey;
use crate::installation::last_good::ValueId;
use crate::object_name::NamespaceName;

/// The shards over which the namespaces of one ClusterPullSecret are spread, so that one rotation writes few.
const GROUPS: [u8; 4] = [0, 1, 2, 3];

/// Returns the shard of a value.
#[must_use]
pub fn index_of_value(id: &ValueId, shards: u16) -> u16 {
    let host = id.host.as_ref().map_or("*", |host| host.as_str());
    let StoreKey { store, key } = &id.store_key;
    index(&["value", &id.cluster_pull_secret, host, &store.0, &key.0], shards)
}

/// Returns the shard of the record of a namespace.
#[must_use]
pub fn index_of_record(cluster_pull_secret: &str, namespace: &NamespaceName, shards: u16) -> u16 {
    index_of_group(cluster_pull_secret, GROUPS[group(namespace)], shards)
}

/// Returns the position of a namespace in [`GROUPS`].
fn group(namespace: &NamespaceName) -> usize {
    usize::from(digest(&SHA256, namespace.as_bytes()).as_ref()[0]) % GROUPS.len()
}

/// Every shard that may hold a record for a ClusterPullSecret.
pub struct RecordShards([u16; GROUPS.len()]);

impl RecordShards {
    /// Determines the shards of a ClusterPullSecret, once for all its records.
    #[must_use]
    pub fn new(cluster_pull_secret: &str, shards: u16) -> Self {
        Self(GROUPS.map(|group| index_of_group(cluster_pull_secret, group, shards)))
    }

    /// Their numbers.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// Returns the shard of the record of a namespace.
    #[must_use]
    pub fn index_of(&self, namespace: &NamespaceName) -> u16 {
        self.0[group(namespace)]
    }
}

fn index_of_group(cluster_pull_secret: &str, group: u8, shards: u16) -> u16 {
    index(&["secrets", cluster_pull_secret, &group.to_string()], shards)
}

/// Hashes the parts, each after its length, to a number below `shards`.
fn index(parts: &[&str], shards: u16) -> u16 {
    let joined: Vec<u8> = parts
        .iter()
        .flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.bytes()))
        .collect();
    let hash = digest(&SHA256, &joined);
    let number = hash.as_ref().iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    u16::try_from(number % u64::from(shards.max(1))).unwrap_or_default()
}
