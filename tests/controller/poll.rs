//! The poll: a new version is found without anybody telling of it, and nothing else is done for it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use world::{VaultAuditEvent, VaultAuditMark};

use crate::controller::Controller;
use crate::stage::{REPLICAS, Stage, line, until};

const CROWD: usize = 100;
/// From a rotation to the last write of a target, beyond the poll interval and what the writes take.
const BEYOND: Duration = Duration::from_secs(1);

/// A controller that polls every second.
async fn poll(stage: &Stage) -> Controller {
    let manifests = stage.write(&[&stage.config("triggers: {pollInterval: 1s}\n")]);
    stage.controller().of(&manifests).start().await
}

#[expect(clippy::disallowed_methods, reason = "the edge of this process is this test")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Every request that Vault was sent since a mark.
fn asked(stage: &Stage, mark: VaultAuditMark) -> Vec<VaultAuditEvent> {
    let mut events = stage.vault.audit_events_since(mark).expect("Vault's audit log");
    events.retain(|event| event.kind == "request");
    events
}

/// How often the versions of a key were asked for.
fn polls(stage: &Stage, key: &str, mark: VaultAuditMark) -> usize {
    let path = format!("secret/metadata/{}", stage.key(key));
    asked(stage, mark).iter().filter(|it| it.operation == "read" && it.path == path).count()
}

#[tokio::test]
async fn a_rotation_that_nobody_tells_of_reaches_every_namespace_within_the_interval_and_a_second() {
    let stage = Stage::with_crowd("poll", CROWD).await;
    stage.put_password("0").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let mut version = 0;
    // None is the default.
    for (interval, written, rotations) in
        [(10, "triggers: {}\n", 1), (2, "triggers: {pollInterval: 2s}\n", 3)]
    {
        let manifests = stage.write(&[&stage.config(written)]);
        let controller = stage.controller().of(&manifests).start().await;
        stage.until_served(&version.to_string()).await;
        for _ in 0..rotations {
            let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
            version += 1;
            stage.put_password(&version.to_string()).await;
            let since = now();
            stage.until_served(&version.to_string()).await;
            let delay = stage.delay_beyond_writes(mark, since).await;
            assert!(delay < Duration::from_secs(interval) + BEYOND, "every {interval} s: {delay:?}");
            assert_eq!(stage.reads("ghcr", vault_mark), 1);
        }
        until("a status that tells of the poll", async || {
            stage.status(stage.name).await["lastRotation"]["trigger"] == "Poll"
        })
        .await;
        controller.terminate().await;
    }
}

#[tokio::test]
async fn while_nothing_changes_a_key_of_fifty_is_asked_for_once_an_interval_and_no_value_is_read() {
    let stage = Stage::new("poll-rest", 1).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    for n in 1..50 {
        let mut other = stage.cluster_pull_secret(&format!("poll-rest-{n}"));
        other["spec"]["namespaces"] = json!({"include": ["nowhere"]});
        stage.apply(&other).await;
    }
    let controller = poll(&stage).await;
    stage.until_served("one").await;
    stage.until_quiet().await;

    let (mark, vault_mark, begun) = (stage.mark(), stage.vault_mark(), tokio::time::Instant::now());
    until("five polls", async || polls(&stage, "ghcr", vault_mark) >= 5).await;
    let asked = asked(&stage, vault_mark);
    // An interval may be a tenth shorter.
    let most = 1 + begun.elapsed().as_millis() / 900;
    assert!(asked.iter().all(|it| it.path.starts_with("secret/metadata/")), "{asked:?}");
    assert!(asked.len() as u128 <= most, "{} polls, at most {most}", asked.len());
    let mut requests = stage.requests(mark).await;
    requests.retain(|request| request.resource != "leases" && request.verb != "watch");
    assert_eq!(requests.iter().map(line).collect::<Vec<_>>(), Vec::<String>::new());
    let known = controller.metric("regcred_polls_total{store=\"vault\",outcome=\"known\"}").await;
    assert!(known.is_some_and(|known| known >= 5.0), "{known:?}");
}

#[tokio::test]
async fn a_version_that_goes_backwards_is_picked_up() {
    let stage = Stage::new("poll-back", 2).await;
    stage.put_password("zero").await;
    assert_eq!(stage.put_password("one").await, 2);
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = poll(&stage).await;
    stage.until_served("one").await;
    let path = format!("secret/metadata/{}", stage.key("ghcr"));
    stage.vault.delete(&path).await.expect("a key is deleted");
    assert_eq!(stage.put_password("anew").await, 1);
    stage.until_served("anew").await;
}

#[tokio::test]
async fn a_file_that_changes_is_found_and_a_store_without_versions_is_left_to_the_refresh() {
    let stage = Stage::new("poll-kinds", 1).await;
    let file = stage.directory.path().join("files/ghcr");
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    let put = |password: &str| {
        let value = json!({"username": "robot", "password": password});
        std::fs::write(&file, value.to_string()).expect("a file");
    };
    put("one");
    let other = json!({"username": "robot", "password": "other"});
    stage.vault.put_kv1("kv1", "poll-kinds", &other).await.expect("Vault takes a value");
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    cluster_pull_secret["spec"]["registries"] = json!([
        {"host": "ghcr.io", "from": {"store": "files", "key": "ghcr"}},
        {"host": "quay.io", "from": {"store": "kv1", "key": "poll-kinds"}},
    ]);
    stage.apply(&cluster_pull_secret).await;
    let kv1 =
        format!("- name: kv1\n  vault: {{address: \"{}\", mount: kv1, kvVersion: 1}}\n", stage.vault.address);
    let config = stage.config(&format!("{kv1}triggers: {{pollInterval: 1s}}\n"));
    let controller = stage.controller().of(&stage.write(&[&config])).start().await;
    stage.until_served("one").await;
    let is_about_kv1 = |line: &&Value| line["fields"]["store"] == "kv1" || line["store"] == "kv1";
    until("the store without versions is told of", async || {
        controller.lines().iter().any(|it| is_about_kv1(&it))
    })
    .await;
    let vault_mark = stage.vault_mark();
    for password in ["two", "three"] {
        put(password);
        stage.until_served(password).await;
    }
    assert_eq!(asked(&stage, vault_mark), []);
    let lines = controller.lines();
    let told: Vec<_> = lines.iter().filter(is_about_kv1).collect();
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(told["level"], "INFO");
    assert!(told.to_string().contains("refreshInterval"), "{told}");
}

#[tokio::test]
async fn a_deleted_key_is_told_soon_and_the_cluster_keeps_what_it_has() {
    let stage = Stage::new("poll-gone", 2).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let controller = poll(&stage).await;
    stage.until_served("one").await;
    until("it is well", async || stage.condition(stage.name, "Ready").await.starts_with("True")).await;
    stage.vault.delete(&format!("secret/data/{}", stage.key("ghcr"))).await.expect("a deletion");
    // Without the poll it would take an hour.
    until("a status that tells of it", async || {
        stage.condition(stage.name, "Fetched").await.starts_with("False")
    })
    .await;
    assert_eq!(stage.unserved("one").await, Vec::<String>::new());
    assert!(controller.metric("regcred_polls_total{store=\"vault\",outcome=\"deleted\"}").await > Some(0.0));

    let undelete = json!({"versions": [1]});
    stage
        .vault
        .write(&format!("secret/undelete/{}", stage.key("ghcr")), &undelete)
        .await
        .expect("it is back");
    until("it is well again", async || stage.condition(stage.name, "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn where_metadata_are_denied_it_is_said_once_and_the_refresh_does_the_work() {
    let stage = Stage::new("poll-denied", 2).await;
    let policy = "path \"secret/data/poll-denied/*\" { capabilities = [\"read\"] }";
    stage.vault.put_policy(stage.name, policy).await.expect("a policy");
    let token = json!({"policies": [stage.name], "ttl": "1h"});
    let token = stage.vault.write("auth/token/create", &token).await.expect("a token");
    let file = stage.directory.path().join("token");
    std::fs::write(&file, token["auth"]["client_token"].as_str().expect("a token")).expect("a file");
    let address = format!("{{address: \"{}\"", stage.vault.address);
    let auth = format!("{address}, auth: {{tokenFile: \"{}\"}}", file.display());
    let config = stage.config("triggers: {pollInterval: 1s}\n").replace(&address, &auth);

    stage.put_password("one").await;
    stage.put("other", &json!({"username": "robot", "password": "other"})).await;
    let mut cluster_pull_secret = stage.cluster_pull_secret(stage.name);
    cluster_pull_secret["spec"]["refreshInterval"] = json!("10s");
    let other = json!({"host": "quay.io", "from": {"store": "vault", "key": stage.key("other")}});
    cluster_pull_secret["spec"]["registries"].as_array_mut().expect("registries").push(other);
    stage.apply(&cluster_pull_secret).await;
    let vault_mark = stage.vault_mark();
    let controller = stage.controller().of(&stage.write(&[&config])).start().await;
    stage.until_served("one").await;
    for password in ["two", "three"] {
        stage.put_password(password).await;
        stage.until_served(password).await;
    }

    let is_about_the_poll = |line: &&Value| line.to_string().contains("secret/metadata/");
    let lines = controller.lines();
    let told: Vec<_> = lines.iter().filter(is_about_the_poll).collect();
    let [told] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(told["level"], "WARN");
    let expect = "no policy grants `read` on secret/metadata/poll-denied/ghcr; until access is granted, refreshInterval";
    assert!(told.to_string().contains(expect), "{told}");
    // At the first round and after each rotation, each time with a token that was read anew.
    let n_polls = polls(&stage, "ghcr", vault_mark);
    assert!((1..=6).contains(&n_polls), "{n_polls} polls");
}

#[tokio::test]
async fn a_replica_that_does_not_lead_does_not_poll() {
    let stage = Stage::new("poll-follow", 1).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let manifests = stage.write(&[&stage.config("triggers: {pollInterval: 1s}\n")]);
    let start = async |replica| {
        let arguments = ["--lease-duration", "3s"];
        stage.controller().of(&manifests).replica(replica).with(&arguments).start().await
    };
    let leader = start(REPLICAS[0]).await;
    until("a leader", async || leader.leads().await).await;
    let other = start(REPLICAS[1]).await;
    stage.until_served("one").await;
    let known = "regcred_polls_total{store=\"vault\",outcome=\"known\"}";
    until("the leader polls", async || leader.metric(known).await > Some(3.0)).await;
    assert_eq!(other.metric(known).await, None);

    leader.kill().await;
    until("the other leads", async || other.leads().await).await;
    stage.put_password("two").await;
    stage.until_served("two").await;
    until("the other polls", async || other.metric(known).await.is_some()).await;
}
