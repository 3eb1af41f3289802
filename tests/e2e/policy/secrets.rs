//! Secrets: the policy `regcred`.

use harness::{NAMESPACE, SECRET};
use serde_json::{Value, json};

use super::{Policies, Write};

const POLICY: &str = "regcred";
const NAMES: &str = "a name in secretNames";
const LABELS: &str = "its own labels";
const ANNOTATIONS: &str = "its own annotations";
const OWNERS: &str = "owner references to a ClusterPullSecret only";
const FIELDS: &str = "changes data, labels, annotations and owner references";
const NEW: &str = "without generateName, finalizers and immutable";

/// A pull secret as regcred creates it.
pub(crate) fn pull_secret() -> Value {
    json!({
        "metadata": {
            "name": SECRET,
            "labels": {"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": "images"},
            "annotations": {"regcred.dev/versions": "ghcr.io=vault:1", "regcred.dev/owner": "images/x"},
        },
        "type": "kubernetes.io/dockerconfigjson",
        // {"auths":{}}
        "data": {".dockerconfigjson": "eyJhdXRocyI6e319"},
    })
}

fn owner(kind: &str, version: &str, uid: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": "images", "uid": uid})
}

fn state(name: &str, type_: &str) -> Value {
    json!({"metadata": {"name": name}, "type": type_, "data": {"x": "eA=="}})
}

/// An object with a field replaced at a JSON pointer.
fn with(mut object: Value, fields: Value) -> Value {
    for (pointer, value) in fields.as_object().expect("fields") {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        object.pointer_mut(parent).expect("a parent")[key.replace("~1", "/")] = value.clone();
    }
    object
}

/// Creates a namespace with one Secret as a tenant has it, and returns the path of its Secrets.
async fn namespace_with(policies: &Policies, name: &str, secret: &Value) -> String {
    policies.kube.create_namespaces([name], &[]).await.expect("a namespace");
    let path = format!("/api/v1/namespaces/{name}/secrets");
    policies.kube.post(&path, secret).await.expect("a Secret");
    path
}

#[tokio::test]
async fn created_secret_needs_listed_name_and_type() {
    let policies = Policies::get().await;
    let secrets = "/api/v1/namespaces/kube-public/secrets";
    let create = Write::create(secrets);
    policies.accept(create, pull_secret()).await;
    let owned = [owner("ClusterPullSecret", "regcred.dev/v1alpha1", "u")];
    policies.accept(create, with(pull_secret(), json!({"/metadata/ownerReferences": owned}))).await;

    let token = json!({
        "metadata": {"name": SECRET, "annotations": {"kubernetes.io/service-account.name": "default"}},
        "type": "kubernetes.io/service-account-token",
    });
    for (body, message) in [
        (with(pull_secret(), json!({"/metadata/name": "other"})), NAMES),
        (with(pull_secret(), json!({"/type": "Opaque"})), NAMES),
        (token, NAMES),
        (with(pull_secret(), json!({"/metadata": {"generateName": "regcred-"}})), NAMES),
        (with(pull_secret(), json!({"/metadata/generateName": "regcred-"})), NEW),
        (with(pull_secret(), json!({"/metadata/finalizers": ["example.com/hold"]})), NEW),
        (with(pull_secret(), json!({"/immutable": true})), NEW),
        (with(pull_secret(), json!({"/metadata/labels/team": "web"})), LABELS),
        (
            with(pull_secret(), json!({"/metadata/annotations/reflector.example.com~1reflects": "a/b"})),
            ANNOTATIONS,
        ),
        (with(pull_secret(), json!({"/metadata/ownerReferences": [owner("ConfigMap", "v1", "u")]})), OWNERS),
    ] {
        policies.refuse(POLICY, message, create, body).await;
    }
}

#[tokio::test]
async fn own_secrets_are_created_in_own_namespace_only() {
    let policies = Policies::get().await;
    let own = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let good = [
        ("regcred-last-good-0", "regcred.dev/last-good"),
        ("regcred-last-good-15", "regcred.dev/last-good"),
        ("regcred-ownership-key", "regcred.dev/ownership-key"),
    ];
    for (name, type_) in good {
        policies.accept(Write::create(&own), state(name, type_)).await;
        policies
            .refuse(POLICY, NAMES, Write::create("/api/v1/namespaces/default/secrets"), state(name, type_))
            .await;
    }
    for (name, type_) in [
        ("regcred-last-good-16", "regcred.dev/last-good"),
        ("regcred-last-good-0", "regcred.dev/ownership-key"),
        ("regcred-ownership-key", "regcred.dev/last-good"),
        ("regcred-ownership-key", "Opaque"),
        (SECRET, "regcred.dev/last-good"),
    ] {
        policies.refuse(POLICY, NAMES, Write::create(&own), state(name, type_)).await;
    }
}

#[tokio::test]
async fn own_secret_is_patched_and_never_deleted() {
    let policies = Policies::get().await;
    let own = format!("/api/v1/namespaces/{NAMESPACE}/secrets");
    let secret = state("regcred-last-good-7", "regcred.dev/last-good");
    policies.send(Write::create(&own), &secret).await.expect("regcred creates it");
    let path = format!("{own}/regcred-last-good-7");
    policies.send(Write::merge(&path), &json!({"data": {"x": "eQ=="}})).await.expect("regcred patches it");
    for (write, verb) in [(Write::replace(&path), "update"), (Write::delete(&path), "delete")] {
        let refused = policies.dry_run(write, &secret).await;
        assert!(refused.is_err_and(|it| it.contains(&format!("cannot {verb} resource"))), "{verb}");
    }
}

#[tokio::test]
async fn updated_secret_keeps_all_but_content_and_marks() {
    let policies = Policies::get().await;
    let map = json!({"metadata": {"name": "policy-owner"}});
    policies.kube.create_namespaces(["policy-secrets"], &[]).await.expect("a namespace");
    let map =
        policies.kube.post("/api/v1/namespaces/policy-secrets/configmaps", &map).await.expect("a ConfigMap");
    let other = owner("ConfigMap", "v1", map["metadata"]["uid"].as_str().expect("a UID"));
    let [ours, more] = ["u", "v"].map(|uid| owner("ClusterPullSecret", "regcred.dev/v1alpha1", uid));
    let tenants = with(
        pull_secret(),
        json!({
            "/metadata/labels/team": "web", "/metadata/annotations/note": "x",
            "/metadata/finalizers": ["example.com/hold"],
            "/metadata/ownerReferences": [with(other.clone(), json!({"/name": "policy-owner"}))],
        }),
    );
    let path = "/api/v1/namespaces/policy-secrets/secrets";
    policies.kube.post(path, &tenants).await.expect("a Secret");
    let path = format!("{path}/{SECRET}");
    let merge = Write::merge(&path);

    let other = with(other, json!({"/name": "policy-owner"}));
    for body in [
        json!({"data": {".dockerconfigjson": "e30="}}),
        json!({"metadata": {"annotations": {"regcred.dev/versions": "ghcr.io=vault:2"}}}),
        json!({"metadata": {"annotations": {"regcred.dev/owner": null}}}),
        json!({"metadata": {"labels": {"regcred.dev/pull-secret": "others"}}}),
        json!({"metadata": {"ownerReferences": [other, ours]}}),
    ] {
        policies.accept(merge, body).await;
    }
    for (body, message) in [
        (json!({"metadata": {"labels": {"team": "data"}}}), LABELS),
        (json!({"metadata": {"labels": {"team": null}}}), LABELS),
        (json!({"metadata": {"labels": {"new": "x"}}}), LABELS),
        (json!({"metadata": {"labels": null}}), LABELS),
        (json!({"metadata": {"annotations": {"note": "y"}}}), ANNOTATIONS),
        (json!({"metadata": {"annotations": {"note": null}}}), ANNOTATIONS),
        (json!({"metadata": {"annotations": {"new": ""}}}), ANNOTATIONS),
        (json!({"metadata": {"annotations": {"regcred.dev/new": ""}}}), ANNOTATIONS),
        (json!({"metadata": {"labels": {"regcred.dev/new": ""}}}), LABELS),
        (json!({"metadata": {"ownerReferences": [ours]}}), OWNERS),
        (json!({"metadata": {"ownerReferences": [other, owner("ConfigMap", "v1", "u")]}}), OWNERS),
        (
            json!({"metadata": {"ownerReferences": [other, owner("ClusterPullSecret", "example.com/v1", "u")]}}),
            OWNERS,
        ),
        (json!({"metadata": {"ownerReferences": [other, ours, more]}}), OWNERS),
        (json!({"metadata": {"finalizers": []}}), FIELDS),
        (json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}), FIELDS),
        (json!({"immutable": true}), FIELDS),
    ] {
        policies.refuse(POLICY, message, merge, body).await;
    }
}

#[tokio::test]
async fn deleted_secret_needs_listed_name_and_type() {
    let policies = Policies::get().await;
    let path = namespace_with(policies, "policy-deleted", &pull_secret()).await;
    let path = format!("{path}/{SECRET}");
    policies.accept(Write::delete(&path), json!({})).await;
    let opaque = with(pull_secret(), json!({"/type": "Opaque"}));
    let path = namespace_with(policies, "policy-opaque", &opaque).await;
    let path = format!("{path}/{SECRET}");
    policies.refuse(POLICY, NAMES, Write::delete(&path), json!({})).await;
    // Another name is refused by the rights already.
    let refused = policies.dry_run(Write::delete("/api/v1/namespaces/default/secrets/x"), &json!({})).await;
    assert!(refused.is_err_and(|it| it.contains("cannot delete resource")));
}
