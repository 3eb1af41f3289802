//! The bare writes: what the API server takes for the same objects when everything is known beforehand.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::stage::{ADDED, FIELD_MANAGER, HOST, SECRET, Stage, new_password};

/// Creates the Secret and patches the ServiceAccount of every namespace.
pub(crate) async fn create(stage: &Stage) -> anyhow::Result<Duration> {
    let mut secret = content();
    secret["type"] = "kubernetes.io/dockerconfigjson".into();
    secret["metadata"]["name"] = SECRET.into();
    let secret: Secret = serde_json::from_value(secret).context("the Secret is well formed")?;
    let reference = Patch::Merge(json!({
        "metadata": { "annotations": { ADDED: SECRET } },
        "imagePullSecrets": [{ "name": SECRET }],
    }));
    let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    stage.rest().await;
    let begun = Instant::now();
    let client = stage.client().await?;
    stage
        .in_every_namespace(async |namespace| {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secrets.create(&create, &secret).await?;
            let service_accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
            service_accounts.patch_metadata("default", &params(), &reference).await?;
            Ok(())
        })
        .await
        .context("the bare creation failed")?;
    Ok(begun.elapsed())
}

/// Patches the Secret of every namespace with a new password.
pub(crate) async fn patch(stage: &Stage) -> anyhow::Result<Duration> {
    let change = Patch::Merge(content());
    stage.rest().await;
    let begun = Instant::now();
    let client = stage.client().await?;
    stage
        .in_every_namespace(async |namespace| {
            let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
            secrets.patch_metadata(SECRET, &params(), &change).await?;
            Ok(())
        })
        .await
        .context("the bare rotation failed")?;
    Ok(begun.elapsed())
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
