//! Two versions of regcred and two of the CRD, in the order of an upgrade and back: each serves what the other left.

use std::path::Path;

use harness::{TestCluster, apply_file, until};
use serde_json::json;
use world::Baseline;

use crate::cluster::test_cluster;
use crate::controller::RunController as _;

/// Rotates to a password with this version, restores a deleted Secret, and waits for the answer in the status.
async fn assert_serves(cluster: &TestCluster, binary: &Path, password: &str) {
    cluster.put_password(password).await;
    cluster.annotate_rotation(cluster.name, password).await;
    let controller = cluster.controller().binary(binary).start().await;
    cluster.until_synced(password).await;
    until("the status answers", async || {
        let status = cluster.status(cluster.name).await;
        status["observedRotate"] == password && harness::condition_of(&status, "Ready") == "True InSync"
    })
    .await;
    let secret = format!("/api/v1/namespaces/{}/secrets/{}", cluster.namespace(0), harness::SECRET);
    cluster.kube.delete(&secret).await.expect("a deletion");
    cluster.until_synced(password).await;
    assert_eq!(controller.terminate().await.0, Some(0));
}

#[tokio::test]
async fn versions_serve_the_crd_and_the_objects_of_each_other() {
    // The turn at the servers comes after the build, which takes minutes the first time.
    let baseline = Baseline::build().await.expect("the baseline");
    let cluster = test_cluster("skew", 2).await;
    let old_crd = baseline.deploy.join("crd.yaml").display().to_string();
    let (old, new) = (baseline.regcred.as_path(), cluster.regcred());

    cluster
        .kube
        .kubectl(&["apply", "--server-side", "--force-conflicts", "-f", &old_crd])
        .await
        .expect("a CRD");
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["serviceAccounts"] = json!(["default"]);
    object["spec"]["refreshInterval"] = json!("1h");
    cluster.apply(&object).await;
    assert_serves(&cluster, old, "old-version-old-crd").await;
    assert_serves(&cluster, new, "new-version-old-crd").await;
    // Helm does not upgrade a CRD, so operators apply it before the new version starts.
    apply_file(&cluster.kube, "crd.yaml").await.expect("the new CRD");
    assert_serves(&cluster, old, "old-version-new-crd").await;
    cluster.apply(&object).await;
    assert_serves(&cluster, new, "new-version-new-crd").await;
    assert_serves(&cluster, old, "old-version-again").await;
}
