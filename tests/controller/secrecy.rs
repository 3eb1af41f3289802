//! A search for the password in every output of the controller and in every object of the cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{CLUSTER_PULL_SECRETS, SECRET, TestCluster, until};
use serde_json::{Value, json};

use crate::cluster::test_cluster;
use crate::controller::RunController as _;

/// Passwords that are too long to occur by chance.
const SENTINELS: [&str; 2] = ["s3ntinel-Passw0rd-0123456789", "an0ther-Sentinel-9876543210"];

/// The passwords as they are, in base64 alone and after a username, and as lists of bytes.
fn forms() -> Vec<String> {
    let forms = SENTINELS.iter().flat_map(|sentinel| {
        let bytes: Vec<_> = sentinel.bytes().map(|byte| byte.to_string()).collect();
        [
            (*sentinel).to_owned(),
            STANDARD.encode(sentinel).trim_end_matches('=').to_owned(),
            STANDARD.encode(format!("robot:{sentinel}")).trim_end_matches('=').to_owned(),
            bytes.join(", "),
        ]
    });
    forms.collect()
}

#[track_caller]
fn assert_silent(what: &str, text: &str, vault_token: &str) {
    for form in forms().iter().map(String::as_str).chain([vault_token]) {
        assert!(!text.contains(form), "{what} holds {form}");
    }
}

/// Searches every object of these kinds, without the one field that may hold a password.
async fn assert_objects_are_silent(cluster: &TestCluster) {
    let paths = [
        "/api/v1/secrets",
        "/api/v1/serviceaccounts",
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/events",
        "/apis/events.k8s.io/v1/events",
        "/apis/coordination.k8s.io/v1/leases",
        CLUSTER_PULL_SECRETS,
    ];
    for path in paths {
        let mut list = cluster.kube.get(path).await.expect("a list");
        for item in list["items"].as_array_mut().into_iter().flatten() {
            if let Some(data) = item.get_mut("data").and_then(Value::as_object_mut) {
                data.remove(".dockerconfigjson");
            }
        }
        assert_silent(path, &list.to_string(), &cluster.vault.root_token);
    }
}

/// Returns true if every namespace but the one with a foreign Secret is in sync.
async fn is_synced(cluster: &TestCluster, password: &str) -> bool {
    cluster.out_of_sync(password).await == ["secrecy-001"]
}

#[tokio::test]
async fn password_appears_only_in_the_docker_config() {
    let mut cluster = test_cluster("secrecy", 2).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"foreign": "x"}});
    cluster.kube.post("/api/v1/namespaces/secrecy-001/secrets", &foreign).await.expect("a Secret");
    cluster.put("malformed", &json!({"username": "a:b", "password": SENTINELS[0]})).await;
    cluster.put_password(SENTINELS[0]).await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    let registry =
        |host: &str, key: &str| json!({"host": host, "from": {"store": "vault", "key": cluster.key(key)}});
    let registries = [
        registry("ghcr.io", "ghcr"),
        registry("b.example.com", "malformed"),
        registry("c.example.com", "missing"),
    ];
    cluster_pull_secret["spec"]["registries"] = json!(registries);
    cluster.apply(&cluster_pull_secret).await;
    let controller = cluster.controller().args(&["-vvv"]).start().await;
    until("the first password", async || is_synced(&cluster, SENTINELS[0]).await).await;

    // Every path: a rotation, drift, an outage of the store and its end, a new namespace, a shutdown.
    cluster.put_password(SENTINELS[1]).await;
    cluster.request_rotation("secrecy").await;
    until("the second password", async || is_synced(&cluster, SENTINELS[1]).await).await;
    cluster.kube.delete("/api/v1/namespaces/secrecy-000/secrets/regcred").await.expect("a deletion");
    until("the Secret is restored", async || is_synced(&cluster, SENTINELS[1]).await).await;
    cluster.vault.seal().await.expect("Vault can be sealed");
    cluster.request_rotation("secrecy").await;
    until("the outage is reported", async || cluster.condition("secrecy", "Fetched").await == "False Sealed")
        .await;
    cluster.add_namespace("secrecy-late").await;
    until("the new namespace", async || is_synced(&cluster, SENTINELS[1]).await).await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.request_rotation("secrecy").await;
    until("the store is available", async || cluster.condition("secrecy", "Fetched").await != "False Sealed")
        .await;
    assert_objects_are_silent(&cluster).await;
    let metrics = controller.metrics().await;
    assert!(metrics.contains("regcred_"), "there are metrics to search: {metrics}");
    assert_silent("a metric", &metrics, &cluster.vault.root_token);
    assert_eq!(controller.terminate().await.0, Some(0));
    let lines = controller.lines();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "there are logs to search");
    assert_silent("the log", &controller.log(), &cluster.vault.root_token);
}
