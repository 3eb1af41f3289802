//! A controller killed at any instant: each pull secret is whole at every moment, and all are in sync in the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use harness::{SECRET, TestCluster, credential_of, docker_config, entry, repetitions, until};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::cluster_with_shared_namespaces;
use crate::controller::RunController as _;
use crate::rng::Rng;

const NAMESPACES: usize = 300;
const KILLS: usize = 50;
const HOSTS: [(&str, &str); 2] = [("ghcr.io", "ghcr"), ("quay.io", "quay")];

/// Watches every version of every pull secret.
struct Witness {
    seen: Arc<Mutex<Observations>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Observations {
    objects: usize,
    rounds: BTreeSet<usize>,
    /// Descriptions of Secrets that were not whole.
    broken: Vec<String>,
}

impl Witness {
    async fn new(cluster: &TestCluster) -> Self {
        let config = Kubeconfig::read_from(cluster.kube.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        let seen = Arc::new(Mutex::new(Observations::default()));
        let task = tokio::spawn(watch(client, seen.clone(), cluster.namespaces.iter().cloned().collect()));
        Self { seen, task }
    }

    fn read<T>(&self, read: impl FnOnce(&Observations) -> T) -> T {
        assert!(!self.task.is_finished(), "the watch has ended");
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(client: Client, seen: Arc<Mutex<Observations>>, namespaces: BTreeSet<String>) {
    let api = Api::<Secret>::all(client);
    let selector = WatchParams::default().fields(&format!("metadata.name={SECRET}"));
    let mut version = "0".to_owned();
    loop {
        let mut events = api.watch(&selector, &version).await.expect("a watch").boxed();
        // A watch ends every few minutes, and resumes at its last version.
        while let Some(event) = events.next().await {
            let (secret, deleted) = match event.expect("an event") {
                WatchEvent::Added(secret) | WatchEvent::Modified(secret) => (secret, false),
                WatchEvent::Deleted(secret) => (secret, true),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(error) => panic!("the watch ended: {error:?}"),
            };
            version = secret.metadata.resource_version.clone().unwrap_or_default();
            let namespace = secret.metadata.namespace.clone().unwrap_or_default();
            if !namespaces.contains(&namespace) {
                continue;
            }
            let secret = serde_json::to_value(secret).expect("JSON");
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.objects += 1;
            match whole(&secret) {
                _ if deleted => seen.broken.push(format!("{namespace}: deleted")),
                Ok(rounds) => seen.rounds.extend(rounds),
                Err(what) => seen.broken.push(format!("{namespace}: {what}")),
            }
        }
    }
}

/// Returns the round of each registry's entry, or why the Secret is not whole; each round has its own users and passwords.
fn whole(secret: &Value) -> Result<[usize; 2], String> {
    let config = docker_config(secret);
    let versions = secret["metadata"]["annotations"]["regcred.dev/versions"].as_str().unwrap_or_default();
    let mut rounds = [0; 2];
    for ((host, key), round) in HOSTS.into_iter().zip(&mut rounds) {
        let entry = &config["auths"][host];
        let (username, held) = credential_of(entry).ok_or_else(|| format!("{host} has no `auth` alone"))?;
        *round =
            username.trim_start_matches("robot-").parse().map_err(|_| format!("the user is {username}"))?;
        if held != password(key, *round) {
            return Err(format!("{host} holds values of several rounds: {entry}"));
        }
        // The key is written once in each round, so the store's version is the round's number.
        if !versions.split(',').any(|it| it.starts_with(&format!("{host}=vault:{round}@"))) {
            return Err(format!("{host} holds round {round}, its versions are {versions}"));
        }
    }
    Ok(rounds)
}

fn password(key: &str, round: usize) -> String {
    format!("{key}-password-{round}")
}

async fn put_round(cluster: &TestCluster, round: usize) {
    for (_, key) in HOSTS {
        let value = json!({"username": format!("robot-{round}"), "password": password(key, round)});
        let version = cluster.put(key, &value).await;
        assert_eq!(usize::try_from(version).expect("a small version"), round);
    }
}

/// The number of Secrets that hold this round for both registries.
async fn count(cluster: &TestCluster, round: usize) -> usize {
    let secrets = cluster.secrets().await;
    secrets.values().filter(|secret| whole(secret) == Ok([round; 2])).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_keep_every_secret_whole_and_sync_in_the_end() {
    let kills = repetitions(KILLS);
    let cluster = cluster_with_shared_namespaces("killing", NAMESPACES).await;
    let mut rng = Rng::new();
    put_round(&cluster, 1).await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    let registries =
        HOSTS.map(|(host, key)| json!({"host": host, "from": {"store": "vault", "key": cluster.key(key)}}));
    cluster_pull_secret["spec"]["registries"] = json!(registries);
    cluster.apply(&cluster_pull_secret).await;
    let mut controller = cluster.controller().start().await;
    until("the first round everywhere", async || count(&cluster, 1).await == NAMESPACES).await;
    let witness = Witness::new(&cluster).await;
    until("the witness sees all", async || witness.read(|seen| seen.objects >= NAMESPACES)).await;

    // The time of a start and a rotation on this machine.
    controller.kill().await;
    put_round(&cluster, 2).await;
    let begun = Instant::now();
    controller = cluster.controller().spawn().await;
    until("the second round everywhere", async || count(&cluster, 2).await == NAMESPACES).await;
    let whole_rotation = begun.elapsed();

    let mut in_the_middle = 0;
    for round in 3..3 + kills {
        put_round(&cluster, round).await;
        cluster.request_rotation(cluster.name).await;
        tokio::time::sleep(rng.duration(whole_rotation)).await;
        controller.kill().await;
        let new = count(&cluster, round).await;
        in_the_middle += usize::from(new > 0 && new < NAMESPACES);
        controller = cluster.controller().spawn().await;
    }
    let last = 2 + kills;
    until("the last round everywhere", async || count(&cluster, last).await == NAMESPACES).await;
    until("the witness has seen the last round", async || witness.read(|seen| seen.rounds.contains(&last)))
        .await;
    witness.read(|seen| {
        assert_eq!(seen.broken, Vec::<String>::new());
        assert!(seen.objects > NAMESPACES * 3, "{} objects were seen", seen.objects);
    });
    assert!(in_the_middle >= kills / 10, "{in_the_middle} of {kills} kills met a rotation in its middle");
    for (namespace, references) in references(&cluster).await {
        assert_eq!(references, [SECRET], "{namespace}");
    }
    drop(controller);
}

async fn references(cluster: &TestCluster) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for namespace in cluster.namespaces.iter().step_by(10) {
        all.push((namespace.clone(), cluster.references(namespace, "default").await));
    }
    all
}

fn secret(user: &str, password: &str, version: u32) -> Value {
    let config =
        json!({"auths": {"ghcr.io": entry(user, password), "quay.io": entry("robot-1", "quay-password-1")}});
    json!({
        "metadata": {"annotations": {"regcred.dev/versions": format!("ghcr.io=vault:{version}@T,quay.io=vault:1@T")}},
        "data": {".dockerconfigjson": STANDARD.encode(config.to_string())},
    })
}

#[test]
fn secret_of_several_rounds_is_not_whole() {
    assert_eq!(whole(&secret("robot-2", "ghcr-password-2", 2)), Ok([2, 1]));
    assert!(whole(&secret("robot-2", "ghcr-password-1", 2)).is_err());
    assert!(whole(&secret("robot-2", "ghcr-password-2", 1)).is_err());
    assert!(whole(&json!({"data": {}})).is_err());
    assert!(Duration::ZERO < Rng::new().duration(Duration::from_secs(1)) + Duration::from_nanos(1));
}
