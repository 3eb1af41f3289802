//! `regcred rotate` where no file says what is wanted: the ClusterPullSecrets of the cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use regcred::manifest::status::reason::{AppliedReason, FetchedReason, ReadyReason};
use regcred::manifest::status::{
    ClusterPullSecretStatus, Condition, LastRotation, RegistryStatus, Summary, TargetFailure,
};
use serde_json::{Value, json};

use crate::scene::{PULL_SECRETS, Run, Scene, install_crd};

/// Makes a ClusterPullSecret of this name; `include` is what it selects.
async fn create(scene: &Scene, name: &str, include: &Value, more: &Value) {
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
    scene.world.kube.post(PULL_SECRETS, &object).await.expect("the API server takes it");
}

/// The ClusterPullSecrets of a report: `name: why it was left alone`, or the results of its namespaces.
fn told(run: &Run) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let line = |it: &Value| {
        let namespaces = it["namespaces"].as_array().cloned().unwrap_or_default();
        let results: Vec<_> = namespaces
            .iter()
            .map(|it| format!("{} {}{}", text(&it["namespace"]), text(&it["result"]), text(&it["reason"])))
            .collect();
        let alone = [&it["leftAlone"]["reason"], &it["problems"][0]["reason"]].map(text).concat();
        format!("{}: {alone}{}", text(&it["name"]), results.join(", "))
    };
    run.report()["clusterPullSecrets"].as_array().expect("a list").iter().map(line).collect()
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

/// The API server keeps a status as it was written, and kubectl shows the columns.
async fn a_status_is_kept(scene: &Scene, name: &str) {
    let kube = &scene.world.kube;
    let written = serde_json::to_value(status()).expect("JSON");
    let path = format!("{PULL_SECRETS}/{name}/status?fieldValidation=Strict");
    let kept = kube.patch(&path, &json!({"status": written})).await.expect("the schema knows every field");
    assert_eq!(kept["status"], written);
    let shown = kube.kubectl(&["get", "cps", name]).await.expect("kubectl knows the short name");
    let (header, row) = shown.split_once('\n').expect("a header and a row");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(header), ["NAME", "READY", "REASON", "REGISTRIES", "NAMESPACES", "ROTATED", "AGE"]);
    assert_eq!(words(row)[..5], [name, "True", "InSync", "1/1", "998/1000"]);
}

#[tokio::test]
async fn without_files_those_of_the_cluster_are_rotated_and_who_may_not_be_is_left_alone() {
    let scene = Scene::new("obj", 2).await;
    let kube = &scene.world.kube;
    install_crd(kube).await;
    let files = scene.directory.path().join("files");
    std::fs::create_dir(&files).expect("a directory");
    std::fs::write(files.join("ghcr"), r#"{"username": "robot", "password": "from-file"}"#).expect("a file");
    let files = files.display().to_string();
    let rotate = async |more: &[&str]| {
        let arguments = ["rotate", "--files", &files, "--output", "json"];
        scene.regcred(&[&arguments, more].concat()).await
    };

    create(&scene, "obj-a", &json!(["obj-001"]), &json!({"suspend": true})).await;
    create(&scene, "obj-b", &json!(["obj-*"]), &json!({})).await;
    a_status_is_kept(&scene, "obj-b").await;
    let unknown = json!([{"host": "ghcr.io", "from": {"store": "valut", "key": "ghcr"}}]);
    create(&scene, "obj-c", &json!(["obj-*"]), &json!({"registries": unknown})).await;

    let run = rotate(&[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(
        told(&run),
        ["obj-b: obj-000 created, obj-001 refusedConflict", "obj-a: Suspended", "obj-c: Invalid"],
        "what is suspended keeps what it claims"
    );
    assert_eq!(scene.passwords("obj-000").await["ghcr.io"], "from-file");
    assert_eq!(scene.secret("obj-001").await, None);

    let config = scene.write(&[&scene.config()]).display().to_string();
    let run = rotate(&["-f", &config, "obj-a"]).await;
    assert_eq!((run.code, told(&run)), (0, vec!["obj-a: Suspended".to_owned()]), "{run:?}");

    let path = format!("{PULL_SECRETS}/obj-a");
    let awake = json!({"metadata": {"finalizers": ["regcred.dev/test"]}, "spec": {"suspend": false}});
    kube.patch(&path, &awake).await.expect("a patch");
    let run = rotate(&["-f", &config, "obj-a"]).await;
    assert_eq!((run.code, told(&run)), (0, vec!["obj-a: obj-001 created".to_owned()]), "{run:?}");

    kube.delete(&path).await.expect("a deletion");
    let run = rotate(&["obj-a"]).await;
    assert_eq!((run.code, told(&run)), (0, vec!["obj-a: Deleting".to_owned()]), "{run:?}");
    assert!(scene.secret("obj-001").await.is_some(), "it is not touched");

    let manifests =
        scene.write(&[&scene.config(), &scene.cluster_pull_secret(&[("ghcr.io", "files", "ghcr")], "")]);
    let run = rotate(&["-f", &manifests.display().to_string()]).await;
    assert!(told(&run).iter().all(|line| line.starts_with("obj: ")), "the cluster is not asked: {run:?}");

    kube.patch(&path, &json!({"metadata": {"finalizers": null}})).await.expect("a patch");
    for name in ["obj-b", "obj-c"] {
        kube.delete(&format!("{PULL_SECRETS}/{name}")).await.expect("a deletion");
    }
}
