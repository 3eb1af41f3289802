//! Drift is corrected at once, from the cache; a writer that keeps reverting regcred is reported and met with back-off.

use std::time::Duration;

use harness::{TestCluster, docker_config, until};
use serde_json::json;

use crate::cluster::{AT_ONCE, quiet_test_cluster, test_cluster};
use crate::controller::RunController as _;

const SECRET: &str = "/api/v1/namespaces/NAMESPACE/secrets/regcred";
const ACCOUNT: &str = "/api/v1/namespaces/NAMESPACE/serviceaccounts/default";

async fn remove_entries(cluster: &TestCluster, service_account: &str) {
    cluster.kube.patch(service_account, &json!({"imagePullSecrets": null})).await.expect("a patch");
}

async fn until_restored(cluster: &TestCluster, namespace: &str) {
    until("the entry is restored", async || cluster.references(namespace, "default").await == ["regcred"])
        .await;
}

#[tokio::test]
async fn edited_secret_is_restored_at_once() {
    let cluster = quiet_test_cluster("drift-edit", 2).await;
    let _controller = cluster.start_synced("one").await;
    let good = cluster.secret("drift-edit-000").await.expect("a Secret");
    let edits = [
        json!({"data": {".dockerconfigjson": "e30="}}),
        json!({"metadata": {"annotations": {"regcred.dev/versions": null}}}),
    ];
    for edit in edits {
        let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
        cluster.kube.patch(&SECRET.replace("NAMESPACE", "drift-edit-000"), &edit).await.expect("an edit");
        until("the Secret is as before", async || {
            let secret = cluster.secret("drift-edit-000").await.expect("it is never deleted");
            docker_config(&secret) == docker_config(&good)
                && secret["metadata"]["annotations"] == good["metadata"]["annotations"]
        })
        .await;
        let change = "patch secrets drift-edit-000/regcred";
        let delay = cluster.delay(mark, change, change).await;
        assert!(delay < AT_ONCE, "it took {delay:?} after {edit}");
        assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);
        assert_eq!(cluster.writes(mark).await, ["patch secrets drift-edit-000/regcred 200"]);
    }
}

#[tokio::test]
async fn deleted_secret_is_restored_at_once() {
    let cluster = quiet_test_cluster("drift-delete", 2).await;
    let _controller = cluster.start_synced("one").await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());

    cluster.kube.delete(&SECRET.replace("NAMESPACE", "drift-delete-000")).await.expect("a deletion");
    cluster.until_synced("one").await;

    let (change, effect) =
        ("delete secrets drift-delete-000/regcred", "create secrets drift-delete-000/regcred");
    let delay = cluster.delay(mark, change, effect).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert_eq!(cluster.vault_reads("ghcr", vault_mark), 0);
    assert_eq!(cluster.writes(mark).await, ["create secrets drift-delete-000/regcred 201"]);
}

#[tokio::test]
async fn removed_entry_is_restored_at_once_after_existing_entries() {
    let cluster = quiet_test_cluster("drift-wipe", 2).await;
    let _controller = cluster.start_synced("one").await;
    let mark = cluster.mark();

    let wiped = json!({"imagePullSecrets": [{"name": "own"}]});
    cluster.kube.patch(&ACCOUNT.replace("NAMESPACE", "drift-wipe-000"), &wiped).await.expect("a patch");
    until("the entry is restored", async || {
        cluster.references("drift-wipe-000", "default").await == ["own", "regcred"]
    })
    .await;

    let change = "patch serviceaccounts drift-wipe-000/default";
    let delay = cluster.delay(mark, change, change).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert_eq!(cluster.writes(mark).await, ["patch serviceaccounts drift-wipe-000/default 200"]);
}

#[tokio::test]
async fn removed_annotation_is_put_back_without_another_entry() {
    let cluster = test_cluster("drift-annotation", 2).await;
    let _controller = cluster.start_synced("one").await;
    let namespace = "drift-annotation-000";
    let path = ACCOUNT.replace("NAMESPACE", namespace);
    let annotation = "regcred.dev/image-pull-secrets";
    let before = cluster.kube.get(&path).await.expect("a ServiceAccount");
    let mark = cluster.mark();

    let removal = json!({"metadata": {"annotations": {annotation: null}}});
    cluster.kube.patch(&path, &removal).await.expect("a patch");
    until("the annotation is put back", async || {
        let account = cluster.kube.get(&path).await.expect("a ServiceAccount");
        account["metadata"]["annotations"] == before["metadata"]["annotations"]
    })
    .await;
    assert_eq!(before["metadata"]["annotations"][annotation], format!("regcred={}", cluster.name));
    assert_eq!(cluster.references(namespace, "default").await, ["regcred"]);
    assert_eq!(cluster.writes(mark).await, [format!("patch serviceaccounts {namespace}/default 200")]);
}

#[tokio::test]
async fn repeated_reverts_are_reported_and_retried_with_back_off() {
    let cluster = quiet_test_cluster("drift-contest", 2).await;
    let controller = cluster.start_synced("one").await;
    let path = ACCOUNT.replace("NAMESPACE", "drift-contest-000");
    for _ in 0..2 {
        remove_entries(&cluster, &path).await;
        until_restored(&cluster, "drift-contest-000").await;
    }
    remove_entries(&cluster, &path).await;
    let name = cluster.name;
    until("the contest is reported", async || {
        let failures = cluster.status(name).await["failures"].as_array().cloned().unwrap_or_default();
        failures.iter().any(|it| it["reason"] == "Contested" && it["namespace"] == "drift-contest-000")
    })
    .await;
    assert_eq!(cluster.condition(name, "Applied").await.split(' ').next(), Some("False"));

    // A writer that reverts every restored entry causes few writes.
    let mark = cluster.mark();
    let contest = async {
        loop {
            until_restored(&cluster, "drift-contest-000").await;
            remove_entries(&cluster, &path).await;
        }
    };
    let _: Result<(), _> = tokio::time::timeout(Duration::from_secs(10), contest).await;
    let requests = cluster.requests(mark).await;
    let writes = requests.iter().filter(|it| it.resource == "serviceaccounts" && it.is_write()).count();
    assert!(writes <= 4, "{writes} writes in ten seconds are no back-off");
    // The other namespace is restored at once.
    let (mark, other) = (cluster.mark(), ACCOUNT.replace("NAMESPACE", "drift-contest-001"));
    remove_entries(&cluster, &other).await;
    until_restored(&cluster, "drift-contest-001").await;
    let change = "patch serviceaccounts drift-contest-001/default";
    let delay = cluster.delay(mark, change, change).await;
    assert!(delay < AT_ONCE, "it took {delay:?}");
    assert!(!controller.has_ended());
}

#[tokio::test]
async fn revert_in_a_long_list_is_contested_too() {
    let cluster = test_cluster("drift-long", 2).await;
    let _controller = cluster.start_synced("one").await;
    let (namespace, path) = ("drift-long-000", ACCOUNT.replace("NAMESPACE", "drift-long-000"));
    // Of a list of this length, regcred keeps a part.
    let long: Vec<_> = (0..200).map(|n| json!({"name": format!("a-long-name-{n}")})).collect();
    until("the contest is reported", async || {
        let references = cluster.references(namespace, "default").await;
        if references.iter().any(|name| name == "regcred") {
            cluster.kube.patch(&path, &json!({"imagePullSecrets": long})).await.expect("a patch");
        }
        let failures = cluster.status(cluster.name).await["failures"].as_array().cloned().unwrap_or_default();
        failures.iter().any(|it| it["reason"] == "Contested" && it["namespace"] == namespace)
    })
    .await;
}
