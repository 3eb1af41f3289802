//! One tenant of a selected namespace decides about the size of the objects there, and about nothing beyond: other
//! namespaces, the status and requests by hand are served as before.

use harness::{SECRET, TestCluster, text, until};
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
