//! One tenant of a selected namespace decides about the size of the objects there, and about nothing beyond: other
//! namespaces, the status and requests by hand are served as before.

use std::time::{Duration, Instant};

use harness::{SECRET, TestCluster, registries, text, until, until_within};
use serde_json::{Value, json};

use crate::by_hand::wait;
use crate::cluster::test_cluster;
use crate::controller::RunController as _;

/// The bytes of a status that stays readable, whatever tenants write.
const MOST_STATUS: usize = 16 << 10;

/// Replaces the pull secret of a namespace by a Secret with regcred's labels and another type.
async fn replace_by_type(cluster: &TestCluster, namespace: &str, type_: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    cluster.kube.delete(&format!("{path}/{SECRET}")).await.expect("a deletion");
    let labels = json!({"app.kubernetes.io/managed-by": "regcred", "regcred.dev/pull-secret": cluster.name});
    let secret = json!({"metadata": {"name": SECRET, "labels": labels}, "type": type_});
    cluster.kube.post(&path, &secret).await.expect("a Secret");
}

/// The failure that a status lists for a namespace; null if there is none.
fn failure(status: &Value, namespace: &str) -> Value {
    let failures = status["failures"].as_array().cloned().unwrap_or_default();
    failures.into_iter().find(|it| it["namespace"] == namespace).unwrap_or_default()
}

#[tokio::test]
async fn type_of_a_tenants_secret_does_not_freeze_the_status() {
    let cluster = test_cluster("bounds-type", 3).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    controller.terminate().await;
    let long = "x".repeat(600 << 10);
    replace_by_type(&cluster, "bounds-type-000", &format!("\u{1b}[2J{long}")).await;

    let controller = cluster.controller().start().await;
    until("the failure is reported", async || {
        failure(&cluster.status(cluster.name).await, "bounds-type-000")["reason"] == "WrongType"
    })
    .await;
    cluster.put_password("two").await;
    let (code, stdout, stderr) = wait(&cluster, &[cluster.name]).await;

    assert_eq!((code, stderr.as_str()), (Some(1), ""), "{stdout}");
    assert_eq!(cluster.out_of_sync("two").await, ["bounds-type-000"]);
    let status = cluster.status(cluster.name).await;
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 2, "failed": 1}));
    assert_eq!(status["lastRotation"]["trigger"], "Annotation");
    let message = text(&failure(&status, "bounds-type-000")["message"]);
    assert_eq!(
        message,
        "this Secret has another type, which cannot be changed. Delete it, or choose another `secretName`"
    );
    assert!(status.to_string().len() < MOST_STATUS, "{} bytes", status.to_string().len());
    for shown in [stdout, stderr] {
        assert!(shown.len() < MOST_STATUS && !shown.contains('\u{1b}'), "{} bytes", shown.len());
    }
    let longest = controller.lines().iter().map(|line| line.to_string().len()).max().unwrap_or_default();
    assert!(longest < MOST_STATUS, "a log line of {longest} bytes");
}

/// Namespaces with distinct docker configs of nearly a mebibyte; 64 MiB of them are kept.
const LARGE: usize = 68;

/// The reads of pull secrets by their name since a mark.
async fn reads(cluster: &TestCluster, mark: world::AuditMark) -> usize {
    let requests = cluster.requests(mark).await;
    let is_read = |it: &&world::AuditEvent| it.verb == "get" && it.resource == "secrets" && it.name == SECRET;
    requests.iter().filter(is_read).count()
}

/// Requests a rotation, and waits until it is done.
async fn rotate(cluster: &TestCluster) {
    cluster.annotate_rotation(cluster.name, "again").await;
    until("the request is observed", async || {
        cluster.status(cluster.name).await["observedRotate"] == "again"
    })
    .await;
}

#[tokio::test]
async fn docker_configs_beyond_the_budget_are_read_once_a_decision() {
    let cluster = test_cluster("bounds-bytes", LARGE).await;
    for (n, namespace) in cluster.namespaces.iter().enumerate() {
        let entry = json!({"own.example.com": {"auth": format!("{n:03}").repeat(343_000)}});
        let secret = json!({
            "metadata": {"name": SECRET}, "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json!({"auths": entry}).to_string()},
        });
        cluster
            .kube
            .post(&format!("/api/v1/namespaces/{namespace}/secrets"), &secret)
            .await
            .expect("a Secret");
    }
    cluster.put_password("one").await;
    let mut object = cluster.cluster_pull_secret(cluster.name);
    let (ghcr, missing) = (cluster.key("ghcr"), cluster.key("missing"));
    object["spec"]["registries"] = registries(&[("ghcr.io", "vault", &ghcr), ("quay.io", "vault", &missing)]);
    object["spec"]["existing"] = json!("AdoptAndKeep");
    cluster.apply(&object).await;
    let _controller = cluster.controller().start().await;
    until_within(Duration::from_mins(3), "every Secret is adopted", async || {
        cluster.status(cluster.name).await["namespaces"]["inSync"] == LARGE
    })
    .await;

    let mark = cluster.mark();
    rotate(&cluster).await;
    let reads = reads(&cluster, mark).await;
    assert!((1..=20).contains(&reads), "{reads} reads of four Secrets");
}

/// The edits of a tenant that changes an annotation of its pull secret as fast as it can.
const EDITS: usize = 200;

#[tokio::test]
async fn endless_edits_of_a_secret_cost_one_read_a_second() {
    let cluster = test_cluster("bounds-edits", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    let path = format!("/api/v1/namespaces/{}/secrets/{SECRET}", cluster.namespace(0));
    let (mark, start) = (cluster.mark(), Instant::now());
    for edit in 0..EDITS {
        let annotation = json!({"metadata": {"annotations": {"example.com/edit": edit.to_string()}}});
        cluster.kube.patch(&path, &annotation).await.expect("a patch");
    }
    rotate(&cluster).await;
    let (reads, seconds) = (reads(&cluster, mark).await, start.elapsed().as_secs());
    assert!(reads >= 1, "an edit that may have changed the data is looked at");
    assert!(reads as u64 <= seconds + 2, "{reads} reads in {seconds} s of {EDITS} edits");
}

#[tokio::test]
async fn long_annotation_of_a_pull_secret_is_read_and_replaced() {
    let cluster = test_cluster("bounds-versions", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    let namespace = cluster.namespace(0);
    let good = cluster.secret(namespace).await.expect("a Secret");
    let mark = cluster.mark();
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{SECRET}");
    let long = json!({"metadata": {"annotations": {"regcred.dev/versions": "x".repeat(200 << 10)}}});
    cluster.kube.patch(&path, &long).await.expect("a patch");
    until("the annotation is put back", async || {
        let secret = cluster.secret(namespace).await.expect("it is never deleted");
        secret["metadata"]["annotations"] == good["metadata"]["annotations"]
    })
    .await;
    cluster.until_idle().await;
    assert_eq!(cluster.writes(mark).await, [format!("patch secrets {namespace}/{SECRET} 200")]);
    assert_eq!(reads(&cluster, mark).await, 1);
}
