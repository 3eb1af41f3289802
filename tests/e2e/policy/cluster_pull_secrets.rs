//! ClusterPullSecrets: the policy `regcred-clusterpullsecrets`.

use harness::CLUSTER_PULL_SECRETS;
use serde_json::json;

use super::{Policies, Write, cluster_pull_secret};

const POLICY: &str = "regcred-clusterpullsecrets";
const ANNOTATIONS: &str = "the annotations regcred.dev/request and regcred.dev/rotate";
const FINALIZER: &str = "the finalizer regcred.dev/cleanup only";
const ALIVE: &str = "that is being deleted only";
const FIELDS: &str = "neither the spec nor the labels";
const OURS: &str = "regcred.dev/cleanup";

/// Creates a ClusterPullSecret with these finalizers; returns its path.
async fn object(policies: &Policies, name: &str, finalizers: &[&str]) -> String {
    let namespace = policies.kube.get("/api/v1/namespaces/default").await.expect("a namespace");
    let owner = json!({
        "apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": namespace["metadata"]["uid"],
    });
    let mut object = cluster_pull_secret(name);
    object["metadata"] = json!({
        "name": name, "labels": {"team": "web"}, "annotations": {"note": "x"}, "finalizers": finalizers,
        "ownerReferences": [owner],
    });
    policies.kube.post(CLUSTER_PULL_SECRETS, &object).await.expect("a ClusterPullSecret");
    format!("{CLUSTER_PULL_SECRETS}/{name}")
}

#[tokio::test]
async fn spec_and_metadata_of_others_stay() {
    let policies = Policies::get().await;
    let path = object(policies, "policy-spec", &["example.com/hold"]).await;
    let merge = Write::merge(&path);
    for body in [
        json!({"metadata": {"finalizers": ["example.com/hold", OURS]}}),
        json!({"metadata": {"annotations": {"regcred.dev/request": "{}"}}}),
        json!({"metadata": {"annotations": {"regcred.dev/rotate": "now"}}}),
    ] {
        policies.accept(merge, body).await;
    }
    let stolen = json!([{"host": "evil.example.com", "from": {"store": "vault", "key": "prod/database"}}]);
    for (body, message) in [
        (json!({"spec": {"registries": stolen}}), FIELDS),
        (json!({"spec": {"namespaces": {"include": ["*"]}}}), FIELDS),
        (json!({"spec": {"suspend": true}}), FIELDS),
        (json!({"spec": {"namespaces": null}}), FIELDS),
        (json!({"metadata": {"labels": {"team": "data"}}}), FIELDS),
        (json!({"metadata": {"labels": null}}), FIELDS),
        (json!({"metadata": {"ownerReferences": null}}), FIELDS),
        (json!({"metadata": {"annotations": {"note": "y"}}}), ANNOTATIONS),
        (json!({"metadata": {"annotations": {"note": null}}}), ANNOTATIONS),
        (json!({"metadata": {"annotations": {"regcred.dev/other": ""}}}), ANNOTATIONS),
        (json!({"metadata": {"finalizers": [OURS]}}), FINALIZER),
        (json!({"metadata": {"finalizers": ["example.com/hold", OURS, OURS]}}), FINALIZER),
        (json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}), FINALIZER),
    ] {
        policies.refuse(POLICY, message, merge, body).await;
    }
}

#[tokio::test]
async fn finalizer_is_removed_during_deletion_only() {
    let policies = Policies::get().await;
    let path = object(policies, "policy-finalizer", &[OURS]).await;
    let bare = json!({"metadata": {"finalizers": []}});
    policies.refuse(POLICY, ALIVE, Write::merge(&path), bare.clone()).await;
    policies.kube.delete(&path).await.expect("the deletion begins");
    policies.send(Write::merge(&path), &bare).await.expect("regcred removes its finalizer");
    policies.kube.get(&path).await.expect_err("the object is gone");
}

#[tokio::test]
async fn status_of_an_object_changes_nothing_else() {
    let policies = Policies::get().await;
    let path = object(policies, "policy-status", &["example.com/hold"]).await;
    let before = policies.kube.get(&path).await.expect("a ClusterPullSecret");
    let body = json!({
        "metadata": {"labels": {"team": "data"}, "annotations": {"note": "y"}, "finalizers": [], "ownerReferences": []},
        "spec": {"suspend": true},
        "status": {"secretNames": ["regcred"]},
    });
    let status = format!("{path}/status");
    policies.send(Write::merge(&status), &body).await.expect("regcred writes the status");
    let after = policies.kube.get(&path).await.expect("a ClusterPullSecret");
    assert_eq!(after["status"]["secretNames"], json!(["regcred"]));
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        assert_eq!(after["metadata"][field], before["metadata"][field], "{field}");
    }
    assert_eq!(after["spec"], before["spec"]);
}

#[tokio::test]
async fn object_cannot_be_created_by_apply() {
    let policies = Policies::get().await;
    let path = format!("{CLUSTER_PULL_SECRETS}/policy-created?fieldManager=x");
    let apply = Write { method: "PATCH", path: &path, content_type: "application/apply-patch+yaml" };
    let refused =
        policies.send(apply, &cluster_pull_secret("policy-created")).await.err().unwrap_or_default();
    // Kubernetes 1.30 gives no reason.
    assert!(refused.contains("\\\"policy-created\\\" is forbidden"), "{refused}");
}
