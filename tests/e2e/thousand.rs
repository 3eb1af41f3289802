//! A thousand namespaces: every one can pull, a second pass is silent, each key is read once.

use std::process::Stdio;

use futures::{StreamExt, stream};
use tokio::process::Command;
use world::{KeyringQuestion, ask_kubelet};

use crate::scene::{Scene, docker_config};

const NAMESPACES: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_namespaces_can_pull_and_a_second_pass_is_silent() {
    let scene = Scene::new("thousand", NAMESPACES).await;
    let (basic, token) = (&scene.world.registry, &scene.world.token_registry);
    let vault_value =
        serde_json::json!({"username": basic.username, "password": basic.password().expect("a password")});
    scene.world.vault.put_kv2("secret", "thousand/basic", &vault_value).await.expect("Vault takes a value");
    let aws_value =
        serde_json::json!({"username": token.username, "password": token.password().expect("a password")});
    scene.world.localstack.create_secret("thousand/token", &aws_value.to_string()).await.expect("a secret");
    let registries =
        [(basic.host.as_str(), "vault", "thousand/basic"), (token.host.as_str(), "aws", "thousand/token")];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);

    let vault_mark = scene.world.vault.audit_mark().expect("Vault's audit log");
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.results().iter().filter(|line| line.ends_with(": created")).count(), NAMESPACES);
    let reads =
        scene.world.vault.reads_of("secret/data/thousand/basic", vault_mark).expect("Vault's audit log");
    assert_eq!(reads, 1, "one read per key");

    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let second = scene.rotate(&manifests, &[]).await;
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_eq!(second.results().iter().filter(|line| line.ends_with(": unchanged")).count(), NAMESPACES);
    assert_eq!(scene.writes_since(mark).await, Vec::<String>::new(), "a second pass writes nothing");

    let secrets: Vec<_> = stream::iter(0..NAMESPACES)
        .map(|n| {
            let scene = &scene;
            async move { scene.secret(&scene.namespace(n)).await.expect("a Secret") }
        })
        .buffered(16)
        .collect()
        .await;
    kubelet_logs_in(&scene, &secrets).await;
    // Byte-identical everywhere, so what skopeo does with one it does with all.
    let config = docker_config(&secrets[0]);
    assert!(secrets.iter().all(|secret| docker_config(secret) == config));
    skopeo_pulls(&scene, &config).await;
}

/// What the kubelet's own keyring code finds in each Secret opens the registry.
async fn kubelet_logs_in(scene: &Scene, secrets: &[serde_json::Value]) {
    for registry in [&scene.world.registry, &scene.world.token_registry] {
        let question = |secret: &serde_json::Value| KeyringQuestion {
            namespace: secret["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(),
            name: "regcred".to_owned(),
            kind: secret["type"].as_str().unwrap_or_default().to_owned(),
            docker_config: docker_config(secret),
            image: format!("{}/team/app:1", registry.host),
        };
        let questions: Vec<_> = secrets.iter().map(question).collect();
        let answers = ask_kubelet(&questions).await.expect("the kubelet's keyring");
        assert_eq!(answers.len(), NAMESPACES);
        for answer in &answers {
            let [credential] = answer.credentials.as_slice() else {
                panic!("not exactly one credential: {:?}", answer.error);
            };
            let first = &answers[0].credentials[0];
            assert_eq!((&credential.username, &credential.password), (&first.username, &first.password));
        }
        let first = &answers[0].credentials[0];
        let opened = registry.login(&first.username, &first.password).await.expect("the registry answers");
        assert!(opened, "{} accepts what the kubelet would send", registry.host);
        assert!(!registry.login(&first.username, "wrong").await.expect("the registry answers"));
    }
}

/// skopeo reads the same bytes as an auth file and inspects a real image with them.
async fn skopeo_pulls(scene: &Scene, config: &[u8]) {
    let file = scene.directory.path().join("auth.json");
    std::fs::write(&file, config).expect("a writable directory");
    for registry in [&scene.world.registry, &scene.world.token_registry] {
        registry.push_image("team/app", "1").await.expect("the registry takes an image");
        let inspect = async |authfile: &std::path::Path| {
            let mut command = Command::new("skopeo");
            command.args(["inspect", "--tls-verify=false", "--raw", "--authfile"]).arg(authfile);
            command.arg(format!("docker://{}/team/app:1", registry.host)).stdin(Stdio::null());
            command.output().await.expect("skopeo is installed: apt-get install skopeo")
        };
        let output = inspect(&file).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let nobody = scene.directory.path().join("nobody.json");
        std::fs::write(&nobody, "{}").expect("a writable directory");
        assert!(!inspect(&nobody).await.status.success(), "without the credential there is no pull");
    }
}
