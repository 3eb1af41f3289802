//! Writes one Secret.
//!
//! In goes a whole Secret, or the patch of one; out comes its metadata as written. Of a response only the fields that
//! are read are decoded: the largest part of one is its managed fields.

use http::Request as HttpRequest;
use k8s_openapi::api::core::v1 as core;
use kube::api::Patch;
use kube::core::Request;
use kube::{Client, Resource};
use serde_json::Value as Json;

use super::error::{Error, with_timeout};
use super::object::WireSecretMetadata;
use super::{Secret, params};
use crate::object_name::{NamespaceName, SecretName};

/// Creates a Secret.
pub(crate) async fn create(
    client: &Client,
    namespace: &NamespaceName,
    secret: &core::Secret,
) -> Result<Secret, Error> {
    let body = serde_json::to_vec(secret).map_err(kube::Error::SerdeError);
    let request = body.and_then(|body| {
        endpoint(namespace).create(&params::create(), body).map_err(kube::Error::BuildRequest)
    });
    send(client, request).await
}

/// Patches a Secret.
pub(crate) async fn patch(
    client: &Client,
    namespace: &NamespaceName,
    name: &SecretName,
    patch: &Patch<Json>,
) -> Result<Secret, Error> {
    let request = endpoint(namespace).patch_metadata(name, &params::patch(), patch);
    send(client, request.map_err(kube::Error::BuildRequest)).await
}

fn endpoint(namespace: &NamespaceName) -> Request {
    Request::new(core::Secret::url_path(&(), Some(namespace)))
}

async fn send(client: &Client, request: kube::Result<HttpRequest<Vec<u8>>>) -> Result<Secret, Error> {
    let written = with_timeout(async { client.request::<WireSecretMetadata>(request?).await }).await?;
    Ok(written.into_secret())
}
