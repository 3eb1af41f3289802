//! The life of a ClusterPullSecret: rename, suspension and deletion; namespaces that leave its selection.

use harness::{CLUSTER_PULL_SECRETS, SECOND_SECRET, line, until};
use serde_json::json;

use crate::cluster::{QUIET, test_cluster};
use crate::controller::RunController as _;

/// The position of the first write that contains this text.
fn position(writes: &[String], text: &str) -> Option<usize> {
    writes.iter().position(|write| write.contains(text))
}

#[tokio::test]
async fn deselected_namespace_loses_the_entry_before_the_secret() {
    let cluster = test_cluster("leave", 2).await;
    let _controller = cluster.start_synced("one").await;
    let mark = cluster.mark();
    cluster.select("leave-001", false).await;
    until("the Secret is gone", async || cluster.secret("leave-001").await.is_none()).await;

    let writes = cluster.writes(mark).await;
    let in_namespace: Vec<_> = writes.iter().filter(|it| it.contains("leave-001")).collect();
    let expect = ["patch serviceaccounts leave-001/default 200", "delete secrets leave-001/regcred 200"];
    assert_eq!(in_namespace, expect);
    assert_eq!(cluster.references("leave-001", "default").await, Vec::<String>::new());
    assert_eq!(cluster.references("leave-000", "default").await, ["regcred"]);
}

#[tokio::test]
async fn changed_secret_name_moves_every_namespace_and_prunes() {
    let cluster = test_cluster("rename", 3).await;
    let controller = cluster.start_synced("one").await;
    let mark = cluster.mark();
    cluster.patch_spec(cluster.name, json!({"secretName": SECOND_SECRET})).await;
    until("the Secrets of the old name are gone", async || {
        cluster.secrets().await.is_empty() && cluster.secrets_named(SECOND_SECRET).await.len() == 3
    })
    .await;
    for namespace in &cluster.namespaces {
        until("the ServiceAccount names the new Secret only", async || {
            cluster.references(namespace, "default").await == [SECOND_SECRET]
        })
        .await;
        // No pod is ever admitted with a reference to a missing pull secret.
        let writes = cluster.writes(mark).await;
        let created = position(&writes, &format!("create secrets {namespace}/{SECOND_SECRET}"));
        let patched = position(&writes, &format!("patch serviceaccounts {namespace}/default"));
        let deleted = position(&writes, &format!("delete secrets {namespace}/regcred"));
        assert!(created.is_some() && created < patched && patched < deleted, "{writes:?}");
    }
    let name = cluster.name;
    until("the old name is not in the status", async || {
        cluster.status(name).await["secretNames"] == json!([SECOND_SECRET])
    })
    .await;
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn interrupted_rename_is_completed_after_restart() {
    let cluster = test_cluster("rename-cut", 3).await;
    let controller = cluster.start_synced("one").await;
    controller.kill().await;
    cluster.patch_spec(cluster.name, json!({"secretName": SECOND_SECRET})).await;
    let _next = cluster.controller().start().await;
    until("the Secrets of the old name are gone", async || {
        cluster.secrets().await.is_empty() && cluster.secrets_named(SECOND_SECRET).await.len() == 3
    })
    .await;
}

#[tokio::test]
async fn suspended_object_is_left_alone_and_catches_up_on_resume() {
    let mut cluster = test_cluster("suspend", 2).await;
    let _controller = cluster.start_synced("one").await;
    let name = cluster.name;
    cluster.patch_spec(name, json!({"suspend": true})).await;
    until("the suspension is reported", async || cluster.condition(name, "Ready").await == "False Suspended")
        .await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());

    cluster.put_password("two").await;
    cluster.request_rotation(name).await;
    let without_entries = json!({"imagePullSecrets": null});
    let account = "/api/v1/namespaces/suspend-000/serviceaccounts/default";
    cluster.kube.patch(account, &without_entries).await.expect("a patch");
    cluster.add_namespace("suspend-late").await;
    tokio::time::sleep(QUIET).await;
    let writes = cluster.writes(mark).await;
    // The suspension itself may still be reported.
    let mut to_targets = writes;
    to_targets.retain(|it| !it.contains("clusterpullsecrets/status") && !it.starts_with("create events"));
    assert!(to_targets.is_empty(), "{to_targets:?}");
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);

    cluster.patch_spec(name, json!({"suspend": false})).await;
    cluster.until_synced("two").await;
    until("it is ready again", async || cluster.condition(name, "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn deletion_prunes_targets_before_removing_the_finalizer() {
    let cluster = test_cluster("delete", 3).await;
    let _controller = cluster.start_synced("one").await;
    let own = json!({"imagePullSecrets": [{"name": "own"}, {"name": "regcred"}]});
    let account = "/api/v1/namespaces/delete-000/serviceaccounts/default";
    cluster.kube.patch(account, &own).await.expect("a patch");
    let mark = cluster.mark();
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/delete")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("delete").await.is_none()
    })
    .await;

    assert!(cluster.secrets().await.is_empty(), "the finalizer was removed last");
    assert_eq!(cluster.references("delete-000", "default").await, ["own"]);
    let writes = cluster.writes(mark).await;
    for namespace in &cluster.namespaces {
        let patched = position(&writes, &format!("serviceaccounts {namespace}/"));
        let deleted = position(&writes, &format!("delete secrets {namespace}/"));
        assert!(patched.is_some() && patched < deleted, "{writes:?}");
    }
}

#[tokio::test]
async fn deletion_is_not_held_by_a_long_annotation() {
    let cluster = test_cluster("delete-long", 2).await;
    let _controller = cluster.start_synced("one").await;
    let account = "/api/v1/namespaces/delete-long-000/serviceaccounts/default";
    let annotation = "regcred.dev/image-pull-secrets";
    let long = json!({"metadata": {"annotations": {annotation: "x".repeat(1025), "own": "kept"}}});
    cluster.kube.patch(account, &long).await.expect("a patch");
    cluster.until_idle().await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/delete-long")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("delete-long").await.is_none()
    })
    .await;
    assert!(cluster.secrets().await.is_empty());
    assert_eq!(cluster.references("delete-long-000", "default").await, Vec::<String>::new());
    let account = cluster.kube.get(account).await.expect("a ServiceAccount");
    assert_eq!(account["metadata"]["annotations"], json!({"own": "kept"}));
}

#[tokio::test]
async fn deletion_with_retain_keeps_secrets_and_entries() {
    let cluster = test_cluster("retain", 2).await;
    let _controller = cluster.start_synced_with("one", "deletion", json!("Retain")).await;
    for secret in cluster.secrets().await.values() {
        assert_eq!(secret["metadata"].get("ownerReferences"), None, "the garbage collector would delete it");
    }
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/retain")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("retain").await.is_none()
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn deletion_while_stopped_is_completed_after_start() {
    let cluster = test_cluster("delete-late", 2).await;
    let controller = cluster.start_synced("one").await;
    controller.kill().await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/delete-late")).await.expect("a deletion");
    let mark = cluster.mark();
    let _next = cluster.controller().start().await;
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("delete-late").await.is_none()
    })
    .await;
    assert!(cluster.secrets().await.is_empty());
    let requests = cluster.requests(mark).await;
    // A record that the first controller had not saved yet is no pull secret.
    let created = requests.iter().filter(|it| it.verb == "create" && it.resource == "secrets").map(line);
    let in_targets = created.filter(|line| cluster.namespaces.iter().any(|it| line.contains(it.as_str())));
    assert_eq!(in_targets.collect::<Vec<_>>(), Vec::<String>::new());
}

#[tokio::test]
async fn forbidden_secret_name_is_reported_and_object_is_deletable() {
    let cluster = test_cluster("unseen", 1).await;
    cluster.put_password("one").await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["secretName"] = json!("not-in-the-role");
    cluster.apply(&cluster_pull_secret).await;
    let _controller = cluster.controller().start().await;
    until("the failure is reported", async || {
        cluster.condition("unseen", "Applied").await == "False Forbidden"
    })
    .await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/unseen")).await.expect("a deletion");
    until("the ClusterPullSecret is gone", async || {
        cluster.get_cluster_pull_secret("unseen").await.is_none()
    })
    .await;
}
