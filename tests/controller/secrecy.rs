//! A password is looked for in everything that leaves the controller, and in every object of the cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::stage::{PULL_SECRETS, SECRET, Stage, until};

/// Long enough that it stands nowhere by chance.
const SENTINELS: [&str; 2] = ["s3ntinel-Passw0rd-0123456789", "an0ther-Sentinel-9876543210"];

/// A password as it is, in base64 by itself and behind a username, and as a list of bytes.
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

/// Every object of these kinds, with the one field taken out that may hold a password.
async fn assert_objects_are_silent(stage: &Stage) {
    let paths = [
        "/api/v1/secrets",
        "/api/v1/serviceaccounts",
        "/api/v1/namespaces",
        "/api/v1/configmaps",
        "/api/v1/events",
        "/apis/events.k8s.io/v1/events",
        "/apis/coordination.k8s.io/v1/leases",
        PULL_SECRETS,
    ];
    for path in paths {
        let mut list = stage.kube.get(path).await.expect("a list");
        for item in list["items"].as_array_mut().into_iter().flatten() {
            if let Some(data) = item.get_mut("data").and_then(Value::as_object_mut) {
                data.remove(".dockerconfigjson");
            }
        }
        assert_silent(path, &list.to_string(), &stage.vault.root_token);
    }
}

#[tokio::test]
async fn a_password_stands_in_the_docker_config_and_nowhere_else() {
    let mut stage = Stage::new("secrecy", 2).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"theirs": "x"}});
    stage.kube.post("/api/v1/namespaces/secrecy-001/secrets", &foreign).await.expect("a Secret");
    stage.put("malformed", &json!({"username": "a:b", "password": SENTINELS[0]})).await;
    stage.put_password(SENTINELS[0]).await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    let registry =
        |host: &str, key: &str| json!({"host": host, "from": {"store": "vault", "key": stage.key(key)}});
    let registries = [
        registry("ghcr.io", "ghcr"),
        registry("b.example.com", "malformed"),
        registry("c.example.com", "missing"),
    ];
    cluster_pull_secret["spec"]["registries"] = json!(registries);
    stage.apply(&cluster_pull_secret).await;
    let controller = stage.controller().with(&["-vvv"]).start().await;
    let is_served = async |password| stage.unserved(password).await == ["secrecy-001"];
    until("the first password", async || is_served(SENTINELS[0]).await).await;

    // Every path: a rotation, drift, a store that is away and comes back, a newcomer, an end.
    stage.put_password(SENTINELS[1]).await;
    stage.ask("secrecy").await;
    until("the second password", async || is_served(SENTINELS[1]).await).await;
    stage.kube.delete("/api/v1/namespaces/secrecy-000/secrets/regcred").await.expect("a deletion");
    until("the Secret is back", async || is_served(SENTINELS[1]).await).await;
    stage.vault.seal().await.expect("Vault can be sealed");
    stage.ask("secrecy").await;
    until("the store is said to be away", async || {
        stage.condition("secrecy", "Fetched").await == "False Sealed"
    })
    .await;
    stage.add_namespace("secrecy-late").await;
    until("the newcomer", async || stage.unserved(SENTINELS[1]).await == ["secrecy-001"]).await;
    stage.vault.unseal().await.expect("Vault can be unsealed");
    stage.ask("secrecy").await;
    until("the store is back", async || stage.condition("secrecy", "Fetched").await != "False Sealed").await;
    assert_objects_are_silent(&stage).await;
    let metrics = controller.metrics().await;
    assert!(metrics.contains("regcred_"), "there are metrics to search: {metrics}");
    assert_silent("a metric", &metrics, &stage.vault.root_token);
    assert_eq!(controller.terminate().await.0, Some(0));
    let lines = controller.lines();
    assert!(lines.iter().any(|line| line["level"] == "DEBUG"), "there are logs to search");
    assert_silent("the log", &controller.log(), &stage.vault.root_token);
}
