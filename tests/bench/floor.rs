//! The bare writes: what the API server takes for the same objects when everything is known beforehand.

use std::time::Instant;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::stage::{ADDED, FIELD_MANAGER, HOST, SECRET, Stage, client, new_password};

/// Seconds that the writes take a process that has no connection yet.
pub(crate) async fn from_cold(
    stage: &Stage,
    writes: impl AsyncFn(&Client) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    stage.rest().await?;
    let begun = Instant::now();
    let client = client(&stage.kubeconfig).await?;
    writes(&client).await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Creates the Secret and patches the ServiceAccount of every namespace.
pub(crate) async fn create(stage: &Stage, client: &Client) -> anyhow::Result<()> {
    let secret = secret(SECRET)?;
    let reference = Patch::Merge(json!({
        "metadata": { "annotations": { ADDED: format!("{SECRET}=bench") } },
        "imagePullSecrets": [{ "name": SECRET }],
    }));
    let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    stage
        .in_every_namespace(async |namespace| {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secrets.create(&create, &secret).await?;
            let service_accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
            service_accounts.patch_metadata("default", &params(), &reference).await?;
            Ok(())
        })
        .await
        .context("the bare creation failed")
}

/// Patches the Secret of that name in every namespace with a new password.
pub(crate) async fn patch(stage: &Stage, client: &Client, name: &str) -> anyhow::Result<()> {
    let change = Patch::Merge(content());
    stage
        .in_every_namespace(async |namespace| {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secrets.patch_metadata(name, &params(), &change).await?;
            Ok(())
        })
        .await
        .context("the bare rotation failed")
}

/// A Secret as regcred creates it.
pub(crate) fn secret(name: &str) -> anyhow::Result<Secret> {
    let mut secret = content();
    secret["type"] = "kubernetes.io/dockerconfigjson".into();
    secret["metadata"]["name"] = name.into();
    serde_json::from_value(secret).context("the Secret is not well formed")
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// What regcred writes into a Secret, with a password of its own.
fn content() -> Value {
    let password = new_password();
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    let docker_config =
        json!({ "auths": { HOST: { "username": "robot", "password": password, "auth": auth } } });
    json!({
        "metadata": {
            "labels": { "app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "bench" },
            "annotations": { "regcred.dev/versions": format!("{HOST}=vault:0") },
        },
        "data": { ".dockerconfigjson": BASE64_STANDARD.encode(docker_config.to_string()) },
    })
}
