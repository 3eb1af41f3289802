//! The largest objects that the API server stores: the policies are evaluated in time and within their budget, and
//! accept the writes of regcred.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{CLUSTER_PULL_SECRETS, SECRET};
use serde_json::{Map, Value, json};

use super::{Policies, Write, cluster_pull_secret, secrets};

const ACCOUNTS: &str = "regcred-serviceaccounts";
const ENTRIES: &str = "entries of imagePullSecrets with a name in secretNames only";
const ANNOTATION: &str = "its own annotation of a ServiceAccount only";
const OURS: &str = "regcred.dev/image-pull-secrets";

/// The most bytes that all annotations of an object may have.
const ANNOTATION_BYTES: usize = 256 * 1024;

/// Annotations with keys of three characters, without a value.
fn annotations(count: usize) -> Value {
    let characters: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    let key =
        |n: usize| [n / 62 / 62, n / 62 % 62, n % 62].map(|it| characters[it]).iter().collect::<String>();
    Value::Object((0..count).map(|n| (key(n), json!(""))).collect::<Map<_, _>>())
}

/// As many annotations as fit, with room for those of regcred.
fn most_annotations() -> Value {
    annotations((ANNOTATION_BYTES - 200) / 3)
}

fn new_annotations(count: usize) -> Value {
    Value::Object((0..count).map(|n| (format!("new-{n}"), json!(""))).collect::<Map<_, _>>())
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    names.map(|name| json!({"name": name})).collect()
}

/// Creates a ServiceAccount with this content; returns its path. Without managedFields, as any tenant can write it,
/// it has more room for the rest.
async fn account(policies: &Policies, namespace: &str, content: Value) -> String {
    policies.kube.create_namespaces([namespace], &[]).await.expect("a namespace");
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    policies.kube.post(&path, &json!({"metadata": {"name": "robot"}})).await.expect("a ServiceAccount");
    let path = format!("{path}/robot");
    policies
        .kube
        .patch(&path, &json!({"metadata": {"managedFields": [{}]}}))
        .await
        .expect("no managedFields");
    policies.kube.patch(&path, &content).await.expect("the API server stores it");
    path
}

#[tokio::test]
async fn account_with_most_annotations_gets_its_entry() {
    let policies = Policies::get().await;
    let content =
        json!({"metadata": {"annotations": most_annotations()}, "imagePullSecrets": [{"name": "a"}]});
    let path = account(policies, "policy-annotations", content).await;
    let merge = Write::merge(&path);
    let added = json!({"metadata": {"annotations": {OURS: "regcred=images"}}, "imagePullSecrets": [{"name": "a"}, {"name": SECRET}]});
    policies.accept(merge, added.clone()).await;
    policies.kube.patch(&path, &added).await.expect("the entry");
    let removed = json!({"metadata": {"annotations": {OURS: null}}, "imagePullSecrets": [{"name": "a"}]});
    policies.accept(merge, removed).await;
    // The policy does not visit them, but their number cannot grow.
    policies
        .refuse(ACCOUNTS, ANNOTATION, merge, json!({"metadata": {"annotations": new_annotations(5)}}))
        .await;
}

#[tokio::test]
async fn account_with_many_annotations_keeps_them() {
    let policies = Policies::get().await;
    let content = json!({"metadata": {"annotations": annotations(2000)}});
    let path = account(policies, "policy-many-annotations", content).await;
    let merge = Write::merge(&path);
    policies.accept(merge, json!({"metadata": {"annotations": {OURS: "regcred=images"}}})).await;
    for change in [json!({"aaa": "x"}), json!({"aaa": null}), json!({"new-0": ""}), most_annotations()] {
        policies.refuse(ACCOUNTS, ANNOTATION, merge, json!({"metadata": {"annotations": change}})).await;
    }
}

#[tokio::test]
async fn account_with_a_megabyte_of_secrets_gets_its_entry() {
    let policies = Policies::get().await;
    let secrets: Vec<String> = (0..30_000).map(|n| format!("robot-token-{n:010}-{n:010}")).collect();
    let content = json!({"secrets": names(secrets.iter().map(String::as_str))});
    let path = account(policies, "policy-references", content).await;
    let added = json!({"metadata": {"annotations": {OURS: "regcred=images"}}, "imagePullSecrets": [{"name": SECRET}]});
    policies.accept(Write::merge(&path), added).await;
    let body = json!([{"op": "replace", "path": "/secrets/29999/name", "value": "evil"}]);
    policies.refuse(ACCOUNTS, "changes imagePullSecrets", Write::json_patch(&path), body).await;
}

#[tokio::test]
async fn longest_list_gains_and_loses_its_entry() {
    let policies = Policies::get().await;
    let content = json!({"imagePullSecrets": names(std::iter::repeat_n("a", 200_000))});
    let path = account(policies, "policy-longest", content).await;
    let json_patch = Write::json_patch(&path);
    let added = json!([{"op": "add", "path": "/imagePullSecrets/-", "value": {"name": SECRET}}]);
    policies.accept(json_patch, added.clone()).await;
    let entries = (0..200_000).map(|n| if n == 100_000 { SECRET } else { "a" });
    policies.kube.patch(&path, &json!({"imagePullSecrets": names(entries)})).await.expect("the entry");
    policies.accept(json_patch, json!([{"op": "remove", "path": "/imagePullSecrets/100000"}])).await;
    policies.refuse(ACCOUNTS, ENTRIES, json_patch, added).await;
    let evil = json!([{"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "evil"}}]);
    policies.refuse(ACCOUNTS, ENTRIES, json_patch, evil).await;
    let evil = json!([{"op": "replace", "path": "/imagePullSecrets/7", "value": {"name": "evil"}}]);
    policies.refuse(ACCOUNTS, ENTRIES, json_patch, evil).await;
}

#[tokio::test]
async fn long_list_loses_no_other_entry() {
    let policies = Policies::get().await;
    let entries: Vec<&str> = (0..2_000).map(|n| if n == 1_000 { SECRET } else { "a" }).collect();
    let content = json!({"imagePullSecrets": names(entries.into_iter())});
    let path = account(policies, "policy-long", content).await;
    let json_patch = Write::json_patch(&path);
    policies.accept(json_patch, json!([{"op": "remove", "path": "/imagePullSecrets/1000"}])).await;
    let other = json!([{"op": "remove", "path": "/imagePullSecrets/999"}]);
    policies.refuse(ACCOUNTS, ENTRIES, json_patch, other).await;
}

#[tokio::test]
async fn largest_secrets_are_written() {
    let policies = Policies::get().await;
    policies.kube.create_namespaces(["policy-large", "policy-marked"], &[]).await.expect("namespaces");
    let mut full = secrets::pull_secret();
    let config = format!("{{\"auths\":{{\"{}\":{{}}}}}}", "x".repeat(1024 * 1024 - 17));
    assert_eq!(config.len(), 1024 * 1024);
    full["data"] = json!({".dockerconfigjson": STANDARD.encode(&config)});
    let create = "/api/v1/namespaces/policy-large/secrets";
    policies.send(Write::create(create), &full).await.expect("a Secret of 1 MiB");
    let path = format!("{create}/{SECRET}");
    let change = json!({
        "metadata": {"annotations": {"regcred.dev/versions": "ghcr.io=vault:2"}},
        "data": {".dockerconfigjson": STANDARD.encode(config.replace("xx", "xy"))},
    });
    policies.accept(Write::merge(&path), change.clone()).await;

    let create = "/api/v1/namespaces/policy-marked/secrets";
    policies.kube.post(create, &secrets::pull_secret()).await.expect("a Secret");
    let path = format!("{create}/{SECRET}");
    policies
        .kube
        .patch(&path, &json!({"metadata": {"managedFields": [{}]}}))
        .await
        .expect("no managedFields");
    let marks = json!({"metadata": {"annotations": most_annotations()}});
    policies.kube.patch(&path, &marks).await.expect("the API server stores it");
    policies.accept(Write::merge(&path), json!({"metadata": change["metadata"]})).await;
    let evil = json!({"metadata": {"annotations": new_annotations(5)}});
    policies.refuse("regcred", "its own annotations", Write::merge(&path), evil).await;
}

#[tokio::test]
async fn largest_spec_gets_finalizer_and_request() {
    let policies = Policies::get().await;
    let mut object = cluster_pull_secret("policy-largest");
    let registries = (0..64).map(|n| {
        json!({
            "host": format!("r{n}.{}", vec!["x".repeat(50); 4].join(".")), "from": {
                "store": "s".repeat(63), "key": "k".repeat(1024),
                "usernameKey": "u".repeat(256), "passwordKey": "p".repeat(256),
            },
        })
    });
    let names = |count: usize| (0..count).map(|n| format!("n{n}-{}", "x".repeat(50))).collect::<Vec<_>>();
    object["spec"] = json!({
        "registries": registries.collect::<Vec<_>>(),
        "namespaces": {"include": names(1000), "exclude": names(1000)},
        "serviceAccounts": names(256),
    });
    policies.kube.post(CLUSTER_PULL_SECRETS, &object).await.expect("a ClusterPullSecret");
    let path = format!("{CLUSTER_PULL_SECRETS}/policy-largest");
    let body = json!({"metadata": {
        "finalizers": ["regcred.dev/cleanup"], "annotations": {"regcred.dev/request": "x".repeat(200_000)},
    }});
    policies.accept(Write::merge(&path), body).await;
    let stolen = json!([{"op": "replace", "path": "/spec/registries/63/from/key", "value": "prod/database"}]);
    policies.refuse("regcred-clusterpullsecrets", "neither the spec", Write::json_patch(&path), stolen).await;
}
