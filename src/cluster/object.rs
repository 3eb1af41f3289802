//! Objects as the API server sends them, reduced to the fields that are read.
//!
//! A reconciliation lists every namespace and every ServiceAccount. Most of what the API server sends of
//! them is `managedFields`, which is never read: the parser skips it instead of building it and dropping it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::ownership::evidence::{Evidence, Marks};
use super::{
    ADDED, CLUSTER_PULL_SECRET_LABEL, DOCKER_CONFIG_KEY, FIELD_MANAGER, MANAGED_BY, Namespace, OWNER, Secret,
    SecretBody, ServiceAccount, VERSIONS,
};
use crate::object_name::{NamespaceName, SecretName};

/// The reduced form of a kind, and its wire format.
pub(super) trait ListedObject: Sized {
    /// The kind, which knows its path.
    type Kind: Resource<DynamicType = ()>;
    /// The fields of the kind that are read.
    type Wire: DeserializeOwned;

    fn from_wire(wire: Self::Wire) -> Listed<Self>;
}

/// An object with its namespace and name.
pub(super) struct Listed<T> {
    pub(super) namespace: NamespaceName,
    pub(super) name: String,
    pub(super) object: T,
}

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct Page<T> {
    pub(super) metadata: PageMetadata,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) items: Vec<T>,
}

#[derive(Deserialize)]
pub(super) struct PageMetadata {
    /// The token of the next page; empty or absent on the last.
    #[serde(rename = "continue", default, deserialize_with = "null_is_default")]
    pub(super) continue_token: String,
}

/// Reads `null` as empty: Go writes an empty map or list so if the field is not omitted.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireMetadata {
    name: String,
    namespace: NamespaceName,
    uid: String,
    resource_version: String,
    #[serde(deserialize_with = "null_is_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    owner_references: Vec<OwnerReference>,
    deletion_timestamp: Option<IgnoredAny>,
}

impl From<WireMetadata> for ObjectMeta {
    fn from(metadata: WireMetadata) -> Self {
        Self {
            name: Some(metadata.name),
            namespace: Some(metadata.namespace.into()),
            uid: Some(metadata.uid),
            resource_version: Some(metadata.resource_version),
            labels: Some(metadata.labels),
            annotations: Some(metadata.annotations),
            owner_references: Some(metadata.owner_references),
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
pub(super) struct WireNamespace {
    metadata: WireMetadata,
}

impl ListedObject for Namespace {
    type Kind = core::Namespace;
    type Wire = WireNamespace;

    fn from_wire(WireNamespace { metadata }: WireNamespace) -> Listed<Self> {
        let object = Self {
            terminating: metadata.deletion_timestamp.is_some(),
            labels: metadata.labels,
            ..Self::default()
        };
        Listed { namespace: metadata.namespace, name: metadata.name, object }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireServiceAccount {
    metadata: WireMetadata,
    #[serde(default, deserialize_with = "null_is_default")]
    image_pull_secrets: Vec<WireReference>,
}

#[derive(Deserialize)]
struct WireReference {
    #[serde(default)]
    name: SecretName,
}

impl ListedObject for ServiceAccount {
    type Kind = core::ServiceAccount;
    type Wire = WireServiceAccount;

    fn from_wire(WireServiceAccount { metadata, image_pull_secrets }: WireServiceAccount) -> Listed<Self> {
        let added = metadata.annotations.get(ADDED).map(|names| parse_added(names));
        let object = Self {
            resource_version: metadata.resource_version,
            image_pull_secrets: image_pull_secrets.into_iter().map(|reference| reference.name).collect(),
            added: added.unwrap_or_default(),
        };
        Listed { namespace: metadata.namespace, name: metadata.name, object }
    }
}

/// Parses the annotation [`ADDED`], which people may edit.
pub(super) fn parse_added(names: &str) -> BTreeMap<SecretName, Option<String>> {
    let entries = names.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| match entry.split_once('=') {
        Some((name, cluster_pull_secret)) => (name.into(), Some(cluster_pull_secret.to_owned())),
        None => (entry.into(), None),
    });
    entries.collect()
}

/// Renders the annotation [`ADDED`] for these names.
pub(crate) fn render_added(added: &BTreeMap<SecretName, Option<String>>) -> String {
    let entries = added.iter().map(|(name, cluster_pull_secret)| match cluster_pull_secret {
        Some(cluster_pull_secret) => format!("{name}={cluster_pull_secret}"),
        None => name.to_string(),
    });
    entries.collect::<Vec<_>>().join(",")
}

#[derive(Deserialize)]
pub(super) struct WireSecret {
    metadata: WireMetadata,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    immutable: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    data: BTreeMap<String, ByteString>,
}

impl ListedObject for Secret {
    type Kind = core::Secret;
    type Wire = WireSecret;

    fn from_wire(WireSecret { metadata, type_, immutable, mut data }: WireSecret) -> Listed<Self> {
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let mut object = Secret::from_metadata(metadata.into());
        let docker_config = data.remove(DOCKER_CONFIG_KEY).map(|bytes| Arc::new(bytes.0.into()));
        object.body = Some(SecretBody { type_, immutable, docker_config, is_dropped: false });
        Listed { namespace, name, object }
    }
}

impl Secret {
    /// Creates a Secret of which only the metadata is known, and whose marks are not assessed yet.
    pub(crate) fn from_metadata(metadata: ObjectMeta) -> Self {
        let mut labels = metadata.labels.unwrap_or_default();
        let mut annotations = metadata.annotations.unwrap_or_default();
        Self {
            resource_version: metadata.resource_version.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            evidence: Evidence::default(),
            marks: Some(Marks {
                managed: labels.get(MANAGED_BY).is_some_and(|value| value == FIELD_MANAGER),
                cluster_pull_secret: labels.remove(CLUSTER_PULL_SECRET_LABEL),
                signature: annotations.remove(OWNER),
            }),
            versions: annotations.remove(VERSIONS),
            owners: metadata.owner_references.unwrap_or_default(),
            body: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(object: serde_json::Value) -> Listed<Secret> {
        Secret::from_wire(serde_json::from_value(object).expect("a Secret"))
    }

    #[test]
    fn fields_the_rotator_decides_on_are_kept() {
        let Listed { namespace, name, object } = secret(json!({
            "metadata": {
                "name": "regcred", "namespace": "web", "resourceVersion": "7", "managedFields": [{"manager": "x"}],
                "labels": {MANAGED_BY: FIELD_MANAGER, CLUSTER_PULL_SECRET_LABEL: "images", "other": "x"},
                "annotations": {VERSIONS: "ghcr.io=vault:1", OWNER: "images/AQ"},
            },
            "type": "kubernetes.io/dockerconfigjson", "immutable": true, "data": {DOCKER_CONFIG_KEY: "e30="},
        }));
        assert_eq!(
            (namespace.as_str(), name.as_str(), object.resource_version.as_str()),
            ("web", "regcred", "7")
        );
        let body = object.body.as_ref().expect("the whole object");
        assert!(body.immutable && body.docker_config.is_some());
        let (managed, cluster_pull_secret) = (true, Some("images".to_owned()));
        let signature = Some("images/AQ".to_owned());
        assert_eq!(object.marks, Some(Marks { managed, cluster_pull_secret, signature }));
        assert_eq!(object.versions.as_deref(), Some("ghcr.io=vault:1"));
    }

    #[test]
    fn null_reads_as_empty() {
        let object =
            secret(json!({"metadata": {"name": "x", "labels": null, "annotations": null}, "data": null}))
                .object;
        assert_eq!(object.marks, Some(Marks::default()));
        assert!(object.body.is_some_and(|body| body.docker_config.is_none()));
        let page: Page<WireNamespace> =
            serde_json::from_value(json!({"metadata": {"continue": null}, "items": null})).expect("a page");
        assert!(page.items.is_empty() && page.metadata.continue_token.is_empty());
    }

    #[test]
    fn list_keeps_its_order_and_duplicates() {
        let wire = json!({
            "metadata": {"name": "default", "resourceVersion": "3", "annotations": {ADDED: " regcred=images,, b"}},
            "imagePullSecrets": [{"name": "b"}, {}, {"name": "b"}],
        });
        let object =
            ServiceAccount::from_wire(serde_json::from_value(wire).expect("a ServiceAccount")).object;
        assert_eq!(object.image_pull_secrets, ["b", "", "b"]);
        assert_eq!(render_added(&object.added), "b,regcred=images");
    }
}
