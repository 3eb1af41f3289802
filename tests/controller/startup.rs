//! Starts: the controller reads the state of the cluster, corrects drift and writes nothing else.

use std::net::TcpListener;

use harness::until;
use serde_json::json;

use crate::cluster::{AT_ONCE, QUIET, quiet_test_cluster, test_cluster};
use crate::controller::RunController as _;

#[tokio::test]
async fn start_writes_nothing_that_is_in_sync() {
    let cluster = test_cluster("start-quiet", 5).await;
    let first = cluster.start_synced("one").await;
    until("it is ready", async || cluster.condition("start-quiet", "Ready").await.starts_with("True")).await;
    cluster.until_idle().await;
    // One start after a clean end, one after a crash.
    assert_eq!(first.terminate().await.0, Some(0));
    for _ in 0..2 {
        let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
        let next = cluster.controller().start().await;
        until("the key is fetched", async || cluster.vault_reads("ghcr", vault_mark) > 0).await;
        tokio::time::sleep(QUIET).await;
        assert_eq!(cluster.writes(mark).await, Vec::<String>::new());
        assert_eq!(cluster.vault_reads("ghcr", vault_mark), 1);
        next.kill().await;
    }
}

#[tokio::test]
async fn secret_in_sync_is_not_written_once_it_is_selected() {
    let cluster = test_cluster("start-select", 2).await;
    let first = cluster.start_synced("one").await;
    cluster.until_idle().await;
    assert_eq!(first.terminate().await.0, Some(0));
    let path = "/api/v1/namespaces/start-select-000/secrets/regcred";
    cluster.kube.patch(path, &json!({"immutable": true})).await.expect("an edit");
    // A spec that selects nothing prunes nothing, and its Secrets are listed without their bytes.
    for namespace in &cluster.namespaces {
        cluster.select(namespace, false).await;
    }
    let _next = cluster.controller().start().await;
    until("nothing is selected", async || {
        cluster.condition("start-select", "Applied").await == "False NothingSelected"
    })
    .await;
    cluster.until_idle().await;
    let mark = cluster.mark();
    for namespace in &cluster.namespaces {
        cluster.select(namespace, true).await;
    }
    until("it is ready", async || cluster.condition("start-select", "Ready").await == "True InSync").await;
    cluster.until_idle().await;
    let writes = cluster.writes(mark).await;
    assert!(!writes.iter().any(|it| it.contains(" secrets ")), "{writes:?}");
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn drift_while_stopped_is_corrected_after_start() {
    let cluster = test_cluster("start-late", 3).await;
    let first = cluster.start_synced("one").await;
    first.kill().await;
    cluster.put_password("two").await;
    cluster.kube.delete("/api/v1/namespaces/start-late-000/secrets/regcred").await.expect("a deletion");
    let account = "/api/v1/namespaces/start-late-001/serviceaccounts/default";
    cluster.kube.patch(account, &json!({"imagePullSecrets": null})).await.expect("a patch");
    let _next = cluster.controller().start().await;
    cluster.until_synced("two").await;
}

#[tokio::test]
async fn start_with_sealed_vault_uses_the_values_in_the_cluster() {
    let mut cluster = test_cluster("start-sealed", 2).await;
    let first = cluster.start_synced("one").await;
    assert_eq!(first.terminate().await.0, Some(0));
    cluster.vault.seal().await.expect("Vault can be sealed");
    let mark = cluster.mark();

    let controller = cluster.controller().start().await;
    cluster.add_namespace("start-sealed-late").await;
    cluster.until_synced("one").await;
    until("the outage is reported", async || {
        cluster.condition("start-sealed", "Fetched").await == "False Sealed"
    })
    .await;
    let writes = cluster.writes(mark).await;
    let to_synced: Vec<_> = writes.iter().filter(|it| it.contains("start-sealed-00")).collect();
    assert!(to_synced.is_empty(), "{to_synced:?}");
    assert!(controller.is_ready().await, "a store that is away makes no controller unready");

    cluster.vault.unseal().await.expect("Vault can be unsealed");
    until("the store is available", async || {
        cluster.condition("start-sealed", "Fetched").await.starts_with("True")
    })
    .await;
    until("the object is ready", async || {
        cluster.condition("start-sealed", "Ready").await.starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn unavailable_store_delays_no_other_object() {
    let cluster = quiet_test_cluster("start-hang", 2).await;
    // Connections are accepted and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let hanging = format!("- name: hanging\n  vault: {{address: \"http://{address}\"}}\n");
    let manifests = cluster.write(&[&cluster.config(&hanging)]);
    for store in ["hanging", "down"] {
        let mut broken = cluster.cluster_pull_secret(store);
        broken["spec"]["secretName"] = json!("second");
        broken["spec"]["registries"][0]["from"] = json!({"store": store, "key": "x"});
        if store == "down" {
            broken["spec"]["namespaces"] = json!({"include": ["start-hang-nowhere"]});
        }
        cluster.apply(&broken).await;
    }
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().manifests(&manifests).start().await;
    cluster.until_synced("one").await;
    until("the failure of the other is reported", async || {
        cluster.condition("down", "Fetched").await == "False Unavailable"
    })
    .await;

    // While one fetch hangs, others proceed at once: another hanging fetch is requested before each rotation.
    for password in ["two", "three"] {
        cluster.put_password(password).await;
        cluster.request_rotation("hanging").await;
        let mark = cluster.mark();
        cluster.request_rotation(cluster.name).await;
        cluster.until_synced(password).await;
        let request = "patch clusterpullsecrets start-hang";
        for namespace in &cluster.namespaces {
            let delay = cluster.delay(mark, request, &format!("patch secrets {namespace}/regcred")).await;
            assert!(delay < AT_ONCE, "{password} took {delay:?}");
        }
    }
}
