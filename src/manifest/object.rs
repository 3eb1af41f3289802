//! The state of a ClusterPullSecret in the API server: its metadata, annotations and status.
//!
//! In: the JSON of an object. Out: the part of it that holds no matter how wrong the spec is; validating the
//! spec is for [`read_object`](super::read_object). Nothing here asks the cluster.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::status::ClusterPullSecretStatus;
use crate::object_name::SecretName;

/// The annotation by which people request a reconciliation: any value that is new.
pub const ROTATE: &str = "regcred.dev/rotate";

/// The annotation by which a standby replica forwards a webhook request to the leader, as JSON.
pub const REQUEST: &str = "regcred.dev/request";

/// A webhook request that a standby replica received: keys are to be read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedRequest {
    /// The time of the request.
    pub at: Timestamp,
    /// The versions expected of keys, for those the request named one.
    #[serde(default)]
    pub expected: Vec<ExpectedVersion>,
    /// The keys to read again; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<BTreeSet<ForwardedKey>>,
}

/// A key that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ForwardedKey {
    /// The store.
    pub store: String,
    /// The key inside the store.
    pub key: String,
}

/// The version that a key is expected to have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectedVersion {
    /// The store.
    pub store: String,
    /// The key inside the store.
    pub key: String,
    /// The version.
    pub version: String,
}

/// The state of a ClusterPullSecret in the API server.
#[derive(Clone, Debug)]
pub struct LiveObject {
    /// Its identity, for owner references.
    pub uid: String,
    /// Grows with every change of the spec.
    pub generation: i64,
    /// The precondition of every write to the object.
    pub resource_version: String,
    /// True once it was deleted and waits for its finalizers.
    pub deleting: bool,
    /// The finalizers that keep it from being removed.
    pub finalizers: Vec<String>,
    /// The value of [`ROTATE`].
    pub rotate: Option<String>,
    /// The value of [`REQUEST`], if it is valid.
    pub request: Option<ForwardedRequest>,
    /// The names under which its Secrets may exist, from its status.
    pub secret_names: Vec<SecretName>,
    /// The last status; empty if there is none, or none that this regcred understands.
    pub status: Box<ClusterPullSecretStatus>,
    /// The creation time: if two claim one Secret, the older keeps it.
    pub created: Time,
    /// The paths of the fields that only a newer regcred knows, which are ignored.
    pub unknown_fields: Vec<String>,
}

/// The number of unknown fields that a message names.
const NAMED_FIELDS: usize = 5;

/// Returns the name of an object of the API server, which gives one to each.
#[must_use]
pub fn name(object: &Json) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

impl LiveObject {
    /// Returns the forwarded request, unless the status says that it was processed.
    #[must_use]
    pub fn pending_request(&self) -> Option<&ForwardedRequest> {
        self.request.as_ref().filter(|it| self.status.observed_request != Some(it.at.to_string()))
    }

    /// Returns the message about the unknown fields, if there are some.
    #[must_use]
    pub fn unknown_fields_message(&self) -> Option<String> {
        let named: Vec<_> = self.unknown_fields.iter().take(NAMED_FIELDS).map(String::as_str).collect();
        let others = match self.unknown_fields.len() - named.len() {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        let fields = format!("{}{others}", named.join(", "));
        (!named.is_empty()).then(|| {
            format!(
                "ignored what only a newer regcred knows: {fields}. Upgrade regcred to the version of the CRD"
            )
        })
    }

    /// Reads the JSON of an object, no matter how wrong its spec is.
    #[must_use]
    pub fn from_json(object: &Json) -> Self {
        let metadata: ObjectMeta = read_or_default(&object["metadata"]);
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            rotate: annotations.get(ROTATE).cloned(),
            request: annotations.get(REQUEST).and_then(|text| serde_json::from_str(text).ok()),
            // Read separately: a newer regcred may have written conditions that this one does not know.
            secret_names: read_or_default(&object["status"]["secretNames"]),
            status: read_or_default(&object["status"]),
            created: metadata.creation_timestamp.unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
            unknown_fields: Vec::new(),
        }
    }
}

/// Reads a part of an object that another client wrote: empty if it cannot be understood.
fn read_or_default<T: for<'de> Deserialize<'de> + Default>(json: &Json) -> T {
    T::deserialize(json).unwrap_or_default()
}
