//! New namespaces and ServiceAccounts are synced at once, from the cache.

use harness::{LABEL, until};
use serde_json::json;

use crate::cluster::{AT_ONCE, quiet_test_cluster};
use crate::controller::RunController as _;

/// Namespaces that are created at once.
const NEW: usize = 40;

#[tokio::test]
async fn new_namespace_is_synced_at_once_from_the_cache() {
    let mut cluster = quiet_test_cluster("new-namespace", 1).await;
    let _controller = cluster.start_synced("one").await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());

    cluster.add_namespace("new-namespace-late").await;
    cluster.until_synced("one").await;

    let (namespace, secret) =
        ("create namespaces new-namespace-late", "create secrets new-namespace-late/regcred");
    let delay = cluster.delay(mark, namespace, secret).await;
    assert!(delay < AT_ONCE, "the Secret came {delay:?} after the namespace");
    let account = "serviceaccounts new-namespace-late/default";
    let delay = cluster.delay(mark, &format!("create {account}"), &format!("patch {account}")).await;
    assert!(delay < AT_ONCE, "the entry came {delay:?} after the ServiceAccount");
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);
}

#[tokio::test]
async fn new_service_account_is_synced_at_once_from_the_cache() {
    let cluster = quiet_test_cluster("new-account", 1).await;
    let _controller =
        cluster.start_synced_with("one", "serviceAccounts", json!(["default", "builder"])).await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());

    for name in ["builder", "unnamed"] {
        let account = json!({"metadata": {"name": name}, "imagePullSecrets": [{"name": "own"}]});
        let path = "/api/v1/namespaces/new-account-000/serviceaccounts";
        cluster.kube.post(path, &account).await.expect("a ServiceAccount");
    }
    until("the entry in the new ServiceAccount", async || {
        cluster.references("new-account-000", "builder").await == ["own", "regcred"]
    })
    .await;

    let account = "serviceaccounts new-account-000/builder";
    let delay = cluster.delay(mark, &format!("create {account}"), &format!("patch {account}")).await;
    assert!(delay < AT_ONCE, "the entry came {delay:?} after the ServiceAccount");
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);
    assert_eq!(cluster.references("new-account-000", "unnamed").await, ["own"]);
}

#[tokio::test]
async fn newly_selected_namespace_is_synced_at_once_from_the_cache() {
    let cluster = quiet_test_cluster("new-label", 2).await;
    cluster.select("new-label-001", false).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().start().await;
    until("the first namespace", async || cluster.out_of_sync("one").await == ["new-label-001"]).await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());

    cluster.select("new-label-001", true).await;
    cluster.until_synced("one").await;

    let label = "patch namespaces new-label-001/new-label-001";
    for effect in ["create secrets new-label-001/regcred", "patch serviceaccounts new-label-001/default"] {
        let delay = cluster.delay(mark, label, effect).await;
        assert!(delay < AT_ONCE, "{effect} came {delay:?} after the label");
    }
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);
}

/// Kubernetes creates the ServiceAccount `default` a moment after the namespace.
#[tokio::test]
async fn new_namespaces_raise_no_alarm_before_their_default_account() {
    let cluster = quiet_test_cluster("new-bare", 1).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    for number in 0..NEW {
        let name = format!("new-bare-late-{number}");
        let namespace = json!({"metadata": {"name": name, "labels": {LABEL: cluster.name}}});
        cluster.kube.post("/api/v1/namespaces", &namespace).await.expect("a namespace");
    }
    until("the status", async || {
        let status = cluster.status(cluster.name).await;
        status["namespaces"]["inSync"] == NEW + 1 && status["serviceAccounts"]["inSync"] == NEW + 1
    })
    .await;
    let log = controller.log();
    let alarms: Vec<_> = log.lines().filter(|it| it.contains("not in sync") || it.contains("WARN")).collect();
    assert_eq!(alarms, Vec::<&str>::new());
}

#[tokio::test]
async fn default_account_that_stays_away_is_reported_once() {
    let cluster = quiet_test_cluster("new-lone", 2).await;
    // The policy prevents the controller manager from recreating the deleted ServiceAccount.
    cluster.forbid_creation("new-lone-000", "serviceaccounts", "not yet").await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    cluster.kube.delete("/api/v1/namespaces/new-lone-000/serviceaccounts/default").await.expect("a deletion");
    until("the failure", async || {
        let failure = &cluster.status(cluster.name).await["failures"][0];
        failure["namespace"] == "new-lone-000" && failure["reason"] == "ServiceAccountMissing"
    })
    .await;
    cluster.until_idle().await;
    let log = controller.log();
    let warnings: Vec<_> = log.lines().filter(|it| it.contains("WARN")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("no ServiceAccount default yet"), "{warnings:#?}");
}

#[tokio::test]
async fn deletion_of_the_last_namespaces_raises_no_alarm() {
    let cluster = quiet_test_cluster("new-last", 5).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    for namespace in &cluster.namespaces {
        cluster.kube.delete(&format!("/api/v1/namespaces/{namespace}")).await.expect("a deletion");
    }
    until("the status", async || cluster.status(cluster.name).await["namespaces"]["selected"] == 0).await;
    cluster.until_idle().await;
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "True InSync");
    let log = controller.log();
    let warnings: Vec<_> = log.lines().filter(|it| it.contains("WARN")).collect();
    assert_eq!(warnings, Vec::<&str>::new());
}
