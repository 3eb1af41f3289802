//! Objects as the API server sends them, reduced to the fields that are read.
//!
//! Every namespace and every ServiceAccount is listed and watched, and tenants decide about the size of
//! theirs. Fields, labels and annotations that are never read are skipped by the parser instead of being
//! built and dropped.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value as Json;

use super::known_entries::KnownEntries;
use super::null::null_is_default;
use super::object_ref::ObjectRef;
use super::owner_references::OwnerReferences;
use super::ownership::evidence::{Evidence, Marks};
use super::service_account::EntryList;
use super::{
    ADDED, CLUSTER_PULL_SECRET_LABEL, FIELD_MANAGER, MANAGED_BY, Namespace, OWNER, PULL_SECRET_TYPE, Secret,
    SecretBody, ServiceAccount, VERSIONS,
};
use crate::message;
use crate::object_name::NamespaceName;

/// The most bytes of a signature: the name of a ClusterPullSecret, and a code of 44 bytes.
const MAX_SIGNATURE_BYTES: usize = 512;

/// The wire format of a kind: the fields that are read.
pub(super) trait Wire: DeserializeOwned + Clone + Send + 'static {
    /// The object in memory.
    type Object;

    fn reduce(self) -> Listed<Self::Object>;
}

/// An object with its reference and version.
pub(super) struct Listed<T> {
    pub(super) object_ref: ObjectRef,
    pub(super) resource_version: String,
    pub(super) object: T,
}

/// Decodes an object and reduces it.
pub(super) fn decode<W: Wire>(json: &[u8]) -> serde_json::Result<Listed<W::Object>> {
    Ok(serde_json::from_slice::<W>(json)?.reduce())
}

/// The metadata of one page of a list.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMetadata {
    /// The token of the next page; empty or absent on the last.
    #[serde(rename = "continue", deserialize_with = "null_is_default")]
    pub(super) continue_token: String,
    /// The version of the list.
    #[serde(deserialize_with = "null_is_default")]
    pub(super) resource_version: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMetadata {
    name: String,
    namespace: NamespaceName,
    uid: String,
    resource_version: String,
    #[serde(deserialize_with = "null_is_default")]
    labels: KnownEntries,
    #[serde(deserialize_with = "null_is_default")]
    annotations: KnownEntries,
    #[serde(deserialize_with = "null_is_default")]
    owner_references: OwnerReferences,
}

impl WireMetadata {
    fn object_ref(&self) -> ObjectRef {
        let namespace = (!self.namespace.is_empty()).then(|| self.namespace.clone());
        ObjectRef { namespace, name: self.name.clone() }
    }
}

/// A namespace, with every label: selectors may name any of them.
#[derive(Clone, Deserialize)]
pub(super) struct WireNamespace {
    metadata: NamespaceMetadata,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NamespaceMetadata {
    name: String,
    resource_version: String,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl Wire for WireNamespace {
    type Object = Namespace;

    fn reduce(self) -> Listed<Namespace> {
        let NamespaceMetadata { name, resource_version, labels, deletion_timestamp } = self.metadata;
        let (terminating, labels) = (deletion_timestamp.is_some(), labels.into_iter().collect());
        let object = Namespace { labels, terminating, ..Namespace::default() };
        Listed { object_ref: ObjectRef::cluster_scoped(name), resource_version, object }
    }
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireServiceAccount {
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default")]
    image_pull_secrets: EntryList,
}

impl Wire for WireServiceAccount {
    type Object = ServiceAccount;

    fn reduce(self) -> Listed<ServiceAccount> {
        let Self { metadata, image_pull_secrets } = self;
        let object_ref = metadata.object_ref();
        let mut object = ServiceAccount { image_pull_secrets, ..ServiceAccount::default() };
        object.set_metadata(
            metadata.resource_version.clone(),
            !metadata.annotations.is_empty,
            metadata.annotations.values.get(ADDED).map(String::as_str),
        );
        Listed { object_ref, resource_version: metadata.resource_version, object }
    }
}

/// The response to a patch of a ServiceAccount: its metadata.
#[derive(Deserialize)]
pub(super) struct WirePatched {
    metadata: WireMetadata,
}

impl WirePatched {
    /// Returns the new `resourceVersion`, and true if the object has annotations.
    pub(super) fn into_parts(self) -> (String, bool) {
        (self.metadata.resource_version, !self.metadata.annotations.is_empty)
    }
}

#[derive(Clone, Deserialize)]
pub(super) struct WireSecret {
    metadata: WireMetadata,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    immutable: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    data: WireData,
}

/// The data of a Secret, of which only the docker config is read.
#[derive(Clone, Default, Deserialize)]
struct WireData {
    #[serde(rename = ".dockerconfigjson", default)]
    docker_config: Option<ByteString>,
}

impl Wire for WireSecret {
    type Object = Secret;

    fn reduce(self) -> Listed<Secret> {
        let Self { metadata, type_, immutable, data } = self;
        let mut listed = reduce_secret(metadata);
        let docker_config = data.docker_config.map(|bytes| Arc::new(bytes.0.into()));
        let type_ = kept_type(type_);
        listed.object.body = Some(SecretBody { type_, immutable, docker_config, is_dropped: false });
        listed
    }
}

/// A Secret by its metadata alone.
#[derive(Clone, Deserialize)]
pub(super) struct WireSecretMetadata {
    metadata: WireMetadata,
}

impl WireSecretMetadata {
    /// Returns the Secret, with its versions annotation however long it is.
    pub(super) fn into_secret(self) -> Secret {
        Secret::from_metadata(self.metadata)
    }
}

impl Wire for WireSecretMetadata {
    type Object = Secret;

    fn reduce(self) -> Listed<Secret> {
        let mut listed = reduce_secret(self.metadata);
        listed.object.drop_long_versions();
        listed
    }
}

fn reduce_secret(metadata: WireMetadata) -> Listed<Secret> {
    let (object_ref, resource_version) = (metadata.object_ref(), metadata.resource_version.clone());
    Listed { object_ref, resource_version, object: Secret::from_metadata(metadata) }
}

/// A ClusterPullSecret as it is: interpreted and validated elsewhere.
impl Wire for Json {
    type Object = Json;

    fn reduce(self) -> Listed<Json> {
        let [name, resource_version] = ["name", "resourceVersion"]
            .map(|field| self["metadata"][field].as_str().unwrap_or_default().to_owned());
        Listed { object_ref: ObjectRef::cluster_scoped(name), resource_version, object: self }
    }
}

impl Secret {
    /// Creates a Secret of which only the metadata is known, with marks that are not assessed yet.
    fn from_metadata(metadata: WireMetadata) -> Self {
        let WireMetadata { uid, resource_version, labels, annotations, owner_references, .. } = metadata;
        let (mut labels, mut annotations) = (labels.values, annotations.values);
        Self {
            resource_version,
            uid,
            evidence: Evidence::default(),
            marks: Some(Box::new(Marks {
                managed: labels.get(MANAGED_BY).is_some_and(|value| value == FIELD_MANAGER),
                cluster_pull_secret: labels.remove(CLUSTER_PULL_SECRET_LABEL),
                signature: annotations.remove(OWNER).map(without_long_text),
            })),
            versions: annotations.remove(VERSIONS).map(Arc::from),
            is_shortened: false,
            owners: owner_references.kept,
            body: None,
        }
    }
}

/// Returns the type of a Secret as it is kept: nearly all have the same one, and a tenant's type may have a megabyte.
fn kept_type(type_: String) -> Cow<'static, str> {
    match type_.as_str() {
        PULL_SECRET_TYPE => PULL_SECRET_TYPE.into(),
        other => message::printable(other).unwrap_or_default().to_owned().into(),
    }
}

/// Returns an empty signature in place of one that is longer than any that regcred writes.
fn without_long_text(signature: String) -> String {
    if signature.len() <= MAX_SIGNATURE_BYTES { signature } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{DOCKER_CONFIG_KEY, MAX_KEPT_VERSIONS_BYTES};
    use serde_json::json;

    fn secret(object: Json) -> Listed<Secret> {
        decode::<WireSecret>(object.to_string().as_bytes()).expect("a Secret")
    }

    #[test]
    fn fields_the_rotator_decides_on_are_kept() {
        let Listed { object_ref, resource_version, object } = secret(json!({
            "metadata": {
                "name": "regcred", "namespace": "web", "resourceVersion": "7", "managedFields": [{"manager": "x"}],
                "labels": {MANAGED_BY: FIELD_MANAGER, CLUSTER_PULL_SECRET_LABEL: "images", "other": "x"},
                "annotations": {VERSIONS: "ghcr.io=vault:1", OWNER: "images/AQ"},
            },
            "type": "kubernetes.io/dockerconfigjson", "immutable": true, "data": {DOCKER_CONFIG_KEY: "e30="},
        }));
        assert_eq!(
            (object_ref, resource_version),
            (ObjectRef::namespaced("web".into(), "regcred"), "7".into())
        );
        let body = object.body.as_ref().expect("the whole object");
        assert!(body.immutable && body.docker_config.is_some());
        let (managed, cluster_pull_secret) = (true, Some("images".to_owned()));
        let signature = Some("images/AQ".to_owned());
        assert_eq!(object.marks.as_deref(), Some(&Marks { managed, cluster_pull_secret, signature }));
        assert_eq!(object.versions.as_deref(), Some("ghcr.io=vault:1"));
    }

    #[test]
    fn long_type_and_signature_of_a_tenant_are_not_kept() {
        let long = "x".repeat(600 << 10);
        let object =
            secret(json!({"metadata": {"name": "regcred", "annotations": {OWNER: long}}, "type": long}));
        assert_eq!(object.object.body.map(|body| body.type_).as_deref(), Some(""));
        let marks = object.object.marks.expect("marks");
        assert_eq!(marks.signature.as_deref(), Some(""), "it is there, and no signature");
    }

    /// A Secret with a versions annotation of this length.
    fn with_versions(bytes: usize) -> Vec<u8> {
        let annotations = json!({VERSIONS: "x".repeat(bytes)});
        let metadata = json!({"name": "regcred", "annotations": annotations});
        let data = json!({DOCKER_CONFIG_KEY: "e30="});
        json!({"metadata": metadata, "type": PULL_SECRET_TYPE, "data": data}).to_string().into_bytes()
    }

    #[test]
    fn long_versions_are_kept_of_a_secret_that_was_read_alone() {
        for (bytes, is_shortened) in [(MAX_KEPT_VERSIONS_BYTES, false), (MAX_KEPT_VERSIONS_BYTES + 1, true)] {
            let watched = decode::<WireSecretMetadata>(&with_versions(bytes)).expect("metadata").object;
            assert_eq!((watched.is_shortened, watched.versions.is_none()), (is_shortened, is_shortened));
            let mut read = decode::<WireSecret>(&with_versions(bytes)).expect("a Secret").object;
            assert!(!read.is_shortened && read.versions.is_some() && read.body.is_some());
            read.drop_long_versions();
            let body = read.body.expect("a body");
            assert_eq!((read.is_shortened, body.is_dropped), (is_shortened, is_shortened));
            assert_eq!(body.docker_config.is_none(), is_shortened);
            assert_eq!(body.type_, PULL_SECRET_TYPE, "a type is never forgotten");
        }
    }

    #[test]
    fn null_reads_as_empty() {
        let object =
            secret(json!({"metadata": {"name": "x", "labels": null, "annotations": null}, "data": null}))
                .object;
        assert_eq!(object.marks.as_deref(), Some(&Marks::default()));
        assert!(object.body.is_some_and(|body| body.docker_config.is_none()));
        let page: PageMetadata = serde_json::from_value(json!({"continue": null})).expect("metadata");
        assert!(page.continue_token.is_empty() && page.resource_version.is_empty());
    }

    #[test]
    fn namespace_keeps_every_label() {
        let wire = json!({"metadata": {"name": "web", "labels": {"a": "b"}, "deletionTimestamp": "x", "annotations": {"c": "d"}}});
        let listed = decode::<WireNamespace>(wire.to_string().as_bytes()).expect("a namespace");
        assert_eq!(listed.object_ref, ObjectRef::cluster_scoped("web"));
        assert_eq!(
            (listed.object.labels.get("a").map(String::as_str), listed.object.terminating),
            (Some("b"), true)
        );
    }
}
