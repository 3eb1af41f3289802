//! `regcred rotate` without ClusterPullSecrets in files: it takes those of the cluster.

use harness::{CLUSTER_PULL_SECRETS, Run, TestCluster, install_crd, text};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use regcred::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason};
use regcred::manifest::status::{
    ClusterPullSecretStatus, Condition, LastRotation, RegistryStatus, Summary, TargetFailure,
};
use serde_json::{Value, json};

use crate::cluster::test_cluster;

/// Creates a ClusterPullSecret for the namespaces `include`, with `more` fields of the spec.
async fn create(cluster: &TestCluster, name: &str, include: &Value, more: &Value) {
    let mut object = json!({
        "apiVersion": "regcred.dev/v1alpha1",
        "kind": "ClusterPullSecret",
        "metadata": {"name": name},
        "spec": {
            "secretName": "regcred",
            "registries": [{"host": "ghcr.io", "from": {"store": "files", "key": "ghcr"}}],
            "namespaces": {"include": include},
        },
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    cluster.kube.post(CLUSTER_PULL_SECRETS, &object).await.expect("the API server accepts it");
}

/// The ClusterPullSecrets of a report: `name: reason` of one that was left alone, or the results of its namespaces.
fn outcomes(run: &Run) -> Vec<String> {
    run.report()["clusterPullSecrets"].as_array().expect("a list").iter().map(line).collect()
}

fn line(object: &Value) -> String {
    let namespaces = object["namespaces"].as_array().cloned().unwrap_or_default();
    let results: Vec<_> = namespaces
        .iter()
        .map(|it| format!("{} {}{}", text(&it["namespace"]), text(&it["result"]), text(&it["reason"])))
        .collect();
    let alone = [&object["leftAlone"]["reason"], &object["problems"][0]["reason"]].map(text).concat();
    format!("{}: {alone}{}", text(&object["name"]), results.join(", "))
}

/// A status with every field.
fn status() -> ClusterPullSecretStatus {
    let now = Time(Timestamp::from_second(1_700_000_000).expect("a time"));
    let mut status = ClusterPullSecretStatus {
        observed_generation: 1,
        registries: vec![RegistryStatus {
            host: "ghcr.io".into(),
            store: "files".into(),
            key: "ghcr".into(),
            version: Some("7".into()),
            fetched_at: Some(now.clone()),
            result: FetchedReason::Fetched,
            message: Some("none".into()),
            poll_interval: Some("50s".into()),
        }],
        last_rotation: Some(LastRotation {
            trigger: "Start".into(),
            started_at: now.clone(),
            propagation: "0.84s".into(),
            fetch: "0.02s".to_owned(),
            first_write: "0.01s".to_owned(),
            last_write: "0.81s".to_owned(),
        }),
        failures: vec![TargetFailure {
            namespace: "web".into(),
            reason: AppliedReason::Conflict,
            message: "why".into(),
        }],
        secret_names: vec!["regcred".into()],
        summary: Summary { registries: "1/1".into(), namespaces: "998/1000".into() },
        ..ClusterPullSecretStatus::default()
    };
    status.set_condition(Condition::new(ReadyReason::InSync.into(), "well".into(), 1, now));
    status
}

/// Asserts that the API server keeps a status as written, and that kubectl prints the columns.
async fn assert_status_is_kept(cluster: &TestCluster, name: &str) {
    let kube = &cluster.kube;
    let written = serde_json::to_value(status()).expect("JSON");
    let path = format!("{CLUSTER_PULL_SECRETS}/{name}/status?fieldValidation=Strict");
    let kept = kube.patch(&path, &json!({"status": written})).await.expect("the schema knows every field");
    assert_eq!(kept["status"], written);
    let shown = kube.kubectl(&["get", "cps", name]).await.expect("kubectl knows the short name");
    let (header, row) = shown.split_once('\n').expect("a header and a row");
    assert_eq!(
        header.split_whitespace().collect::<Vec<_>>(),
        ["NAME", "READY", "REASON", "REGISTRIES", "NAMESPACES", "ROTATED", "AGE"]
    );
    assert_eq!(
        row.split_whitespace().take(5).collect::<Vec<_>>(),
        [name, "True", "InSync", "1/1", "998/1000"]
    );
}

#[tokio::test]
async fn cluster_objects_are_rotated_unless_suspended_or_invalid() {
    let cluster = test_cluster("obj", 2).await;
    let kube = &cluster.kube;
    install_crd(kube).await.expect("deploy/crd.yaml applies");
    let files = cluster.files();
    std::fs::write(files.join("ghcr"), r#"{"username": "robot", "password": "from-file"}"#).expect("a file");
    let files = files.display().to_string();
    let rotate = async |more: &[&str]| {
        let arguments = ["rotate", "--files", &files, "--output", "json"];
        cluster.run(&[&arguments, more].concat()).await
    };

    create(&cluster, "obj-a", &json!(["obj-001"]), &json!({"suspend": true})).await;
    create(&cluster, "obj-b", &json!(["obj-*"]), &json!({})).await;
    assert_status_is_kept(&cluster, "obj-b").await;
    let unknown = json!([{"host": "ghcr.io", "from": {"store": "valut", "key": "ghcr"}}]);
    create(&cluster, "obj-c", &json!(["obj-*"]), &json!({"registries": unknown})).await;

    let run = rotate(&[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(
        outcomes(&run),
        ["obj-b: obj-000 created, obj-001 refusedConflict", "obj-a: Suspended", "obj-c: Invalid"],
        "a suspended object keeps its claims"
    );
    assert_eq!(cluster.passwords("obj-000").await["ghcr.io"], "from-file");
    assert_eq!(cluster.secret("obj-001").await, None);

    let config = cluster.write(&[&cluster.config("")]).display().to_string();
    let run = rotate(&["-f", &config, "obj-a"]).await;
    assert_eq!((run.code, outcomes(&run)), (0, vec!["obj-a: Suspended".to_owned()]), "{run:?}");

    let path = format!("{CLUSTER_PULL_SECRETS}/obj-a");
    let resumed = json!({"metadata": {"finalizers": ["regcred.dev/test"]}, "spec": {"suspend": false}});
    kube.patch(&path, &resumed).await.expect("a patch");
    let run = rotate(&["-f", &config, "obj-a"]).await;
    assert_eq!((run.code, outcomes(&run)), (0, vec!["obj-a: obj-001 created".to_owned()]), "{run:?}");

    kube.delete(&path).await.expect("a deletion");
    let run = rotate(&["obj-a"]).await;
    assert_eq!((run.code, outcomes(&run)), (0, vec!["obj-a: Deleting".to_owned()]), "{run:?}");
    assert!(cluster.secret("obj-001").await.is_some(), "unchanged");

    let manifests = cluster.manifests(&[("ghcr.io", "files", "ghcr")]);
    let run = rotate(&["-f", &manifests.display().to_string()]).await;
    assert!(
        outcomes(&run).iter().all(|line| line.starts_with("obj: ")),
        "no request for objects of the cluster: {run:?}"
    );

    kube.patch(&path, &json!({"metadata": {"finalizers": null}})).await.expect("a patch");
    for name in ["obj-b", "obj-c"] {
        kube.delete(&format!("{CLUSTER_PULL_SECRETS}/{name}")).await.expect("a deletion");
    }
}
