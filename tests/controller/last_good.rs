//! The last good values in regcred's own namespace, and the record of the Secrets that it wrote.

use std::time::Duration;

use harness::{
    CLUSTER_PULL_SECRETS, NAMESPACE, SECOND_SECRET, TestCluster, is_true_within, until, until_within,
};
use serde_json::{Value, json};

use crate::cluster::{QUIET, test_cluster};
use crate::controller::RunController as _;

const VERSIONS: &str = "regcred.dev/versions";

fn secrets_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets")
}

/// The Secrets with last good values.
async fn shards(cluster: &TestCluster) -> Vec<Value> {
    let path = format!("{}?fieldSelector=type%3Dregcred.dev/last-good", secrets_path());
    let list = cluster.kube.get(&path).await.expect("a list");
    list["items"].as_array().cloned().unwrap_or_default()
}

/// The stored values as they are, compressed.
async fn stored_values(cluster: &TestCluster) -> Vec<Value> {
    shards(cluster).await.into_iter().map(|shard| shard["data"]["values"].clone()).collect()
}

/// The warnings of a log that contain this text.
fn warnings(lines: &[Value], text: &str) -> usize {
    let warnings = lines.iter().filter(|line| line["level"] == "WARN");
    warnings.filter(|line| line.to_string().contains(text)).count()
}

#[tokio::test]
async fn planted_password_does_not_spread_while_the_store_is_away() {
    let mut cluster = test_cluster("good-planted", 3).await;
    let first = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));
    cluster.vault.seal().await.expect("Vault can be sealed");
    // Every namespace holds it: no majority makes a tenant's value true.
    let planted = "eyJhdXRocyI6eyJnaGNyLmlvIjp7InVzZXJuYW1lIjoicm9ib3QiLCJwYXNzd29yZCI6InBsYW50ZWQiLCJhdXRoIjoiY205aWIzUTZjR3hoYm5SbFpBPT0ifX19";
    for namespace in &cluster.namespaces {
        let path = format!("/api/v1/namespaces/{namespace}/secrets/regcred");
        let edit = json!({"data": {".dockerconfigjson": planted}});
        cluster.kube.patch(&path, &edit).await.expect("an edit");
    }
    let _next = cluster.controller().start().await;
    cluster.add_namespace("good-planted-late").await;
    until("the new namespace has the last good value", async || {
        let passwords = cluster.passwords("good-planted-late").await;
        passwords.get("ghcr.io").is_some_and(|password| password == "one")
    })
    .await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.until_synced("one").await;
}

#[tokio::test]
async fn recorded_value_replaces_no_later_version() {
    let cluster = test_cluster("good-order", 2).await;
    let first = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));
    cluster.vault.seal().await.expect("Vault can be sealed");
    // A tenant overwrites both; what one of them names is later than what was recorded before a crash.
    let overwritten = "eyJhdXRocyI6eyJ0ZW5hbnQudGVzdCI6eyJhdXRoIjoiZEhSME9uUjBkQT09In19fQ==";
    let secrets = cluster.secrets().await;
    for (namespace, later) in [("good-order-000", true), ("good-order-001", false)] {
        let known = secrets[namespace]["metadata"]["annotations"][VERSIONS].as_str().expect("an annotation");
        let versions = if later { known.replace("vault:1@", "vault:2@") } else { known.to_owned() };
        let edit = json!({
            "metadata": {"annotations": {VERSIONS: versions}}, "data": {".dockerconfigjson": overwritten},
        });
        let path = format!("/api/v1/namespaces/{namespace}/secrets/regcred");
        cluster.kube.patch(&path, &edit).await.expect("an edit");
    }
    let _next = cluster.controller().start().await;
    until("the other namespace has the last good value", async || {
        cluster.passwords("good-order-001").await.get("ghcr.io").is_some_and(|it| it == "one")
    })
    .await;
    until("a failure in the status", async || {
        let status = cluster.status(cluster.name).await;
        status["failures"][0]["namespace"] == "good-order-000"
            && status["failures"][0]["reason"] == "OlderLastGood"
    })
    .await;
    let secret = cluster.secret("good-order-000").await.expect("a Secret");
    assert_eq!(secret["data"][".dockerconfigjson"], overwritten);
    // Without the annotation no later version is known.
    let removed = json!({"metadata": {"annotations": {VERSIONS: null}}});
    let path = "/api/v1/namespaces/good-order-000/secrets/regcred";
    cluster.kube.patch(path, &removed).await.expect("an edit");
    cluster.until_synced("one").await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    until("it is ready", async || cluster.condition(cluster.name, "Ready").await == "True InSync").await;
}

#[tokio::test]
async fn rotated_value_is_stored_before_a_crash() {
    let cluster = test_cluster("good-crash", 2).await;
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    // The records of the first rotation are stored half a second later, and everything else five seconds after that.
    for password in ["two", "three"] {
        let before = stored_values(&cluster).await;
        cluster.put_password(password).await;
        cluster.request_rotation(cluster.name).await;
        cluster.until_synced(password).await;
        let is_stored = async || stored_values(&cluster).await != before;
        assert!(is_true_within(QUIET, is_stored).await, "{password} is stored at once");
    }
    controller.kill().await;
    cluster.vault.seal().await.expect("Vault can be sealed");
    let mut cluster = cluster;
    let _next = cluster.controller().start().await;
    cluster.add_namespace("good-crash-late").await;
    until("the new namespace has the last good value", async || {
        cluster.passwords("good-crash-late").await.get("ghcr.io").is_some_and(|it| it == "three")
    })
    .await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.until_synced("three").await;
}

#[tokio::test]
async fn rotation_is_saved_in_few_requests_and_nothing_at_rest() {
    let cluster = test_cluster("good-save", 5).await;
    let _controller = cluster.start_synced("one").await;
    until("the key and the values are stored", async || !shards(&cluster).await.is_empty()).await;
    cluster.until_idle().await;
    let mark = cluster.mark();
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    cluster.until_idle().await;
    let writes = cluster.own_writes(mark).await;
    assert!((1..=6).contains(&writes.len()), "{writes:?}");
    for secret in shards(&cluster).await {
        assert_eq!(secret["type"], "regcred.dev/last-good");
    }
}

#[tokio::test]
async fn suspended_object_delays_no_save() {
    let cluster = test_cluster("good-asleep", 2).await;
    let mut asleep = cluster.cluster_pull_secret("good-asleep-other");
    (asleep["spec"]["suspend"], asleep["spec"]["secretName"]) = (json!(true), json!(SECOND_SECRET));
    cluster.apply(&asleep).await;
    let controller = cluster.start_synced("one").await;
    until("the suspended object is reported", async || {
        cluster.condition("good-asleep-other", "Ready").await == "False Suspended"
    })
    .await;
    // Its targets are queued as those of every object whose namespaces change.
    for selected in [false, true] {
        cluster.select(cluster.namespace(0), selected).await;
    }
    cluster.until_synced("one").await;
    cluster.until_idle().await;
    until("the values are stored", async || !shards(&cluster).await.is_empty()).await;
    let before = shards(&cluster).await;
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    until_within(Duration::from_secs(20), "the values are saved", async || shards(&cluster).await != before)
        .await;
    let depth = async || controller.metric("regcred_queue_depth").await;
    until("an empty queue", async || depth().await.is_some_and(|depth| depth < 0.5)).await;
}

#[tokio::test]
async fn broken_shards_are_reported_and_rebuilt() {
    let cluster = test_cluster("good-broken", 2).await;
    let first = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));
    let stored = shards(&cluster).await;
    assert!(!stored.is_empty());
    for secret in &stored {
        let path = format!("{}/{}", secrets_path(), secret["metadata"]["name"].as_str().expect("a name"));
        let edit = json!({"data": {"values": "eHh4", "secrets": null}});
        cluster.kube.patch(&path, &edit).await.expect("an edit");
    }
    let next = cluster.controller().start().await;
    until("every shard is replaced", async || {
        shards(&cluster)
            .await
            .iter()
            .all(|it| it["data"]["values"] != "eHh4" && it["data"]["secrets"].is_string())
    })
    .await;
    assert_eq!(warnings(&next.lines(), "is broken and will be replaced"), stored.len());
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn deleted_shard_is_created_by_the_next_change() {
    let cluster = test_cluster("good-deleted", 2).await;
    let _controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    for secret in shards(&cluster).await {
        let path = format!("{}/{}", secrets_path(), secret["metadata"]["name"].as_str().expect("a name"));
        cluster.kube.delete(&path).await.expect("a deletion");
    }
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;
    until("the values are stored", async || !shards(&cluster).await.is_empty()).await;
}

#[tokio::test]
async fn labels_decide_without_access_to_the_own_namespace() {
    let cluster = test_cluster("good-forbidden", 2).await;
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/regcred");
    let role = cluster.kube.get(&path).await.expect("a Role");
    let mut narrowed = role.clone();
    narrowed["rules"].as_array_mut().expect("rules").retain(|rule| rule["resources"] != json!(["secrets"]));
    narrowed["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    cluster.kube.put(&path, &narrowed).await.expect("a Role");
    let controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    let (lines, secrets) = (controller.lines(), cluster.secrets().await);
    let mut restored = role;
    restored["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    cluster.kube.put(&path, &restored).await.expect("a Role");
    assert_eq!(warnings(&lines, "no access to regcred's own namespace"), 1);
    assert!(secrets.values().all(|it| it["metadata"]["annotations"].get("regcred.dev/owner").is_none()));

    // With access every Secret is signed.
    assert_eq!(controller.terminate().await.0, Some(0));
    let _next = cluster.controller().start().await;
    until("every Secret is signed", async || {
        let secrets = cluster.secrets().await;
        secrets.values().all(|it| it["metadata"]["annotations"]["regcred.dev/owner"].is_string())
    })
    .await;
}

#[tokio::test]
async fn rotated_key_signs_every_secret_again() {
    let cluster = test_cluster("good-key", 2).await;
    let first = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));
    let signatures = async || {
        let secrets = cluster.secrets().await.into_values();
        let signatures = secrets.map(|it| it["metadata"]["annotations"]["regcred.dev/owner"].clone());
        signatures.collect::<Vec<_>>()
    };
    let before = signatures().await;
    let path = format!("{}/regcred-ownership-key", secrets_path());
    let key = cluster.kube.get(&path).await.expect("the key")["data"]["key"].clone();
    let moved = json!({"data": {"previousKey": key, "key": null}});
    cluster.kube.patch(&path, &moved).await.expect("a patch");
    let mark = cluster.mark();
    let _next = cluster.controller().start().await;
    until("every Secret has another signature", async || {
        signatures().await.iter().zip(&before).all(|(now, before)| now.is_string() && now != before)
    })
    .await;
    let writes = cluster.writes(mark).await;
    assert!(
        !writes.iter().any(|it| it.starts_with("delete") || it.starts_with("create secrets")),
        "{writes:?}"
    );
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
    let done = json!({"data": {"previousKey": null}});
    cluster.kube.patch(&path, &done).await.expect("a patch");
}

#[tokio::test]
async fn value_recorded_by_rotate_survives_the_next_save() {
    const ONE_SHARD: [&str; 2] = ["--last-good-shards", "1"];
    let mut cluster = test_cluster("good-later", 1).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = cluster.controller().args(&ONE_SHARD).start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;
    // An operator rotates, and the controller cannot read the store from now on.
    controller.pause();
    cluster.put_password("two").await;
    let config = cluster.write(&[&cluster.config("")]);
    let run = cluster.rotate(&config, &["--namespace", NAMESPACE, ONE_SHARD[0], ONE_SHARD[1]]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    cluster.vault.seal().await.expect("Vault can be sealed");
    let mark = cluster.mark();
    controller.resume();
    cluster.request_rotation(cluster.name).await;
    until("the store is reported", async || {
        cluster.condition("good-later", "Fetched").await.starts_with("False")
    })
    .await;
    // The record of this namespace is saved into the shard that the operator's run has written.
    cluster.add_namespace("good-later-early").await;
    until("the shard is saved", async || {
        cluster.own_writes(mark).await.iter().any(|it| it.ends_with("regcred-last-good-0 200"))
    })
    .await;
    cluster.add_namespace("good-later-late").await;
    until("the new namespace has the later value", async || {
        let passwords = cluster.passwords("good-later-late").await;
        passwords.get("ghcr.io").is_some_and(|password| password == "two")
    })
    .await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.until_synced("two").await;
}

/// Waits until a shard holds a value, or none does: the encoding of an empty list has 8 characters, and a value more
/// than a hundred.
async fn until_values_are_stored(cluster: &TestCluster, expect: bool) {
    until("the values are stored or gone", async || {
        let shards = shards(cluster).await;
        let values = shards.iter().filter_map(|it| it["data"]["values"].as_str());
        values.into_iter().any(|it| it.len() > 20) == expect
    })
    .await;
}

#[tokio::test]
async fn value_is_forgotten_with_its_retained_object() {
    let cluster = test_cluster("good-retain", 1).await;
    let _controller = cluster.start_synced_with("one", "deletion", json!("Retain")).await;
    until_values_are_stored(&cluster, true).await;
    cluster.until_idle().await;
    cluster.kube.delete(&format!("{CLUSTER_PULL_SECRETS}/good-retain")).await.expect("a deletion");
    until_values_are_stored(&cluster, false).await;
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn value_of_an_object_deleted_while_stopped_is_forgotten() {
    let cluster = test_cluster("good-dropped", 1).await;
    let controller = cluster.start_synced("one").await;
    until_values_are_stored(&cluster, true).await;
    cluster.until_idle().await;
    controller.kill().await;
    let path = format!("{CLUSTER_PULL_SECRETS}/good-dropped");
    cluster.kube.patch(&path, &json!({"metadata": {"finalizers": null}})).await.expect("a patch");
    cluster.kube.delete(&path).await.expect("a deletion");
    let _next = cluster.controller().start().await;
    until_values_are_stored(&cluster, false).await;
}
