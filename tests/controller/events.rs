//! Kubernetes Events: where people look first, and not a flood.

use serde_json::{Value, json};

use crate::stage::{QUIET, SECRET, Stage, until};

fn reasons(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["reason"].as_str()).collect()
}

#[tokio::test]
async fn a_rotation_is_told_on_the_pull_secret() {
    let stage = Stage::new("event-rotate", 2).await;
    let _controller = stage.serve("one").await;
    let before = stage.events_about("ClusterPullSecret", None, "event-rotate").await.len();
    stage.put_password("two").await;
    stage.ask("event-rotate").await;
    stage.until_served("two").await;
    until("an Event about the rotation", async || {
        stage.events_about("ClusterPullSecret", None, "event-rotate").await.len() > before
    })
    .await;
    let events = stage.events_about("ClusterPullSecret", None, "event-rotate").await;
    assert!(
        events.iter().all(|event| event["regarding"]["uid"].is_string()),
        "kubectl describe finds it by uid"
    );
    let described = ["describe", "clusterpullsecret", "event-rotate"];
    let described = stage.kube.kubectl(&described).await.expect("kubectl describes it");
    assert!(reasons(&events).iter().all(|reason| described.contains(reason)), "{described}");
}

#[tokio::test]
async fn ten_passes_over_a_refused_secret_make_one_event_about_it() {
    let stage = Stage::new("event-refuse", 2).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"theirs": "x"}});
    stage.kube.post("/api/v1/namespaces/event-refuse-000/secrets", &foreign).await.expect("a Secret");
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().start().await;
    until("the other namespace", async || stage.unserved("one").await == ["event-refuse-000"]).await;
    let about = async || stage.events_about("Secret", Some("event-refuse-000"), SECRET).await;
    until("an Event about the refused Secret", async || !about().await.is_empty()).await;

    let vault_mark = stage.vault_mark();
    for pass in 1..=10 {
        stage.ask("event-refuse").await;
        until("another pass", async || stage.reads("ghcr", vault_mark) >= pass).await;
    }
    tokio::time::sleep(QUIET).await;
    let events = about().await;
    assert_eq!(reasons(&events), ["Conflict"], "{events:?}");
    assert_eq!(events[0]["metadata"]["namespace"], "event-refuse-000");
    assert_eq!(events[0]["type"], "Warning");
    let warnings = stage.events_about("ClusterPullSecret", None, "event-refuse").await;
    let warnings: Vec<_> = warnings.into_iter().filter(|event| event["type"] == "Warning").collect();
    assert!(warnings.len() <= 1, "{warnings:?}");
}

#[tokio::test]
async fn a_store_that_goes_away_is_told_once_and_so_is_its_return() {
    let stage = Stage::new("event-store", 1).await;
    let _controller = stage.serve("one").await;
    until("it is ready", async || stage.condition("event-store", "Ready").await.starts_with("True")).await;
    let about = async || stage.events_about("ClusterPullSecret", None, "event-store").await;
    let warnings = async || about().await.iter().filter(|event| event["type"] == "Warning").count();
    stage.vault.seal().await.expect("Vault can be sealed");
    for _ in 0..5 {
        stage.ask("event-store").await;
        tokio::time::sleep(QUIET / 4).await;
    }
    until("a warning", async || warnings().await > 0).await;
    assert_eq!(warnings().await, 1, "{:?}", about().await);
    stage.vault.unseal().await.expect("Vault can be unsealed");
    stage.ask("event-store").await;
    until("the store is back", async || stage.condition("event-store", "Fetched").await.starts_with("True"))
        .await;
    assert_eq!(warnings().await, 1, "{:?}", about().await);
}
