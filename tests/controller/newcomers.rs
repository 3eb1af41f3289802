//! What appears is served at once, from memory.

use serde_json::json;

use crate::stage::{AT_ONCE, Stage, until};

#[tokio::test]
async fn a_new_namespace_is_served_at_once_without_a_read_of_the_store() {
    let mut stage = Stage::new("new-namespace", 1).await;
    let _controller = stage.serve("one").await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());

    stage.add_namespace("new-namespace-late").await;
    stage.until_served("one").await;

    let (namespace, secret) =
        ("create namespaces new-namespace-late", "create secrets new-namespace-late/regcred");
    let delay = stage.delay(mark, namespace, secret).await;
    assert!(delay < AT_ONCE, "the Secret came {delay:?} after the namespace");
    let account = "serviceaccounts new-namespace-late/default";
    let delay = stage.delay(mark, &format!("create {account}"), &format!("patch {account}")).await;
    assert!(delay < AT_ONCE, "the entry came {delay:?} after the ServiceAccount");
    assert_eq!(stage.reads("ghcr", vault_mark), 0);
}

#[tokio::test]
async fn a_new_service_account_is_served_at_once_without_a_read_of_the_store() {
    let stage = Stage::new("new-account", 1).await;
    let _controller = stage.serve_with("one", "serviceAccounts", json!(["default", "builder"])).await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());

    for name in ["builder", "stranger"] {
        let account = json!({"metadata": {"name": name}, "imagePullSecrets": [{"name": "own"}]});
        let path = "/api/v1/namespaces/new-account-000/serviceaccounts";
        stage.kube.post(path, &account).await.expect("a ServiceAccount");
    }
    until("the entry in the new ServiceAccount", async || {
        stage.references("new-account-000", "builder").await == ["own", "regcred"]
    })
    .await;

    let account = "serviceaccounts new-account-000/builder";
    let delay = stage.delay(mark, &format!("create {account}"), &format!("patch {account}")).await;
    assert!(delay < AT_ONCE, "the entry came {delay:?} after the ServiceAccount");
    assert_eq!(stage.reads("ghcr", vault_mark), 0);
    assert_eq!(stage.references("new-account-000", "stranger").await, ["own"]);
}

#[tokio::test]
async fn a_namespace_that_enters_the_selection_is_served_at_once_without_a_read_of_the_store() {
    let stage = Stage::new("new-label", 2).await;
    stage.select("new-label-001", false).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().start().await;
    until("the first namespace", async || stage.unserved("one").await == ["new-label-001"]).await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());

    stage.select("new-label-001", true).await;
    stage.until_served("one").await;

    let label = "patch namespaces new-label-001/new-label-001";
    for effect in ["create secrets new-label-001/regcred", "patch serviceaccounts new-label-001/default"] {
        let delay = stage.delay(mark, label, effect).await;
        assert!(delay < AT_ONCE, "{effect} came {delay:?} after the label");
    }
    assert_eq!(stage.reads("ghcr", vault_mark), 0);
}
