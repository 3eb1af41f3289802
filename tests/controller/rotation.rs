//! A new password reaches every namespace, by any trigger.

use std::path::Path;
use std::time::{Duration, Instant};

use harness::{docker_config, is_write, password_of, until};
use serde_json::json;

use crate::cluster::{cluster_with_shared_namespaces, quiet_test_cluster, test_cluster};
use crate::controller::RunController as _;

const NAMESPACES: usize = 300;
/// The most requests beyond one write for each namespace: the status, the annotation, a Lease.
const OVERHEAD: usize = 10;

#[tokio::test]
async fn rotation_needs_one_fetch_and_one_write_per_namespace() {
    let cluster = cluster_with_shared_namespaces("rotate", NAMESPACES).await;
    let controller = cluster.start_synced("one").await;
    let before = cluster.secrets().await;
    cluster.put_password("two").await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
    cluster.request_rotation("rotate").await;
    cluster.until_synced("two").await;

    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 1);
    let requests = cluster.requests(mark).await;
    assert!(requests.len() <= NAMESPACES + OVERHEAD, "{} requests", requests.len());
    let writes = requests.iter().filter(|it| is_write(it) && it.resource == "secrets");
    assert_eq!(writes.count(), NAMESPACES);
    let after = cluster.secrets().await;
    let first = docker_config(&after[&cluster.namespaces[0]]);
    for (namespace, secret) in &after {
        assert_eq!(secret["metadata"]["uid"], before[namespace]["metadata"]["uid"], "changed in place");
        assert_eq!(docker_config(secret), first, "the same in every namespace");
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn refresh_fetches_a_new_version_without_a_trigger() {
    let cluster = test_cluster("refresh", 2).await;
    let _controller = cluster.start_synced_with("one", "refreshInterval", json!("10s")).await;
    for password in ["two", "three"] {
        cluster.put_password(password).await;
        let begun = Instant::now();
        cluster.until_synced(password).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{password} took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn rotation_is_reported_once_a_failed_fetch_succeeds() {
    let cluster = test_cluster("late", 2).await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"][0]["from"] = json!({"store": "files", "key": "ghcr"});
    let file = cluster.files().join("ghcr");
    write_password(&file, "one");
    cluster.apply(&cluster_pull_secret).await;
    let mut controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    let mut before = json!(null);
    for (password, is_restarted) in [("two", false), ("three", true)] {
        std::fs::remove_file(&file).expect("the file is removed");
        cluster.request_rotation(cluster.name).await;
        until("the read fails", async || {
            cluster.condition(cluster.name, "Ready").await.contains("FetchFailed")
        })
        .await;
        assert!(
            cluster.status(cluster.name).await["registries"][0]["version"].is_string(),
            "the version in use is reported"
        );
        if is_restarted {
            controller.terminate().await;
            controller = cluster.controller().start().await;
        }
        write_password(&file, password);
        cluster.request_rotation(cluster.name).await;
        cluster.until_synced(password).await;
        until("the rotation is reported", async || {
            let reported = cluster.status(cluster.name).await["lastRotation"].clone();
            reported.is_object() && reported != before
        })
        .await;
        before = cluster.status(cluster.name).await["lastRotation"].clone();
    }
}

fn write_password(file: &Path, password: &str) {
    let value = json!({"username": "robot", "password": password});
    std::fs::write(file, value.to_string()).expect("a file");
}

#[tokio::test]
async fn spec_change_is_applied_at_once() {
    let cluster = quiet_test_cluster("respec", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.put("quay", &json!({"username": "robot", "password": "quay"})).await;
    let mark = cluster.mark();
    let registries = json!([
        {"host": "ghcr.io", "from": {"store": "vault", "key": cluster.key("ghcr")}},
        {"host": "quay.io", "from": {"store": "vault", "key": cluster.key("quay")}},
    ]);
    cluster.patch_spec(cluster.name, json!({"registries": registries})).await;
    until("both registries in each Secret", async || {
        cluster.secrets().await.values().all(|it| password_of(it, "quay.io").as_deref() == Some("quay"))
    })
    .await;
    for namespace in &cluster.namespaces {
        let effect = format!("patch secrets {namespace}/regcred");
        let delay = cluster.delay(mark, "patch clusterpullsecrets respec", &effect).await;
        assert!(delay < crate::cluster::AT_ONCE, "it took {delay:?}");
    }
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}
