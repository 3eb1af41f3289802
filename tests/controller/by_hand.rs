//! Rotations requested by the annotation, and `regcred rotate --wait`, which reports their result.

use harness::{Run, TestCluster, is_write, until};
use serde_json::{Value, json};

use crate::cluster::test_cluster;
use crate::controller::RunController as _;
use crate::webhook::standby::Standby;

/// `0.84s` as seconds.
#[track_caller]
fn seconds(text: &Value) -> f64 {
    let text = text.as_str().and_then(|text| text.strip_suffix('s'));
    text.and_then(|text| text.parse().ok()).expect("seconds")
}

/// Runs `regcred rotate --wait` as an administrator: exit code, stdout and stderr.
pub(crate) async fn wait(cluster: &TestCluster, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = cluster.command(&["rotate", "--wait"]);
    command.args(arguments).env("KUBECONFIG", cluster.kube.kubeconfig());
    let run: Run = command.output().await.expect("regcred runs").into();
    (Some(run.code), run.stdout, run.stderr)
}

async fn until_observed(cluster: &TestCluster, value: &str) {
    let condition = format!("--for=jsonpath={{.status.observedRotate}}={value}");
    let name = format!("cps/{}", cluster.name);
    cluster.kube.kubectl(&["wait", &name, &condition, "--timeout=60s"]).await.expect("kubectl wait ends");
}

#[tokio::test]
async fn last_rotation_reports_trigger_and_duration_of_each_phase() {
    let cluster = test_cluster("by-hand", 20).await;
    let _controller = cluster.start_synced("one").await;
    cluster.put_password("two").await;
    cluster.annotate_rotation(cluster.name, "first").await;
    until_observed(&cluster, "first").await;
    assert_eq!(cluster.out_of_sync("two").await, Vec::<String>::new(), "observed once it is complete");

    let rotation = cluster.status(cluster.name).await["lastRotation"].clone();
    assert_eq!(rotation["trigger"], "Annotation");
    let phases = ["fetch", "firstWrite", "lastWrite"].map(|phase| seconds(&rotation[phase]));
    let whole = seconds(&rotation["propagation"]);
    // Each is rounded to a hundredth.
    assert!(phases.iter().sum::<f64>() <= whole + 0.02 && whole < 10.0, "{rotation}");
}

#[tokio::test]
async fn request_without_a_change_is_answered_by_one_write() {
    let cluster = test_cluster("by-hand-same", 3).await;
    let _controller = cluster.start_synced("one").await;
    cluster.until_idle().await;
    let mark = cluster.mark();
    cluster.annotate_rotation(cluster.name, "again").await;
    until_observed(&cluster, "again").await;
    cluster.until_idle().await;
    let requests = cluster.requests(mark).await;
    let writes: Vec<_> = requests.iter().filter(|it| is_write(it) && it.resource != "leases").collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    until("the status is as before", async || {
        cluster.condition(cluster.name, "Ready").await.starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn request_at_a_lagging_standby_brings_the_new_value() {
    let cluster = test_cluster("by-hand-lag", 2).await;
    cluster.put_password("zero").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let standby = Standby::start(&cluster.vault.address).await;
    let vault = format!("address: \"{}\"", standby.address);
    let manifests = cluster.write(&[&cluster.config_with_vault(&vault, "triggers: {pollInterval: 0s}\n")]);
    let _controller = cluster.controller().manifests(&manifests).start().await;
    cluster.until_synced("zero").await;
    for (lag, password) in [(0, "one"), (1, "two"), (3, "three")] {
        standby.lag(lag);
        cluster.put_password(password).await;
        cluster.annotate_rotation(cluster.name, password).await;
        until_observed(&cluster, password).await;
        assert_eq!(standby.reads(), lag + 1);
        assert_eq!(cluster.out_of_sync(password).await, Vec::<String>::new(), "{lag} old answers");
    }

    standby.lag(0);
    cluster.annotate_rotation(cluster.name, "unchanged").await;
    until_observed(&cluster, "unchanged").await;
    assert_eq!(standby.reads(), 4, "no further reads");
}

#[tokio::test]
async fn rotate_wait_reports_the_controllers_result() {
    let cluster = test_cluster("by-hand-wait", 5).await;
    let _controller = cluster.start_synced("one").await;
    cluster.put_password("two").await;
    let (code, stdout, stderr) = wait(&cluster, &["by-hand-wait"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(cluster.out_of_sync("two").await, Vec::<String>::new());
    let row = stdout.lines().nth(1).expect("a row");
    assert!(row.starts_with("by-hand-wait  InSync  5/5") && row.contains("to the read"), "{stdout}");

    let (code, stdout, _) = wait(&cluster, &["-o", "json"]).await;
    let answers: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &answers["clusterPullSecrets"][0]["rotation"]), (Some(0), &Value::Null), "{stdout}");

    cluster
        .patch_spec(
            cluster.name,
            json!({"registries": [{"host": "ghcr.io", "from": {"store": "down", "key": "k"}}]}),
        )
        .await;
    let (code, stdout, _) = wait(&cluster, &[]).await;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("! by-hand-wait: ghcr.io: store down, key k: "), "{stdout}");
}

#[tokio::test]
async fn rotate_wait_without_a_controller_times_out() {
    let cluster = test_cluster("by-hand-alone", 1).await;
    let (code, _, stderr) = wait(&cluster, &["absent"]).await;
    assert!(
        code == Some(1)
            && stderr.contains("ClusterPullSecret absent not found in the cluster")
            && stderr.contains("hint: create it"),
        "{stderr}"
    );
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let (code, stdout, stderr) = wait(&cluster, &["--timeout", "1s"]).await;
    assert_eq!(code, Some(1));
    let row = "! by-hand-alone: no answer; last status Unknown: it has no status yet";
    assert!(stdout.contains(row), "{stdout}");
    let silence =
        "error: no answer within 1 s from by-hand-alone: no status changed (a store that does not answer";
    assert!(stderr.starts_with(silence), "{stderr}");
}

#[tokio::test]
async fn request_after_a_fix_retries_despite_back_off() {
    let cluster = test_cluster("by-hand-fixed", 2).await;
    let quota = cluster.forbid_secrets(&cluster.namespaces[0]).await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let mark = cluster.mark();
    let _controller = cluster.controller().start().await;
    cluster.until_writes_are_rejected(mark).await;
    cluster.kube.delete(&quota).await.expect("the quota is deleted");
    let (code, stdout, stderr) = wait(&cluster, &[]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(cluster.out_of_sync("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn rotate_wait_reports_a_suspended_object() {
    let cluster = test_cluster("by-hand-asleep", 1).await;
    let _controller = cluster.start_synced("one").await;
    cluster.patch_spec(cluster.name, json!({"suspend": true})).await;
    let (code, stdout, _) = wait(&cluster, &["by-hand-asleep"]).await;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(
        stdout.contains("! by-hand-asleep: nothing is read or written while `suspend` is true"),
        "{stdout}"
    );
    assert_eq!(wait(&cluster, &[]).await.0, Some(0), "it is so on purpose");
}
