//! The bare writes: the API server's time for the same objects when everything is known beforehand.

use std::time::Instant;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::{HOST, SECRET, TestCluster};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::cluster::{ADDED, Bench as _, FIELD_MANAGER, client, new_password};

/// The seconds of [`create`] in a process without a connection.
pub(crate) async fn create_from_cold(cluster: &TestCluster) -> anyhow::Result<f64> {
    from_cold(cluster, async |client| create(cluster, client).await).await
}

/// The seconds of these writes in a process without a connection.
pub(crate) async fn from_cold(
    cluster: &TestCluster,
    writes: impl AsyncFn(&Client) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    cluster.wait_idle().await?;
    let begun = Instant::now();
    let client = client(&cluster.kubeconfig).await?;
    writes(&client).await?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Creates the Secret and patches the ServiceAccount of every namespace.
async fn create(cluster: &TestCluster, client: &Client) -> anyhow::Result<()> {
    let secret = secret(SECRET)?;
    let reference = Patch::Merge(json!({
        "metadata": { "annotations": { ADDED: format!("{SECRET}=bench") } },
        "imagePullSecrets": [{ "name": SECRET }],
    }));
    let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    cluster
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
pub(crate) async fn patch(cluster: &TestCluster, client: &Client, name: &str) -> anyhow::Result<()> {
    let change = Patch::Merge(content());
    cluster
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

/// The fields that regcred writes into a Secret, with another password.
fn content() -> Value {
    let password = new_password();
    let auth = BASE64_STANDARD.encode(format!("robot:{password}"));
    let docker_config = json!({ "auths": { HOST: { "auth": auth } } });
    json!({
        "metadata": {
            "labels": { "app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "bench" },
            "annotations": { "regcred.dev/versions": format!("{HOST}=vault:0") },
        },
        "data": { ".dockerconfigjson": BASE64_STANDARD.encode(docker_config.to_string()) },
    })
}
