//! Kubernetes Events: the first place that people look at, and no flood of them.

use harness::{SECRET, TestCluster, until};
use serde_json::{Value, json};

use crate::cluster::{QUIET, test_cluster};
use crate::controller::RunController as _;

fn reasons(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["reason"].as_str()).collect()
}

async fn about_secret(cluster: &TestCluster) -> Vec<Value> {
    cluster.events_about("Secret", Some("event-refuse-000"), SECRET).await
}

/// The warnings about the ClusterPullSecret named like the test.
async fn warnings(cluster: &TestCluster) -> Vec<Value> {
    let mut events = cluster.events_about("ClusterPullSecret", None, cluster.name).await;
    events.retain(|event| event["type"] == "Warning");
    events
}

#[tokio::test]
async fn rotation_emits_event_on_the_cluster_pull_secret() {
    let cluster = test_cluster("event-rotate", 2).await;
    let _controller = cluster.start_synced("one").await;
    let before = cluster.events_about("ClusterPullSecret", None, "event-rotate").await.len();
    cluster.put_password("two").await;
    cluster.request_rotation("event-rotate").await;
    cluster.until_synced("two").await;
    until("an Event about the rotation", async || {
        cluster.events_about("ClusterPullSecret", None, "event-rotate").await.len() > before
    })
    .await;
    let events = cluster.events_about("ClusterPullSecret", None, "event-rotate").await;
    assert!(
        events.iter().all(|event| event["regarding"]["uid"].is_string()),
        "kubectl describe finds it by uid"
    );
    let described = ["describe", "clusterpullsecret", "event-rotate"];
    let described = cluster.kube.kubectl(&described).await.expect("kubectl describes it");
    assert!(reasons(&events).iter().all(|reason| described.contains(reason)), "{described}");
}

#[tokio::test]
async fn ten_reconciliations_of_a_refused_secret_emit_one_event() {
    let cluster = test_cluster("event-refuse", 2).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"foreign": "x"}});
    cluster.kube.post("/api/v1/namespaces/event-refuse-000/secrets", &foreign).await.expect("a Secret");
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().start().await;
    until("the other namespace", async || cluster.out_of_sync("one").await == ["event-refuse-000"]).await;
    until("an Event about the refused Secret", async || !about_secret(&cluster).await.is_empty()).await;

    let vault_mark = cluster.vault_mark();
    for fetches in 1..=10 {
        cluster.request_rotation("event-refuse").await;
        until("another reconciliation", async || cluster.vault_reads("ghcr", vault_mark) >= fetches).await;
    }
    tokio::time::sleep(QUIET).await;
    let events = about_secret(&cluster).await;
    assert_eq!(reasons(&events), ["Conflict"], "{events:?}");
    assert_eq!(events[0]["metadata"]["namespace"], "event-refuse-000");
    assert_eq!(events[0]["type"], "Warning");
    let warnings = warnings(&cluster).await;
    assert!(warnings.len() <= 1, "{warnings:?}");
}

#[tokio::test]
async fn unavailable_store_emits_one_warning() {
    let cluster = test_cluster("event-store", 1).await;
    let _controller = cluster.start_synced("one").await;
    until("it is ready", async || cluster.condition("event-store", "Ready").await.starts_with("True")).await;
    cluster.vault.seal().await.expect("Vault can be sealed");
    for _ in 0..5 {
        cluster.request_rotation("event-store").await;
        tokio::time::sleep(QUIET / 4).await;
    }
    until("a warning", async || !warnings(&cluster).await.is_empty()).await;
    assert_eq!(warnings(&cluster).await.len(), 1, "{:?}", warnings(&cluster).await);
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.request_rotation("event-store").await;
    until("the store is available", async || {
        cluster.condition("event-store", "Fetched").await.starts_with("True")
    })
    .await;
    assert_eq!(warnings(&cluster).await.len(), 1, "{:?}", warnings(&cluster).await);
}
