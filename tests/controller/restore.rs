//! etcd restored from a backup: what the controller remembers is newer than the cluster, and no longer true.

use harness::{TestCluster, apply_file, install_crd, until};
use serde_json::json;

use crate::controller::RunController as _;

const REGCRED: &str = env!("CARGO_BIN_EXE_regcred");

#[tokio::test]
async fn restored_etcd_is_brought_up_to_date() {
    let cluster = TestCluster::own(REGCRED, "restore", 3).await.expect("servers");
    apply_file(&cluster.kube, "base/rbac.yaml").await.expect("the rights of a controller");
    install_crd(&cluster.kube).await.expect("the CRD");
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    // The controller is paused for as long as etcd is copied, which takes ten seconds on a busy machine.
    let controller = cluster.controller().args(&["--lease-duration", "60s"]).start().await;
    cluster.until_synced("one").await;
    let bare = json!({"metadata": {"annotations": null}, "imagePullSecrets": null});
    let account = "/api/v1/namespaces/restore-001/serviceaccounts/default";
    controller.pause();
    cluster.kube.patch(account, &bare).await.expect("a patch");
    cluster.kube.delete("/api/v1/namespaces/restore-002/secrets/regcred").await.expect("a deletion");
    let backup = cluster.kube.back_up().await.expect("a copy of etcd");
    controller.resume();

    cluster.until_synced("one").await;
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    controller.pause();
    cluster.kube.restore(&backup).await.expect("a restore");
    assert!(!cluster.out_of_sync("two").await.is_empty(), "the copy has the first password");
    controller.resume();
    until("the Secrets of the backup are put right", async || cluster.out_of_sync("two").await.is_empty())
        .await;
    assert!(!controller.has_ended());
}
