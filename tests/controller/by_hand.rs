//! Somebody asks for a rotation by the annotation, and wants to know what came of it.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::stage::{Stage, is_write, until};

/// `0.84s` as seconds.
#[track_caller]
fn seconds(text: &Value) -> f64 {
    let text = text.as_str().and_then(|text| text.strip_suffix('s'));
    text.and_then(|text| text.parse().ok()).expect("seconds")
}

async fn rotate(stage: &Stage, value: &str) {
    let change = json!({"metadata": {"annotations": {"regcred.dev/rotate": value}}});
    let path = format!("{}/{}", crate::stage::PULL_SECRETS, stage.name);
    stage.kube.patch(&path, &change).await.expect("an annotation");
}

/// `regcred rotate --wait` as a person runs it: exit code, stdout and stderr.
async fn wait(stage: &Stage, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_regcred"))
        .args(["rotate", "--wait"])
        .args(arguments)
        .env("KUBECONFIG", stage.kube.kubeconfig())
        .output()
        .await
        .expect("regcred runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

async fn until_observed(stage: &Stage, value: &str) {
    let condition = format!("--for=jsonpath={{.status.observedRotate}}={value}");
    let name = format!("cps/{}", stage.name);
    stage.kube.kubectl(&["wait", &name, &condition, "--timeout=60s"]).await.expect("kubectl wait ends");
}

#[tokio::test]
async fn the_last_rotation_tells_its_trigger_and_how_long_each_stage_took() {
    let stage = Stage::new("by-hand", 20).await;
    let _controller = stage.serve("one").await;
    stage.put_password("two").await;
    rotate(&stage, "first").await;
    until_observed(&stage, "first").await;
    assert_eq!(stage.unserved("two").await, Vec::<String>::new(), "it was observed when it was done");

    let rotation = stage.status(stage.name).await["lastRotation"].clone();
    assert_eq!(rotation["trigger"], "Annotation");
    let stages = ["fetch", "firstWrite", "lastWrite"].map(|stage| seconds(&rotation[stage]));
    let whole = seconds(&rotation["propagation"]);
    // Each is rounded to a hundredth.
    assert!(stages.iter().sum::<f64>() <= whole + 0.02 && whole < 10.0, "{rotation}");
}

#[tokio::test]
async fn who_asks_where_nothing_changed_is_told_so_by_one_write() {
    let stage = Stage::new("by-hand-same", 3).await;
    let _controller = stage.serve("one").await;
    stage.until_quiet().await;
    let mark = stage.mark();
    rotate(&stage, "again").await;
    until_observed(&stage, "again").await;
    stage.until_quiet().await;
    let requests = stage.requests(mark).await;
    let writes: Vec<_> = requests.iter().filter(|it| is_write(it) && it.resource != "leases").collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    until("the status is that of before", async || {
        stage.condition(stage.name, "Ready").await.starts_with("True")
    })
    .await;
}

#[tokio::test]
async fn rotate_wait_tells_what_the_controller_did() {
    let stage = Stage::new("by-hand-wait", 5).await;
    let _controller = stage.serve("one").await;
    stage.put_password("two").await;
    let (code, stdout, stderr) = wait(&stage, &["by-hand-wait"]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stage.unserved("two").await, Vec::<String>::new());
    let row = stdout.lines().nth(1).expect("a row");
    assert!(row.starts_with("by-hand-wait  InSync  5/5") && row.contains("to the read"), "{stdout}");

    let (code, stdout, _) = wait(&stage, &["-o", "json"]).await;
    let answers: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &answers["clusterPullSecrets"][0]["rotation"]), (Some(0), &Value::Null), "{stdout}");

    stage
        .respec(
            stage.name,
            json!({"registries": [{"host": "ghcr.io", "from": {"store": "down", "key": "k"}}]}),
        )
        .await;
    let (code, stdout, _) = wait(&stage, &[]).await;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("! by-hand-wait: ghcr.io: store down, key k: "), "{stdout}");
}

#[tokio::test]
async fn rotate_wait_ends_where_nobody_answers() {
    let stage = Stage::new("by-hand-alone", 1).await;
    let (code, _, stderr) = wait(&stage, &["absent"]).await;
    assert!(
        code == Some(1)
            && stderr.contains("ClusterPullSecret absent not found in the cluster")
            && stderr.contains("hint: create it"),
        "{stderr}"
    );
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let (code, stdout, stderr) = wait(&stage, &["--timeout", "1s"]).await;
    assert_eq!(code, Some(1));
    let row = "! by-hand-alone: no answer; last status Unknown: it has no status yet";
    assert!(stdout.contains(row), "{stdout}");
    let silence =
        "error: no answer within 1 s from by-hand-alone: no status changed (a store that does not answer";
    assert!(stderr.starts_with(silence), "{stderr}");
}

#[tokio::test]
async fn who_mended_what_failed_and_asks_is_answered_by_another_try() {
    let stage = Stage::new("by-hand-mended", 2).await;
    let quota = stage.forbid_secrets(&stage.namespaces[0]).await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let mark = stage.mark();
    let _controller = stage.controller().start().await;
    // By then it is not tried again for several seconds.
    until("the quota is met several times", async || {
        let mut requests = stage.requests(mark).await;
        requests.retain(|it| it.verb == "create" && it.resource == "secrets" && it.code == 403);
        requests.len() >= 4
    })
    .await;
    stage.kube.delete(&quota).await.expect("the quota goes");
    let (code, stdout, stderr) = wait(&stage, &[]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stage.unserved("one").await, Vec::<String>::new());
}

#[tokio::test]
async fn who_asks_for_one_that_is_suspended_is_told_so() {
    let stage = Stage::new("by-hand-asleep", 1).await;
    let _controller = stage.serve("one").await;
    stage.respec(stage.name, json!({"suspend": true})).await;
    let (code, stdout, _) = wait(&stage, &["by-hand-asleep"]).await;
    assert_eq!(code, Some(1), "{stdout}");
    assert!(
        stdout.contains("! by-hand-asleep: nothing is read or written while `suspend` is true"),
        "{stdout}"
    );
    assert_eq!(wait(&stage, &[]).await.0, Some(0), "it is so on purpose");
}
