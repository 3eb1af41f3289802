//! Keys of single namespaces: an event, a missing key, and a namespace that comes or goes concern that namespace only.

use std::path::PathBuf;

use harness::{REPLICAS, TestCluster, condition_of, registries, until};
use serde_json::{Value, json};
use world::VaultAuditMark;

use crate::cluster::test_cluster;
use crate::controller::{Controller, RunController as _};
use crate::webhook::hook::Hook;

/// A ClusterPullSecret with `ghcr.io` at the key of each namespace, and `quay.io` at a shared one.
fn teams(cluster: &TestCluster) -> Value {
    let mut object = cluster.cluster_pull_secret(cluster.name);
    let (own, shared) = (cluster.key("{{namespace}}/ghcr"), cluster.key("ghcr"));
    object["spec"]["registries"] = registries(&[("ghcr.io", "vault", &own), ("quay.io", "vault", &shared)]);
    object
}

fn own_key(namespace: &str) -> String {
    format!("{namespace}/ghcr")
}

async fn put_own(cluster: &TestCluster, namespace: &str, password: &str) {
    cluster.put(&own_key(namespace), &json!({"username": "robot", "password": password})).await;
}

/// Waits until a namespace holds its own password and the shared one.
async fn until_password(cluster: &TestCluster, namespace: &str, password: &str) {
    let expect = [("ghcr.io".to_owned(), password.to_owned()), ("quay.io".to_owned(), "shared".to_owned())];
    let expect = expect.into();
    until(&format!("the password {password} in {namespace}"), async || {
        cluster.passwords(namespace).await == expect
    })
    .await;
}

/// Puts a password `one` for each namespace but the last, and applies the ClusterPullSecret.
async fn prepare(cluster: &TestCluster) {
    cluster.put_password("shared").await;
    for namespace in &cluster.namespaces[..cluster.namespaces.len() - 1] {
        put_own(cluster, namespace, "one").await;
    }
    cluster.apply(&teams(cluster)).await;
}

fn polling(cluster: &TestCluster) -> PathBuf {
    cluster.write(&[&cluster.config("triggers: {pollInterval: 1s}\n")])
}

async fn failures(cluster: &TestCluster) -> Vec<String> {
    let status = cluster.status(cluster.name).await;
    let failures = status["failures"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    failures.iter().map(|it| format!("{}: {}", text(&it["namespace"]), text(&it["reason"]))).collect()
}

#[tokio::test]
async fn missing_key_fails_its_namespace_until_it_exists() {
    let cluster = test_cluster("own-missing", 3).await;
    prepare(&cluster).await;
    let _controller = cluster.controller().manifests(&polling(&cluster)).start().await;
    for namespace in ["own-missing-000", "own-missing-001"] {
        until_password(&cluster, namespace, "one").await;
    }
    until("a failure of the third", async || failures(&cluster).await == ["own-missing-002: FetchFailed"])
        .await;
    let status = cluster.status(cluster.name).await;
    assert_eq!(condition_of(&status, "Fetched"), "True Fetched", "{status}");
    assert_eq!(condition_of(&status, "Ready"), "False ApplyFailed", "{status}");
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 2, "failed": 1}));
    let message = status["registries"][0]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("1 of 3 keys could not be read, such as store vault"), "{message}");
    let others = cluster.passwords("own-missing-002").await;
    assert_eq!(others.into_iter().collect::<Vec<_>>(), [("quay.io".to_owned(), "shared".to_owned())]);

    let mark = cluster.vault_mark();
    put_own(&cluster, "own-missing-002", "late").await;
    until_password(&cluster, "own-missing-002", "late").await;
    until("no failure", async || failures(&cluster).await.is_empty()).await;
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "True InSync");
    assert_eq!(cluster.vault_reads(&own_key("own-missing-000"), mark), 0, "the others are not read again");
}

#[tokio::test]
async fn event_wakes_one_namespace() {
    let cluster = test_cluster("own-event", 3).await;
    prepare(&cluster).await;
    put_own(&cluster, "own-event-002", "one").await;
    let leader = Hook::start(&cluster, cluster.controller().replica(REPLICAS[0]), "").await;
    until("a leader", async || leader.controller.is_leader().await).await;
    for namespace in &cluster.namespaces {
        until_password(&cluster, namespace, "one").await;
    }
    let follower = Hook::start(&cluster, cluster.controller().replica(REPLICAS[1]), "").await;
    // Both get a new value, and the event names one: by the leader, then through a replica that does not lead.
    for (password, hook) in [("two", &leader), ("three", &follower)] {
        for namespace in ["own-event-000", "own-event-001"] {
            put_own(&cluster, namespace, password).await;
        }
        let mark = cluster.vault_mark();
        let key = cluster.key(&own_key("own-event-001"));
        let answer = hook.post(&json!({"store": "vault", "key": key}).to_string()).await;
        assert_eq!(answer.0, 202, "{answer:?}");
        until_password(&cluster, "own-event-001", password).await;
        until("the request is observed", async || {
            let status = cluster.status(cluster.name).await;
            status["lastRotation"]["trigger"] == "Webhook"
        })
        .await;
        assert_eq!(cluster.vault_requests(mark), [format!("secret/data/{key}")]);
        assert_eq!(cluster.passwords("own-event-000").await["ghcr.io"], "one", "nobody announced it");
    }
    let answer =
        leader.post(&json!({"store": "vault", "key": cluster.key("{{namespace}}/ghcr")}).to_string()).await;
    assert_eq!(answer.1, json!({"clusterPullSecrets": []}).to_string(), "the placeholder itself is no key");
}

#[tokio::test]
async fn keys_come_and_go_with_their_namespaces() {
    let mut cluster = test_cluster("own-churn", 2).await;
    prepare(&cluster).await;
    put_own(&cluster, "own-churn-001", "one").await;
    let _controller = cluster.controller().manifests(&polling(&cluster)).start().await;
    until_password(&cluster, "own-churn-000", "one").await;
    until_password(&cluster, "own-churn-001", "one").await;

    let mark = cluster.vault_mark();
    put_own(&cluster, "own-churn-late", "new").await;
    cluster.add_namespace("own-churn-late").await;
    until_password(&cluster, "own-churn-late", "new").await;
    assert_eq!(cluster.vault_reads(&own_key("own-churn-late"), mark), 1);
    assert_eq!(cluster.vault_reads(&own_key("own-churn-000"), mark), 0);
    assert_eq!(cluster.vault_reads("ghcr", mark), 0, "the shared key is known");

    // A namespace that is not selected any more has no key.
    cluster.select("own-churn-001", false).await;
    until("the Secret is removed", async || cluster.secret("own-churn-001").await.is_none()).await;
    let polled = |path: &str, mark: VaultAuditMark| {
        let path = format!("secret/metadata/{}", cluster.key(path));
        cluster.vault_requests(mark).iter().filter(|it| **it == path).count()
    };
    // A round that began before may still ask for it.
    let mark = cluster.vault_mark();
    until("a round of the poll", async || polled(&own_key("own-churn-000"), mark) >= 1).await;
    let mark = cluster.vault_mark();
    until("three more rounds", async || polled(&own_key("own-churn-000"), mark) >= 3).await;
    assert_eq!(polled(&own_key("own-churn-001"), mark), 0);
}

#[tokio::test]
async fn last_good_value_of_an_own_key_stays_in_its_namespace() {
    let mut cluster = test_cluster("own-good", 2).await;
    prepare(&cluster).await;
    put_own(&cluster, "own-good-001", "two").await;
    let first = cluster.controller().manifests(&polling(&cluster)).start().await;
    until_password(&cluster, "own-good-000", "one").await;
    until_password(&cluster, "own-good-001", "two").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));

    cluster.vault.seal().await.expect("Vault can be sealed");
    let path = "/api/v1/namespaces/own-good-000/secrets/regcred";
    cluster.kube.delete(path).await.expect("a Secret is deleted");
    let _next = cluster.controller().manifests(&polling(&cluster)).start().await;
    cluster.add_namespace("own-good-late").await;
    until_password(&cluster, "own-good-000", "one").await;
    let expect = ["own-good-000", "own-good-001", "own-good-late"].map(|name| format!("{name}: FetchFailed"));
    until("every own key fails", async || failures(&cluster).await == expect).await;
    until_password(&cluster, "own-good-001", "two").await;
    let late = cluster.passwords("own-good-late").await;
    assert_eq!(late.into_iter().collect::<Vec<_>>(), [("quay.io".to_owned(), "shared".to_owned())]);
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    put_own(&cluster, "own-good-late", "three").await;
    until_password(&cluster, "own-good-late", "three").await;
}

/// Starts a controller with these allow-lists of the store `vault`.
async fn start_limited(cluster: &TestCluster, lists: &str) -> Controller {
    let config = cluster.config_with_vault(&format!("address: \"{}\"", cluster.vault.address), "");
    let config = config.replacen("- name: down", &format!("  {lists}\n- name: down"), 1);
    cluster.controller().manifests(&cluster.write(&[&config])).start().await
}

#[tokio::test]
async fn namespace_admitted_no_more_loses_its_secret() {
    let cluster = test_cluster("own-denied", 2).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = start_limited(&cluster, "namespaces: ['own-denied-*']").await;
    cluster.until_synced("one").await;
    controller.terminate().await;

    let _controller = start_limited(&cluster, "namespaceSelector: {matchLabels: {tier: prod}}").await;
    let label = json!({"metadata": {"labels": {"tier": "prod"}}});
    cluster.kube.patch("/api/v1/namespaces/own-denied-000", &label).await.expect("a label");
    until("both statuses", async || failures(&cluster).await == ["own-denied-001: NotAdmitted"]).await;
    assert_eq!(cluster.secret("own-denied-001").await, None);
    assert_eq!(cluster.references("own-denied-001", "default").await, Vec::<String>::new());
    until("the first namespace", async || {
        cluster.passwords("own-denied-000").await.get("ghcr.io").is_some_and(|it| it == "one")
    })
    .await;
    // The label admits the other one, too, without a restart.
    cluster.kube.patch("/api/v1/namespaces/own-denied-001", &label).await.expect("a label");
    cluster.until_synced("one").await;
}
