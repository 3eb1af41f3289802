//! The requests that write a pull secret, and the state of the Secret after them.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Client;
use kube::api::{ObjectMeta, Patch};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::Content;
use crate::cluster::error::Error;
use crate::cluster::ownership::Ownership;
use crate::cluster::ownership::evidence::Evidence;
use crate::cluster::{
    DOCKER_CONFIG_KEY, DockerConfigBytes, OWNER, PULL_SECRET_TYPE, Secret, SecretBody, VERSIONS, secret_api,
};
use crate::object_name::NamespaceName;

/// The Secret of one namespace, as it is going to be written.
pub(super) struct DesiredWrite<'a> {
    pub(super) namespace: &'a NamespaceName,
    pub(super) content: &'a Content,
    pub(super) owner: &'a Ownership,
    pub(super) docker_config: DockerConfigBytes,
}

impl DesiredWrite<'_> {
    fn annotations(&self) -> BTreeMap<&'static str, String> {
        let versions = (VERSIONS, self.content.versions.to_string());
        self.owner.signature(self.namespace).into_iter().chain([versions]).collect()
    }

    /// Returns the state of the Secret after the write.
    pub(super) fn as_written(&self, metadata: Secret) -> Secret {
        let owner = self.owner.cluster_pull_secret.clone();
        let is_signed = self.owner.key.is_some();
        Secret {
            evidence: if is_signed { Evidence::Signed(owner) } else { Evidence::Unverified(owner) },
            marks: None,
            versions: Some(Arc::clone(&self.content.versions)),
            body: Some(SecretBody {
                type_: PULL_SECRET_TYPE.into(),
                docker_config: Some(Arc::clone(&self.docker_config)),
                ..SecretBody::default()
            }),
            ..metadata
        }
    }

    /// Creates the Secret; returns its metadata.
    pub(super) async fn create(&self, client: &Client) -> Result<Secret, Error> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let annotations = self.annotations().into_iter().map(|(name, value)| (name.to_owned(), value));
        let docker_config = ByteString(self.docker_config.expose_secret().to_vec());
        let secret = core::Secret {
            metadata: ObjectMeta {
                name: Some(self.owner.secret_name.clone().into()),
                labels: Some(self.owner.labels().into_iter().map(owned).collect()),
                annotations: Some(annotations.collect()),
                ..ObjectMeta::default()
            },
            type_: Some(PULL_SECRET_TYPE.to_owned()),
            data: Some([(DOCKER_CONFIG_KEY.to_owned(), docker_config)].into()),
            ..core::Secret::default()
        };
        match secret_api::create(client, self.namespace, &secret).await {
            // The namespace is missing: it was deleted since it was observed.
            Err(Error::NotFound(_)) => Err(Error::NamespaceTerminating),
            result => result,
        }
    }

    /// Returns the patch of an existing Secret. Owner references are removed one by one, by their UID: a merge patch would
    /// have to repeat all others.
    pub(super) fn patch(
        &self,
        resource_version: &str,
        owners: &[OwnerReference],
        removes_signature: bool,
    ) -> Patch<Value> {
        let mut patch = json!({
            "metadata": {
                "resourceVersion": resource_version,
                "labels": self.owner.labels(),
                "annotations": self.annotations(),
            },
            "data": { DOCKER_CONFIG_KEY: STANDARD.encode(self.docker_config.expose_secret()) },
        });
        if removes_signature {
            patch["metadata"]["annotations"][OWNER] = Value::Null;
        }
        if owners.is_empty() {
            return Patch::Merge(patch);
        }
        let removals = owners.iter().map(|owner| json!({"$patch": "delete", "uid": owner.uid}));
        patch["metadata"]["ownerReferences"] = removals.collect();
        Patch::Strategic(patch)
    }

    /// Sends a patch; returns the metadata of the Secret.
    pub(super) async fn update(&self, client: &Client, patch: Patch<Value>) -> Result<Secret, Error> {
        match secret_api::patch(client, self.namespace, &self.owner.secret_name, &patch).await {
            // The observed Secret was deleted since.
            Err(Error::NotFound(message)) => Err(Error::Changed(message)),
            result => result,
        }
    }
}
