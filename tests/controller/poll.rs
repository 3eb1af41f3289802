//! The poll: a new version is found without an event, and by reads of versions alone.

use std::path::Path;
use std::time::Duration;

use harness::{REPLICAS, TestCluster, line, until};
use serde_json::{Value, json};
use world::{VaultAuditEvent, VaultAuditMark};

use crate::cluster::{now, quiet_cluster_with_shared_namespaces, test_cluster};
use crate::controller::{Controller, RunController as _};

const NAMESPACES: usize = 100;
/// The bound from a rotation to the last write of a target, beyond the poll interval and the time of the writes.
const BEYOND: Duration = Duration::from_secs(1);

/// Starts a controller that polls every second.
async fn start_polling(cluster: &TestCluster) -> Controller {
    let manifests = cluster.write(&[&cluster.config("triggers: {pollInterval: 1s}\n")]);
    cluster.controller().manifests(&manifests).start().await
}

/// Every request to Vault since a mark.
fn vault_requests(cluster: &TestCluster, mark: VaultAuditMark) -> Vec<VaultAuditEvent> {
    let mut events = cluster.vault.audit_events_since(mark).expect("Vault's audit log");
    events.retain(|event| event.kind == "request");
    events
}

/// The number of reads of a key's versions since a mark.
fn polls(cluster: &TestCluster, key: &str, mark: VaultAuditMark) -> usize {
    let path = format!("secret/metadata/{}", cluster.key(key));
    vault_requests(cluster, mark).iter().filter(|it| it.operation == "read" && it.path == path).count()
}

fn write_password(file: &Path, password: &str) {
    let value = json!({"username": "robot", "password": password});
    std::fs::write(file, value.to_string()).expect("a file");
}

fn is_about_kv1(line: &Value) -> bool {
    line["fields"]["store"] == "kv1" || line["store"] == "kv1"
}

#[tokio::test]
async fn poll_syncs_every_namespace_within_interval_plus_one_second() {
    let cluster = quiet_cluster_with_shared_namespaces("poll", NAMESPACES).await;
    cluster.put_password("0").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let mut version = 0;
    // The first is the default.
    for (interval, written, rotations) in
        [(10, "triggers: {}\n", 1), (2, "triggers: {pollInterval: 2s}\n", 3)]
    {
        let manifests = cluster.write(&[&cluster.config(written)]);
        let controller = cluster.controller().manifests(&manifests).start().await;
        cluster.until_synced(&version.to_string()).await;
        for _ in 0..rotations {
            let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
            version += 1;
            cluster.put_password(&version.to_string()).await;
            let since = now();
            cluster.until_synced(&version.to_string()).await;
            let delay = cluster.delay_beyond_writes(mark, since).await;
            assert!(delay < Duration::from_secs(interval) + BEYOND, "every {interval} s: {delay:?}");
            assert_eq!(cluster.vault_reads("ghcr", vault_mark), 1);
        }
        until("a status that names the poll", async || {
            cluster.status(cluster.name).await["lastRotation"]["trigger"] == "Poll"
        })
        .await;
        controller.terminate().await;
    }
}

#[tokio::test]
async fn unchanged_key_of_fifty_objects_is_polled_once_per_interval() {
    let cluster = test_cluster("poll-rest", 1).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    for n in 1..50 {
        let mut other = cluster.cluster_pull_secret(&format!("poll-rest-{n}"));
        other["spec"]["namespaces"] = json!({"include": ["nowhere"]});
        cluster.apply(&other).await;
    }
    let controller = start_polling(&cluster).await;
    cluster.until_synced("one").await;
    cluster.until_idle_for(Duration::from_secs(6)).await;

    let (mark, vault_mark, begun) = (cluster.mark(), cluster.vault_mark(), tokio::time::Instant::now());
    until("five polls", async || polls(&cluster, "ghcr", vault_mark) >= 5).await;
    let requests_to_vault = vault_requests(&cluster, vault_mark);
    // An interval may be a tenth shorter.
    let most = 1 + begun.elapsed().as_millis() / 900;
    assert!(
        requests_to_vault.iter().all(|it| it.path.starts_with("secret/metadata/")),
        "{requests_to_vault:?}"
    );
    assert!(requests_to_vault.len() as u128 <= most, "{} polls, at most {most}", requests_to_vault.len());
    let mut requests = cluster.requests(mark).await;
    requests.retain(|request| request.resource != "leases" && request.verb != "watch");
    assert_eq!(requests.iter().map(line).collect::<Vec<_>>(), Vec::<String>::new());
    let known = controller.metric("regcred_polls_total{store=\"vault\",outcome=\"known\"}").await;
    assert!(known.is_some_and(|known| known >= 5.0), "{known:?}");
}

#[tokio::test]
async fn store_with_many_keys_is_polled_within_its_budget() {
    const KEYS: usize = 60;
    const PER_SECOND: usize = 20;
    const ROUNDS: usize = 3;
    let cluster = test_cluster("poll-budget", 1).await;
    let mut object = cluster.cluster_pull_secret(cluster.name);
    let mut registries = Vec::new();
    for n in 0..KEYS {
        cluster.put(&format!("{n}"), &json!({"username": "robot", "password": "one"})).await;
        let from = json!({"store": "vault", "key": cluster.key(&format!("{n}"))});
        registries.push(json!({"host": format!("r{n}.example.com"), "from": from}));
    }
    object["spec"]["registries"] = json!(registries);
    cluster.apply(&object).await;
    let controller = start_polling(&cluster).await;
    until("every registry", async || cluster.passwords("poll-budget-000").await.len() == KEYS).await;
    until("the interval in the status", async || {
        cluster.status(cluster.name).await["registries"][KEYS - 1]["pollInterval"] == "3s"
    })
    .await;
    until("the interval in the metrics", async || {
        controller.metric("regcred_poll_interval_seconds{store=\"vault\"}").await == Some(3.0)
    })
    .await;

    let (mark, begun) = (cluster.vault_mark(), tokio::time::Instant::now());
    until("three rounds", async || vault_requests(&cluster, mark).len() >= ROUNDS * KEYS).await;
    let (polls, seconds) = (vault_requests(&cluster, mark), begun.elapsed().as_secs_f64());
    assert!(polls.iter().all(|it| it.path.starts_with("secret/metadata/")), "{polls:?}");
    // One second's polls may end as the time begins.
    let ticks = u32::try_from((polls.len() - PER_SECOND).div_ceil(PER_SECOND)).expect("a few");
    assert!(seconds >= f64::from(ticks - 1), "{} polls in {seconds} s", polls.len());
    let each: Vec<_> = (0..KEYS)
        .map(|n| {
            let path = format!("secret/metadata/{}", cluster.key(&format!("{n}")));
            polls.iter().filter(|it| it.path == path).count()
        })
        .collect();
    assert!(each.iter().all(|it| (ROUNDS - 1..=ROUNDS + 1).contains(it)), "evenly: {each:?}");
}

#[tokio::test]
async fn version_that_goes_backwards_is_fetched() {
    let cluster = test_cluster("poll-back", 2).await;
    cluster.put_password("zero").await;
    assert_eq!(cluster.put_password("one").await, 2);
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = start_polling(&cluster).await;
    cluster.until_synced("one").await;
    let path = format!("secret/metadata/{}", cluster.key("ghcr"));
    cluster.vault.delete(&path).await.expect("a key is deleted");
    assert_eq!(cluster.put_password("again").await, 1);
    cluster.until_synced("again").await;
}

#[tokio::test]
async fn changed_file_is_found_and_unversioned_store_is_refreshed() {
    let cluster = test_cluster("poll-kinds", 1).await;
    let file = cluster.files().join("ghcr");
    write_password(&file, "one");
    let other = json!({"username": "robot", "password": "other"});
    cluster.vault.put_kv1("kv1", "poll-kinds", &other).await.expect("Vault takes a value");
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"] = json!([
        {"host": "ghcr.io", "from": {"store": "files", "key": "ghcr"}},
        {"host": "quay.io", "from": {"store": "kv1", "key": "poll-kinds"}},
    ]);
    cluster.apply(&cluster_pull_secret).await;
    let kv1 = format!(
        "- name: kv1\n  vault: {{address: \"{}\", mount: kv1, kvVersion: 1}}\n",
        cluster.vault.address
    );
    let config = cluster.config(&format!("{kv1}triggers: {{pollInterval: 1s}}\n"));
    let controller = cluster.controller().manifests(&cluster.write(&[&config])).start().await;
    cluster.until_synced("one").await;
    until("the store without versions is logged", async || controller.lines().iter().any(is_about_kv1)).await;
    let vault_mark = cluster.vault_mark();
    for password in ["two", "three"] {
        write_password(&file, password);
        cluster.until_synced(password).await;
    }
    assert_eq!(vault_requests(&cluster, vault_mark), []);
    let lines = controller.lines();
    let logged: Vec<_> = lines.iter().filter(|line| is_about_kv1(line)).collect();
    let [logged] = logged.as_slice() else { panic!("{logged:?}") };
    assert_eq!(logged["level"], "INFO");
    assert!(logged.to_string().contains("refreshInterval"), "{logged}");
}

#[tokio::test]
async fn deleted_key_is_reported_soon_and_secrets_are_kept() {
    let cluster = test_cluster("poll-gone", 2).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let controller = start_polling(&cluster).await;
    cluster.until_synced("one").await;
    until("the object is ready", async || cluster.condition(cluster.name, "Ready").await.starts_with("True"))
        .await;
    cluster.vault.delete(&format!("secret/data/{}", cluster.key("ghcr"))).await.expect("a deletion");
    // Without the poll it would take an hour.
    until("a status that reports the deletion", async || {
        cluster.condition(cluster.name, "Fetched").await.starts_with("False")
    })
    .await;
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
    assert!(controller.metric("regcred_polls_total{store=\"vault\",outcome=\"deleted\"}").await > Some(0.0));

    let undelete = json!({"versions": [1]});
    cluster
        .vault
        .write(&format!("secret/undelete/{}", cluster.key("ghcr")), &undelete)
        .await
        .expect("the version is restored");
    until("the object is ready again", async || {
        cluster.condition(cluster.name, "Ready").await.starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn denied_metadata_is_logged_once_and_refresh_takes_over() {
    let cluster = test_cluster("poll-denied", 2).await;
    let policy = "path \"secret/data/poll-denied/*\" { capabilities = [\"read\"] }";
    cluster.vault.put_policy(cluster.name, policy).await.expect("a policy");
    let token = json!({"policies": [cluster.name], "ttl": "1h"});
    let token = cluster.vault.write("auth/token/create", &token).await.expect("a token");
    let file = cluster.directory.path().join("token");
    std::fs::write(&file, token["auth"]["client_token"].as_str().expect("a token")).expect("a file");
    let vault =
        format!("address: \"{}\", auth: {{tokenFile: \"{}\"}}", cluster.vault.address, file.display());
    let config = cluster.config_with_vault(&vault, "triggers: {pollInterval: 1s}\n");

    cluster.put_password("one").await;
    cluster.put("other", &json!({"username": "robot", "password": "other"})).await;
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["refreshInterval"] = json!("10s");
    let other = json!({"host": "quay.io", "from": {"store": "vault", "key": cluster.key("other")}});
    cluster_pull_secret["spec"]["registries"].as_array_mut().expect("registries").push(other);
    cluster.apply(&cluster_pull_secret).await;
    let vault_mark = cluster.vault_mark();
    let controller = cluster.controller().manifests(&cluster.write(&[&config])).start().await;
    cluster.until_synced("one").await;
    for password in ["two", "three"] {
        cluster.put_password(password).await;
        cluster.until_synced(password).await;
    }

    let lines = controller.lines();
    let logged: Vec<_> = lines.iter().filter(|line| line.to_string().contains("secret/metadata/")).collect();
    let [logged] = logged.as_slice() else { panic!("{logged:?}") };
    assert_eq!(logged["level"], "WARN");
    let expect = "no policy grants `read` on secret/metadata/poll-denied/ghcr; until access is granted, refreshInterval";
    assert!(logged.to_string().contains(expect), "{logged}");
    // One at the first round and one after each rotation, each with a token that was read again.
    let n_polls = polls(&cluster, "ghcr", vault_mark);
    assert!((1..=6).contains(&n_polls), "{n_polls} polls");
}

#[tokio::test]
async fn follower_does_not_poll() {
    let cluster = test_cluster("poll-follow", 1).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let manifests = cluster.write(&[&cluster.config("triggers: {pollInterval: 1s}\n")]);
    let [leader, follower] = REPLICAS
        .map(|it| cluster.controller().manifests(&manifests).replica(it).args(&["--lease-duration", "3s"]));
    let leader = leader.start().await;
    until("a leader", async || leader.is_leader().await).await;
    let follower = follower.start().await;
    cluster.until_synced("one").await;
    let known = "regcred_polls_total{store=\"vault\",outcome=\"known\"}";
    until("the leader polls", async || leader.metric(known).await > Some(3.0)).await;
    assert_eq!(follower.metric(known).await, None);

    leader.kill().await;
    until("the follower leads", async || follower.is_leader().await).await;
    cluster.put_password("two").await;
    cluster.until_synced("two").await;
    until("the follower polls", async || follower.metric(known).await.is_some()).await;
}
