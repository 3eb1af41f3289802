//! The order of versions: of two runs at once the later version stays, and an older one is taken on demand only.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use harness::{NAMESPACE, Run, SERVICE_ACCOUNT, TestCluster, until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use world::{Fault, Proxy, Rule};

use crate::cluster::test_cluster;

const NAMESPACES: usize = 30;

/// The delay of each write of the slow run: long enough for another run to finish in its middle.
const SLOW: Duration = Duration::from_millis(300);

/// A store of passwords that both runs read.
#[derive(Clone, Copy, Debug)]
enum Source {
    Vault,
    Aws,
}

impl Source {
    fn manifests(self, cluster: &TestCluster) -> PathBuf {
        let store = match self {
            Self::Vault => "vault",
            Self::Aws => "aws",
        };
        cluster.manifests(&[("ghcr.io", store, &cluster.key("ghcr"))])
    }

    async fn put(self, cluster: &TestCluster, password: &str) {
        match self {
            Self::Vault => drop(cluster.put_password(password).await),
            Self::Aws => {
                let (key, value) = (cluster.key("ghcr"), json!({"username": "robot", "password": password}));
                let localstack = cluster.localstack();
                if password == "one" {
                    localstack.create_secret(&key, &value.to_string()).await.expect("a secret");
                } else {
                    localstack.put_secret(&key, &value.to_string()).await.expect("a version");
                }
            }
        }
    }
}

/// Starts a run that writes one namespace at a time, each after a delay.
async fn start_slow_run(cluster: &TestCluster, proxy: &Proxy, manifests: &Path) -> JoinHandle<Output> {
    let rules = ["patch", "create"].map(|verb| Rule {
        verb: Some(verb),
        resource: Some("secrets"),
        every: 1,
        fault: Fault::Delay(SLOW),
    });
    proxy.set_rules(rules);
    let kubeconfig =
        cluster.kube.kubeconfig_through(proxy, NAMESPACE, SERVICE_ACCOUNT).await.expect("a token");
    let manifests = manifests.display().to_string();
    let mut command =
        cluster.command(&["rotate", "-f", &manifests, "--output", "json", "--concurrency", "1"]);
    command.env("KUBECONFIG", kubeconfig);
    tokio::spawn(async move { command.output().await.expect("regcred runs") })
}

/// The namespaces whose Secret does not hold this password.
async fn without(cluster: &TestCluster, password: &str) -> Vec<String> {
    let mut without = Vec::new();
    for namespace in &cluster.namespaces {
        if cluster.passwords(namespace).await.get("ghcr.io").map(String::as_str) != Some(password) {
            without.push(namespace.clone());
        }
    }
    without
}

/// Rotates twice, the second time in the middle of a slow run of the first.
async fn overlap(name: &'static str, source: Source) -> (TestCluster, Run) {
    let cluster = test_cluster(name, NAMESPACES).await;
    let manifests = source.manifests(&cluster);
    source.put(&cluster, "one").await;
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    source.put(&cluster, "two").await;
    let slow = start_slow_run(&cluster, &proxy, &manifests).await;
    until("the first write of the slow run", async || without(&cluster, "two").await.len() < NAMESPACES)
        .await;
    source.put(&cluster, "three").await;
    let fast = cluster.rotate(&manifests, &[]).await;
    assert_eq!(fast.code, 0, "{fast:?}");
    assert!(!slow.is_finished(), "the runs overlap");
    let slow = Run::from(slow.await.expect("no panic"));
    assert_eq!(slow.code, 0, "{slow:?}");
    assert_eq!(without(&cluster, "three").await, Vec::<String>::new(), "{}", slow.stdout);
    (cluster, slow)
}

#[tokio::test]
async fn overlapping_runs_leave_no_old_password_of_vault() {
    let (_, slow) = overlap("order-vault", Source::Vault).await;
    assert_eq!(slow.registries(), ["ghcr.io 3 Fetched"], "the run read the store again");
}

#[tokio::test]
async fn overlapping_runs_leave_no_old_password_of_aws() {
    overlap("order-aws", Source::Aws).await;
}

#[tokio::test]
async fn overlapping_runs_create_no_old_password() {
    let cluster = test_cluster("order-create", NAMESPACES).await;
    let manifests = Source::Vault.manifests(&cluster);
    cluster.put_password("one").await;
    let proxy = Proxy::start(&cluster.kube).expect("a proxy");
    let slow = start_slow_run(&cluster, &proxy, &manifests).await;
    until("the first write of the slow run", async || without(&cluster, "one").await.len() < NAMESPACES)
        .await;
    cluster.put_password("two").await;
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    let slow = Run::from(slow.await.expect("no panic"));
    assert_eq!(slow.code, 0, "{slow:?}");
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new(), "{}", slow.stdout);
}

/// Replaces the versions annotation of a namespace, as a tenant can who may edit Secrets there.
async fn forge_versions(cluster: &TestCluster, namespace: &str, versions: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/regcred");
    let forged = json!({"metadata": {"annotations": {"regcred.dev/versions": versions}}});
    cluster.kube.patch(&path, &forged).await.expect("an edit");
}

#[tokio::test]
async fn forged_later_version_keeps_back_its_own_namespace_only() {
    let cluster = test_cluster("order-forged", 3).await;
    let manifests = Source::Vault.manifests(&cluster);
    cluster.put_password("one").await;
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
    forge_versions(&cluster, "order-forged-001", "ghcr.io=vault:9@2099-01-01T00:00:00Z").await;
    cluster.put_password("two").await;

    let run = cluster.rotate(&manifests, &[]).await;

    assert_eq!(run.code, 1, "{run:?}");
    let expect =
        ["order-forged-000: updated", "order-forged-001: refused OlderVersion", "order-forged-002: updated"];
    assert_eq!(run.results(), expect);
    assert_eq!(without(&cluster, "two").await, ["order-forged-001"]);
    let message = run.report()["clusterPullSecrets"][0]["namespaces"][1]["message"].clone();
    let message = message.as_str().expect("a message");
    for part in [
        "store vault, key order-forged/ghcr: version 2 (created 2",
        "is older than version 9 (created 2099-01-01T00:00:00Z), which this Secret holds for ghcr.io",
        "pass --accept-older",
    ] {
        assert!(message.contains(part), "{message}");
    }

    let accepted = cluster.rotate(&manifests, &["--accept-older"]).await;
    assert_eq!(accepted.code, 0, "{accepted:?}");
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());
    let registry = &accepted.report()["clusterPullSecrets"][0]["registries"][0];
    assert!(
        registry["message"].as_str().is_some_and(|it| it.contains("replaces the later version 9")),
        "{registry}"
    );
}

/// The manifests with another KV mount behind the store `vault`.
fn manifests_with_mount(cluster: &TestCluster, mount: &str) -> PathBuf {
    let config =
        cluster.config_with_vault(&format!("address: \"{}\", mount: {mount}", cluster.vault.address), "");
    cluster.write(&[&config, &cluster.cluster_pull_secret(cluster.name).to_string()])
}

async fn put_at(cluster: &TestCluster, mount: &str, password: &str) {
    let value: Value = json!({"username": "robot", "password": password});
    cluster.vault.put_kv2(mount, &cluster.key("ghcr"), &value).await.expect("Vault takes a value");
}

#[tokio::test]
async fn restored_store_is_refused_without_the_flag() {
    let cluster = test_cluster("order-restored", 2).await;
    // The mount has the state of the store before its last write, as a restored snapshot does.
    cluster.vault.enable_kv("order-restored", 2).await.expect("a mount");
    put_at(&cluster, "order-restored", "one").await;
    put_at(&cluster, "secret", "one").await;
    put_at(&cluster, "secret", "two").await;
    let (current, restored) =
        (manifests_with_mount(&cluster, "secret"), manifests_with_mount(&cluster, "order-restored"));
    assert_eq!(cluster.rotate(&current, &[]).await.code, 0);

    let refused = cluster.rotate(&restored, &["--output", "table"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stdout.contains("OlderVersion"), "{}", refused.stdout);
    assert!(refused.stdout.contains("pass --accept-older"), "{}", refused.stdout);
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());

    assert_eq!(cluster.rotate(&restored, &["--accept-older"]).await.code, 0);
    assert_eq!(without(&cluster, "one").await, Vec::<String>::new());
    assert_eq!(cluster.rotate(&current, &[]).await.code, 0, "a later version needs no flag");
    assert_eq!(without(&cluster, "two").await, Vec::<String>::new());
}

#[tokio::test]
async fn another_key_with_an_older_version_needs_no_flag() {
    let cluster = test_cluster("order-key", 1).await;
    for (key, password) in [("older", "older"), ("newer", "one"), ("newer", "newer")] {
        cluster.put(key, &json!({"username": "robot", "password": password})).await;
    }
    let newer = cluster.manifests(&[("ghcr.io", "vault", &cluster.key("newer"))]);
    let older = cluster.manifests(&[("ghcr.io", "vault", &cluster.key("older"))]);
    assert_eq!(cluster.rotate(&newer, &[]).await.code, 0);
    assert_eq!(cluster.rotate(&older, &[]).await.code, 0);
    assert_eq!(without(&cluster, "older").await, Vec::<String>::new());
}
