//! ClusterPullSecrets in files: without the CRD, and beside those in the cluster.

use serde_json::json;

use crate::stage::{AT_ONCE, SECOND_SECRET, Stage, until};

#[tokio::test]
async fn a_pull_secret_in_a_file_is_served_without_the_crd() {
    let mut stage = Stage::new("file-only", 2).await;
    stage.remove_crd().await;
    stage.put_password("one").await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    cluster_pull_secret["spec"]["refreshInterval"] = json!("10s");
    let manifests = stage.write(&[&stage.config(""), &cluster_pull_secret.to_string()]);
    let mark = stage.mark();
    let controller = stage.controller().of(&manifests).start().await;
    stage.until_served("one").await;
    for secret in stage.secrets().await.values() {
        assert_eq!(secret["metadata"].get("ownerReferences"), None, "there is no object to own it");
    }

    let drift_mark = stage.mark();
    stage.kube.delete("/api/v1/namespaces/file-only-000/secrets/regcred").await.expect("a deletion");
    stage.until_served("one").await;
    let (change, effect) = ("delete secrets file-only-000/regcred", "create secrets file-only-000/regcred");
    let delay = stage.delay(drift_mark, change, effect).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    stage.add_namespace("file-only-late").await;
    stage.put_password("two").await;
    stage.until_served("two").await;

    let requests = stage.requests(mark).await;
    let in_vain = requests.iter().filter(|it| it.resource == "clusterpullsecrets").count();
    assert!(in_vain <= 10, "{in_vain} requests for what is not there");
    assert!(controller.is_ready().await);
    stage.apply_crd().await;
}

#[tokio::test]
async fn pull_secrets_in_a_file_and_in_the_cluster_are_served_side_by_side() {
    let stage = Stage::new("file-both", 2).await;
    stage.put("quay", &json!({"username": "robot", "password": "quay"})).await;
    let mut of_file = stage.cluster_pull_secret("of-file");
    of_file["spec"]["secretName"] = json!(SECOND_SECRET);
    of_file["spec"]["registries"] =
        json!([{"host": "quay.io", "from": {"store": "vault", "key": stage.key("quay")}}]);
    let manifests = stage.write(&[&stage.config(""), &of_file.to_string()]);
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().of(&manifests).start().await;
    stage.until_served("one").await;
    until("the Secrets of the file", async || stage.secrets_named(SECOND_SECRET).await.len() == 2).await;
    for namespace in &stage.namespaces {
        until("both names in the ServiceAccount", async || {
            let mut references = stage.references(namespace, "default").await;
            references.sort_unstable();
            references == ["regcred", "second"]
        })
        .await;
    }
    assert_eq!(stage.pull_secret_object("of-file").await, None, "a file makes no object");
}
