//! A ClusterPullSecret as the API server sends it.
//!
//! In: the JSON of an object and the stores there are. Out: the [`ClusterPullSecret`] with what the API server
//! knows of it, or every mistake: a CRD of another version may have let it in, and no CRD knows the
//! stores of a Config. Nothing here asks the cluster.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::cluster_pull_secret::ClusterPullSecret;
use super::config::Store;
use super::field::{FieldErrors, FieldPath, Origin};
use super::node::Node;
use super::status::ClusterPullSecretStatus;
use super::validate;

/// The annotation by which people ask for a pass: any value that was not there before.
pub const ROTATE: &str = "regcred.dev/rotate";

/// The annotation by which a replica that does not lead hands on what the webhook told it, as JSON.
pub const REQUEST: &str = "regcred.dev/request";

/// What the webhook told a replica that does not lead: every key is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// When.
    pub at: Timestamp,
    /// The versions that keys should answer, where they were told.
    #[serde(default)]
    pub expected: Vec<Expected>,
}

/// A version that a key should answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The store.
    pub store: String,
    /// The key inside it.
    pub key: String,
    /// The version.
    pub version: String,
}

/// What the API server knows of a ClusterPullSecret.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its identity, for owner references.
    pub uid: String,
    /// Grows with every change of the spec.
    pub generation: i64,
    /// The precondition of every write to it.
    pub resource_version: String,
    /// Somebody deleted it, and it waits for its finalizers.
    pub deleting: bool,
    /// Who has to do something before it may go.
    pub finalizers: Vec<String>,
    /// The value of [`ROTATE`].
    pub rotate: Option<String>,
    /// The value of [`REQUEST`], where it is one.
    pub request: Option<Request>,
    /// The names under which Secrets of it may exist, by its status.
    pub secret_names: Vec<String>,
    /// What was last said of it; empty where nothing was, or nothing that this regcred understands.
    pub status: Box<ClusterPullSecretStatus>,
    /// When it came into being: of two that want one Secret, the older keeps it.
    pub created: Time,
}

/// The ClusterPullSecret that `object` is, or every mistake in it; `stores` are the stores there are.
pub fn read(object: &Json, stores: &[Store]) -> Result<ClusterPullSecret, FieldErrors> {
    let root = Node::from_json(object);
    let origin = Origin { file: format!("ClusterPullSecret {}", name(object)), document: None };
    let stores: Vec<String> = stores.iter().map(|store| store.name.clone()).collect();
    let spot = FieldPath::root(&origin, &root);
    let mut mistakes = FieldErrors::default();
    let checked = validate::cluster_pull_secret::check(&spot, Some(&stores), &mut mistakes);
    let incomplete =
        || FieldErrors(vec![spot.mistake("is nothing that this version of regcred understands")]);
    let cluster_pull_secret = mistakes.or(checked)?.ok_or_else(incomplete)?;
    Ok(ClusterPullSecret { object: Some(Object::of(object)), ..cluster_pull_secret })
}

/// The name of an object of the API server, which gives one to each.
#[must_use]
pub fn name(object: &Json) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

impl Object {
    /// What was handed over, unless it was answered already.
    #[must_use]
    pub fn open_request(&self) -> Option<&Request> {
        let is_open = |request: &&Request| self.status.observed_request != Some(request.at.to_string());
        self.request.as_ref().filter(is_open)
    }

    /// What the JSON of an object says of it, whatever is wrong with its spec.
    #[must_use]
    pub fn of(object: &Json) -> Self {
        let metadata: ObjectMeta = part(&object["metadata"]);
        let annotations = metadata.annotations.unwrap_or_default();
        Self {
            uid: metadata.uid.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            rotate: annotations.get(ROTATE).cloned(),
            request: annotations.get(REQUEST).and_then(|text| serde_json::from_str(text).ok()),
            // By itself: a newer regcred may have written words beside it that this one does not know.
            secret_names: part(&object["status"]["secretNames"]),
            status: part(&object["status"]),
            created: metadata.creation_timestamp.unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
        }
    }
}

/// A part of an object that somebody else wrote: nothing, where it cannot be understood.
fn part<T: for<'de> Deserialize<'de> + Default>(json: &Json) -> T {
    T::deserialize(json).unwrap_or_default()
}
