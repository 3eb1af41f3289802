//! The bytes of a pull secret, and what the kubelet's own code makes of them: compared with those that earlier versions
//! wrote, and at the capacity of a Secret.

use harness::{TestCluster, docker_config_bytes, earlier_docker_config, registries, with_content};
use serde_json::{Value, json};
use world::{KeyringAnswer, KeyringQuestion, ask_kubelet};

use crate::cluster::test_cluster;

const HUB: &str = "https://index.docker.io/v1/";
const REGISTRY: &str = "127.0.0.1:5000";

/// Puts a password for `robot` into a file of the test.
fn put(cluster: &TestCluster, key: &str, password: &str) {
    let value = json!({"username": "robot", "password": password}).to_string();
    std::fs::write(cluster.files().join(key), value).expect("a file");
}

/// Rotates `(host, password)` from files into the namespaces, and returns the bytes in the first one.
async fn rendered(cluster: &TestCluster, passwords: &[(&str, &str)]) -> Vec<u8> {
    for (_, password) in passwords {
        put(cluster, password, password);
    }
    let sources: Vec<_> = passwords.iter().map(|(host, key)| (*host, "files", *key)).collect();
    let run = cluster.rotate(&cluster.manifests(&sources), &[]).await;
    assert_eq!(run.code, 0, "{run:?}");
    docker_config_bytes(&cluster.secret(cluster.namespace(0)).await.expect("a Secret"))
}

/// The kubelet's answers about the images of one docker config.
async fn ask(docker_config: &[u8], images: &[&str]) -> Vec<KeyringAnswer> {
    let question = |image: &&str| KeyringQuestion {
        namespace: "web".to_owned(),
        name: "regcred".to_owned(),
        kind: "kubernetes.io/dockerconfigjson".to_owned(),
        docker_config: docker_config.to_vec(),
        image: (*image).to_owned(),
    };
    ask_kubelet(&images.iter().map(question).collect::<Vec<_>>()).await.expect("the kubelet's keyring")
}

fn passwords(answer: &KeyringAnswer) -> Vec<&str> {
    answer.credentials.iter().map(|it| it.password.as_str()).collect()
}

#[tokio::test]
async fn kubelet_finds_the_same_credential_and_hash_in_both_forms() {
    let cluster = test_cluster("dc-hash", 1).await;
    let images = [
        "ghcr.io/team/app",
        "127.0.0.1:5000/team/app",
        "docker.io/library/nginx",
        "docker.io/team/app",
        "quay.io/team/app",
    ];
    let earlier = earlier_docker_config(&[(REGISTRY, "local"), ("ghcr.io", "ghcr"), (HUB, "hub")]);
    let current = rendered(&cluster, &[("ghcr.io", "ghcr"), (REGISTRY, "local"), ("docker.io", "hub")]).await;

    assert_ne!(earlier, current);
    let (before, after) = (ask(&earlier, &images).await, ask(&current, &images).await);
    assert_eq!(before, after, "the same credentials with the same hashes");
    let expect = [vec!["ghcr"], vec!["local"], vec!["hub"], vec!["hub"], vec![]];
    assert_eq!(after.iter().map(passwords).collect::<Vec<_>>(), expect);
    for credential in after.iter().flat_map(|answer| &answer.credentials) {
        assert_eq!(credential.hash.len(), 64, "a SHA-256: {credential:?}");
    }
    let other = ask(&earlier_docker_config(&[("ghcr.io", "other")]), &images[..1]).await;
    assert_ne!(other[0].credentials[0].hash, after[0].credentials[0].hash, "another password, another hash");
}

#[tokio::test]
async fn docker_hub_is_hidden_by_neither_path_nor_glob() {
    let cluster = test_cluster("dc-hub", 1).await;
    let images = ["docker.io/library/nginx", "docker.io/team/app"];
    let earlier = earlier_docker_config(&[("*.io", "glob"), ("docker.io/team", "team"), (HUB, "hub")]);
    let entries = [("*.io", "glob"), ("docker.io/team", "team"), ("docker.io", "hub")];
    let current = rendered(&cluster, &entries).await;

    let (before, after) = (ask(&earlier, &images).await, ask(&current, &images).await);
    let before: Vec<_> = before.iter().map(passwords).collect();
    assert_eq!(before, [vec!["glob"], vec!["team", "glob"]], "the reason for the second key");
    let after: Vec<_> = after.iter().map(passwords).collect();
    assert_eq!(after, [vec!["hub", "glob"], vec!["team", "hub", "glob"]]);
}

#[tokio::test]
async fn earlier_form_is_rewritten_in_place_while_the_store_is_down() {
    let cluster = test_cluster("dc-down", 1).await;
    cluster.put_password("known").await;
    let sources = [("docker.io", "vault", "dc-down/ghcr")];
    assert_eq!(cluster.rotate(&cluster.manifests(&sources), &[]).await.code, 0);
    let before = cluster.secret("dc-down-000").await.expect("a Secret");
    let earlier = with_content(&earlier_docker_config(&[(HUB, "known")]), &format!("{HUB}=vault:1"));
    cluster.kube.patch("/api/v1/namespaces/dc-down-000/secrets/regcred", &earlier).await.expect("a patch");

    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"] = registries(&sources);
    // Port 1 is closed.
    let down = cluster.config_with_vault("address: \"http://127.0.0.1:1\"", "");
    let manifests = cluster.write(&[&down, &object.to_string()]);
    let mark = cluster.mark();
    let runs = [cluster.rotate(&manifests, &[]).await, cluster.rotate(&manifests, &[]).await];

    assert_eq!(runs[0].registries(), ["docker.io - Unavailable"]);
    assert_eq!(
        runs.each_ref().map(|run| run.results()[0].clone()),
        ["dc-down-000: updated", "dc-down-000: unchanged"]
    );
    assert_eq!(cluster.writes_in_namespaces(mark).await, ["patch secrets 200"]);
    let after = cluster.secret("dc-down-000").await.expect("a Secret");
    assert_eq!(docker_config_bytes(&after), docker_config_bytes(&before));
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "changed in place");
    let (after, before) = (&after["metadata"]["annotations"], &before["metadata"]["annotations"]);
    assert_eq!(after["regcred.dev/owner"], before["regcred.dev/owner"]);
    // The time of a version that an earlier annotation does not have is unknown while the store is down.
    assert_eq!(after["regcred.dev/versions"], "docker.io=vault:1");
}

#[tokio::test]
async fn too_large_credentials_are_rejected_before_any_write() {
    let mut cluster = test_cluster("dc-large", 2).await;
    let sources = [("ghcr.io", "files", "ghcr"), ("quay.io", "files", "quay"), ("a.io", "files", "small")];
    for key in ["ghcr", "quay", "small"] {
        put(&cluster, key, "one");
    }
    let manifests = cluster.manifests(&sources);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let before = cluster.secrets().await;
    cluster.add_namespace("dc-large-002").await;

    put(&cluster, "ghcr", &"x".repeat(600_000));
    put(&cluster, "quay", &"x".repeat(300_000));
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;

    assert_eq!(run.code, 1, "{run:?}");
    let problems: Value = run.report()["clusterPullSecrets"][0]["problems"].take();
    assert_eq!((problems.as_array().map(Vec::len), &problems[0]["reason"]), (Some(1), &json!("TooLarge")));
    let message = problems[0]["message"].as_str().expect("a message");
    assert!(message.contains("at most 1048576") && message.contains("ghcr.io (8000"), "{message}");
    let expect = [0, 1, 2].map(|n| format!("dc-large-00{n}: failed TooLarge"));
    assert_eq!(run.results(), expect);
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new(), "no write is attempted");
    assert_eq!(cluster.secrets().await, before, "the Secrets stay as they are");

    // The API server takes what is just below its limit.
    put(&cluster, "quay", &"x".repeat(186_000));
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let sizes = cluster.secrets().await;
    assert!(sizes.values().all(|secret| docker_config_bytes(secret).len() > 1_040_000));
}
