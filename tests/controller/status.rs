//! The status: the columns of `kubectl get clusterpullsecrets`, and no write without a change.

use std::net::TcpListener;

use harness::{SECRET, TestCluster, text, until};
use serde_json::{Value, json};

use crate::cluster::{QUIET, test_cluster};
use crate::controller::{Controller, RunController as _};

/// The rows of `kubectl get clusterpullsecrets`, word by word.
async fn rows(cluster: &TestCluster) -> Vec<Vec<String>> {
    let table = cluster.kube.kubectl(&["get", "clusterpullsecrets"]).await.expect("kubectl");
    table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// `NAMESPACE REASON` of each failure.
fn failures(status: &Value) -> Vec<String> {
    let failures = status["failures"].as_array().cloned().unwrap_or_default();
    failures.iter().map(|it| format!("{} {}", text(&it["namespace"]), text(&it["reason"]))).collect()
}

#[tokio::test]
async fn status_reports_what_is_in_sync() {
    let cluster = test_cluster("status", 3).await;
    let _controller = cluster.start_synced("one").await;
    until("it is ready", async || cluster.condition("status", "Ready").await.starts_with("True")).await;
    cluster.put_password("two").await;
    cluster.request_rotation("status").await;
    cluster.until_synced("two").await;
    until("the new version is reported", async || {
        cluster.status("status").await["registries"][0]["version"] == "2"
    })
    .await;

    let object = cluster.get_cluster_pull_secret("status").await.expect("it is there");
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
    let fields = ["host", "store", "version", "result"].map(|field| registry[field].as_str());
    assert_eq!(fields, [Some("ghcr.io"), Some("vault"), Some("2"), Some("Fetched")]);
    assert_eq!(registry["key"], cluster.key("ghcr"));
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 3, "failed": 0}));
    assert_eq!(status["serviceAccounts"], json!({"selected": 3, "inSync": 3}));
    assert_eq!(status["lastRotation"]["trigger"], "Annotation");
    assert!(status["lastRotation"]["propagation"].as_str().is_some_and(|it| it.ends_with('s')), "{status}");
    assert_eq!(status["secretNames"], json!([SECRET]));
    assert_eq!(status["failures"].as_array().map_or(0, Vec::len), 0);

    let rows = rows(&cluster).await;
    assert_eq!(rows[0], ["NAME", "READY", "REASON", "REGISTRIES", "NAMESPACES", "ROTATED", "AGE"]);
    // The remaining columns are two ages.
    assert_eq!(rows[1][..5], ["status", "True", "InSync", "1/1", "3/3"], "{rows:?}");
    assert_eq!(rows[1].len(), 7, "{rows:?}");
    let short = ["wait", "--for=condition=Ready", "cps/status", "--timeout=5s"];
    cluster.kube.kubectl(&short).await.expect("kubectl wait understands the condition");
}

#[tokio::test]
async fn bad_entry_is_named_and_its_neighbours_arrive() {
    let mut cluster = test_cluster("status-entry", 2).await;
    let config = |a: &str, b: Value| {
        let entry = json!({"username": "robot", "password": a});
        json!({"auths": {"a.example.com": entry, "b.example.com": b}})
    };
    cluster.put("config", &config("one", json!({"username": "robot", "password": "kept"}))).await;
    let mut object = cluster.cluster_pull_secret("status-entry");
    object["spec"]["registries"] = json!([{"from": {"store": "vault", "key": cluster.key("config")}}]);
    cluster.apply(&object).await;
    let _controller = cluster.controller().start().await;
    until("it is ready", async || cluster.condition("status-entry", "Ready").await.starts_with("True")).await;

    let mut bad = config("two", json!({}));
    bad["auths"]["registry"] = json!({"username": "robot", "password": "x"});
    cluster.put("config", &bad).await;
    cluster.request_rotation("status-entry").await;
    until("the bad entries are reported", async || {
        let message = text(&cluster.status("status-entry").await["registries"][0]["message"]);
        let parts = ["entry for b.example.com: ", "key `registry`"];
        cluster.condition("status-entry", "Fetched").await == "False Malformed"
            && parts.iter().all(|part| message.contains(part))
    })
    .await;
    // A new namespace gets what the others have.
    cluster.add_namespace("status-entry-late").await;
    for namespace in cluster.namespaces.clone() {
        until("the good entry arrives and the bad one is kept", async || {
            json!(cluster.passwords(&namespace).await)
                == json!({"a.example.com": "two", "b.example.com": "kept"})
        })
        .await;
    }
    cluster.put("config", &config("three", json!({"username": "robot", "password": "new"}))).await;
    cluster.request_rotation("status-entry").await;
    until("it is ready again", async || cluster.condition("status-entry", "Ready").await.starts_with("True"))
        .await;
    let expect = json!({"a.example.com": "three", "b.example.com": "new"});
    assert_eq!(json!(cluster.passwords("status-entry-late").await), expect);
}

#[tokio::test]
async fn status_names_failed_namespaces_and_reasons() {
    let cluster = test_cluster("status-fail", 3).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"foreign": "x"}});
    cluster.kube.post("/api/v1/namespaces/status-fail-000/secrets", &foreign).await.expect("a Secret");
    let quota = cluster.forbid_secrets("status-fail-001").await;
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().start().await;
    until("both failures are reported", async || failures(&cluster.status("status-fail").await).len() == 2)
        .await;

    let status = cluster.status("status-fail").await;
    let mut failures = failures(&status);
    failures.sort_unstable();
    assert_eq!(failures, ["status-fail-000 Conflict", "status-fail-001 QuotaExceeded"]);
    assert_eq!(status["namespaces"], json!({"selected": 3, "inSync": 1, "failed": 2}));
    assert!(cluster.condition("status-fail", "Applied").await.starts_with("False"));
    assert!(cluster.condition("status-fail", "Ready").await == "False ApplyFailed");
    assert!(cluster.condition("status-fail", "Fetched").await.starts_with("True"));
    assert_eq!(rows(&cluster).await[1][4], "1/3");

    // Both obstacles are removed: the watch reports the Secret at once, the back-off retries after the quota.
    cluster.kube.delete("/api/v1/namespaces/status-fail-000/secrets/regcred").await.expect("a deletion");
    cluster.kube.delete(&quota).await.expect("a deletion");
    cluster.until_synced("one").await;
    until("it is ready", async || cluster.condition("status-fail", "Ready").await.starts_with("True")).await;
}

#[tokio::test]
async fn many_failures_are_counted_and_ten_are_named() {
    let cluster = test_cluster("status-many", 14).await;
    let foreign = json!({"metadata": {"name": SECRET}, "stringData": {"foreign": "x"}});
    for namespace in &cluster.namespaces {
        cluster
            .kube
            .post(&format!("/api/v1/namespaces/{namespace}/secrets"), &foreign)
            .await
            .expect("a Secret");
    }
    cluster.put_password("one").await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().start().await;
    until("all failures are counted", async || {
        cluster.status("status-many").await["namespaces"]
            == json!({"selected": 14, "inSync": 0, "failed": 14})
    })
    .await;
    assert_eq!(failures(&cluster.status("status-many").await).len(), 10);
}

#[tokio::test]
async fn unchanged_status_is_not_written() {
    let cluster = test_cluster("status-quiet", 2).await;
    let _controller = cluster.start_synced_with("one", "refreshInterval", json!("10s")).await;
    until("it is ready", async || cluster.condition("status-quiet", "Ready").await.starts_with("True")).await;
    cluster.until_idle().await;
    let (mark, vault_mark) = (cluster.mark(), cluster.vault_mark());
    until("a refresh", async || cluster.vault_reads("ghcr", vault_mark) > 0).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cluster.writes(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn unknown_store_is_reported_and_delays_no_other_object() {
    let cluster = test_cluster("status-store", 1).await;
    let mut unknown = cluster.cluster_pull_secret("unknown");
    unknown["spec"]["secretName"] = json!("second");
    unknown["spec"]["registries"][0]["from"]["store"] = json!("nowhere");
    cluster.apply(&unknown).await;
    let _controller = cluster.start_synced("one").await;
    until("the mistake is reported", async || {
        let status = cluster.status("unknown").await;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|it| it["type"] == "Ready");
        ready.is_some_and(|it| {
            let place = "spec.registries[0].from.store: no store has this name";
            it["reason"] == "Invalid" && it["message"].as_str().is_some_and(|it| it.contains(place))
        })
    })
    .await;
    assert!(cluster.secrets_named("second").await.is_empty());
}

#[tokio::test]
async fn missing_key_is_reported_and_recovers() {
    let cluster = test_cluster("status-key", 1).await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let _controller = cluster.controller().start().await;
    until("the missing key is reported", async || {
        cluster.condition("status-key", "Fetched").await == "False NotFound"
    })
    .await;
    assert!(cluster.secrets().await.is_empty());
    cluster.put_password("one").await;
    cluster.request_rotation("status-key").await;
    cluster.until_synced("one").await;
    until("it is ready", async || cluster.condition("status-key", "Ready").await.starts_with("True")).await;
}

async fn until_ready_is(controller: &Controller, expect: Option<f64>) {
    let metric = r#"regcred_ready{cluster_pull_secret="status-ready"}"#;
    until("the metric has the value", async || controller.metric(metric).await == expect).await;
}

#[tokio::test]
async fn ready_metric_is_absent_for_suspended_and_deleted_objects() {
    let cluster = test_cluster("status-ready", 1).await;
    let controller = cluster.start_synced("one").await;
    until_ready_is(&controller, Some(1.0)).await;
    cluster.patch_spec(cluster.name, json!({"suspend": true})).await;
    until_ready_is(&controller, None).await;
    cluster.patch_spec(cluster.name, json!({"suspend": false})).await;
    until_ready_is(&controller, Some(1.0)).await;
    // A mistake that the API server cannot detect.
    let unknown = json!([{"host": "ghcr.io", "from": {"store": "nowhere", "key": "k"}}]);
    cluster.patch_spec(cluster.name, json!({"registries": unknown})).await;
    until_ready_is(&controller, Some(0.0)).await;
    cluster
        .kube
        .delete(&format!("{}/{}", harness::CLUSTER_PULL_SECRETS, cluster.name))
        .await
        .expect("a deletion");
    until_ready_is(&controller, None).await;
}

#[tokio::test]
async fn new_leader_inherits_ready_metric_before_its_first_fetch() {
    let cluster = test_cluster("status-blind", 1).await;
    cluster.apply(&cluster.cluster_pull_secret(cluster.name)).await;
    let before = cluster.controller().start().await;
    until("the missing key is reported", async || {
        cluster.condition(cluster.name, "Ready").await == "False FetchFailed"
    })
    .await;
    before.terminate().await;
    // Connections are accepted and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", silent.local_addr().expect("an address"));
    let config = cluster.config("").replace(&cluster.vault.address, &address);
    let controller = cluster.controller().manifests(&cluster.write(&[&config])).start().await;
    let ready = r#"regcred_ready{cluster_pull_secret="status-blind"}"#;
    until("the metric is exported", async || controller.metric(ready).await.is_some()).await;
    assert_eq!(controller.metric(ready).await, Some(0.0));
}
