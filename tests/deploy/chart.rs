//! The chart, rendered without a cluster.

use serde_json::{Value, json};

use crate::rendering::{chart, helm, objects, pod, read};

#[tokio::test]
async fn helm_lint_finds_nothing() {
    let lint = helm(&["lint", "--strict"], &[]).await.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(!lint.contains("[WARNING]") && !lint.contains("[ERROR]"), "{lint}");
}

#[test]
fn chart_versions_match_the_crate() {
    let chart: Value = serde_saphyr::from_str(&read("chart/Chart.yaml")).expect("YAML");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
}

#[tokio::test]
async fn every_rbac_rule_has_a_comment_with_its_reason() {
    for controller in ["controller=true", "controller=false"] {
        let text = chart(&["--set", controller]).await;
        let lines: Vec<&str> = text.lines().collect();
        let mut seen = 0;
        for pair in lines.windows(2).filter(|pair| pair[1].starts_with("  - apiGroups:")) {
            assert!(pair[0].starts_with("  # "), "{controller}: a rule without a reason, below: {}", pair[0]);
            seen += 1;
        }
        let objects = objects(&text);
        let roles = objects.values().filter(|it| it["kind"] == "ClusterRole" || it["kind"] == "Role");
        let written: usize = roles.map(|it| it["rules"].as_array().map_or(0, Vec::len)).sum();
        assert_eq!(seen, written, "{controller}: rules that this test did not find");
    }
}

#[tokio::test]
async fn secret_names_limit_the_rule_for_reading_secrets() {
    let objects = objects(&chart(&["--set", "secretNames={regcred,other}"]).await);
    let rules = objects["ClusterRole regcred"]["rules"].as_array().expect("rules");
    let secret_rules: Vec<&Value> = rules.iter().filter(|it| it["resources"] == json!(["secrets"])).collect();
    let [named, creation] = secret_rules.as_slice() else { panic!("{secret_rules:?}") };
    assert_eq!(named["resourceNames"], json!(["regcred", "other"]));
    assert_eq!(creation["verbs"], json!(["create"]));
    for policy in ["regcred", "regcred-serviceaccounts"] {
        let variables = &objects[&format!("ValidatingAdmissionPolicy {policy}")]["spec"]["variables"];
        let listed = json!({"name": "secretNames", "expression": r#"["regcred","other"]"#});
        assert_eq!(variables[0], listed, "{policy}");
    }
}

#[tokio::test]
async fn last_good_shards_are_named_in_role_and_policy() {
    let objects = objects(&chart(&["--set", "lastGoodShards=18"]).await);
    let names = &objects["Role regcred"]["rules"][0]["resourceNames"];
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert_eq!((names.len(), names[17], names[18]), (19, "regcred-last-good-17", "regcred-ownership-key"));
    let policy = objects["ValidatingAdmissionPolicy regcred"].to_string();
    assert!(policy.contains("regcred-last-good-17") && !policy.contains("regcred-last-good-18"), "{policy}");
}

#[tokio::test]
async fn policy_for_the_crd_is_rendered_only_if_enabled() {
    const POLICY: &str = "ValidatingAdmissionPolicy regcred-crd";
    assert_eq!(objects(&chart(&[]).await).get(POLICY), None);
    assert!(objects(&chart(&["--set", "refuseCrdDeletion=true"]).await).contains_key(POLICY));
}

#[tokio::test]
async fn chart_without_controller_has_only_account_and_rights() {
    let objects = objects(&chart(&["--set", "controller=false"]).await);
    let kinds: Vec<&str> = objects.keys().filter_map(|key| key.split(' ').next()).collect();
    assert_eq!(
        kinds,
        [
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "ServiceAccount",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingAdmissionPolicyBinding",
        ]
    );
}

#[tokio::test]
async fn service_monitor_is_rendered_only_if_enabled() {
    const MONITOR: &str = "ServiceMonitor regcred";
    assert_eq!(objects(&chart(&[]).await).get(MONITOR), None);
    let enabled =
        ["--set", "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus"];
    let objects = objects(&chart(&enabled).await);
    let monitor = objects.get(MONITOR).expect("a ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(
        monitor["spec"]["endpoints"],
        json!([{"port": "http", "path": "/metrics", "interval": "30s"}])
    );
}

/// Returns the checksum of the Config in the chart with these arguments.
async fn checksum(arguments: &[&str]) -> Value {
    pod(&objects(&chart(arguments).await))["metadata"]["annotations"]["checksum/config"].clone()
}

#[tokio::test]
async fn changed_config_changes_the_pod_template() {
    let before = checksum(&[]).await;
    let same = checksum(&["--set", "replicas=3"]).await;
    let other = ["--set", "config.stores[0].name=files,config.stores[0].file.directory=/elsewhere"];
    let after = checksum(&other).await;
    assert!(before.is_string() && before == same && before != after, "{before} {same} {after}");
}

#[tokio::test]
async fn default_config_of_the_chart_is_valid() {
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
async fn image_reference_prefers_digest_to_tag_to_version() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let with_digest = format!("image.repository=r.example/regcred,image.tag=next,image.digest={digest}");
    for (set, expected) in [
        ("replicas=2", format!("regcred:{}", env!("CARGO_PKG_VERSION"))),
        ("image.tag=next", "regcred:next".to_owned()),
        (with_digest.as_str(), format!("r.example/regcred@{digest}")),
    ] {
        let objects = objects(&chart(&["--set", set]).await);
        assert_eq!(pod(&objects)["spec"]["containers"][0]["image"], expected, "{set}");
    }
}

#[tokio::test]
async fn names_of_another_release_are_distinct() {
    let text =
        helm(&["template", "other", "--namespace", "elsewhere"], &[]).await.expect("the chart renders");
    for (key, object) in objects(&text) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        assert!(name.starts_with("other-regcred"), "{key}");
        let namespace = &object["metadata"]["namespace"];
        assert!(namespace.is_null() || namespace == "elsewhere", "{key}");
    }
    let account = "system:serviceaccount:elsewhere:other-regcred";
    assert!(text.contains(account), "the policy does not name {account}");
}
