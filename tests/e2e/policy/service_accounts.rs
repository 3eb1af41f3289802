//! ServiceAccounts: the policy `regcred-serviceaccounts`.

use serde_json::{Value, json};

use super::{Policies, Write};

const POLICY: &str = "regcred-serviceaccounts";
const ENTRIES: &str = "entries of imagePullSecrets with a name in secretNames only";
const ANNOTATION: &str = "its own annotation of a ServiceAccount only";
const FIELDS: &str = "changes imagePullSecrets and its own annotation";
const OURS: &str = "regcred.dev/image-pull-secrets";

/// Creates a ServiceAccount in a namespace of its own; returns its path.
async fn account(policies: &Policies, namespace: &str, mut account: Value) -> String {
    policies.kube.create_namespaces([namespace], &[]).await.expect("a namespace");
    account["metadata"]["name"] = json!("robot");
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    policies.kube.post(&path, &account).await.expect("a ServiceAccount");
    format!("{path}/robot")
}

fn names(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

fn list(entries: &[&str]) -> Value {
    json!({"imagePullSecrets": names(entries)})
}

#[tokio::test]
async fn entries_change_only_under_listed_names() {
    let policies = Policies::get().await;
    let full = account(policies, "policy-entries", list(&["a", "regcred", "b", "a", "regcred"])).await;
    for entries in [
        ["a", "regcred", "b", "a"].as_slice(),
        &["a", "b", "a", "regcred"],
        &["a", "b", "a"],
        &["regcred", "a", "b", "a"],
    ] {
        policies.accept(Write::merge(&full), list(entries)).await;
    }
    for entries in [
        ["a", "regcred", "b", "a", "regcred", "evil"].as_slice(),
        // Else a stolen token could fill the list until the policy visits it no more.
        &["a", "regcred", "b", "a", "regcred", "regcred"],
        &["a", "regcred", "b", "regcred"],
        &["b", "regcred", "a", "a", "regcred"],
        &["a", "regcred", "b", "a", "evil"],
        &["regcred"],
        &[],
    ] {
        policies.refuse(POLICY, ENTRIES, Write::merge(&full), list(entries)).await;
    }
    policies.refuse(POLICY, ENTRIES, Write::merge(&full), json!({"imagePullSecrets": null})).await;
}

#[tokio::test]
async fn bare_account_gets_entry_and_annotation_only() {
    let policies = Policies::get().await;
    let bare = account(policies, "policy-bare", json!({"metadata": {}})).await;
    let with_annotation = json!({
        "metadata": {"annotations": {OURS: "regcred=images"}},
        "imagePullSecrets": [{"name": "regcred"}],
    });
    policies.accept(Write::merge(&bare), with_annotation).await;
    let patch = json!([
        {"op": "add", "path": "/metadata/annotations", "value": {OURS: "regcred=images"}},
        {"op": "add", "path": "/imagePullSecrets", "value": [{"name": "regcred"}]},
    ]);
    policies.accept(Write::json_patch(&bare), patch).await;
    for (body, message) in [
        (list(&["evil"]), ENTRIES),
        (
            json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}}}),
            ANNOTATION,
        ),
        (json!({"metadata": {"annotations": {"empty": ""}}}), ANNOTATION),
        (json!({"secrets": [{"name": "token"}]}), FIELDS),
        (json!({"automountServiceAccountToken": true}), FIELDS),
        (json!({"metadata": {"labels": {"azure.workload.identity/use": "true"}}}), FIELDS),
        (json!({"metadata": {"finalizers": ["example.com/hold"]}}), FIELDS),
        (
            json!({"metadata": {"ownerReferences": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}]}}),
            FIELDS,
        ),
    ] {
        policies.refuse(POLICY, message, Write::merge(&bare), body).await;
    }
}

#[tokio::test]
async fn every_other_field_of_an_account_stays() {
    let policies = Policies::get().await;
    policies.kube.create_namespaces(["policy-owners"], &[]).await.expect("a namespace");
    let map = json!({"metadata": {"name": "owner"}});
    let map =
        policies.kube.post("/api/v1/namespaces/policy-owners/configmaps", &map).await.expect("a ConfigMap");
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": map["metadata"]["uid"]});
    let mut robot = json!({
        "metadata": {
            "name": "robot", "labels": {"team": "web"}, "finalizers": ["example.com/hold"],
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/web", OURS: "regcred=images"},
            "ownerReferences": [owner],
        },
        "secrets": [{"name": "token"}], "automountServiceAccountToken": false,
    });
    robot["imagePullSecrets"] = names(&["a", "regcred"]);
    let path = "/api/v1/namespaces/policy-owners/serviceaccounts";
    policies.kube.post(path, &robot).await.expect("a ServiceAccount");
    let merge = Write::merge("/api/v1/namespaces/policy-owners/serviceaccounts/robot");

    policies
        .accept(merge, json!({"metadata": {"annotations": {OURS: null}}, "imagePullSecrets": names(&["a"])}))
        .await;
    policies.accept(merge, json!({"metadata": {"annotations": {OURS: "regcred=others"}}})).await;
    for (body, message) in [
        (
            json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/admin"}}}),
            ANNOTATION,
        ),
        (json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": null}}}), ANNOTATION),
        (json!({"metadata": {"annotations": null}}), ANNOTATION),
        (json!({"secrets": [{"name": "token"}, {"name": "more"}]}), FIELDS),
        (json!({"secrets": null}), FIELDS),
        (json!({"automountServiceAccountToken": true}), FIELDS),
        (json!({"automountServiceAccountToken": null}), FIELDS),
        (json!({"metadata": {"labels": {"team": "data"}}}), FIELDS),
        (json!({"metadata": {"labels": null}}), FIELDS),
        (json!({"metadata": {"finalizers": []}}), FIELDS),
        (json!({"metadata": {"ownerReferences": null}}), FIELDS),
    ] {
        policies.refuse(POLICY, message, merge, body).await;
    }
}
