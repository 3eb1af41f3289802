//! Credentials that no Secret can hold: one problem, no attempt to write, and no retry before they change.

use harness::{docker_config_bytes, registries, until};
use serde_json::{Value, json};

use crate::cluster::test_cluster;
use crate::controller::RunController as _;

#[tokio::test]
async fn too_large_credentials_are_one_problem_until_they_shrink() {
    let cluster = test_cluster("capacity", 3).await;
    let put = |key: &str, password: &str| {
        let value = json!({"username": "robot", "password": password}).to_string();
        std::fs::write(cluster.files().join(key), value).expect("a file");
    };
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"] =
        registries(&[("ghcr.io", "files", "ghcr"), ("quay.io", "files", "quay")]);
    put("ghcr", "one");
    put("quay", "one");
    cluster.apply(&cluster_pull_secret).await;
    let controller = cluster.controller().start().await;
    cluster.until_synced("one").await;
    cluster.until_idle().await;
    let before = cluster.secrets().await;

    let mark = cluster.mark();
    for key in ["ghcr", "quay"] {
        put(key, &"large".repeat(100_000));
    }
    cluster.request_rotation(cluster.name).await;
    until("the problem is reported", async || {
        cluster.condition(cluster.name, "Applied").await == "False TooLarge"
    })
    .await;
    cluster.until_idle().await;

    let is_secret = |line: &String| line.contains(" secrets ");
    assert!(!cluster.writes(mark).await.iter().any(is_secret), "no write of a Secret is attempted");
    assert_eq!(cluster.secrets().await, before, "the Secrets stay as they are");
    let status = cluster.status(cluster.name).await;
    assert_eq!(cluster.condition(cluster.name, "Ready").await, "False ApplyFailed");
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 0, "failed": 3}));
    let message = message_of(&status, "Applied");
    for part in ["bytes, and a Secret holds at most 1048576", "ghcr.io (6667", "quay.io (6667"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("large".repeat(2).as_str()), "{message}");

    put("quay", "two");
    cluster.request_rotation(cluster.name).await;
    until("the problem is gone", async || cluster.condition(cluster.name, "Ready").await == "True InSync")
        .await;
    let after = cluster.secrets().await;
    assert!(after.values().all(|secret| docker_config_bytes(secret).len() > 600_000));
    assert!(!controller.has_ended());
}

fn message_of(status: &Value, kind: &str) -> String {
    let mut conditions = status["conditions"].as_array().expect("conditions").iter();
    let condition = conditions.find(|it| it["type"] == kind).expect("a condition");
    condition["message"].as_str().expect("a message").to_owned()
}
