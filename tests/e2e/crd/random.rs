//! Random texts: the validation of files and the API server agree on each of them.

use std::collections::BTreeSet;

use harness::{CLUSTER_PULL_SECRETS, text};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use world::Kube;

use super::{check, kube};

/// The stand-in for the field of an error that a file and the API server report at different fields.
const ONCE: &str = "list each registry only once";

/// The invalid fields of a spec by the validation and by the API server.
async fn invalid_fields(kube: &Kube, spec: &Value) -> [BTreeSet<String>; 2] {
    let (version, metadata) = ("regcred.dev/v1alpha1", json!({"name": "random"}));
    let object =
        json!({"apiVersion": version, "kind": "ClusterPullSecret", "metadata": metadata, "spec": spec});
    let mistakes = check(&object.to_string()).err().map(|mistakes| mistakes.0).unwrap_or_default();
    let of_check = mistakes.into_iter().map(|mistake| (mistake.path, mistake.detail)).collect();
    let path = format!("{CLUSTER_PULL_SECRETS}?dryRun=All&fieldValidation=Strict");
    let of_api_server = match kube.post(&path, &object).await {
        Ok(_) => Vec::new(),
        Err(error) => causes(&error.to_string()),
    };
    [of_check, of_api_server].map(|mistakes: Vec<_>| mistakes.into_iter().map(comparable_field).collect())
}

fn comparable_field((field, message): (String, String)) -> String {
    if message.contains(ONCE) { ONCE.to_owned() } else { field }
}

/// The causes of the Status at the end of an error.
fn causes(error: &str) -> Vec<(String, String)> {
    let start = error.find('{').expect("a Status");
    let status: Value = serde_json::from_str(&error[start..]).expect("a Status");
    let causes = status["details"]["causes"].as_array().unwrap_or_else(|| panic!("no causes: {error}"));
    causes.iter().map(|cause| (text(&cause["field"]), text(&cause["message"]))).collect()
}

/// Generates `times` specs with `texts` texts each by a pattern, and compares their invalid fields among those that
/// `is_compared` selects.
async fn agree(
    pattern: &str,
    times: usize,
    texts: usize,
    is_compared: fn(&str) -> bool,
    spec: impl Fn(Vec<String>) -> Value,
) {
    let kube = kube().await;
    let strategy = proptest::string::string_regex(pattern).expect("a pattern");
    let mut runner = TestRunner::deterministic();
    let mut count = 0;
    for _ in 0..times {
        let texts = (0..texts).map(|_| strategy.new_tree(&mut runner).expect("a text").current());
        let spec = spec(texts.collect());
        let [of_check, of_api_server] = invalid_fields(kube, &spec).await.map(|mut fields| {
            fields.retain(|field| is_compared(field));
            fields
        });
        let differing: Vec<_> = of_check.symmetric_difference(&of_api_server).collect();
        assert!(differing.is_empty(), "{differing:?} of {spec}\nby the check: {of_check:?}");
        count += of_check.len();
    }
    // Otherwise the pattern tests nothing.
    assert!(count > 0 && count < times * texts, "{count} of {} are wrong: {pattern}", times * texts);
}

fn any(_: &str) -> bool {
    true
}

/// A spec with a registry for each text, each with its own host.
fn registries(texts: &[String], registry: impl Fn(&str) -> Value) -> Value {
    let mut registries: Vec<_> = texts.iter().map(|text| registry(text)).collect();
    for (n, registry) in registries.iter_mut().enumerate() {
        registry["host"] = json!(format!("r{n}.example.com"));
    }
    json!({"registries": registries})
}

/// A spec with a registry for each host.
fn hosts(texts: Vec<String>) -> Value {
    let items: Vec<_> = texts.iter().map(|host| (host.as_str(), "files", "a")).collect();
    json!({"registries": harness::registries(&items)})
}

#[tokio::test]
async fn hosts_are_judged_alike() {
    let known = r"(https?://|HTTPS://|http:/|ftp://)?(ghcr\.io|GHCR\.IO|localhost|x|a_b\.c|\*\.a\.io|\[fd00::1\]:1|\[1:2:3:4:5:6:7:8\]|r:5000|hub\.docker\.com)(/v[12]|/[a-zA-Z._-]{0,4}|:[0-9*]{0,5}|//?|\*|[@?#\\ ü%]){0,3}";
    let strange = r"(https?://)?[abA01.*:/@\[\]_ -]{0,8}";
    for pattern in [known, strange] {
        // Two bad hosts may be equal to the API server, which has no key for them.
        agree(pattern, 20, 64, |field| field != ONCE, hosts).await;
    }
}

#[tokio::test]
async fn equal_hosts_are_judged_alike() {
    let spelled = r"(https?://|HTTP://)?(ghcr\.io|Ghcr\.io|docker\.io|index\.docker\.io|INDEX\.docker\.io|my-index\.docker\.io|index\.docker\.io:443)(/|/v1|/v2/|/v1/a|/a|/a/|/a/v2)?";
    agree(spelled, 80, 4, any, hosts).await;
}

#[tokio::test]
async fn texts_are_judged_alike() {
    let texts = "[ab:./ \u{a0}\u{85}\u{2028}\t\u{1}-]{0,4}";
    agree(texts, 10, 64, any, |texts| {
        registries(&texts, |text| json!({"from": {"store": "files", "key": text}}))
    })
    .await;
    let braces = r"(a|/|[{}]|\{\{|\}\}|\{\{namespace\}\}){1,4}";
    agree(braces, 10, 64, any, |texts| {
        registries(&texts, |text| json!({"from": {"store": "files", "key": text}}))
    })
    .await;
    agree(texts, 10, 64, any, |texts| {
        registries(&texts, |text| json!({"username": text, "from": {"store": "files", "key": "a"}}))
    })
    .await;
}

/// A spec with these namespaces and ServiceAccounts.
fn around(namespaces: &Value, service_accounts: &Value) -> Value {
    json!({
        "registries": [{"host": "ghcr.io", "from": {"store": "files", "key": "a"}}],
        "namespaces": namespaces,
        "serviceAccounts": service_accounts,
    })
}

#[tokio::test]
async fn names_globs_and_labels_are_judged_alike() {
    agree(r"[a0{},*?.\[-]{0,6}", 6, 500, any, |texts| around(&json!({"include": texts}), &json!([]))).await;
    agree(r"[a0A.-]{0,5}", 10, 200, any, |texts| {
        around(&json!({}), &json!(texts.into_iter().collect::<BTreeSet<_>>()))
    })
    .await;
    agree(r"[a0A._/-]{0,5}", 10, 64, any, |texts| {
        let requirements: Vec<_> =
            texts.iter().map(|key| json!({"key": key, "operator": "Exists"})).collect();
        around(&json!({"selector": {"matchExpressions": requirements}}), &json!([]))
    })
    .await;
    agree(r"[a0A._/-]{0,5}", 10, 200, any, |texts| {
        let requirement = json!({"key": "a", "operator": "In", "values": texts});
        around(&json!({"selector": {"matchExpressions": [requirement]}}), &json!([]))
    })
    .await;
}

#[tokio::test]
async fn intervals_are_judged_alike() {
    agree(r"([0-9]{1,5}[hmsd]){0,3}[0-9]?", 60, 1, any, |texts| {
        let mut spec = around(&json!({}), &json!([]));
        spec["refreshInterval"] = json!(texts[0]);
        spec
    })
    .await;
}
