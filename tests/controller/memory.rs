//! The peak of resident memory at a start: it is bounded by what regcred serves, whatever tenants write.

use std::time::Duration;

use harness::{LABEL, REPLICAS, SECRET, TestCluster, registries, until, until_within};
use serde_json::{Value, json};

use crate::cluster::{cluster_with_shared_namespaces, test_cluster};
use crate::controller::{Controller, RunController as _};

/// The most resident memory; the chart's limit is 256 MiB.
const MOST: u64 = 200 << 20;
/// ServiceAccounts of a tenant; at the start of regcred they are read in any case.
const FOREIGN: usize = 67;
/// Secrets of tenants under the name of the pull secret.
const FOREIGN_SECRETS: usize = 170;
const NAMESPACES: usize = 300;
const REGISTRIES: usize = 64;
/// The length of a service account's key of a cloud provider.
const KEY_LENGTH: usize = 2400;

/// A ServiceAccount of a megabyte. Its entries are short, because each costs an allocation where it is built.
fn large_service_account(n: usize) -> Value {
    let entries: Vec<_> = (0..75_000).map(|_| json!({"name": "x"})).collect();
    json!({"metadata": {"name": format!("large-{n}")}, "imagePullSecrets": entries})
}

/// Prints the peak of the controller so far, and compares it with the limit.
fn assert_bounded(phase: &str, controller: &Controller) {
    let peak = controller.peak_resident().expect("a process");
    #[expect(clippy::print_stderr, reason = "the figure, for `make bench`")]
    {
        eprintln!("{phase}: {} MiB at the peak", peak >> 20);
    }
    assert!(peak <= MOST, "{phase}: {} MiB at the peak", peak >> 20);
}

#[tokio::test]
async fn large_service_accounts_of_tenants_cost_no_memory() {
    let cluster = test_cluster("memory-flood", 1).await;
    let tenant = "memory-flood-tenant";
    cluster.kube.create_namespaces([tenant], &[(LABEL, tenant)]).await.expect("a namespace");
    let path = format!("/api/v1/namespaces/{tenant}/serviceaccounts");
    let objects = (0..FOREIGN).map(large_service_account).collect();
    cluster.kube.create_all(&path, objects).await.expect("ServiceAccounts");

    let controller = cluster.start_synced("one").await;
    assert_bounded("67 ServiceAccounts of 1 MB, start", &controller);
    // The watch gets each of them again.
    let change = json!({"metadata": {"labels": {"changed": "yes"}}});
    let changes = (0..FOREIGN).map(|n| (format!("{path}/large-{n}"), change.clone())).collect();
    cluster.kube.patch_all(changes).await.expect("patches");
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    assert_bounded("67 ServiceAccounts of 1 MB, each changed", &controller);
    controller.kill().await;

    // Both replicas read them again at each restart, whether they lead or not.
    for restart in ["first restart", "second restart"] {
        let [a, b] = REPLICAS.map(|replica| cluster.controller().replica(replica).start());
        let replicas: [Controller; 2] = tokio::join!(a, b).into();
        until("a leader", async || replicas[0].is_leader().await != replicas[1].is_leader().await).await;
        for (controller, replica) in replicas.iter().zip(REPLICAS) {
            assert_bounded(&format!("67 ServiceAccounts of 1 MB, {restart} of {replica}"), controller);
            controller.kill().await;
        }
    }
}

/// A Secret of more than a megabyte, none of it data.
fn large_metadata() -> Value {
    let annotations = json!({"regcred.dev/versions": "x".repeat(250 << 10)});
    json!({"metadata": {"name": SECRET, "annotations": annotations}, "type": "x".repeat(1 << 20)})
}

#[tokio::test]
async fn large_metadata_of_tenants_secrets_costs_no_memory() {
    let cluster = test_cluster("memory-metadata", 1).await;
    let tenants: Vec<_> = (0..FOREIGN_SECRETS).map(|n| format!("memory-metadata-tenant-{n}")).collect();
    let names = tenants.iter().map(String::as_str);
    cluster.kube.create_namespaces(names, &[(LABEL, "memory-metadata-tenant")]).await.expect("namespaces");
    for tenant in &tenants {
        let path = format!("/api/v1/namespaces/{tenant}/secrets");
        cluster.kube.post(&path, &large_metadata()).await.expect("a Secret");
    }

    let controller = cluster.start_synced("one").await;
    assert_bounded("Secrets with a megabyte of metadata", &controller);
    let change = json!({"metadata": {"labels": {"changed": "yes"}}});
    let path = |tenant: &String| format!("/api/v1/namespaces/{tenant}/secrets/{SECRET}");
    let changes = tenants.iter().map(|tenant| (path(tenant), change.clone())).collect();
    cluster.kube.patch_all(changes).await.expect("patches");
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    assert_bounded("Secrets with a megabyte of metadata, each changed", &controller);
}

#[tokio::test]
async fn large_docker_config_of_many_namespaces_is_kept_once() {
    let cluster = cluster_with_shared_namespaces("memory-large", NAMESPACES).await;
    let names: Vec<_> =
        (0..REGISTRIES).map(|n| (format!("registry-{n}.example.com"), format!("key-{n}"))).collect();
    for (host, key) in &names {
        let password = json!({"private_key": host.repeat(KEY_LENGTH / host.len())}).to_string();
        cluster.put(key, &json!({"username": "_json_key", "password": password})).await;
    }
    let keys: Vec<_> = names.iter().map(|(_, key)| cluster.key(key)).collect();
    let sources: Vec<_> =
        names.iter().zip(&keys).map(|((host, _), key)| (host.as_str(), "vault", key.as_str())).collect();
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"] = registries(&sources);
    cluster.apply(&object).await;
    let controller = cluster.controller().start().await;
    until_in_sync(&cluster, &controller).await;
    assert_bounded("300 namespaces, 64 registries of 2.4 KB keys, first writes", &controller);
    controller.kill().await;

    let controller = cluster.controller().start().await;
    until_in_sync(&cluster, &controller).await;
    assert_bounded("300 namespaces, 64 registries of 2.4 KB keys, restart", &controller);
    let updated = r#"regcred_writes_total{kind="secret",outcome="updated"}"#;
    let written = controller.metric(updated).await.unwrap_or_default();
    assert!(written < 0.5, "{written} Secrets were written again");
}

async fn until_in_sync(cluster: &TestCluster, controller: &Controller) {
    let targets = format!(r#"regcred_targets{{cluster_pull_secret="{}",state="in_sync"}}"#, cluster.name);
    let done = format!(
        r#"regcred_reconciliations_total{{cluster_pull_secret="{}",outcome="in_sync"}}"#,
        cluster.name
    );
    // Some hundred megabytes of JSON, which a binary without optimisations decodes slowly.
    until_within(Duration::from_mins(4), "every namespace is in sync", async || {
        let targets = controller.metric(&targets).await.unwrap_or_default();
        targets.to_string() == NAMESPACES.to_string() && controller.metric(&done).await.is_some()
    })
    .await;
}
