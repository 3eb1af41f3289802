//! The chart by itself.

use serde_json::{Value, json};

use crate::rendering::{chart, helm, objects, pod, read};

#[tokio::test]
async fn helm_lint_finds_nothing() {
    let lint = helm(&["lint", "--strict"], &[]).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!lint.contains("[WARNING]") && !lint.contains("[ERROR]"), "{lint}");
}

#[test]
fn its_versions_are_that_of_the_crate() {
    let chart: Value = serde_saphyr::from_str(&read("chart/Chart.yaml")).expect("YAML");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

#[tokio::test]
async fn every_rule_has_its_reason_beside_it() {
    for controller in ["controller=true", "controller=false"] {
        let text = chart(&["--set", controller]).await;
        let lines: Vec<&str> = text.lines().collect();
        let mut seen = 0;
        for pair in lines.windows(2).filter(|pair| pair[1].starts_with("  - apiGroups:")) {
            assert!(pair[0].starts_with("  # "), "{controller}: a rule stands below: {}", pair[0]);
            seen += 1;
        }
        let objects = objects(&text);
        let roles = objects.values().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role");
        let written: usize = roles.map(|it| it["rules"].as_array().map_or(0, Vec::len)).sum();
        assert_eq!(seen, written, "{controller}: rules that this test did not see");
    }
}

#[tokio::test]
async fn secret_names_reach_the_rule_and_nothing_else_of_secrets_is_read() {
    let objects = objects(&chart(&["--set", "secretNames={regcred,other}"]).await);
    let rules = objects["ClusterRole regcred"]["rules"].as_array().expect("rules");
    let of_secrets: Vec<&Value> = rules.iter().filter(|it| it["resources"] == json!(["secrets"])).collect();
    let [named, creation] = of_secrets.as_slice() else { panic!("{of_secrets:?}") };
    assert_eq!(named["resourceNames"], json!(["regcred", "other"]));
    assert_eq!(creation["verbs"], json!(["create"]));
}

#[tokio::test]
async fn without_the_controller_there_are_only_the_account_and_its_rights() {
    let objects = objects(&chart(&["--set", "controller=false"]).await);
    let kinds: Vec<&str> = objects.keys().filter_map(|key| key.split(' ').next()).collect();
    assert_eq!(
        kinds,
        [
            "ClusterRole",
            "ClusterRoleBinding",
            "ServiceAccount",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ]
    );
}

#[tokio::test]
async fn a_service_monitor_is_there_only_when_asked_for() {
    let monitor = |text: &str| objects(text).remove("ServiceMonitor regcred");
    assert_eq!(monitor(&chart(&[]).await), None);
    let asked =
        ["--set", "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus"];
    let monitor = monitor(&chart(&asked).await).expect("a ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(
        monitor["spec"]["endpoints"],
        json!([{"port": "http", "path": "/metrics", "interval": "30s"}])
    );
}

#[tokio::test]
async fn another_config_is_another_pod() {
    let checksum = |text: &str| pod(&objects(text))["metadata"]["annotations"]["checksum/config"].clone();
    let before = checksum(&chart(&[]).await);
    let same = checksum(&chart(&["--set", "replicas=3"]).await);
    let other = ["--set", "config.stores[0].name=files,config.stores[0].file.directory=/elsewhere"];
    let after = checksum(&chart(&other).await);
    assert!(before.is_string() && before == same && before != after, "{before} {same} {after}");
}

#[tokio::test]
async fn the_config_of_the_chart_holds_no_mistake() {
    let objects = objects(&chart(&[]).await);
    let directory = tempfile::tempdir().expect("a directory");
    let config = objects["ConfigMap regcred-config"]["data"]["config.yaml"].as_str().expect("a Config");
    std::fs::write(directory.path().join("config.yaml"), config).expect("a file");
    let directory = directory.path().to_owned();
    let manifests = regcred::manifest::read(std::slice::from_ref(&directory), &directory);
    let manifests = manifests.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(manifests.stores.first().map(|it| it.name.as_str()), Some("files"));
}

#[tokio::test]
async fn the_image_is_named_by_digest_before_tag_before_version() {
    let image = |text: &str| pod(&objects(text))["spec"]["containers"][0]["image"].clone();
    let digest = format!("sha256:{}", "0".repeat(64));
    let with_digest = format!("image.repository=r.example/regcred,image.tag=next,image.digest={digest}");
    for (set, expected) in [
        ("replicas=2", format!("regcred:{}", env!("CARGO_PKG_VERSION"))),
        ("image.tag=next", "regcred:next".to_owned()),
        (with_digest.as_str(), format!("r.example/regcred@{digest}")),
    ] {
        assert_eq!(image(&chart(&["--set", set]).await), expected, "{set}");
    }
}

#[tokio::test]
async fn a_release_of_another_name_shares_no_name_with_this_one() {
    let text =
        helm(&["template", "other", "--namespace", "elsewhere"], &[]).await.expect("the chart renders");
    for (key, object) in objects(&text) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        assert!(name.starts_with("other-regcred"), "{key}");
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "elsewhere", "{key}");
    }
    let account = "system:serviceaccount:elsewhere:other-regcred";
    assert!(text.contains(account), "the policy knows the account by {account}");
}
