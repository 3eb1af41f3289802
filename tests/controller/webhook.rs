//! `POST /v1/rotate`: any replica accepts a request, which is in sync everywhere within a second, and a request without a
//! valid key costs almost nothing.

pub(crate) mod hook;
pub(crate) mod standby;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use harness::{CLUSTER_PULL_SECRETS, REPLICAS, TestCluster, until};
use rcgen::generate_simple_self_signed;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::hook::{Hook, KEY, TOKEN, signature};
use self::standby::Standby;
use crate::cluster::{now, quiet_cluster_with_shared_namespaces, test_cluster};
use crate::controller::RunController as _;

const NAMESPACES: usize = 100;
/// The bound from a request to the last write of a target, beyond the time of the writes.
const BEYOND: Duration = Duration::from_secs(1);
/// The number of bad requests, and of those at the same time.
const FLOOD: usize = 10_000;
const CONCURRENCY: usize = 50;
/// The number of clients that never complete a request, and reconnect when they are disconnected.
const SLOW_CLIENTS: usize = 500;
/// The token and the body of an attacker.
const SENTINEL: &str = "hunter2";
/// The normal variation of a process's memory; one kibibyte of each bad request would be ten mebibytes.
const FLAT: u64 = 6 * 1024 * 1024;

/// The answer to a request that is accepted, without its message.
fn answer(name: &str, result: &str) -> (u16, String) {
    (202, format!(r#"{{"clusterPullSecrets":["{name}"],"result":"{result}""#))
}

/// The same where nothing has changed.
fn accepted(name: &str) -> (u16, String) {
    answer(name, "NoNewerVersion")
}

/// An answer up to its result.
fn cut((status, body): (u16, String)) -> (u16, String) {
    let end = body.find(r#","message""#).unwrap_or(body.len().saturating_sub(1));
    (status, body[..end].to_owned())
}

/// Searches the log for the contents of requests.
#[track_caller]
fn assert_silent(hook: &Hook, more: &[&str]) {
    let log = hook.controller.log();
    assert!(log.contains("DEBUG"), "there is a log to search");
    for secret in [TOKEN, KEY, SENTINEL].iter().chain(more) {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

/// Starts a controller with a webhook, and waits until every namespace is in sync.
async fn start_synced(cluster: &TestCluster, password: &str) -> Hook {
    cluster.put_password(password).await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    // Log lines of every level are searched.
    let hook = Hook::start(cluster, cluster.controller().args(&["-vvv"]), "").await;
    cluster.until_synced(password).await;
    hook
}

/// A body that names the key of the test.
fn key_body(cluster: &TestCluster) -> String {
    json!({"store": "vault", "key": cluster.key("ghcr")}).to_string()
}

#[tokio::test]
async fn request_syncs_everywhere_within_a_second_beyond_writes() {
    let cluster = quiet_cluster_with_shared_namespaces("hook", NAMESPACES).await;
    let hook = start_synced(&cluster, "one").await;
    cluster.until_idle().await;
    cluster.put_password("two").await;
    let (mark, vault_mark, requested) = (cluster.mark(), cluster.vault_mark(), now());
    assert_eq!(cut(hook.post(&key_body(&cluster)).await), answer("hook", "Done"));
    cluster.until_synced("two").await;

    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 1);
    let beyond = cluster.delay_beyond_writes(mark, requested).await;
    assert!(beyond < BEYOND, "{beyond:?}");
    until("the trigger is reported", async || {
        cluster.status("hook").await["lastRotation"]["trigger"] == "Webhook"
    })
    .await;
    assert_eq!(hook.counted("accepted").await, 1);
}

/// Waits until the controller has written and polled what the standby answers now.
async fn until_caught_up(cluster: &TestCluster, standby: &Standby) {
    cluster.until_idle().await;
    let polls = standby.polls();
    until("another poll", async || standby.polls() > polls + 1).await;
}

#[tokio::test]
async fn lagging_standby_is_read_again_before_the_answer() {
    let cluster = test_cluster("hook-lag", 2).await;
    cluster.put_password("zero").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let standby = Standby::start(&cluster.vault.address).await;
    let hook = Hook::start_polling(&cluster, &standby.address).await;
    cluster.until_synced("zero").await;
    for (lag, password) in [(0, "one"), (1, "two")] {
        until_caught_up(&cluster, &standby).await;
        standby.lag(lag);
        cluster.put_password(password).await;
        let answered = cut(hook.post(&key_body(&cluster)).await);
        assert_eq!(answered, answer(cluster.name, "Done"), "{lag} old answers");
        assert_eq!(standby.reads(), lag + 1);
        for namespace in &cluster.namespaces {
            assert_eq!(cluster.passwords(namespace).await["ghcr.io"], password, "written before the answer");
        }
        standby.show_version();
    }

    until_caught_up(&cluster, &standby).await;
    standby.lag(4);
    cluster.put_password("three").await;
    let (status, body) = hook.post(&key_body(&cluster)).await;
    assert_eq!(cut((status, body.clone())), answer(cluster.name, "NoNewerVersion"), "{body}");
    assert!(body.contains("no newer version seen"), "{body}");
    assert_eq!(standby.reads(), 4);
    assert!(hook.controller.log().contains("no newer version seen"), "{}", hook.controller.log());
    for namespace in &cluster.namespaces {
        assert_eq!(cluster.passwords(namespace).await["ghcr.io"], "two");
    }
    standby.show_version();
    cluster.until_synced("three").await;

    // The standby goes back for two reads.
    until_caught_up(&cluster, &standby).await;
    standby.lag_again(2);
    assert_eq!(cut(hook.post(&key_body(&cluster)).await), answer(cluster.name, "NoNewerVersion"));
    for namespace in &cluster.namespaces {
        assert_eq!(cluster.passwords(namespace).await["ghcr.io"], "three", "no old value replaces it");
    }
}

#[tokio::test]
async fn request_to_a_follower_is_forwarded_to_the_leader() {
    let cluster = test_cluster("hook-follower", 3).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let leader = Hook::start(&cluster, cluster.controller().replica(REPLICAS[0]), "").await;
    until("a leader", async || leader.controller.is_leader().await).await;
    let follower = Hook::start(&cluster, cluster.controller().replica(REPLICAS[1]), "").await;
    cluster.until_synced("one").await;
    assert!(!follower.controller.is_leader().await);

    cluster.put_password("two").await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
    assert_eq!(cut(follower.post(&key_body(&cluster)).await), answer(cluster.name, "Accepted"));
    let object = cluster.get_cluster_pull_secret(cluster.name).await.expect("a ClusterPullSecret");
    let request = object["metadata"]["annotations"]["regcred.dev/request"].as_str().expect("a request");
    assert!(request.starts_with(r#"{"at":"2"#), "stored before the answer: {request}");
    cluster.until_synced("two").await;
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 1, "by the leader alone");
    until("the trigger is reported", async || {
        cluster.status(cluster.name).await["lastRotation"]["trigger"] == "Webhook"
    })
    .await;
    let observed = cluster.status(cluster.name).await["observedRequest"].as_str().map(str::to_owned);
    assert!(observed.is_some_and(|at| request.contains(&at)), "the next leader knows that it is answered");
    let requests = cluster.requests_as(REPLICAS[1], mark).await;
    let writes: Vec<_> = requests.iter().filter(|it| it.is_write()).map(harness::line).collect();
    assert_eq!(writes, [format!("patch clusterpullsecrets {} 200", cluster.name)]);
}

#[tokio::test]
async fn signature_over_time_and_body_is_accepted_once() {
    let cluster = test_cluster("hook-hmac", 1).await;
    let hook = start_synced(&cluster, "one").await;
    let body = json!({"clusterPullSecret": cluster.name}).to_string();
    let at = now().as_second();
    let signed = signature(KEY, at, &body);
    assert_eq!(cut(hook.post_signed(at, &signed, &body).await), accepted(cluster.name));
    assert_eq!(hook.post_signed(at, &signed, &body).await.0, 401, "a replay");
    assert_eq!(hook.post_signed(at + 1, &signed, &body).await.0, 401, "another time");
    assert_eq!(hook.post_signed(at, &signed, "").await.0, 401, "another body");
    for off in [-310, 310] {
        let signed = signature(KEY, at + off, &body);
        assert_eq!(hook.post_signed(at + off, &signed, &body).await.0, 401, "{off} s off");
    }
    assert_eq!((hook.counted("accepted").await, hook.counted("rejected").await), (1, 5));
    let log = hook.controller.log();
    for cause in ["signature already used", "signature made by no key", "both clocks"] {
        assert_eq!(log.matches(cause).count(), 1, "{cause}: {log}");
    }

    // A new key next to the old one, and then alone.
    let count = AtomicI64::new(0);
    let post = async |key: &str| {
        // Each request is signed at another time, because a signature is accepted once.
        let at = now().as_second() - count.fetch_add(1, Ordering::Relaxed) % 250;
        hook.post_signed(at, &signature(key, at, SENTINEL), SENTINEL).await.0
    };
    hook.write("keys", &format!("{KEY}\nanother-key-of-the-test\n"));
    until("the new key is accepted", async || post("another-key-of-the-test").await == 400).await;
    assert_eq!(post(KEY).await, 400, "next to the old one");
    hook.write("keys", "another-key-of-the-test\n");
    until("the old key is rejected", async || post(KEY).await == 401).await;
    assert_silent(&hook, &[&signed, "another-key-of-the-test"]);
}

/// The commands in the guide to the webhook, a block at a time.
fn commands() -> Vec<String> {
    let page = world::docs::page("docs/guides/webhook.md");
    world::docs::blocks(&page, "sh").into_iter().map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn documented_requests_are_accepted() {
    let cluster = test_cluster("hook-docs", 1).await;
    let hook = start_synced(&cluster, "one").await;
    let [keys, token, signature] = commands().try_into().expect("keys, a token and a signature");
    let address = |command: &str| {
        let command =
            command.replace("https://regcred.regcred-system:8081", &format!("http://{}", hook.address));
        command.replace("\"images\"", &format!("{:?}", cluster.name)).replace("ci/ghcr", &cluster.key("ghcr"))
    };
    let (keys, _) = keys.split_once("kubectl").expect("what becomes of the files");
    // They are the files that the controller reads.
    assert_eq!(hook.shell(keys).await, "");
    until("the old token is rejected", async || hook.post("").await.0 == 401).await;
    for command in [token, signature] {
        let answered = hook.shell(&address(&command)).await;
        assert_eq!(cut((202, answered)), accepted(cluster.name), "{command}");
    }
}

#[tokio::test]
async fn flood_of_bad_requests_triggers_nothing_and_leaks_nothing() {
    let cluster = test_cluster("hook-flood", 1).await;
    let hook = start_synced(&cluster, "one").await;
    hook.flood(FLOOD / 10, CONCURRENCY).await;
    let (before, body, mut good) = (hook.resident(), key_body(&cluster), 0);
    for _ in 0..10 {
        let ((), (status, _)) = tokio::join!(hook.flood(FLOOD / 10, CONCURRENCY), hook.post(&body));
        assert_eq!(status, 202, "in the middle of the flood");
        good += 1;
    }
    let after = hook.resident();
    assert!(after < before + FLAT, "{before} bytes before, {after} after");
    assert_eq!(hook.counted("accepted").await, good);
    assert_eq!(hook.counted("ignored").await + hook.counted("invalid").await, 0);
    assert_eq!(hook.counted("rejected").await, FLOOD + FLOOD / 10);
    let lines = hook.controller.lines();
    let is_summary = |line: &&Value| line["level"] == "WARN" && line["requests"].is_u64();
    for cause in ["no bearer token and no signature", "bearer token not found", "signature made by no key"] {
        let count = lines.iter().filter(is_summary).filter(|line| line.to_string().contains(cause)).count();
        assert!((1..5).contains(&count), "{cause}: once a minute, not {count} times");
    }
    assert_silent(&hook, &[]);
}

#[tokio::test]
async fn slow_clients_do_not_block_others() {
    let cluster = test_cluster("hook-loris", 1).await;
    let hook = start_synced(&cluster, "one").await;
    let mut slow_clients = JoinSet::new();
    for n in 0..SLOW_CLIENTS {
        let address = hook.address.clone();
        slow_clients.spawn(async move {
            loop {
                hook::post_incompletely(&address, n, now().as_second()).await;
            }
        });
    }
    // By then they hold every connection.
    until("the slow clients hold the connections", async || hook.connections() > SLOW_CLIENTS / 2).await;
    let body = key_body(&cluster);
    for _ in 0..5 {
        // On a slow machine a good request may be cut off like a slow one; its client retries.
        until("the request is accepted", async || {
            hook.try_post(&body).await.map(cut) == Some(accepted(cluster.name))
        })
        .await;
    }
    assert!(hook.counted("accepted").await >= 5);
}

#[tokio::test]
async fn certificate_is_reloaded_without_restart() {
    let cluster = test_cluster("hook-tls", 1).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let pairs =
        ["one", "two"].map(|_| generate_simple_self_signed(["localhost".to_owned()]).expect("a pair"));
    let [old, new] = &pairs;
    hook::write(&cluster, "tls.crt", &old.cert.pem());
    hook::write(&cluster, "tls.key", &old.signing_key.serialize_pem());
    let files = format!(
        ", tls: {{certificateFile: {}, keyFile: {}}}",
        hook::path(&cluster, "tls.crt").display(),
        hook::path(&cluster, "tls.key").display()
    );
    let hook = Hook::start(&cluster, cluster.controller(), &files).await;
    cluster.until_synced("one").await;
    assert_eq!(
        hook.post_over_tls(&old.cert.pem(), &key_body(&cluster)).await.map(cut),
        Some(accepted(cluster.name))
    );
    assert_eq!(hook.post_over_tls(&new.cert.pem(), "").await, None, "not the certificate yet");
    hook.write("tls.crt", &new.cert.pem());
    hook.write("tls.key", &new.signing_key.serialize_pem());
    until("the new certificate", async || {
        hook.post_over_tls(&new.cert.pem(), &key_body(&cluster)).await.map(cut)
            == Some(accepted(cluster.name))
    })
    .await;
    assert_eq!(hook.post_over_tls(&old.cert.pem(), "").await, None);
}

#[tokio::test]
async fn unusable_files_prevent_the_start_and_are_reported() {
    let cluster = test_cluster("hook-broken", 0).await;
    let files = ", tls: {certificateFile: /nowhere/tls.crt, keyFile: /nowhere/tls.key}";
    let hook = Hook::spawn(&cluster, cluster.controller(), files).await;
    assert_eq!(hook.controller.wait().await, Some(1));
    let log = hook.controller.log();
    assert!(log.contains("cannot read /nowhere/tls.crt: no such file"), "{log}");

    hook::write(&cluster, "tokens", &format!("{TOKEN}\n{SENTINEL}\n"));
    let hook = Hook::spawn(&cluster, cluster.controller(), "").await;
    assert_eq!(hook.controller.wait().await, Some(1));
    let (log, tokens) = (hook.controller.log(), hook::path(&cluster, "tokens"));
    assert!(log.contains(&format!("line 2 of {} has fewer than 16 bytes", tokens.display())), "{log}");
    assert!(!log.contains(SENTINEL), "{log}");
    hook.write("tokens", TOKEN);

    // Keys may be added later: every request is rejected until then.
    let hook = start_synced(&cluster, "one").await;
    std::fs::remove_file(hook::path(&cluster, "tokens")).expect("the file is removed");
    until("the token is rejected", async || hook.post("").await.0 == 401).await;
    hook.write("tokens", TOKEN);
    until("the token is accepted", async || hook.post("").await.0 == 202).await;
    // A key that can be guessed is skipped, and a removed key is rejected.
    hook.write("tokens", &format!("{SENTINEL}\n{TOKEN}\n"));
    let logged = format!("line 1 of {} has fewer than 16 bytes", tokens.display());
    until("the weak key is logged", async || {
        hook.post("").await;
        hook.controller.log().contains(&logged)
    })
    .await;
    assert_ne!(hook.post("").await.0, 401, "next to it");
    hook.write("tokens", SENTINEL);
    until("the token is rejected", async || hook.post("").await.0 == 401).await;
    assert_silent(&hook, &[]);
    assert!(cluster.kube.get(&format!("{CLUSTER_PULL_SECRETS}/{}", cluster.name)).await.is_ok());
}
