//! The JSON patch of one ServiceAccount.
//!
//! Pure. In go the change of the list and the whole new annotation, out come the operations: first a test of the
//! `resourceVersion`, then the entries by their index, then the annotation. The API server admits 10,000
//! operations in one patch.

use serde_json::{Value as Json, json};

use crate::cluster::service_account::Annotation;
use crate::cluster::service_account::annotation::render_added;
use crate::cluster::{ADDED, ServiceAccount};
use crate::object_map::ObjectMap;
use crate::object_name::SecretName;

const LIST: &str = "/imagePullSecrets";

/// The patch that adds or removes an entry of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryPatch {
    /// The precondition of the write.
    pub resource_version: String,
    /// The change of the list.
    pub list: ListChange,
    /// The whole new annotation.
    pub added: ObjectMap<SecretName, Option<String>>,
}

/// The change of the list of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListChange {
    /// The list stays; only the annotation changes.
    None,
    /// The entry is appended.
    Append,
    /// The entries at these indexes are removed, the highest first: none of them moves before its turn.
    Remove(Vec<usize>),
}

impl EntryPatch {
    /// Returns the operations of the JSON patch of the observed ServiceAccount.
    pub(super) fn operations(&self, observed: &ServiceAccount, secret_name: &SecretName) -> Vec<Json> {
        let test = json!({"op": "test", "path": "/metadata/resourceVersion", "value": self.resource_version});
        let reference = json!({ "name": secret_name });
        let list = match &self.list {
            ListChange::None => Vec::new(),
            // The API server omits an empty list.
            ListChange::Append if observed.image_pull_secrets.is_empty() => {
                vec![json!({"op": "add", "path": LIST, "value": [reference]})]
            }
            ListChange::Append => vec![json!({"op": "add", "path": format!("{LIST}/-"), "value": reference})],
            ListChange::Remove(indexes) => {
                indexes.iter().flat_map(|index| remove(*index, secret_name)).collect()
            }
        };
        [test].into_iter().chain(list).chain(self.annotation_operation(observed)).collect()
    }

    fn annotation_operation(&self, observed: &ServiceAccount) -> Option<Json> {
        const ANNOTATIONS: &str = "/metadata/annotations";
        let path = format!("{ANNOTATIONS}/{}", ADDED.replace('/', "~1"));
        let added = render_added(&self.added);
        let is_present = observed.annotation.is_present();
        match added.is_empty() {
            true => is_present.then(|| json!({"op": "remove", "path": path})),
            false if observed.has_annotations => Some(json!({"op": "add", "path": path, "value": added})),
            false => Some(json!({"op": "add", "path": ANNOTATIONS, "value": { ADDED: added }})),
        }
    }

    /// Applies the patch to the ServiceAccount in memory.
    pub(crate) fn apply_to(
        self,
        observed: &mut ServiceAccount,
        secret_name: &SecretName,
        (resource_version, has_annotations): (String, bool),
    ) {
        match self.list {
            ListChange::None => {}
            ListChange::Append => observed.image_pull_secrets.push(secret_name.clone()),
            ListChange::Remove(indexes) => {
                for index in indexes {
                    observed.image_pull_secrets.remove(index);
                }
            }
        }
        let annotation = if self.added.is_empty() { Annotation::Absent } else { Annotation::Present };
        (observed.resource_version, observed.added) = (resource_version, self.added);
        (observed.annotation, observed.has_annotations) = (annotation, has_annotations);
    }
}

/// Returns the operations that remove the entry at an index, if it names the Secret.
fn remove(index: usize, secret_name: &SecretName) -> [Json; 2] {
    [
        json!({"op": "test", "path": format!("{LIST}/{index}/name"), "value": secret_name}),
        json!({"op": "remove", "path": format!("{LIST}/{index}")}),
    ]
}
