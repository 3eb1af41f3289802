//! One ClusterPullSecret as the API server sends it.
//!
//! In: the JSON of an object and the stores. Out: the [`ClusterPullSecret`] with its state in the API server,
//! or every error: the CRD of another version may have admitted it, and no CRD knows the stores of a
//! Config. A field that only a newer version knows is no error: it is ignored and reported. Nothing here asks
//! the cluster.

use serde_json::Value as Json;

use super::super::cluster_pull_secret::ClusterPullSecret;
use super::super::config::{self, Store};
use super::super::field::{DocumentSource, FieldErrors, FieldPath};
use super::super::object::{LiveObject, name};
use super::super::yaml::node::Node;
use super::super::{schema, unknown_fields, wire};
use super::cluster_pull_secret;
use super::cluster_pull_secret::STATUS;

/// Validates a ClusterPullSecret of the API server against the configured stores.
pub fn read_object(object: &Json, stores: &[Store]) -> Result<ClusterPullSecret, FieldErrors> {
    let schema = schema::schema::<wire::ClusterPullSecret>();
    let (root, unknown_fields) = unknown_fields::remove(&Node::from_json(object).without(&[STATUS]), &schema);
    let source = DocumentSource { file: format!("ClusterPullSecret {}", name(object)), document: None };
    let names: Vec<String> = stores.iter().map(|store| store.name.clone()).collect();
    let path = FieldPath::root(&source, &root);
    let mut errors = FieldErrors::default();
    let validated = cluster_pull_secret::validate(&path, Some(&names), &mut errors);
    let cluster_pull_secret = errors
        .into_result(validated)?
        .ok_or_else(|| FieldErrors(vec![path.error("is not understood by this version of regcred")]))?;
    let object = LiveObject { unknown_fields, ..LiveObject::from_json(object) };
    let admission = config::admission(stores);
    Ok(ClusterPullSecret { object: Some(object), admission, ..cluster_pull_secret })
}
