//! Pull secrets that earlier versions wrote: three fields in each entry, and Docker Hub under one key. The upgrade rewrites
//! each once, in place, and that is neither a rotation nor the correction of another writer's change.

use harness::{
    TestCluster, docker_config_bytes, earlier_docker_config, is_true_within, registries, text, until,
    with_content,
};
use serde_json::{Value, json};

use crate::cluster::{QUIET, test_cluster};
use crate::controller::{Controller, RunController as _};

const HUB: &str = "https://index.docker.io/v1/";

/// Gives the Secret of a namespace the bytes and the annotation of earlier versions.
async fn write_earlier_form(cluster: &TestCluster, namespace: &str) {
    let secret = cluster.secret(namespace).await.expect("a Secret");
    let versions = text(&secret["metadata"]["annotations"]["regcred.dev/versions"]);
    let versions = versions.replace("docker.io=", &format!("{HUB}="));
    let change = with_content(&earlier_docker_config(&[("ghcr.io", "one"), (HUB, "hub")]), &versions);
    let path = format!("/api/v1/namespaces/{namespace}/secrets/regcred");
    cluster.kube.patch(&path, &change).await.expect("a patch");
}

/// Waits until the Secret of a namespace has the bytes and the annotation of another one.
async fn until_same(cluster: &TestCluster, namespace: &str, good: &Value) {
    until("the current form", async || {
        let secret = cluster.secret(namespace).await.expect("it is never deleted");
        docker_config_bytes(&secret) == docker_config_bytes(good)
    })
    .await;
}

/// The writes of Secrets since a mark.
async fn secret_writes(cluster: &TestCluster, mark: world::AuditMark) -> Vec<String> {
    let writes = cluster.writes(mark).await;
    writes.into_iter().filter(|it| it.contains(" secrets ")).collect()
}

/// Writes the value of Docker Hub; the time of the file is its version.
fn write_hub(cluster: &TestCluster) {
    let value = json!({"username": "robot", "password": "hub"}).to_string();
    std::fs::write(cluster.files().join("hub"), value).expect("a file");
}

/// Starts a controller with `ghcr.io` from Vault and Docker Hub from a file, and waits until it has nothing to do.
async fn start(cluster: &TestCluster) -> Controller {
    cluster.put_password("one").await;
    write_hub(cluster);
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    let vault_key = cluster.key("ghcr");
    cluster_pull_secret["spec"]["registries"] =
        registries(&[("ghcr.io", "vault", &vault_key), ("docker.io", "files", "hub")]);
    cluster.apply(&cluster_pull_secret).await;
    let controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;
    controller
}

#[tokio::test]
async fn earlier_form_is_rewritten_once_without_rotation() {
    let cluster = test_cluster("form", 3).await;
    let controller = start(&cluster).await;
    let before = cluster.secrets().await;
    controller.terminate().await;
    for namespace in &cluster.namespaces {
        write_earlier_form(&cluster, namespace).await;
    }
    // The upgrade mounts the file anew, which changes its version and not its content.
    write_hub(&cluster);

    let mark = cluster.mark();
    let controller = cluster.controller().start().await;
    for (namespace, good) in &before {
        until_same(&cluster, namespace, good).await;
    }
    cluster.until_idle().await;

    let expected: Vec<_> =
        cluster.namespaces.iter().map(|it| format!("patch secrets {it}/regcred 200")).collect();
    let mut writes = secret_writes(&cluster, mark).await;
    writes.sort_unstable();
    assert_eq!(writes, expected, "each is written once");
    for (namespace, secret) in cluster.secrets().await {
        assert_eq!(secret["metadata"]["uid"], before[&namespace]["metadata"]["uid"], "changed in place");
    }
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "True InSync");
    assert_eq!(cluster.status(cluster.name).await["lastRotation"], json!(null));
    let events = cluster.events_about("ClusterPullSecret", None, cluster.name).await;
    assert!(events.iter().all(|event| event["reason"] != "Rotated"), "{events:?}");
    assert!(!controller.metrics().await.contains("regcred_propagation_seconds_count{"));
    let lines = controller.lines();
    assert!(lines.iter().all(|line| line["is_rotation"] != json!(true)), "{lines:?}");

    controller.terminate().await;
    let mark = cluster.mark();
    let _controller = cluster.controller().start().await;
    cluster.until_idle().await;
    assert_eq!(secret_writes(&cluster, mark).await, Vec::<String>::new(), "the second start writes nothing");
}

#[tokio::test]
async fn earlier_form_of_another_writer_is_no_contest() {
    let cluster = test_cluster("form-beside", 2).await;
    let _controller = start(&cluster).await;
    let good = cluster.secret("form-beside-000").await.expect("a Secret");
    // `rotate` of an earlier version, run by a CronJob that is not upgraded yet.
    for _ in 0..4 {
        write_earlier_form(&cluster, "form-beside-000").await;
        until_same(&cluster, "form-beside-000", &good).await;
    }
    let is_contested = is_true_within(QUIET, async || {
        let failures = cluster.status(cluster.name).await["failures"].as_array().cloned();
        !failures.unwrap_or_default().is_empty()
    });
    assert!(!is_contested.await, "the fourth rewrite is no contest either");
}

#[tokio::test]
async fn earlier_form_in_a_loop_is_contested() {
    let cluster = test_cluster("form-loop", 2).await;
    let _controller = start(&cluster).await;
    let namespace = "form-loop-000";
    let good = cluster.secret(namespace).await.expect("a Secret");
    until("the contest is reported", async || {
        let secret = cluster.secret(namespace).await.expect("it is never deleted");
        if docker_config_bytes(&secret) == docker_config_bytes(&good) {
            write_earlier_form(&cluster, namespace).await;
        }
        let failures = cluster.status(cluster.name).await["failures"].as_array().cloned().unwrap_or_default();
        failures.iter().any(|it| it["reason"] == "Contested" && it["namespace"] == namespace)
    })
    .await;
}
