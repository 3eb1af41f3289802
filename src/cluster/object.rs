//! Objects as the API server shows them, reduced to the fields that are read.
//!
//! A pass lists every namespace and every ServiceAccount. Most of what the API server sends of them is
//! `managedFields`, which nobody here reads: it is skipped while parsing, not parsed and dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::api::ObjectMeta;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::{
    ADDED, Body, DOCKER_CONFIG_KEY, FIELD_MANAGER, MANAGED_BY, Namespace, PULL_SECRET, Secret,
    ServiceAccount, VERSIONS,
};

/// What regcred keeps of a kind, and how the API server shows it.
pub(super) trait Observed: Sized {
    /// The kind, which knows its address.
    type Kind: Resource<DynamicType = ()>;
    /// The fields of it that are read.
    type Shown: DeserializeOwned;

    fn of(shown: Self::Shown) -> Listed<Self>;
}

/// An object with where it stands.
pub(super) struct Listed<T> {
    pub(super) namespace: String,
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
    pub(super) next: String,
}

/// Go writes an empty map or list as `null` where a field is not left out.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
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

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        Self {
            name: Some(metadata.name),
            namespace: Some(metadata.namespace),
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
pub(super) struct ShownNamespace {
    metadata: Metadata,
}

impl Observed for Namespace {
    type Kind = core::Namespace;
    type Shown = ShownNamespace;

    fn of(ShownNamespace { metadata }: ShownNamespace) -> Listed<Self> {
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
pub(super) struct ShownServiceAccount {
    metadata: Metadata,
    #[serde(default, deserialize_with = "null_is_default")]
    image_pull_secrets: Vec<ShownReference>,
}

#[derive(Deserialize)]
struct ShownReference {
    #[serde(default)]
    name: String,
}

impl Observed for ServiceAccount {
    type Kind = core::ServiceAccount;
    type Shown = ShownServiceAccount;

    fn of(ShownServiceAccount { metadata, image_pull_secrets }: ShownServiceAccount) -> Listed<Self> {
        let added = metadata.annotations.get(ADDED).map(|names| parse_added(names));
        let object = Self {
            resource_version: metadata.resource_version,
            image_pull_secrets: image_pull_secrets.into_iter().map(|reference| reference.name).collect(),
            added: added.unwrap_or_default(),
        };
        Listed { namespace: metadata.namespace, name: metadata.name, object }
    }
}

/// The names in the annotation [`ADDED`], which people may edit.
pub(super) fn parse_added(names: &str) -> BTreeMap<String, Option<String>> {
    let entry = |entry: &str| match entry.split_once('=') {
        Some((name, cluster_pull_secret)) => (name.to_owned(), Some(cluster_pull_secret.to_owned())),
        None => (entry.to_owned(), None),
    };
    names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(entry).collect()
}

/// The annotation [`ADDED`] for these names.
pub(crate) fn render_added(added: &BTreeMap<String, Option<String>>) -> String {
    let entry = |(name, cluster_pull_secret): (&String, &Option<String>)| match cluster_pull_secret {
        Some(cluster_pull_secret) => format!("{name}={cluster_pull_secret}"),
        None => name.clone(),
    };
    added.iter().map(entry).collect::<Vec<_>>().join(",")
}

#[derive(Deserialize)]
pub(super) struct ShownSecret {
    metadata: Metadata,
    #[serde(rename = "type", default)]
    type_: String,
    #[serde(default)]
    immutable: bool,
    #[serde(default, deserialize_with = "null_is_default")]
    data: BTreeMap<String, ByteString>,
}

impl Observed for Secret {
    type Kind = core::Secret;
    type Shown = ShownSecret;

    fn of(ShownSecret { metadata, type_, immutable, mut data }: ShownSecret) -> Listed<Self> {
        let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone());
        let mut object = Secret::of_metadata(metadata.into());
        let docker_config = data.remove(DOCKER_CONFIG_KEY).map(|bytes| Arc::new(bytes.0.into()));
        object.body = Some(Body { type_, immutable, docker_config });
        Listed { namespace, name, object }
    }
}

impl Secret {
    /// A Secret of which the metadata was seen.
    pub(crate) fn of_metadata(metadata: ObjectMeta) -> Self {
        let mut labels = metadata.labels.unwrap_or_default();
        Self {
            resource_version: metadata.resource_version.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            managed: labels.get(MANAGED_BY).is_some_and(|value| value == FIELD_MANAGER),
            cluster_pull_secret: labels.remove(PULL_SECRET),
            versions: metadata.annotations.unwrap_or_default().remove(VERSIONS),
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
        Secret::of(serde_json::from_value(object).expect("a Secret"))
    }

    #[test]
    fn what_the_rotator_decides_on_is_kept() {
        let Listed { namespace, name, object } = secret(json!({
            "metadata": {
                "name": "regcred", "namespace": "web", "resourceVersion": "7", "managedFields": [{"manager": "x"}],
                "labels": {MANAGED_BY: FIELD_MANAGER, PULL_SECRET: "images", "other": "x"},
                "annotations": {VERSIONS: "ghcr.io=vault:1"},
            },
            "type": "kubernetes.io/dockerconfigjson", "immutable": true, "data": {DOCKER_CONFIG_KEY: "e30="},
        }));
        assert_eq!(
            (namespace.as_str(), name.as_str(), object.resource_version.as_str()),
            ("web", "regcred", "7")
        );
        let body = object.body.as_ref().expect("the whole object");
        assert!(object.is_made_for("images") && body.immutable && body.docker_config.is_some());
        assert_eq!(object.versions.as_deref(), Some("ghcr.io=vault:1"));
    }

    #[test]
    fn null_is_nothing() {
        let object =
            secret(json!({"metadata": {"name": "x", "labels": null, "annotations": null}, "data": null}))
                .object;
        assert!(!object.managed && object.body.is_some_and(|body| body.docker_config.is_none()));
        let page: Page<ShownNamespace> =
            serde_json::from_value(json!({"metadata": {"continue": null}, "items": null})).expect("a page");
        assert!(page.items.is_empty() && page.metadata.next.is_empty());
    }

    #[test]
    fn the_list_keeps_its_order_and_its_repetitions() {
        let shown = json!({
            "metadata": {"name": "default", "resourceVersion": "3", "annotations": {ADDED: " regcred=images,, b"}},
            "imagePullSecrets": [{"name": "b"}, {}, {"name": "b"}],
        });
        let object = ServiceAccount::of(serde_json::from_value(shown).expect("a ServiceAccount")).object;
        assert_eq!(object.image_pull_secrets, ["b", "", "b"]);
        assert_eq!(render_added(&object.added), "b,regcred=images");
    }
}
