//! Failures: each is reported with its reason, and affects neither other targets nor the last good value.

use harness::{QuotedForms, Run, TestCluster, docker_config, docker_config_bytes, registries, text, until};
use serde_json::{Value, json};
use world::Vault;

use crate::cluster::test_cluster;

/// Enters a cluster with three namespaces, and puts a good password at `NAME/ghcr`.
async fn cluster_with_password(name: &'static str) -> TestCluster {
    let cluster = test_cluster(name, 3).await;
    cluster.put_password("good").await;
    cluster
}

async fn rotate(cluster: &TestCluster, existing: &str) -> Run {
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["existing"] = json!(existing);
    cluster.rotate(&cluster.manifests_with(&[&cluster_pull_secret]), &[]).await
}

/// Creates a foreign Secret named `regcred` in the first namespace.
async fn foreign(cluster: &TestCluster, secret: Value) -> Value {
    let path = format!("/api/v1/namespaces/{}/secrets", cluster.namespace(0));
    let mut secret = secret;
    secret["metadata"] = json!({"name": "regcred"});
    cluster.kube.post(&path, &secret).await.expect("a Secret")
}

/// Asserts that the first namespace ends with `result`, and that the other two get the password.
async fn assert_first_has_result(cluster: &TestCluster, run: &Run, result: &str, code: i32) {
    let name = cluster.name;
    let expect =
        [format!("{name}-000: {result}"), format!("{name}-001: created"), format!("{name}-002: created")];
    assert_eq!(run.results(), expect, "{run:?}");
    assert_eq!(run.code, code);
    for n in 1..3 {
        assert_eq!(cluster.passwords(cluster.namespace(n)).await["ghcr.io"], "good");
        assert_eq!(cluster.references(cluster.namespace(n), "default").await, ["regcred"]);
    }
}

#[tokio::test]
async fn foreign_secret_is_refused() {
    let cluster = cluster_with_password("no-foreign").await;
    let before = foreign(
        &cluster,
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}),
    )
    .await;
    let run = rotate(&cluster, "Refuse").await;
    assert_first_has_result(&cluster, &run, "refused Conflict", 1).await;
    assert_eq!(cluster.secret("no-foreign-000").await, Some(before), "unchanged");
    assert_eq!(cluster.references("no-foreign-000", "default").await, Vec::<String>::new());
}

#[tokio::test]
async fn adoption_refuses_entries_for_other_registries_or_keeps_them() {
    let cluster = cluster_with_password("no-entries").await;
    let config = r#"{"auths":{"quay.io":{"auth":"YTpi","email":"a@b"},"ghcr.io":{"auth":"YTpvbGQ="}}}"#;
    let theirs =
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}});
    foreign(&cluster, theirs).await;
    let run = rotate(&cluster, "Adopt").await;
    assert_eq!(run.results()[0], "no-entries-000: refused Conflict");
    assert!(run.stdout.contains("entries for other registries: quay.io."), "{}", run.stdout);
    for password in ["good", "better"] {
        cluster.put_password(password).await;
        let run = rotate(&cluster, "AdoptAndKeep").await;
        assert_eq!((run.code, run.results()[0].as_str()), (0, "no-entries-000: updated"));
        let secret = cluster.secret("no-entries-000").await.expect("a Secret");
        assert_eq!(docker_config(&secret)["auths"]["quay.io"], json!({"auth": "YTpi", "email": "a@b"}));
        assert_eq!(cluster.passwords("no-entries-000").await["ghcr.io"], password);
    }
    assert_eq!(rotate(&cluster, "AdoptAndKeep").await.results()[0], "no-entries-000: unchanged");
}

#[tokio::test]
async fn foreign_secret_is_adopted_when_asked() {
    let cluster = cluster_with_password("no-adopt").await;
    let before = foreign(
        &cluster,
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}),
    )
    .await;
    let run = rotate(&cluster, "Adopt").await;
    assert_first_has_result(&cluster, &run, "updated", 0).await;
    let after = cluster.secret("no-adopt-000").await.expect("a Secret");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "changed in place");
    assert_eq!(cluster.passwords("no-adopt-000").await["ghcr.io"], "good");
}

#[tokio::test]
async fn secret_of_wrong_type_is_refused() {
    let cluster = cluster_with_password("no-type").await;
    let before = foreign(&cluster, json!({"type": "Opaque", "stringData": {"foreign": "x"}})).await;
    let run = rotate(&cluster, "Adopt").await;
    assert_first_has_result(&cluster, &run, "refused WrongType", 1).await;
    assert_eq!(cluster.secret("no-type-000").await, Some(before));
}

#[tokio::test]
async fn immutable_secret_is_refused() {
    let cluster = cluster_with_password("no-immutable").await;
    let immutable = json!({"type": "kubernetes.io/dockerconfigjson", "immutable": true, "stringData": {".dockerconfigjson": "{}"}});
    let before = foreign(&cluster, immutable).await;
    let run = rotate(&cluster, "Adopt").await;
    assert_first_has_result(&cluster, &run, "refused Immutable", 1).await;
    assert_eq!(cluster.secret("no-immutable-000").await, Some(before));
}

#[tokio::test]
async fn secret_of_another_object_is_refused() {
    let cluster = cluster_with_password("no-rival").await;
    let older = cluster.cluster_pull_secret(cluster.name);
    let younger = cluster.cluster_pull_secret("younger");
    let run = cluster.rotate(&cluster.manifests_with(&[&older, &younger]), &[]).await;
    assert_eq!(run.code, 1);
    assert_first_has_result(&cluster, &run, "created", 1).await;
    let younger = &run.report()["clusterPullSecrets"][1]["namespaces"];
    assert!(younger.as_array().expect("a list").iter().all(|it| it["reason"] == "Conflict"), "{younger}");
}

#[tokio::test]
async fn exhausted_quota_fails_only_its_namespace() {
    let cluster = cluster_with_password("no-quota").await;
    cluster.forbid_secrets("no-quota-000").await;
    let run = rotate(&cluster, "Refuse").await;
    assert_first_has_result(&cluster, &run, "failed QuotaExceeded", 1).await;
    assert!(run.stdout.contains("the ResourceQuota none is exceeded"), "{}", run.stdout);
}

#[tokio::test]
async fn admission_policy_fails_only_its_namespace() {
    let cluster = cluster_with_password("no-admission").await;
    cluster.forbid_creation("no-admission-000", "secrets", "no Secrets here").await;
    let run = rotate(&cluster, "Refuse").await;
    assert_first_has_result(&cluster, &run, "failed AdmissionDenied", 1).await;
    let policy = "the admission policy no-admission-000 denied the write";
    assert!(run.stdout.contains(policy) && !run.stdout.contains("no Secrets here"), "{}", run.stdout);
}

#[tokio::test]
async fn unreachable_webhook_is_named_and_fails_only_its_namespace() {
    let cluster = cluster_with_password("no-webhook").await;
    cluster.break_webhook("no-webhook-000", "deny.regcred.example").await;
    let run = rotate(&cluster, "Refuse").await;
    assert_first_has_result(&cluster, &run, "failed Unavailable", 1).await;
    let webhook = "the admission webhook deny.regcred.example could not be called";
    assert!(run.stdout.contains(webhook) && !run.stdout.contains("127.0.0.1:1"), "{}", run.stdout);
}

#[tokio::test]
async fn policy_that_quotes_the_secret_is_named_and_not_quoted() {
    const PASSWORD: &str = "s3ntinel~~~~~Passw0rd?????0123456789";
    let cluster = cluster_with_password("no-quote").await;
    cluster.put_password(PASSWORD).await;
    cluster.forbid_secrets_quoting_them("no-quote-000", PASSWORD).await;
    let mut forms = None;
    for output in ["json", "yaml", "table"] {
        for dry_run in [&[][..], &["--dry-run"]] {
            let manifests = cluster.manifests_with(&[&cluster.cluster_pull_secret(cluster.name)]);
            let arguments = [&["-vvv", "--output", output], dry_run].concat();
            let run = cluster.rotate(&manifests, &arguments).await;
            let secret = cluster.secret("no-quote-001").await.expect("a Secret");
            let forms =
                forms.get_or_insert_with(|| QuotedForms::new(&docker_config_bytes(&secret), PASSWORD));
            assert_quoted_by_the_api_server(&cluster, "no-quote-000", &secret, forms).await;
            forms.assert_absent("stdout", &run.stdout);
            forms.assert_absent("stderr", &run.stderr);
            if dry_run.is_empty() {
                assert_eq!(run.code, 1, "{run:?}");
                let policy = "the admission policy no-quote-000 denied the write";
                assert!(run.stdout.contains(policy), "{}", run.stdout);
            }
        }
    }
}

/// Asserts that the API server itself quotes the Secret, so that there is something to leave out.
async fn assert_quoted_by_the_api_server(
    cluster: &TestCluster,
    namespace: &str,
    secret: &Value,
    forms: &QuotedForms,
) {
    let copy = json!({"metadata": {"name": "copy"}, "type": secret["type"], "data": secret["data"]});
    let denied = cluster.kube.post(&format!("/api/v1/namespaces/{namespace}/secrets"), &copy).await;
    let message = format!("{:#}", denied.expect_err("the policy denies it"));
    let data = text(&secret["data"][".dockerconfigjson"]);
    assert!(forms.are_in(&message) && message.contains(&data), "{message}");
}

#[tokio::test]
async fn terminating_namespace_is_no_failure() {
    let cluster = cluster_with_password("no-dying").await;
    let kube = &cluster.kube;
    let holder = json!({"metadata": {"name": "holder", "finalizers": ["regcred.dev/test"]}});
    kube.post("/api/v1/namespaces/no-dying-000/configmaps", &holder).await.expect("a ConfigMap");
    kube.delete("/api/v1/namespaces/no-dying-000").await.expect("a deletion");
    let run = rotate(&cluster, "Refuse").await;
    assert_first_has_result(&cluster, &run, "skipped Terminating", 0).await;
    let free = json!({"metadata": {"finalizers": null}});
    kube.patch("/api/v1/namespaces/no-dying-000/configmaps/holder", &free).await.expect("a patch");
}

#[tokio::test]
async fn sealed_vault_leaves_every_secret_unchanged() {
    let cluster = test_cluster("no-sealed", 2).await;
    let vault = Vault::start(&cluster.reaper).await.expect("a Vault of its own");
    vault
        .put_kv2("secret", "ghcr", &json!({"username": "robot", "password": "good"}))
        .await
        .expect("a value");
    let token = cluster.directory.path().join("token");
    std::fs::write(&token, &vault.root_token).expect("a writable directory");
    let fields = format!("address: \"{}\", auth: {{tokenFile: \"{}\"}}", vault.address, token.display());
    let config = cluster.config_with_vault(&fields, "");
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"] = registries(&[("ghcr.io", "vault", "ghcr")]);
    let manifests = cluster.write(&[&config, &cluster_pull_secret.to_string()]);
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);

    vault.seal().await.expect("it seals");
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.registries()), (1, vec!["ghcr.io - Sealed".to_owned()]), "{run:?}");
    assert_eq!(run.results(), ["no-sealed-000: unchanged", "no-sealed-001: unchanged"]);
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new());

    vault.unseal().await.expect("it unseals");
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);
}

/// Rotates two registries once, lets `spoil` break the first, and changes the password of the second. Asserts that every
/// namespace keeps the last good value of the first and gets the new one of the second.
async fn assert_last_good_is_kept(
    cluster: &TestCluster,
    store: &str,
    key: &str,
    reason: &str,
    spoil: impl Future<Output = ()>,
) {
    let other = cluster.key("other");
    put_other(cluster, "one").await;
    let registries = [("ghcr.io", store, key), ("quay.io", "vault", &other)];
    let manifests = cluster.manifests(&registries);
    let first = cluster.rotate(&manifests, &[]).await;
    assert_eq!(first.code, 0, "{first:?}");

    spoil.await;
    put_other(cluster, "two").await;
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["registries"][0]["result"], reason, "{run:?}");
    let message = run.report()["clusterPullSecrets"][0]["registries"][0]["message"].to_string();
    assert!(message.contains(store) && message.contains(key), "the message names store and key: {message}");
    for n in 0..3 {
        let passwords = json!(cluster.passwords(cluster.namespace(n)).await);
        assert_eq!(passwords, json!({"ghcr.io": "good", "quay.io": "two"}));
    }
}

async fn put_other(cluster: &TestCluster, password: &str) {
    cluster.put("other", &json!({"username": "robot", "password": password})).await;
}

#[tokio::test]
async fn deleted_version_keeps_last_good() {
    let cluster = cluster_with_password("no-deleted").await;
    let delete = async {
        cluster.vault.delete("secret/data/no-deleted/ghcr").await.expect("a deletion");
    };
    assert_last_good_is_kept(&cluster, "vault", "no-deleted/ghcr", "Deleted", delete).await;
}

#[tokio::test]
async fn destroyed_version_keeps_last_good() {
    let cluster = cluster_with_password("no-destroyed").await;
    let versions = json!({"versions": [1]});
    let destroy = async {
        cluster.vault.write("secret/destroy/no-destroyed/ghcr", &versions).await.expect("a destruction");
    };
    assert_last_good_is_kept(&cluster, "vault", "no-destroyed/ghcr", "Deleted", destroy).await;
}

#[tokio::test]
async fn empty_password_keeps_last_good() {
    let cluster = cluster_with_password("no-empty").await;
    let empty = async {
        cluster.put_password("").await;
    };
    assert_last_good_is_kept(&cluster, "vault", "no-empty/ghcr", "Malformed", empty).await;
}

#[tokio::test]
async fn malformed_json_keeps_last_good() {
    let cluster = test_cluster("no-json", 3).await;
    let good = r#"{"username":"robot","password":"good"}"#;
    let aws = cluster.localstack();
    aws.create_secret("no-json/ghcr", good).await.expect("a secret");
    let spoil = async {
        aws.put_secret("no-json/ghcr", r#"{"username":"robot","password":"#).await.expect("a version");
    };
    assert_last_good_is_kept(&cluster, "aws", "no-json/ghcr", "Malformed", spoil).await;
}

#[tokio::test]
async fn secrets_manager_error_keeps_last_good() {
    let cluster = test_cluster("no-aws", 3).await;
    let good = r#"{"username":"robot","password":"good"}"#;
    let aws = cluster.localstack();
    aws.create_secret("no-aws/ghcr", good).await.expect("a secret");
    let spoil = async {
        let schedule = json!({"SecretId": "no-aws/ghcr", "RecoveryWindowInDays": 7});
        aws.request("secretsmanager", "DeleteSecret", &schedule).await.expect("a scheduled deletion");
    };
    assert_last_good_is_kept(&cluster, "aws", "no-aws/ghcr", "Deleted", spoil).await;
}

#[tokio::test]
async fn missing_key_is_reported_and_others_are_written() {
    let cluster = test_cluster("no-key", 1).await;
    cluster.put_password("good").await;
    let registries = [
        ("ghcr.io", "vault", "no-key/ghcr"),
        ("quay.io", "vault", "no-key/typo"),
        ("gcr.io", "aws", "no-key/typo"),
    ];
    let manifests = cluster.manifests(&registries);
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1);
    assert_eq!(run.registries(), ["ghcr.io 1 Fetched", "quay.io - NotFound", "gcr.io - NotFound"]);
    assert_eq!(json!(cluster.passwords("no-key-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn run_without_any_credential_writes_nothing() {
    let cluster = test_cluster("no-nothing", 1).await;
    let manifests = cluster.manifests(&[("ghcr.io", "files", "typo")]);
    let mark = cluster.mark();
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.results()), (1, vec!["no-nothing-000: failed NoCredential".to_owned()]));
    assert_eq!(cluster.writes_in_namespaces(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn secret_name_outside_role_fails_only_its_object() {
    let cluster = cluster_with_password("no-role").await;
    let good = cluster.cluster_pull_secret(cluster.name);
    let mut other = cluster.cluster_pull_secret("other");
    other["spec"]["secretName"] = json!("unlisted");
    let run = cluster.rotate(&cluster.manifests_with(&[&good, &other]), &[]).await;
    assert_first_has_result(&cluster, &run, "created", 1).await;
    let problem = &run.report()["clusterPullSecrets"][1]["problems"][0];
    assert_eq!(problem["reason"], "Forbidden");
    assert!(problem["message"].as_str().is_some_and(|it| it.contains("resourceNames")), "{problem}");
}

#[tokio::test]
async fn unopenable_store_fails_only_its_registries() {
    let cluster = test_cluster("no-open", 1).await;
    cluster.put_password("good").await;
    let broken = "- name: broken\n  vault: {address: \"https://127.0.0.1:1\", caFile: /nonexistent.pem}\n";
    let config = cluster.config(broken);
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"] =
        registries(&[("ghcr.io", "vault", "no-open/ghcr"), ("quay.io", "broken", "x")]);
    let run = cluster.rotate(&cluster.write(&[&config, &cluster_pull_secret.to_string()]), &[]).await;
    assert_eq!(run.registries(), ["ghcr.io 1 Fetched", "quay.io - Misconfigured"], "{run:?}");
    assert_eq!(json!(cluster.passwords("no-open-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn broken_json_is_never_taken_for_a_password() {
    let cluster = test_cluster("no-brace", 3).await;
    let files = cluster.files();
    let mut cluster_pull_secret = cluster.cluster_pull_secret(cluster.name);
    cluster_pull_secret["spec"]["registries"] = registries(&[("ghcr.io", "files", "ghcr")]);
    cluster_pull_secret["spec"]["registries"][0]["username"] = json!("robot");
    let manifests = cluster.manifests_with(&[&cluster_pull_secret]);
    std::fs::write(files.join("ghcr"), r#"{"password":"good"}"#).expect("a file");
    assert_eq!(cluster.rotate(&manifests, &[]).await.code, 0);

    std::fs::write(files.join("ghcr"), r#"{"password":"bad""#).expect("a file");
    let run = cluster.rotate(&manifests, &[]).await;
    assert_eq!(run.report()["clusterPullSecrets"][0]["registries"][0]["result"], "Malformed", "{run:?}");
    assert_eq!(json!(cluster.passwords("no-brace-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn service_account_cannot_create_other_types_of_secret() {
    let cluster = test_cluster("no-token", 1).await;
    let kubeconfig = cluster.kubeconfig.display().to_string();
    let token = r#"{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
        "metadata":{"name":"regcred","annotations":{"kubernetes.io/service-account.name":"default"}}}"#;
    let create = ["--kubeconfig", &kubeconfig, "create", "-n", "no-token-000", "-f", "-"];
    // A policy binds a moment after its creation; each Secret that is created before is deleted.
    until("the creation is denied", async || match cluster.kube.kubectl_stdin(&create, token).await {
        Ok(_) => {
            cluster.kube.delete("/api/v1/namespaces/no-token-000/secrets/regcred").await.expect("a deletion");
            false
        }
        Err(error) => format!("{error:#}").contains("regcred writes pull secrets with a name in secretNames"),
    })
    .await;
}
