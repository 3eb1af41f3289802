//! Killed at any instant: each pull secret is whole at every moment, and all are new in the end.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::dice::Dice;
use crate::stage::{SECRET, Stage, docker_config, until};

const CROWD: usize = 300;
const KILLS: usize = 50;
const HOSTS: [(&str, &str); 2] = [("ghcr.io", "ghcr"), ("quay.io", "quay")];

/// Reads every version of every pull secret that the API server gives out.
struct Witness {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    objects: usize,
    rounds: BTreeSet<usize>,
    /// What was wrong, in words.
    broken: Vec<String>,
}

impl Witness {
    async fn new(stage: &Stage) -> Self {
        let config = Kubeconfig::read_from(stage.kube.kubeconfig()).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.expect("a configuration")).expect("a client");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(watch(client, seen.clone(), stage.namespaces.iter().cloned().collect()));
        Self { seen, task }
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        assert!(!self.task.is_finished(), "the witness has gone");
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(client: Client, seen: Arc<Mutex<Seen>>, namespaces: BTreeSet<String>) {
    let api = Api::<Secret>::all(client);
    let which = WatchParams::default().fields(&format!("metadata.name={SECRET}"));
    let mut version = "0".to_owned();
    loop {
        let mut events = api.watch(&which, &version).await.expect("a watch").boxed();
        // It ends every few minutes, and goes on where it was.
        while let Some(event) = events.next().await {
            let (secret, deleted) = match event.expect("an event") {
                WatchEvent::Added(secret) | WatchEvent::Modified(secret) => (secret, false),
                WatchEvent::Deleted(secret) => (secret, true),
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(error) => panic!("the witness's watch ended: {error:?}"),
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
                _ if deleted => seen.broken.push(format!("{namespace}: it was deleted")),
                Ok(rounds) => seen.rounds.extend(rounds),
                Err(what) => seen.broken.push(format!("{namespace}: {what}")),
            }
        }
    }
}

/// The round each registry's entry is of; in each round both get another user and another password.
fn whole(secret: &Value) -> Result<[usize; 2], String> {
    let config = docker_config(secret);
    let versions = secret["metadata"]["annotations"]["regcred.dev/versions"].as_str().unwrap_or_default();
    let mut rounds = [0; 2];
    for ((host, key), round) in HOSTS.into_iter().zip(&mut rounds) {
        let entry = &config["auths"][host];
        let username = entry["username"].as_str().ok_or_else(|| format!("{host} has no user"))?;
        *round =
            username.trim_start_matches("robot-").parse().map_err(|_| format!("the user is {username}"))?;
        let password = password(key, *round);
        let auth = STANDARD.encode(format!("{username}:{password}"));
        if entry["password"] != json!(password) || entry["auth"] != json!(auth) {
            return Err(format!("{host} is mixed: {entry}"));
        }
        // The key was written once in each round, so the store's version is the round's number.
        if !versions.split(',').any(|it| it == format!("{host}=vault:{round}")) {
            return Err(format!("{host} is of round {round}, its versions are {versions}"));
        }
    }
    Ok(rounds)
}

fn password(key: &str, round: usize) -> String {
    format!("{key}-password-{round}")
}

async fn put_round(stage: &Stage, round: usize) {
    for (_, key) in HOSTS {
        let value = json!({"username": format!("robot-{round}"), "password": password(key, round)});
        let version = stage.put(key, &value).await;
        assert_eq!(usize::try_from(version).expect("a small version"), round);
    }
}

/// How many Secrets are of this round in both registries.
async fn count(stage: &Stage, round: usize) -> usize {
    let secrets = stage.secrets().await;
    secrets.values().filter(|secret| whole(secret) == Ok([round; 2])).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_leave_every_secret_whole_at_every_moment_and_new_in_the_end() {
    let stage = Stage::with_crowd("killing", CROWD).await;
    let mut dice = Dice::new();
    put_round(&stage, 1).await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    let registries =
        HOSTS.map(|(host, key)| json!({"host": host, "from": {"store": "vault", "key": stage.key(key)}}));
    cluster_pull_secret["spec"]["registries"] = json!(registries);
    stage.apply(&cluster_pull_secret).await;
    let mut controller = stage.controller().start().await;
    until("the first round everywhere", async || count(&stage, 1).await == CROWD).await;
    let witness = Witness::new(&stage).await;
    until("the witness sees all", async || witness.look(|seen| seen.objects >= CROWD)).await;

    // How long a start and a rotation take here.
    controller.kill().await;
    put_round(&stage, 2).await;
    let begun = Instant::now();
    controller = stage.controller().begin().await;
    until("the second round everywhere", async || count(&stage, 2).await == CROWD).await;
    let whole_rotation = begun.elapsed();

    let mut in_the_middle = 0;
    for round in 3..3 + KILLS {
        put_round(&stage, round).await;
        stage.ask(stage.name).await;
        tokio::time::sleep(dice.time(whole_rotation)).await;
        controller.kill().await;
        let new = count(&stage, round).await;
        in_the_middle += usize::from(new > 0 && new < CROWD);
        controller = stage.controller().begin().await;
    }
    let last = 2 + KILLS;
    until("the last round everywhere", async || count(&stage, last).await == CROWD).await;
    until("the witness has seen the last round", async || witness.look(|seen| seen.rounds.contains(&last)))
        .await;
    witness.look(|seen| {
        assert_eq!(seen.broken, Vec::<String>::new());
        assert!(seen.objects > CROWD * 3, "{} objects were seen", seen.objects);
    });
    assert!(in_the_middle >= KILLS / 10, "{in_the_middle} of {KILLS} kills met a rotation in its middle");
    for (namespace, references) in references(&stage).await {
        assert_eq!(references, [SECRET], "{namespace}");
    }
    drop(controller);
}

async fn references(stage: &Stage) -> Vec<(String, Vec<String>)> {
    let mut all = Vec::new();
    for namespace in stage.namespaces.iter().step_by(10) {
        all.push((namespace.clone(), stage.references(namespace, "default").await));
    }
    all
}

#[test]
fn what_is_mixed_is_not_whole() {
    let secret = |user: &str, password: &str, version: u32| {
        let entry = |user: &str, password: &str| json!({"username": user, "password": password, "auth": STANDARD.encode(format!("{user}:{password}"))});
        let config = json!({"auths": {"ghcr.io": entry(user, password), "quay.io": entry("robot-1", "quay-password-1")}});
        json!({
            "metadata": {"annotations": {"regcred.dev/versions": format!("ghcr.io=vault:{version},quay.io=vault:1")}},
            "data": {".dockerconfigjson": STANDARD.encode(config.to_string())},
        })
    };
    assert_eq!(whole(&secret("robot-2", "ghcr-password-2", 2)), Ok([2, 1]));
    assert!(whole(&secret("robot-2", "ghcr-password-1", 2)).is_err());
    assert!(whole(&secret("robot-2", "ghcr-password-2", 1)).is_err());
    assert!(whole(&json!({"data": {}})).is_err());
    assert!(Duration::ZERO < Dice::new().time(Duration::from_secs(1)) + Duration::from_nanos(1));
}
