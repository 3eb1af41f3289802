//! Stored values as tools leave them: what is unmistakable reaches the Secrets, what cannot be a password does not.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::{Run, TestCluster};
use serde_json::{Value, json};

use crate::cluster::test_cluster;

/// The password in values that must not be written; no message may show it.
const SENTINEL: &str = "s3cret-sentinel";

fn auth(password: &str) -> String {
    BASE64_STANDARD.encode(format!("robot:{password}"))
}

fn docker_config(host: &str, password: &str) -> String {
    json!({"auths": {host: {"auth": auth(password)}}}).to_string()
}

/// Rotates one registry, whose spec has these fields besides.
async fn rotate(cluster: &TestCluster, store: &str, key: &str, registry: Value) -> Run {
    let mut object = cluster.cluster_pull_secret(cluster.name);
    object["spec"]["registries"] = json!([registry]);
    object["spec"]["registries"][0]["from"]["store"] = json!(store);
    object["spec"]["registries"][0]["from"]["key"] = json!(key);
    cluster.rotate(&cluster.manifests_with(&[&object]), &[]).await
}

/// The message about the one registry, which is malformed.
fn malformed(run: &Run, value: &str) -> String {
    let registry = run.report()["clusterPullSecrets"][0]["registries"][0].take();
    assert_eq!((run.code, registry["result"].as_str()), (1, Some("Malformed")), "{value}: {run:?}");
    assert!(!run.stdout.contains(SENTINEL) && !run.stderr.contains(SENTINEL), "{value}: {run:?}");
    registry["message"].as_str().expect("a message").to_owned()
}

async fn assert_password(cluster: &TestCluster, password: &str, value: &str) {
    for n in 0..2 {
        let passwords = json!(cluster.passwords(cluster.namespace(n)).await);
        assert_eq!(passwords, json!({"ghcr.io": password}), "{value}");
    }
}

#[tokio::test]
async fn bare_value_that_is_no_password_keeps_last_good() {
    let cluster = test_cluster("value-bare", 2).await;
    let file = cluster.files().join("ghcr");
    let registry = json!({"host": "ghcr.io", "username": "robot"});
    std::fs::write(&file, "good").expect("a file");
    assert_eq!(rotate(&cluster, "files", "ghcr", registry.clone()).await.code, 0);
    let key = BASE64_STANDARD.encode(json!({"private_key": SENTINEL}).to_string());
    for (value, form) in [
        ("null".to_owned(), "a missing value"),
        ("<no value>".to_owned(), "a template that found no value"),
        ("{{ .Values.password }}".to_owned(), "a template that was not rendered"),
        ("${REGISTRY_PASSWORD}".to_owned(), "a variable that was not replaced"),
        ("vault:secret/data/ci/ghcr#password".to_owned(), "a reference for another tool"),
        ("ENC[AES256_GCM,data:x,type:str]".to_owned(), "encrypted by another tool"),
        ("********".to_owned(), "masked"),
        ("<your-password>".to_owned(), "the example of a template"),
        ("<!DOCTYPE html>\n<html></html>".to_owned(), "a page"),
        ("An error occurred (AccessDeniedException) when calling x".to_owned(), "the message of an error"),
        (format!("docker login -u robot -p {SENTINEL} ghcr.io"), "a command"),
        (format!("REGISTRY_PASSWORD={SENTINEL}"), "a whole line of a file with settings"),
        (format!("username: robot\npassword: {SENTINEL}"), "YAML"),
        (json!(SENTINEL).to_string(), "in quotation marks"),
        (key, "service account key of Google"),
        (auth(SENTINEL), "base64 of username:password"),
        (docker_config("quay.io", SENTINEL), "no entry for ghcr.io"),
        ("\u{feff}".to_owned(), "empty"),
    ] {
        std::fs::write(&file, &value).expect("a file");
        let run = rotate(&cluster, "files", "ghcr", registry.clone()).await;
        let message = malformed(&run, &value);
        assert!(message.contains(form), "{value}: {message}");
        assert_password(&cluster, "good", &value).await;
    }
    std::fs::write(&file, "\u{feff}better\r\n").expect("a file");
    assert_eq!(rotate(&cluster, "files", "ghcr", registry).await.code, 0);
    assert_password(&cluster, "better", "a byte order mark").await;
}

#[tokio::test]
async fn field_that_is_no_password_keeps_last_good() {
    let cluster = test_cluster("value-field", 2).await;
    cluster.put_password("good").await;
    let registry = json!({"host": "ghcr.io"});
    let key = cluster.key("ghcr");
    assert_eq!(rotate(&cluster, "vault", &key, registry.clone()).await.code, 0);
    let google = BASE64_STANDARD.encode(json!({"private_key": SENTINEL}).to_string());
    let fields = |password: Value| json!({"username": "robot", "password": password});
    for (value, form) in [
        (fields(json!("null")), "a missing value"),
        (fields(json!(null)), "field `password` is null"),
        (fields(json!("undefined")), "a missing value"),
        (fields(json!("op://ci/ghcr/token")), "a reference for another tool"),
        (fields(json!("vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQ=")), "encrypted by another tool"),
        (fields(json!("{\"errors\":[]}")), "an error that an API answered"),
        (fields(json!(docker_config("ghcr.io", SENTINEL))), "a docker config"),
        (fields(json!(BASE64_STANDARD.encode(docker_config("ghcr.io", SENTINEL)))), "a docker config"),
        (json!({"username": "_json_key", "password": google}), "write the username `_json_key_base64`"),
        (json!({"auths": {"ghcr.io": {}}, "credsStore": "desktop"}), "in the credential store"),
    ] {
        cluster.put("ghcr", &value).await;
        let message = malformed(&rotate(&cluster, "vault", &key, registry.clone()).await, &value.to_string());
        assert!(message.contains(form), "{value}: {message}");
        assert_password(&cluster, "good", &value.to_string()).await;
    }
}

#[tokio::test]
async fn docker_config_in_any_wrapping_reaches_the_secrets() {
    let cluster = test_cluster("value-config", 2).await;
    let key = cluster.key("ghcr");
    let plain = json!({"host": "ghcr.io"});
    let by_password_key =
        json!({"host": "ghcr.io", "username": "robot", "from": {"passwordKey": ".dockerconfigjson"}});
    let by_config_key = json!({"from": {"configKey": "pull"}});
    let text = |n: usize| docker_config("ghcr.io", &format!("pw-{n}"));
    let values = [
        (json!({".dockerconfigjson": text(0)}), &plain),
        (json!({".dockerconfigjson": text(1)}), &by_password_key),
        (json!({"pull": text(2)}), &by_config_key),
        (json!({"value": BASE64_STANDARD.encode(text(3))}), &plain),
        (json!({"ghcr.io": {"auth": auth("pw-4")}}), &plain),
    ];
    for (n, (value, registry)) in values.iter().enumerate() {
        cluster.put("ghcr", value).await;
        let run = rotate(&cluster, "vault", &key, (*registry).clone()).await;
        assert_eq!(run.code, 0, "{value}: {run:?}");
        assert_password(&cluster, &format!("pw-{n}"), &value.to_string()).await;
    }
    let file = format!("\u{feff}{}\r\n", BASE64_STANDARD.encode(text(9)));
    std::fs::write(cluster.files().join("ghcr"), file).expect("a file");
    let run = rotate(&cluster, "files", "ghcr", json!({"host": "ghcr.io", "username": "robot"})).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert_password(&cluster, "pw-9", "base64 after a byte order mark").await;
}

#[tokio::test]
async fn bad_entry_of_a_docker_config_keeps_its_last_good_value() {
    let mut cluster = test_cluster("value-entry", 2).await;
    let key = cluster.key("config");
    let config = |a: &str, b: Value| {
        let entry = |password: &str| json!({"auth": auth(password)});
        json!({"auths": {"a.example.com": entry(a), "https://a.example.com": entry(a), "b.example.com": b}})
    };
    cluster.put("config", &config("one", json!({"auth": auth("kept")}))).await;
    let run = rotate(&cluster, "vault", &key, json!({})).await;
    assert_eq!(run.code, 0, "one host in two spellings is one entry: {run:?}");

    let mut bad = config("two", json!({}));
    bad["auths"]["registry"] = json!({"auth": auth(SENTINEL)});
    bad["credsStore"] = json!("desktop");
    cluster.put("config", &bad).await;
    cluster.add_namespace("value-entry-late").await;
    let run = rotate(&cluster, "vault", &key, json!({})).await;

    let message = malformed(&run, "a bad entry");
    for part in ["entry for b.example.com: ", "`credsStore`", "key `registry`"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let expect = json!({"a.example.com": "two", "b.example.com": "kept"});
    for namespace in ["value-entry-000", "value-entry-001", "value-entry-late"] {
        assert_eq!(json!(cluster.passwords(namespace).await), expect, "{namespace}");
    }
    let run = rotate(&cluster, "vault", &key, json!({})).await;
    assert!(run.results().iter().all(|result| result.ends_with(": unchanged")), "{:?}", run.results());
    cluster.put("config", &config("three", json!({"auth": auth("new")}))).await;
    assert_eq!(rotate(&cluster, "vault", &key, json!({})).await.code, 0);
    let expect = json!({"a.example.com": "three", "b.example.com": "new"});
    assert_eq!(json!(cluster.passwords("value-entry-late").await), expect);
}
