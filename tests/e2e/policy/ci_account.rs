//! The account of the documentation that may only request a rotation.

use harness::{NAMESPACE, apply_path, until};
use serde_json::{Value, json};
use world::docs;

use super::{CLUSTER_PULL_SECRETS, Policies, Write, cluster_pull_secret};

#[tokio::test]
async fn documented_ci_account_requests_rotations_only() {
    let policies = Policies::get().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ci-account.yaml");
    let section = docs::section("docs/getting-started.md", "## From a CI job");
    std::fs::write(&file, docs::blocks(&section, "yaml")[0]).expect("a file");
    apply_path(&policies.kube, &file).await.expect("the documented account applies");
    let mut object = cluster_pull_secret("ci-account");
    object["metadata"]["annotations"] = json!({"note": "x"});
    policies.kube.post(CLUSTER_PULL_SECRETS, &object).await.expect("a ClusterPullSecret");
    let token = policies.kube.token(NAMESPACE, "regcred-ci", 3600).await.expect("a token");
    let send = async |write: Write<'_>, body: &Value| {
        let body = (write.method != "GET").then(|| (write.content_type, body.to_string()));
        let sent = policies.kube.request_as(&token, write.method, write.path, body).await;
        sent.map_err(|error| format!("{error:#}"))
    };
    let path = format!("{CLUSTER_PULL_SECRETS}/ci-account?dryRun=All");
    let merge = Write::merge(&path);
    let is_refused = async |body| {
        let refused = send(merge, &body).await.err().unwrap_or_default();
        refused.contains("ValidatingAdmissionPolicy 'regcred-ci' with binding")
    };
    until("the policy binds", async || is_refused(json!({"spec": {"suspend": true}})).await).await;
    let stolen = json!([{"host": "evil.example.com", "from": {"store": "vault", "key": "prod/database"}}]);
    for body in [
        json!({"spec": {"registries": stolen}}),
        json!({"spec": {"namespaces": null}}),
        json!({"metadata": {"labels": {"team": "data"}}}),
        json!({"metadata": {"finalizers": ["example.com/hold"]}}),
        json!({"metadata": {"annotations": {"regcred.dev/request": "{}"}}}),
        json!({"metadata": {"annotations": {"note": null}}}),
    ] {
        assert!(is_refused(body.clone()).await, "{body}");
    }
    send(merge, &json!({"metadata": {"annotations": {"regcred.dev/rotate": "1"}}}))
        .await
        .expect("a rotation");
    let list = Write { method: "GET", ..Write::create(CLUSTER_PULL_SECRETS) };
    send(list, &json!(null)).await.expect("a list");
    for path in ["/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/secrets/regcred"] {
        let refused = send(Write { method: "GET", ..Write::create(path) }, &json!(null)).await;
        assert!(refused.is_err_and(|it| it.contains("forbidden")), "{path}");
    }
}
