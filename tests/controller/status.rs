//! What `kubectl get clusterpullsecrets` shows, and that it is written only when there is something to say.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::stage::{QUIET, SECRET, Stage, until};

/// The rows of `kubectl get clusterpullsecrets`, word by word.
async fn rows(stage: &Stage) -> Vec<Vec<String>> {
    let table = stage.kube.kubectl(&["get", "clusterpullsecrets"]).await.expect("kubectl");
    table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// `NAMESPACE REASON` of each failure.
fn failures(status: &Value) -> Vec<String> {
    let failures = status["failures"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    failures.iter().map(|it| format!("{} {}", text(&it["namespace"]), text(&it["reason"]))).collect()
}

#[tokio::test]
async fn the_status_says_what_is_in_place() {
    let stage = Stage::new("status", 3).await;
    let _controller = stage.serve("one").await;
    until("it is ready", async || stage.condition("status", "Ready").await.starts_with("True")).await;
    stage.put_password("two").await;
    stage.ask("status").await;
    stage.until_served("two").await;
    until("the new version is told", async || {
        stage.status("status").await["registries"][0]["version"] == "2"
    })
    .await;

    let object = stage.pull_secret_object("status").await.expect("it is there");
    let status = &object["status"];
    assert_eq!(status["observedGeneration"], object["metadata"]["generation"]);
    for kind in ["Ready", "Fetched", "Applied"] {
        let conditions = status["conditions"].as_array().expect("conditions");
        let condition = conditions.iter().find(|it| it["type"] == kind).expect(kind);
        assert_eq!(condition["status"], "True", "{condition}");
        assert_eq!(condition["observedGeneration"], object["metadata"]["generation"]);
        assert!(
            condition["lastTransitionTime"].is_string() && condition["reason"].is_string(),
            "{condition}"
        );
    }
    let registry = &status["registries"][0];
    let of_registry = ["host", "store", "version", "result"].map(|field| registry[field].as_str());
    assert_eq!(of_registry, [Some("ghcr.io"), Some("vault"), Some("2"), Some("Fetched")]);
    assert_eq!(registry["key"], stage.key("ghcr"));
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 3, "failed": 0}));
    assert_eq!(status["serviceAccounts"], json!({"selected": 3, "inSync": 3}));
    assert_eq!(status["lastRotation"]["trigger"], "Annotation");
    assert!(status["lastRotation"]["propagation"].as_str().is_some_and(|it| it.ends_with('s')), "{status}");
    assert_eq!(status["secretNames"], json!([SECRET]));
    assert_eq!(status["failures"].as_array().map_or(0, Vec::len), 0);

    let rows = rows(&stage).await;
    assert_eq!(rows[0], ["NAME", "READY", "REASON", "REGISTRIES", "NAMESPACES", "ROTATED", "AGE"]);
    // What is left are two ages.
    assert_eq!(rows[1][..5], ["status", "True", "InSync", "1/1", "3/3"], "{rows:?}");
    assert_eq!(rows[1].len(), 7, "{rows:?}");
    let short = ["wait", "--for=condition=Ready", "cps/status", "--timeout=5s"];
    stage.kube.kubectl(&short).await.expect("kubectl wait understands the condition");
}

#[tokio::test]
async fn the_status_names_the_namespaces_that_failed_and_why() {
    let stage = Stage::new("status-fail", 3).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"theirs": "x"}});
    stage.kube.post("/api/v1/namespaces/status-fail-000/secrets", &foreign).await.expect("a Secret");
    let quota = stage.forbid_secrets("status-fail-001").await;
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().start().await;
    until("both failures are told", async || failures(&stage.status("status-fail").await).len() == 2).await;

    let status = stage.status("status-fail").await;
    let mut failures = failures(&status);
    failures.sort_unstable();
    assert_eq!(failures, ["status-fail-000 Conflict", "status-fail-001 QuotaExceeded"]);
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 1, "failed": 2}));
    assert!(stage.condition("status-fail", "Applied").await.starts_with("False"));
    assert!(stage.condition("status-fail", "Ready").await == "False ApplyFailed");
    assert!(stage.condition("status-fail", "Fetched").await.starts_with("True"));
    assert_eq!(rows(&stage).await[1][4], "1/3");

    // What was in the way goes away: the foreign Secret is seen at once, the quota by the back-off.
    stage.kube.delete("/api/v1/namespaces/status-fail-000/secrets/regcred").await.expect("a deletion");
    stage.kube.delete(&quota).await.expect("a deletion");
    stage.until_served("one").await;
    until("it is ready", async || stage.condition("status-fail", "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn of_many_failures_ten_are_named_and_all_are_counted() {
    let stage = Stage::new("status-many", 14).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"theirs": "x"}});
    for namespace in &stage.namespaces {
        stage
            .kube
            .post(&format!("/api/v1/namespaces/{namespace}/secrets"), &foreign)
            .await
            .expect("a Secret");
    }
    stage.put_password("one").await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().start().await;
    until("all failures are counted", async || {
        stage.status("status-many").await["namespaces"] == json!({"selected": 14, "inSync": 0, "failed": 14})
    })
    .await;
    assert_eq!(failures(&stage.status("status-many").await).len(), 10);
}

#[tokio::test]
async fn a_status_is_written_only_when_it_says_something_new() {
    let stage = Stage::new("status-quiet", 2).await;
    let _controller = stage.serve_with("one", "refreshInterval", json!("10s")).await;
    until("it is ready", async || stage.condition("status-quiet", "Ready").await.starts_with("True")).await;
    stage.until_quiet().await;
    let (mark, vault_mark) = (stage.mark(), stage.vault_mark());
    until("a refresh", async || stage.reads("ghcr", vault_mark) > 0).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(stage.writes(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_store_that_is_not_configured_is_told_and_delays_nobody() {
    let stage = Stage::new("status-store", 1).await;
    let mut unknown = stage.cluster_pull_secret("unknown");
    unknown["spec"]["secretName"] = json!("second");
    unknown["spec"]["registries"][0]["from"]["store"] = json!("nowhere");
    stage.apply(&unknown).await;
    let _controller = stage.serve("one").await;
    until("it is told", async || {
        let status = stage.status("unknown").await;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|it| it["type"] == "Ready");
        ready.is_some_and(|it| {
            let place = "spec.registries[0].from.store: no store has this name";
            it["reason"] == "Invalid" && it["message"].as_str().is_some_and(|it| it.contains(place))
        })
    })
    .await;
    assert!(stage.secrets_named("second").await.is_empty());
}

#[tokio::test]
async fn a_key_that_is_missing_is_told_and_heals_when_it_is_there() {
    let stage = Stage::new("status-key", 1).await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let _controller = stage.controller().start().await;
    until("the key is said to be missing", async || {
        stage.condition("status-key", "Fetched").await == "False NotFound"
    })
    .await;
    assert!(stage.secrets().await.is_empty());
    stage.put_password("one").await;
    stage.ask("status-key").await;
    stage.until_served("one").await;
    until("it is ready", async || stage.condition("status-key", "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn the_metrics_say_who_is_ready_and_nothing_of_who_is_suspended_or_gone() {
    let stage = Stage::new("status-ready", 1).await;
    let controller = stage.serve("one").await;
    let until_it_is = async |expect: Option<f64>| {
        let metric = r#"regcred_ready{cluster_pull_secret="status-ready"}"#;
        until("the metric says so", async || controller.metric(metric).await == expect).await;
    };
    until_it_is(Some(1.0)).await;
    stage.respec(stage.name, json!({"suspend": true})).await;
    until_it_is(None).await;
    stage.respec(stage.name, json!({"suspend": false})).await;
    until_it_is(Some(1.0)).await;
    // A mistake that the API server cannot know.
    let unknown = json!([{"host": "ghcr.io", "from": {"store": "nowhere", "key": "k"}}]);
    stage.respec(stage.name, json!({"registries": unknown})).await;
    until_it_is(Some(0.0)).await;
    stage.kube.delete(&format!("{}/{}", crate::stage::PULL_SECRETS, stage.name)).await.expect("a deletion");
    until_it_is(None).await;
}

#[tokio::test]
async fn the_metric_of_a_leader_that_has_read_nothing_yet_is_that_of_the_one_before() {
    let stage = Stage::new("status-blind", 1).await;
    stage.apply(&stage.cluster_pull_secret(stage.name)).await;
    let before = stage.controller().start().await;
    until("the missing key is told", async || {
        stage.condition(stage.name, "Ready").await == "False FetchFailed"
    })
    .await;
    before.terminate().await;
    // Connections are taken and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let config = stage.config("").replace(&stage.vault.address, &address);
    let controller = stage.controller().of(&stage.write(&[&config])).start().await;
    let ready = async || controller.metric(r#"regcred_ready{cluster_pull_secret="status-blind"}"#).await;
    until("it is measured", async || ready().await.is_some()).await;
    assert_eq!(ready().await, Some(0.0));
}
