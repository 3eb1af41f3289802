//! The order of versions: a later one is never replaced, a key that was created again is noticed at once.

use std::time::Duration;

use harness::{TestCluster, until};
use serde_json::json;
use world::{Fault, Proxy, Rule};

use crate::cluster::{QUIET, cluster_with_shared_namespaces, test_cluster};
use crate::controller::RunController as _;

const NAMESPACES: usize = 30;

/// The namespaces whose Secret does not hold this password.
async fn without(cluster: &TestCluster, password: &str) -> Vec<String> {
    let secrets = cluster.secrets().await;
    let without = cluster.namespaces.iter().filter(|namespace| {
        let held = secrets.get(*namespace).and_then(|secret| harness::password_of(secret, "ghcr.io"));
        held.as_deref() != Some(password)
    });
    without.cloned().collect()
}

#[tokio::test]
async fn key_created_again_at_the_same_number_is_polled_at_once() {
    let cluster = test_cluster("order-again", 2).await;
    assert_eq!(cluster.put_password("one").await, 1);
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let manifests = cluster.write(&[&cluster.config("triggers: {pollInterval: 1s}\n")]);
    let _controller = cluster.controller().manifests(&manifests).start().await;
    cluster.until_synced("one").await;
    let path = format!("secret/metadata/{}", cluster.key("ghcr"));
    cluster.vault.delete(&path).await.expect("a key is deleted");
    assert_eq!(cluster.put_password("again").await, 1);
    cluster.until_synced("again").await;
}

#[tokio::test]
async fn rotate_beside_the_controller_leaves_no_old_password() {
    let cluster = cluster_with_shared_namespaces("order-beside", NAMESPACES).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    let controller = cluster.controller().through(&proxy).args(&["--concurrency", "1"]).start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;

    let fault = Fault::Delay(Duration::from_millis(300));
    proxy.set_rules([Rule { verb: Some("patch"), resource: Some("secrets"), every: 1, fault }]);
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    until("the first write of the controller", async || without(&cluster, "two").await.len() < NAMESPACES)
        .await;
    cluster.put_password("three").await;
    let manifests = cluster.manifests(&[("ghcr.io", "vault", &cluster.key("ghcr"))]);
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    cluster.until_idle().await;
    assert_eq!(without(&cluster, "three").await, Vec::<String>::new());
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "True InSync");
    let failed: Vec<_> = controller
        .log()
        .lines()
        .filter(|line| line.contains("target not in sync"))
        .map(str::to_owned)
        .collect();
    assert_eq!(failed, Vec::<String>::new());
}

/// Versions of files have no order, like those of AWS.
#[tokio::test]
async fn foreign_version_without_order_is_never_replaced_unread() {
    let cluster = test_cluster("order-unread", 5).await;
    let put = |password: &str| {
        let value = json!({"username": "robot", "password": password}).to_string();
        std::fs::write(cluster.files().join("ghcr"), value).expect("a file");
    };
    put("one");
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"] = harness::registries(&[("ghcr.io", "files", "ghcr")]);
    cluster.apply(&object).await;
    let controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;

    put("two");
    let run = cluster.rotate(&cluster.manifests_with(&[&object]), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let written = cluster.secrets().await;
    let fetched = "regcred_fetches_total{store=\"files\",outcome=\"fetched\"}";
    until("a read of the store", async || controller.metric(fetched).await >= Some(2.0)).await;
    tokio::time::sleep(QUIET).await;
    for (namespace, secret) in cluster.secrets().await {
        let versions =
            [&secret, &written[&namespace]].map(|it| harness::text(&it["metadata"]["resourceVersion"]));
        assert_eq!(versions[0], versions[1], "{namespace}: written again");
    }
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());
    assert!(controller.metric(fetched).await <= Some(4.0), "at most one read a second");
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "True InSync");
}

/// The baseline writes versions without times, and two keys often have the same number.
#[tokio::test]
async fn later_versions_of_two_keys_are_read_at_once() {
    let cluster = test_cluster("order-two", 1).await;
    let put = async |password: &str| {
        cluster.put("hub", &json!({"username": "robot", "password": password})).await;
        cluster.put_password(password).await;
    };
    put("one").await;
    let mut object = cluster.cluster_pull_secret(cluster.name);
    let keys = ["ghcr", "hub"].map(|key| cluster.key(key));
    object["spec"]["registries"] =
        harness::registries(&[("ghcr.io", "vault", &keys[0]), ("quay.io", "vault", &keys[1])]);
    cluster.apply(&object).await;
    let controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;

    put("two").await;
    let entry = harness::entry("robot", "two");
    let config = json!({"auths": {"ghcr.io": entry, "quay.io": entry, "gcr.io": entry}});
    let versions = json!({
        "metadata": {"annotations": {"regcred.dev/versions": "ghcr.io=vault:2,quay.io=vault:2"}},
        "stringData": {".dockerconfigjson": config.to_string()},
    });
    for namespace in &cluster.namespaces {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/regcred");
        cluster.kube.patch(&path, &versions).await.expect("an edit");
    }
    cluster.until_synced("two").await;
    cluster.until_idle().await;
    let older: Vec<_> =
        controller.log().lines().filter(|line| line.contains("is older than")).map(str::to_owned).collect();
    assert_eq!(older, Vec::<String>::new());
}

#[tokio::test]
async fn forged_later_version_keeps_back_its_own_namespace_only() {
    let cluster = test_cluster("order-forge", 3).await;
    let controller = cluster.start_synced("one").await;
    let forged = json!({"metadata": {"annotations": {
        "regcred.dev/versions": "ghcr.io=vault:9@2099-01-01T00:00:00Z",
    }}});
    let path = "/api/v1/namespaces/order-forge-001/secrets/regcred";
    cluster.kube.patch(path, &forged).await.expect("an edit");
    let vault_mark = cluster.vault_mark();
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    until("the other namespaces", async || without(&cluster, "two").await == ["order-forge-001"]).await;
    until("a failure in the status", async || {
        let status = cluster.status(cluster.name).await;
        status["failures"][0]["namespace"] == "order-forge-001"
            && status["failures"][0]["reason"] == "OlderVersion"
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(without(&cluster, "two").await, ["order-forge-001"]);
    assert!(cluster.vault_reads("ghcr", vault_mark) <= 3, "the rotation, and one read for the conflict");
    // The tenant removes the annotation.
    let removed = json!({"metadata": {"annotations": {"regcred.dev/versions": null}}});
    cluster.kube.patch(path, &removed).await.expect("an edit");
    cluster.until_synced("two").await;
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn later_versions_survive_a_restart_with_a_restored_store() {
    let mut cluster = test_cluster("order-restore", 2).await;
    // The mount has the state of the store before its last write, as a restored snapshot does.
    cluster.vault.enable_kv("order-restore", 2).await.expect("a mount");
    let value = json!({"username": "robot", "password": "one"});
    cluster.vault.put_kv2("order-restore", &cluster.key("ghcr"), &value).await.expect("Vault takes a value");
    cluster.put_password("one").await;
    let first = cluster.start_synced("two").await;
    cluster.until_idle().await;
    first.terminate().await;

    let address = format!("address: \"{}\", mount: order-restore", cluster.vault.address);
    let restored = cluster.write(&[&cluster.config_with_vault(&address, "")]);
    let second = cluster.controller().manifests(&restored).start().await;
    until("the older version in the status", async || {
        cluster.condition(cluster.name, "Fetched").await == "False OlderVersion"
    })
    .await;
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());
    // What was recorded goes into a new namespace, and not what the store answers.
    cluster.add_namespace("order-restore-late").await;
    cluster.until_synced("two").await;
    assert_eq!(cluster.condition(cluster.name, "Fetched").await, "False OlderVersion");
    // The store catches up.
    let value = json!({"username": "robot", "password": "three"});
    cluster.vault.put_kv2("order-restore", &cluster.key("ghcr"), &value).await.expect("Vault takes a value");
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("three").await;
    until("a status in sync", async || cluster.condition(cluster.name, "Ready").await == "True InSync").await;
    second.terminate().await;
}

/// Moves a KV mount, and waits until it is at its new path.
async fn move_mount(cluster: &TestCluster, from: &str, to: &str) {
    cluster.vault.write("sys/remount", &json!({"from": from, "to": to})).await.expect("Vault moves a mount");
    let config = format!("{to}/config");
    until("a mount at its new path", async || cluster.vault.read(&config).await.is_ok()).await;
}

#[tokio::test]
async fn store_restored_under_the_controller_is_held_back() {
    let cluster = test_cluster("order-live", 2).await;
    for (mount, password) in [("order-old", "one"), ("order-now", "one"), ("order-now", "two")] {
        if password == "one" {
            cluster.vault.enable_kv(mount, 2).await.expect("a mount");
        }
        let value = json!({"username": "robot", "password": password});
        cluster.vault.put_kv2(mount, &cluster.key("ghcr"), &value).await.expect("Vault takes a value");
    }
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let address = format!("address: \"{}\", mount: order-now", cluster.vault.address);
    let config = cluster.config_with_vault(&address, "triggers: {pollInterval: 1s}\n");
    let controller = cluster.controller().manifests(&cluster.write(&[&config])).start().await;
    cluster.until_synced("two").await;

    // The mount has the state before its last write, as after the restore of a snapshot.
    move_mount(&cluster, "order-now", "order-gone").await;
    move_mount(&cluster, "order-old", "order-now").await;
    until("a report of the older version", async || {
        cluster.condition(cluster.name, "Fetched").await == "False OlderVersion"
    })
    .await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());
    let held_back =
        controller.metric("regcred_fetches_total{store=\"vault\",outcome=\"older_version\"}").await;
    assert!(held_back.is_some_and(|count| count >= 1.0), "{held_back:?}");
    let warnings =
        controller.log().lines().filter(|line| line.contains("answers an older version than before")).count();
    assert_eq!(warnings, 1, "once");

    let value = json!({"username": "robot", "password": "three"});
    cluster.vault.put_kv2("order-now", &cluster.key("ghcr"), &value).await.expect("Vault takes a value");
    cluster.until_synced("three").await;
    until("a status in sync", async || cluster.condition(cluster.name, "Ready").await == "True InSync").await;
}
