//! A search for the password in every output of the process and in every object of the cluster.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Run, TestCluster};
use serde_json::{Value, json};

use crate::cluster::test_cluster;

/// A password that is too long to occur by chance.
const SENTINEL: &str = "s3ntinel-Passw0rd-0123456789";

#[tokio::test]
async fn password_appears_only_in_the_docker_config() {
    let cluster = test_cluster("secrecy", 2).await;
    cluster.put_password(SENTINEL).await;
    let value = json!({"username": "robot", "password": SENTINEL}).to_string();
    cluster.localstack().create_secret("secrecy/aws", &value).await.expect("a secret");
    cluster.localstack().create_secret("secrecy/aws-too", &value).await.expect("a secret");
    // Malformed values hold the password as well, and their error messages are the most likely to quote it.
    cluster
        .localstack()
        .create_secret("secrecy/broken", &format!("{{\"password\":\"{SENTINEL}"))
        .await
        .expect("a secret");
    let colon = json!({"username": "a:b", "password": SENTINEL});
    cluster.put("colon", &colon).await;
    let registries = [
        ("a.example.com", "vault", "secrecy/ghcr"),
        ("b.example.com", "aws", "secrecy/aws"),
        ("c.example.com", "aws", "secrecy/aws-too"),
        ("d.example.com", "files", "file"),
        ("e.example.com", "aws", "secrecy/broken"),
        ("f.example.com", "vault", "secrecy/colon"),
        ("g.example.com", "vault", "secrecy/missing"),
    ];
    let manifests = cluster.manifests(&registries);
    std::fs::write(cluster.files().join("file"), &value).expect("a file");
    // A foreign Secret causes a refusal, the dry run a diff.
    let foreign = json!({"metadata": {"name": "regcred"}, "stringData": {"x": "y"}});
    cluster.kube.post("/api/v1/namespaces/secrecy-001/secrets", &foreign).await.expect("a Secret");

    for output in ["table", "json", "yaml"] {
        for dry_run in [&["--dry-run"][..], &[]] {
            let arguments = [&["-vvv", "--output", output], dry_run].concat();
            let run = cluster.rotate(&manifests, &arguments).await;
            assert_eq!(run.code, 1, "{run:?}");
            assert!(run.stderr.contains("DEBUG"), "there are logs to search: {}", run.stderr);
            assert_silent(&cluster, &run);
        }
    }
    let passwords = cluster.passwords("secrecy-000").await;
    assert_eq!(passwords.values().filter(|it| *it == SENTINEL).count(), 4, "{:?}", passwords.keys());
    assert_objects_are_silent(&cluster).await;
}

#[track_caller]
fn assert_silent(cluster: &TestCluster, run: &Run) {
    let keys = cluster.localstack().env().into_iter().filter(|(name, _)| *name == "AWS_SECRET_ACCESS_KEY");
    // `test` is a part of many other names.
    let keys = keys.map(|(_, key)| key).filter(|key| key != "test");
    let texts = forms().into_iter().chain([cluster.vault.root_token.clone()]).chain(keys);
    for text in texts {
        for (stream, output) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            assert!(!output.contains(&text), "{stream} holds the password as {text}");
        }
    }
}

/// The password as it is, in base64 alone and after a username, and as a list of bytes.
fn forms() -> Vec<String> {
    let bytes = SENTINEL.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>();
    vec![
        SENTINEL.to_owned(),
        STANDARD.encode(SENTINEL).trim_end_matches('=').to_owned(),
        STANDARD.encode(format!("robot:{SENTINEL}")).trim_end_matches('=').to_owned(),
        bytes.join(", "),
    ]
}

/// Searches every object of the namespaces, without the one field that may hold the password.
async fn assert_objects_are_silent(cluster: &TestCluster) {
    let kinds = ["secrets", "serviceaccounts", "events", "configmaps"];
    for namespace in [cluster.namespace(0), cluster.namespace(1)] {
        for kind in kinds {
            let mut list =
                cluster.kube.get(&format!("/api/v1/namespaces/{namespace}/{kind}")).await.expect("a list");
            for item in list["items"].as_array_mut().expect("items") {
                if let Some(data) = item.get_mut("data").and_then(Value::as_object_mut) {
                    data.remove(".dockerconfigjson");
                }
                let text = item.to_string();
                assert!(forms().iter().all(|form| !text.contains(form)), "{kind} in {namespace}: {text}");
            }
        }
        let object = cluster.kube.get(&format!("/api/v1/namespaces/{namespace}")).await.expect("a namespace");
        assert!(forms().iter().all(|form| !object.to_string().contains(form)));
    }
}
