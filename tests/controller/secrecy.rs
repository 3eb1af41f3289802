//! A search for the password in every output of the controller and in every object of the cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use harness::{CLUSTER_PULL_SECRETS, QuotedForms, SECRET, TestCluster, docker_config_bytes, text, until};
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

/// The lists that a search reads.
const LISTS: [&str; 8] = [
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/namespaces",
    "/api/v1/configmaps",
    "/api/v1/events",
    "/apis/events.k8s.io/v1/events",
    "/apis/coordination.k8s.io/v1/leases",
    CLUSTER_PULL_SECRETS,
];

/// The text of every list, without the one field that may hold a password.
async fn searched_lists(cluster: &TestCluster) -> Vec<(&'static str, String)> {
    let mut texts = Vec::new();
    for path in LISTS {
        let mut list = cluster.kube.get(path).await.expect("a list");
        for item in list["items"].as_array_mut().into_iter().flatten() {
            if let Some(data) = item.get_mut("data").and_then(Value::as_object_mut) {
                data.remove(".dockerconfigjson");
            }
        }
        texts.push((path, list.to_string()));
    }
    texts
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
    for (path, text) in searched_lists(&cluster).await {
        assert_silent(path, &text, &cluster.vault.root_token);
    }
    let metrics = controller.metrics().await;
    assert!(metrics.contains("regcred_"), "there are metrics to search: {metrics}");
    assert_silent("a metric", &metrics, &cluster.vault.root_token);
    assert_eq!(controller.terminate().await.0, Some(0));
    let lines = controller.lines();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "there are logs to search");
    assert_silent("the log", &controller.log(), &cluster.vault.root_token);
}

/// The message of the first failed namespace in the status.
async fn failure_message(cluster: &TestCluster) -> String {
    text(&cluster.status(cluster.name).await["failures"][0]["message"])
}

#[tokio::test]
async fn policy_that_quotes_the_secret_is_named_and_not_quoted() {
    const PASSWORD: &str = "s3ntinel~~~~~Passw0rd?????0123456789";
    const POLICY: &str = "the admission policy quoted-000 denied the write";
    let cluster = test_cluster("quoted", 2).await;
    cluster.put_password(PASSWORD).await;
    cluster.forbid_secrets_quoting_them("quoted-000", PASSWORD).await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = cluster.controller().args(&["-vvv"]).start().await;
    until("the other namespace", async || cluster.out_of_sync(PASSWORD).await == ["quoted-000"]).await;
    until("the refusal is in the status", async || failure_message(&cluster).await.contains(POLICY)).await;
    until("the refusal is in an Event", async || {
        let events = cluster.events_about("ClusterPullSecret", None, cluster.name).await;
        events.iter().any(|event| text(&event["note"]).contains(POLICY))
    })
    .await;

    let secret = cluster.secret("quoted-001").await.expect("a Secret");
    let forms = QuotedForms::new(&docker_config_bytes(&secret), PASSWORD);
    // The API server quotes the Secret to whom it refuses it, so there is something to leave out.
    let copy = json!({"metadata": {"name": "copy"}, "type": secret["type"], "data": secret["data"]});
    let denied = cluster.kube.post("/api/v1/namespaces/quoted-000/secrets", &copy).await;
    let message = format!("{:#}", denied.expect_err("the policy denies it"));
    assert!(forms.are_in(&message) && message.contains(PASSWORD), "{message}");

    for (path, text) in searched_lists(&cluster).await {
        forms.assert_absent(path, &text);
    }
    forms.assert_absent("a metric", &controller.metrics().await);
    controller.terminate().await;
    let log = controller.log();
    assert!(log.contains(POLICY), "the log names the policy: {log}");
    forms.assert_absent("the log", &log);
}
