//! A password is looked for in everything that leaves the process, and in every object of the cluster.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::scene::{Run, Scene};

/// Long enough that it stands nowhere by chance.
const SENTINEL: &str = "s3ntinel-Passw0rd-0123456789";

#[tokio::test]
async fn a_password_stands_in_the_docker_config_and_nowhere_else() {
    let scene = Scene::new("secrecy", 2).await;
    scene.put_vault("secrecy/vault", SENTINEL).await;
    let value = json!({"username": "robot", "password": SENTINEL}).to_string();
    scene.world.localstack.create_secret("secrecy/aws", &value).await.expect("a secret");
    scene.world.localstack.create_secret("secrecy/aws-too", &value).await.expect("a secret");
    // Malformed values hold the password as well, and are where a message is most tempted to quote.
    scene
        .world
        .localstack
        .create_secret("secrecy/broken", &format!("{{\"password\":\"{SENTINEL}"))
        .await
        .expect("a secret");
    scene.put_vault("secrecy/colon", SENTINEL).await;
    let colon = json!({"username": "a:b", "password": SENTINEL});
    scene.world.vault.put_kv2("secret", "secrecy/colon", &colon).await.expect("a value");
    let registries = [
        ("a.example.com", "vault", "secrecy/vault"),
        ("b.example.com", "aws", "secrecy/aws"),
        ("c.example.com", "aws", "secrecy/aws-too"),
        ("d.example.com", "files", "file"),
        ("e.example.com", "aws", "secrecy/broken"),
        ("f.example.com", "vault", "secrecy/colon"),
        ("g.example.com", "vault", "secrecy/missing"),
    ];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    std::fs::write(scene.directory.path().join("files/file"), &value).expect("a file");
    // A foreign Secret makes a refusal, the dry run a diff.
    let foreign = json!({"metadata": {"name": "regcred"}, "stringData": {"x": "y"}});
    scene.world.kube.post("/api/v1/namespaces/secrecy-001/secrets", &foreign).await.expect("a Secret");

    for output in ["table", "json", "yaml"] {
        for dry_run in [&["--dry-run"][..], &[]] {
            let arguments = [&["-vvv", "--output", output], dry_run].concat();
            let run = scene.rotate(&manifests, &arguments).await;
            assert_eq!(run.code, 1, "{run:?}");
            assert!(run.stderr.contains("DEBUG"), "there are logs to search: {}", run.stderr);
            assert_silent(&scene, &run);
        }
    }
    let passwords = scene.passwords("secrecy-000").await;
    assert_eq!(passwords.values().filter(|it| *it == SENTINEL).count(), 4, "{:?}", passwords.keys());
    assert_objects_are_silent(&scene).await;
}

#[track_caller]
fn assert_silent(scene: &Scene, run: &Run) {
    let keys = scene.world.localstack.env().into_iter().filter(|(name, _)| *name == "AWS_SECRET_ACCESS_KEY");
    // `test` stands in the name of every other thing.
    let keys = keys.map(|(_, key)| key).filter(|key| key != "test");
    let texts = forms().into_iter().chain([scene.world.vault.root_token.clone()]).chain(keys);
    for text in texts {
        for (stream, said) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
            assert!(!said.contains(&text), "{stream} holds the password as {text}");
        }
    }
}

/// The password as it is, in base64 by itself and behind a username, and as a list of bytes.
fn forms() -> Vec<String> {
    let bytes = SENTINEL.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>();
    vec![
        SENTINEL.to_owned(),
        STANDARD.encode(SENTINEL).trim_end_matches('=').to_owned(),
        STANDARD.encode(format!("robot:{SENTINEL}")).trim_end_matches('=').to_owned(),
        bytes.join(", "),
    ]
}

/// Every object of the namespaces, with the one field taken out that may hold it.
async fn assert_objects_are_silent(scene: &Scene) {
    let kinds = ["secrets", "serviceaccounts", "events", "configmaps"];
    for namespace in [scene.namespace(0), scene.namespace(1)] {
        for kind in kinds {
            let mut list = scene
                .world
                .kube
                .get(&format!("/api/v1/namespaces/{namespace}/{kind}"))
                .await
                .expect("a list");
            for item in list["items"].as_array_mut().expect("items") {
                if let Some(data) = item.get_mut("data").and_then(Value::as_object_mut) {
                    data.remove(".dockerconfigjson");
                }
                let text = item.to_string();
                assert!(forms().iter().all(|form| !text.contains(form)), "{kind} in {namespace}: {text}");
            }
        }
        let object =
            scene.world.kube.get(&format!("/api/v1/namespaces/{namespace}")).await.expect("a namespace");
        assert!(forms().iter().all(|form| !object.to_string().contains(form)));
    }
}
