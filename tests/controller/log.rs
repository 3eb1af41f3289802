//! The whole log and all Events of two replicas at ordinary work: each line that asks for attention is true, and is there
//! once.

use std::collections::BTreeMap;

use harness::{LABEL, TestCluster, until};
use serde_json::Value;

use crate::cluster::test_cluster;
use crate::controller::{Controller, RunController as _};

/// Namespaces that are created and deleted together.
const NAMESPACES: usize = 100;

/// The lines of these controllers that ask for attention: `LEVEL message`, with the times each repeats.
fn warnings(controllers: &[&Controller]) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for line in controllers.iter().flat_map(|it| it.lines()) {
        let level = line["level"].as_str().unwrap_or_default().to_owned();
        if level != "INFO" {
            *lines.entry(format!("{level} {}", message(&line))).or_default() += 1;
        }
    }
    lines
}

fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// The Events of regcred: `TYPE REASON message`, with the times each repeats.
async fn events(cluster: &TestCluster) -> BTreeMap<String, usize> {
    let list = cluster.kube.get("/apis/events.k8s.io/v1/events").await.expect("a list of Events");
    let mut events = BTreeMap::new();
    for event in list["items"].as_array().into_iter().flatten() {
        let is_own = event["reportingController"] == "regcred"
            && event["regarding"]["name"].as_str().is_some_and(|name| name == cluster.name);
        if is_own {
            let [kind, reason, note] =
                ["type", "reason", "note"].map(|it| event[it].as_str().unwrap_or_default());
            *events.entry(format!("{kind} {reason} {note}")).or_default() += 1;
        }
    }
    events
}

async fn until_ready(cluster: &TestCluster, expect: &str) {
    let what = format!("Ready is {expect}");
    until(&what, async || cluster.condition(cluster.name, "Ready").await.starts_with(expect)).await;
}

#[tokio::test]
async fn ordinary_work_asks_for_attention_once_for_each_fault() {
    let mut cluster = test_cluster("log-lines", 1).await;
    let one = cluster.start_synced("one").await;
    let two = cluster.controller().identity("two").start().await;
    let names: Vec<_> = (0..NAMESPACES).map(|n| format!("log-lines-new-{n:03}")).collect();
    cluster.kube.create_namespaces(names.clone(), &[(LABEL, cluster.name)]).await.expect("namespaces");
    cluster.namespaces.extend(names);
    cluster.until_synced("one").await;
    until_ready(&cluster, "True").await;

    cluster.vault.seal().await.expect("Vault can be sealed");
    cluster.request_rotation(cluster.name).await;
    until_ready(&cluster, "False FetchFailed").await;
    cluster.vault.unseal().await.expect("Vault can be unsealed");
    cluster.request_rotation(cluster.name).await;
    until_ready(&cluster, "True").await;
    cluster.put_password("two").await;
    cluster.request_rotation(cluster.name).await;
    cluster.until_synced("two").await;

    assert_eq!(one.terminate().await.0, Some(0));
    until("another leader", async || two.is_leader().await).await;
    let names: Vec<_> = cluster.namespaces.iter().map(|name| format!("/api/v1/namespaces/{name}")).collect();
    cluster.kube.delete_all(names).await.expect("namespaces are deleted");
    until("the end of the namespaces", async || {
        let mut names = cluster.namespaces.iter();
        let list = cluster.kube.get("/api/v1/namespaces").await.expect("namespaces");
        let items = list["items"].as_array().expect("a list");
        !names.any(|name| items.iter().any(|it| it["metadata"]["name"] == name.as_str()))
    })
    .await;
    cluster.namespaces.clear();
    cluster.add_namespace("log-lines-last").await;
    cluster.until_synced("two").await;
    let path = format!("/apis/regcred.dev/v1alpha1/clusterpullsecrets/{}", cluster.name);
    cluster.kube.delete(&path).await.expect("a deletion");
    until("the end of the ClusterPullSecret", async || {
        cluster.get_cluster_pull_secret(cluster.name).await.is_none()
    })
    .await;

    let sealed = "ghcr.io: store vault, key log-lines/ghcr: the Vault is sealed; existing entries are kept";
    assert_eq!(warnings(&[&one, &two]), [(format!("WARN not ready: {sealed}"), 1)].into());
    let mut events = events(&cluster).await;
    // How many namespaces are there when `Ready` becomes true again, and how long a rotation takes, is a matter of time.
    events.retain(|event, _| !event.starts_with("Normal InSync ") && !event.starts_with("Normal Deleting "));
    let rotated = "Normal Rotated a new version reached 101 namespaces in ";
    let rotations = events.extract_if(.., |event, _| event.starts_with(rotated)).map(|(_, count)| count);
    assert_eq!(rotations.sum::<usize>(), 1);
    assert_eq!(events, [(format!("Warning FetchFailed {sealed}"), 1)].into());
}

#[tokio::test]
async fn lasting_failure_of_a_namespace_is_logged_once() {
    let cluster = test_cluster("log-lasting", 2).await;
    cluster.forbid_secrets(&cluster.namespaces[0]).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let mark = cluster.mark();
    let controller = cluster.controller().start().await;
    cluster.until_writes_are_rejected(mark).await;
    let failures =
        controller.lines().iter().filter(|it| message(it).starts_with("target not in sync")).count();
    assert_eq!(failures, 1, "{}", controller.log());
    let warnings = warnings(&[&controller]);
    assert!(warnings.len() == 1 && warnings.values().all(|count| *count == 1), "{warnings:?}");
}
