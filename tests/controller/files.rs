//! ClusterPullSecrets in files: without the CRD, and together with those in the cluster.

use harness::{SECOND_SECRET, until};
use serde_json::json;

use crate::cluster::{AT_ONCE, test_cluster};
use crate::controller::RunController as _;

#[tokio::test]
async fn file_object_is_synced_without_the_crd() {
    let mut cluster = test_cluster("file-only", 2).await;
    cluster.remove_crd().await;
    cluster.put_password("one").await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["refreshInterval"] = json!("10s");
    let manifests = cluster.write(&[&cluster.config(""), &cluster_pull_secret.to_string()]);
    let mark = cluster.mark();
    let controller = cluster.controller().manifests(&manifests).start().await;
    cluster.until_synced("one").await;
    for secret in cluster.secrets().await.values() {
        assert_eq!(secret["metadata"].get("ownerReferences"), None, "there is no object to own it");
    }

    let drift_mark = cluster.mark();
    cluster.kube.delete("/api/v1/namespaces/file-only-000/secrets/regcred").await.expect("a deletion");
    cluster.until_synced("one").await;
    let (change, effect) = ("delete secrets file-only-000/regcred", "create secrets file-only-000/regcred");
    let delay = cluster.delay(drift_mark, change, effect).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    cluster.add_namespace("file-only-late").await;
    cluster.put_password("two").await;
    cluster.until_synced("two").await;

    let requests = cluster.requests(mark).await;
    let futile = requests.iter().filter(|it| it.resource == "clusterpullsecrets").count();
    assert!(futile <= 10, "{futile} requests for a kind that does not exist");
    assert!(controller.is_ready().await);
    cluster.apply_crd().await;
}

#[tokio::test]
async fn file_and_cluster_objects_are_synced_side_by_side() {
    let cluster = test_cluster("file-both", 2).await;
    cluster.put("quay", &json!({"username": "robot", "password": "quay"})).await;
    let mut from_file = cluster.cluster_pull_secret("from-file");
    from_file["spec"]["secretName"] = json!(SECOND_SECRET);
    from_file["spec"]["registries"] =
        json!([{"host": "quay.io", "from": {"store": "vault", "key": cluster.key("quay")}}]);
    let manifests = cluster.write(&[&cluster.config(""), &from_file.to_string()]);
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().manifests(&manifests).start().await;
    cluster.until_synced("one").await;
    until("the Secrets of the file", async || cluster.secrets_named(SECOND_SECRET).await.len() == 2).await;
    for namespace in &cluster.namespaces {
        until("both names in the ServiceAccount", async || {
            let mut references = cluster.references(namespace, "default").await;
            references.sort_unstable();
            references == ["regcred", "second"]
        })
        .await;
    }
    assert_eq!(cluster.get_cluster_pull_secret("from-file").await, None, "a file makes no object");
}
