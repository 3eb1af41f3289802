//! A thousand namespaces: pods in each can pull, a second run writes nothing, and each key is read once.

use std::path::Path;
use std::process::{Output, Stdio};

use futures::{StreamExt, stream};
use harness::{SECRET, TestCluster, docker_config_bytes, text};
use tokio::process::Command;
use world::{KeyringQuestion, Registry, World, ask_kubelet};

use crate::cluster::test_cluster;

const NAMESPACES: usize = 1000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_namespaces_can_pull_and_second_run_is_silent() {
    let cluster = test_cluster("thousand", NAMESPACES).await;
    let world = World::shared().await;
    let (basic, token) = (&world.registry, &world.token_registry);
    let vault_value =
        serde_json::json!({"username": basic.username, "password": basic.password().expect("a password")});
    cluster.vault.put_kv2("secret", "thousand/basic", &vault_value).await.expect("Vault takes a value");
    let aws_value =
        serde_json::json!({"username": token.username, "password": token.password().expect("a password")});
    cluster.localstack().create_secret("thousand/token", &aws_value.to_string()).await.expect("a secret");
    let registries =
        [(basic.host.as_str(), "vault", "thousand/basic"), (token.host.as_str(), "aws", "thousand/token")];
    let manifests = cluster.manifests(&registries);

    let vault_mark = cluster.vault.audit_mark().expect("Vault's audit log");
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.results().iter().filter(|line| line.ends_with(": created")).count(), NAMESPACES);
    let reads = cluster.vault.reads_of("secret/data/thousand/basic", vault_mark).expect("Vault's audit log");
    assert_eq!(reads, 1, "one read per key");

    let mark = cluster.mark();
    let second = cluster.rotate(&manifests, &[]).await;
    assert_eq!(second.code, 0, "{}", second.stderr);
    assert_eq!(second.results().iter().filter(|line| line.ends_with(": unchanged")).count(), NAMESPACES);
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new(), "a second run writes nothing");

    let secrets: Vec<_> = stream::iter(0..NAMESPACES)
        .map(|n| {
            let cluster = &cluster;
            async move { cluster.secret(cluster.namespace(n)).await.expect("a Secret") }
        })
        .buffered(16)
        .collect()
        .await;
    assert_kubelet_logs_in(world, &secrets).await;
    // Byte-identical everywhere, so skopeo need only try one.
    let config = docker_config_bytes(&secrets[0]);
    assert!(secrets.iter().all(|secret| docker_config_bytes(secret) == config));
    assert_skopeo_pulls(&cluster, &config).await;
}

/// Asserts that the credential that the kubelet's own keyring code finds in each Secret logs in.
async fn assert_kubelet_logs_in(world: &World, secrets: &[serde_json::Value]) {
    for registry in [&world.registry, &world.token_registry] {
        let questions: Vec<_> = secrets
            .iter()
            .map(|secret| KeyringQuestion {
                namespace: text(&secret["metadata"]["namespace"]),
                name: SECRET.to_owned(),
                kind: text(&secret["type"]),
                docker_config: docker_config_bytes(secret),
                image: format!("{}/team/app:1", registry.host),
            })
            .collect();
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
        let logged_in = registry.login(&first.username, &first.password).await.expect("the registry answers");
        assert!(logged_in, "{} accepts what the kubelet would send", registry.host);
        assert!(!registry.login(&first.username, "wrong").await.expect("the registry answers"));
    }
}

/// Asserts that skopeo inspects a real image with the same bytes as its auth file.
async fn assert_skopeo_pulls(cluster: &TestCluster, config: &[u8]) {
    let file = cluster.directory.path().join("auth.json");
    std::fs::write(&file, config).expect("a writable directory");
    let world = World::shared().await;
    for registry in [&world.registry, &world.token_registry] {
        registry.push_image("team/app", "1").await.expect("the registry takes an image");
        let output = inspect(registry, &file).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let empty = cluster.directory.path().join("empty.json");
        std::fs::write(&empty, "{}").expect("a writable directory");
        assert!(!inspect(registry, &empty).await.status.success(), "without the credential there is no pull");
    }
}

async fn inspect(registry: &Registry, auth_file: &Path) -> Output {
    let mut command = Command::new("skopeo");
    command.args(["inspect", "--tls-verify=false", "--raw", "--authfile"]).arg(auth_file);
    command.arg(format!("docker://{}/team/app:1", registry.host)).stdin(Stdio::null());
    command.output().await.expect("skopeo is installed: apt-get install skopeo")
}
