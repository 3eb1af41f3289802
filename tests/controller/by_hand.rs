//! Somebody asks for a rotation by the annotation, and wants to know what came of it.

use serde_json::{Value, json};

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
    assert!(stages[2] > 0.0, "twenty writes take a while: {rotation}");
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
