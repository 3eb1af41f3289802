//! One ClusterPullSecret as the API server sends it.
//!
//! In: the JSON of an object and the stores. Out: the [`ClusterPullSecret`] with its state in the API server,
//! or every error: the CRD of another version may have admitted it, and no CRD knows the stores of a
//! Config. Nothing here asks the cluster.

use serde_json::Value as Json;

use super::super::cluster_pull_secret::ClusterPullSecret;
use super::super::config::Store;
use super::super::field::{DocumentSource, FieldErrors, FieldPath};
use super::super::object::{LiveObject, name};
use super::super::yaml::node::Node;
use super::cluster_pull_secret;

/// Validates a ClusterPullSecret of the API server against the configured stores.
pub fn read_object(object: &Json, stores: &[Store]) -> Result<ClusterPullSecret, FieldErrors> {
    let root = Node::from_json(object);
    let source = DocumentSource { file: format!("ClusterPullSecret {}", name(object)), document: None };
    let stores: Vec<String> = stores.iter().map(|store| store.name.clone()).collect();
    let path = FieldPath::root(&source, &root);
    let mut errors = FieldErrors::default();
    let validated = cluster_pull_secret::validate(&path, Some(&stores), &mut errors);
    let cluster_pull_secret = errors
        .into_result(validated)?
        .ok_or_else(|| FieldErrors(vec![path.error("is not understood by this version of regcred")]))?;
    Ok(ClusterPullSecret { object: Some(LiveObject::from_json(object)), ..cluster_pull_secret })
}
