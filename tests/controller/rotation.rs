//! A new password reaches every namespace, by whatever wakes the controller.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::stage::{Stage, docker_config, is_write, until};

const CROWD: usize = 300;
/// Requests beyond one write for each namespace: the status, the annotation, a Lease.
const BESIDE: usize = 10;

#[tokio::test]
async fn a_rotation_reaches_every_namespace_with_one_read_and_one_write_each() {
    let stage = Stage::with_crowd("rotate", CROWD).await;
    let controller = stage.serve("one").await;
    let before = stage.secrets().await;
    stage.put_password("two").await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
    stage.ask("rotate").await;
    stage.until_served("two").await;

    assert_eq!(stage.reads("ghcr", vault_mark), 1);
    let requests = stage.requests(mark).await;
    assert!(requests.len() <= CROWD + BESIDE, "{} requests", requests.len());
    let writes = requests.iter().filter(|it| is_write(it) && it.resource == "secrets");
    assert_eq!(writes.count(), CROWD);
    let after = stage.secrets().await;
    let first = docker_config(&after[&stage.namespaces[0]]);
    for (namespace, secret) in &after {
        assert_eq!(secret["metadata"]["uid"], before[namespace]["metadata"]["uid"], "changed in place");
        assert_eq!(docker_config(secret), first, "the same in every namespace");
    }
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn the_refresh_picks_up_a_new_version_without_any_trigger() {
    let stage = Stage::new("refresh", 2).await;
    let _controller = stage.serve_with("one", "refreshInterval", json!("10s")).await;
    for password in ["two", "three"] {
        stage.put_password(password).await;
        let begun = Instant::now();
        stage.until_served(password).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{password} took {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_rotation_that_cannot_be_read_at_first_is_told_when_it_can_be() {
    let stage = Stage::new("late", 2).await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    cluster_pull_secret["spec"]["registries"][0]["from"] = json!({"store": "files", "key": "ghcr"});
    let directory = stage.directory.path().join("files");
    std::fs::create_dir(&directory).expect("a directory");
    let file = directory.join("ghcr");
    let put = |password: &str| {
        let value = json!({"username": "robot", "password": password});
        std::fs::write(&file, value.to_string()).expect("a file");
    };
    put("one");
    stage.apply(&cluster_pull_secret).await;
    let mut controller = stage.controller().start().await;
    stage.until_served("one").await;
    let mut before = json!(null);
    for (password, is_restarted) in [("two", false), ("three", true)] {
        std::fs::remove_file(&file).expect("the file goes");
        stage.ask(stage.name).await;
        until("the read fails", async || stage.condition(stage.name, "Ready").await.contains("FetchFailed"))
            .await;
        assert!(
            stage.status(stage.name).await["registries"][0]["version"].is_string(),
            "what it holds is told"
        );
        if is_restarted {
            controller.terminate().await;
            controller = stage.controller().start().await;
        }
        put(password);
        stage.ask(stage.name).await;
        stage.until_served(password).await;
        until("the rotation is told", async || {
            let told = stage.status(stage.name).await["lastRotation"].clone();
            told.is_object() && told != before
        })
        .await;
        before = stage.status(stage.name).await["lastRotation"].clone();
    }
}

#[tokio::test]
async fn a_change_of_the_spec_is_carried_out_at_once() {
    let stage = Stage::new("respec", 2).await;
    let _controller = stage.serve("one").await;
    stage.put("quay", &json!({"username": "robot", "password": "quay"})).await;
    let mark = stage.mark();
    let registries = json!([
        {"host": "ghcr.io", "from": {"store": "vault", "key": stage.key("ghcr")}},
        {"host": "quay.io", "from": {"store": "vault", "key": stage.key("quay")}},
    ]);
    stage.respec(stage.name, json!({"registries": registries})).await;
    until("both registries in each Secret", async || {
        stage.secrets().await.values().all(|it| docker_config(it)["auths"]["quay.io"]["password"] == "quay")
    })
    .await;
    for namespace in &stage.namespaces {
        let effect = format!("patch secrets {namespace}/regcred");
        let delay = stage.delay(mark, "patch clusterpullsecrets respec", &effect).await;
        assert!(delay < crate::stage::AT_ONCE, "it took {delay:?}");
    }
    assert_eq!(stage.unserved("one").await, Vec::<String>::new());
}
