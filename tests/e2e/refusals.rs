//! What goes wrong is named, and neither the other targets nor the last good value suffer.

use serde_json::{Value, json};
use world::Vault;

use crate::scene::{Run, Scene, until};

/// A scene with three namespaces and a good password at `KEY/ghcr`.
async fn scene(name: &'static str) -> Scene {
    let scene = Scene::new(name, 3).await;
    scene.put_vault(&format!("{name}/ghcr"), "good").await;
    scene
}

async fn rotate(scene: &Scene, more: &str) -> Run {
    let key = format!("{}/ghcr", scene.name);
    let cluster_pull_secret = scene.cluster_pull_secret(&[("ghcr.io", "vault", &key)], more);
    scene.rotate(&scene.write(&[&scene.config(), &cluster_pull_secret]), &[]).await
}

/// Makes a Secret named `regcred` in the first namespace that regcred did not make.
async fn foreign(scene: &Scene, secret: Value) -> Value {
    let path = format!("/api/v1/namespaces/{}/secrets", scene.namespace(0));
    let mut secret = secret;
    secret["metadata"] = json!({"name": "regcred"});
    scene.world.kube.post(&path, &secret).await.expect("a Secret")
}

/// The first namespace ends with `result`, the other two get the password.
async fn only_the_first_suffers(scene: &Scene, run: &Run, result: &str, code: i32) {
    let name = scene.name;
    let expect =
        [format!("{name}-000: {result}"), format!("{name}-001: created"), format!("{name}-002: created")];
    assert_eq!(run.results(), expect, "{run:?}");
    assert_eq!(run.code, code);
    for n in 1..3 {
        assert_eq!(scene.passwords(&scene.namespace(n)).await["ghcr.io"], "good");
        assert_eq!(scene.references(&scene.namespace(n), "default").await, ["regcred"]);
    }
}

#[tokio::test]
async fn foreign_secret_is_refused() {
    let scene = scene("no-foreign").await;
    let before = foreign(
        &scene,
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}),
    )
    .await;
    let run = rotate(&scene, "").await;
    only_the_first_suffers(&scene, &run, "refused Conflict", 1).await;
    assert_eq!(scene.secret("no-foreign-000").await, Some(before), "it was not touched");
    assert_eq!(scene.references("no-foreign-000", "default").await, Vec::<String>::new());
}

#[tokio::test]
async fn foreign_secret_is_adopted_when_asked() {
    let scene = scene("no-adopt").await;
    let before = foreign(
        &scene,
        json!({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}),
    )
    .await;
    let run = rotate(&scene, "  existing: Adopt\n").await;
    only_the_first_suffers(&scene, &run, "updated", 0).await;
    let after = scene.secret("no-adopt-000").await.expect("a Secret");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "changed in place");
    assert_eq!(scene.passwords("no-adopt-000").await["ghcr.io"], "good");
}

#[tokio::test]
async fn a_secret_of_the_wrong_type_is_refused() {
    let scene = scene("no-type").await;
    let before = foreign(&scene, json!({"type": "Opaque", "stringData": {"theirs": "x"}})).await;
    let run = rotate(&scene, "  existing: Adopt\n").await;
    only_the_first_suffers(&scene, &run, "refused WrongType", 1).await;
    assert_eq!(scene.secret("no-type-000").await, Some(before));
}

#[tokio::test]
async fn an_immutable_secret_is_refused() {
    let scene = scene("no-immutable").await;
    let immutable = json!({"type": "kubernetes.io/dockerconfigjson", "immutable": true, "stringData": {".dockerconfigjson": "{}"}});
    let before = foreign(&scene, immutable).await;
    let run = rotate(&scene, "  existing: Adopt\n").await;
    only_the_first_suffers(&scene, &run, "refused Immutable", 1).await;
    assert_eq!(scene.secret("no-immutable-000").await, Some(before));
}

#[tokio::test]
async fn the_secret_of_another_pull_secret_is_refused() {
    let scene = scene("no-rival").await;
    let older = scene.cluster_pull_secret(&[("ghcr.io", "vault", "no-rival/ghcr")], "");
    let younger = older.replace("{name: no-rival}", "{name: younger}");
    let run = scene.rotate(&scene.write(&[&scene.config(), &older, &younger]), &[]).await;
    assert_eq!(run.code, 1);
    only_the_first_suffers(&scene, &run, "created", 1).await;
    let younger = &run.report()["clusterPullSecrets"][1]["namespaces"];
    assert!(younger.as_array().expect("a list").iter().all(|it| it["reason"] == "Conflict"), "{younger}");
}

#[tokio::test]
async fn a_used_up_quota_fails_that_namespace_only() {
    let scene = scene("no-quota").await;
    let kube = &scene.world.kube;
    let quota = json!({"metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}});
    kube.post("/api/v1/namespaces/no-quota-000/resourcequotas", &quota).await.expect("a quota");
    // The quota binds once its controller has counted.
    let path = "/api/v1/namespaces/no-quota-000/resourcequotas/none";
    until(async || kube.get(path).await.is_ok_and(|it| it["status"]["hard"].is_object())).await;
    let run = rotate(&scene, "").await;
    only_the_first_suffers(&scene, &run, "failed QuotaExceeded", 1).await;
    assert!(run.stdout.contains("exceeded quota: none"), "{}", run.stdout);
}

#[tokio::test]
async fn an_admission_policy_fails_that_namespace_only() {
    let scene = scene("no-admission").await;
    scene.forbid_creation("no-admission-000", "secrets", "no Secrets here").await;
    let run = rotate(&scene, "").await;
    only_the_first_suffers(&scene, &run, "failed AdmissionDenied", 1).await;
    assert!(run.stdout.contains("no Secrets here"), "{}", run.stdout);
}

#[tokio::test]
async fn a_terminating_namespace_is_no_failure() {
    let scene = scene("no-dying").await;
    let kube = &scene.world.kube;
    let holder = json!({"metadata": {"name": "holder", "finalizers": ["regcred.dev/test"]}});
    kube.post("/api/v1/namespaces/no-dying-000/configmaps", &holder).await.expect("a ConfigMap");
    kube.delete("/api/v1/namespaces/no-dying-000").await.expect("a deletion");
    let run = rotate(&scene, "").await;
    only_the_first_suffers(&scene, &run, "skipped Terminating", 0).await;
    let free = json!({"metadata": {"finalizers": null}});
    kube.patch("/api/v1/namespaces/no-dying-000/configmaps/holder", &free).await.expect("a patch");
}

#[tokio::test]
async fn a_sealed_vault_leaves_every_secret_as_it_is() {
    let scene = Scene::new("no-sealed", 2).await;
    let vault = Vault::start(scene.world.reaper()).await.expect("a Vault of its own");
    vault
        .put_kv2("secret", "ghcr", &json!({"username": "robot", "password": "good"}))
        .await
        .expect("a value");
    let token = scene.directory.path().join("token");
    std::fs::write(&token, &vault.root_token).expect("a writable directory");
    let auth = format!(", auth: {{tokenFile: \"{}\"}}", token.display());
    let config = scene.config_with_vault(&vault.address, &auth);
    let manifests = scene.write(&[&config, &scene.cluster_pull_secret(&[("ghcr.io", "vault", "ghcr")], "")]);
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);

    vault.seal().await.expect("it seals");
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.registries()), (1, vec!["ghcr.io - Sealed".to_owned()]), "{run:?}");
    assert_eq!(run.results(), ["no-sealed-000: unchanged", "no-sealed-001: unchanged"]);
    assert_eq!(scene.writes_since(mark).await, Vec::<String>::new());

    vault.unseal().await.expect("it unseals");
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);
}

/// Two registries, rotated once; then `spoil` breaks the first and the second gets a new password.
/// The first keeps its last good value, the second is updated, in every namespace.
async fn keeps_the_last_good(
    scene: &Scene,
    store: &str,
    key: &str,
    reason: &str,
    spoil: impl Future<Output = ()>,
) {
    let neighbour = format!("{}/neighbour", scene.name);
    scene.put_vault(&neighbour, "one").await;
    let registries = [("ghcr.io", store, key), ("quay.io", "vault", &neighbour)];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    let first = scene.rotate(&manifests, &[]).await;
    assert_eq!(first.code, 0, "{first:?}");

    spoil.await;
    scene.put_vault(&neighbour, "two").await;
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.report()["clusterPullSecrets"][0]["registries"][0]["result"], reason, "{run:?}");
    let message = run.report()["clusterPullSecrets"][0]["registries"][0]["message"].to_string();
    assert!(message.contains(store) && message.contains(key), "it says which store and key: {message}");
    for n in 0..3 {
        let passwords = json!(scene.passwords(&scene.namespace(n)).await);
        assert_eq!(passwords, json!({"ghcr.io": "good", "quay.io": "two"}));
    }
}

#[tokio::test]
async fn a_deleted_version_keeps_the_last_good() {
    let scene = scene("no-deleted").await;
    let delete = async {
        scene.world.vault.delete("secret/data/no-deleted/ghcr").await.expect("a deletion");
    };
    keeps_the_last_good(&scene, "vault", "no-deleted/ghcr", "Deleted", delete).await;
}

#[tokio::test]
async fn a_destroyed_version_keeps_the_last_good() {
    let scene = scene("no-destroyed").await;
    let versions = json!({"versions": [1]});
    let destroy = async {
        scene.world.vault.write("secret/destroy/no-destroyed/ghcr", &versions).await.expect("a destruction");
    };
    keeps_the_last_good(&scene, "vault", "no-destroyed/ghcr", "Deleted", destroy).await;
}

#[tokio::test]
async fn an_empty_password_keeps_the_last_good() {
    let scene = scene("no-empty").await;
    let empty = async {
        scene.put_vault("no-empty/ghcr", "").await;
    };
    keeps_the_last_good(&scene, "vault", "no-empty/ghcr", "Malformed", empty).await;
}

#[tokio::test]
async fn malformed_json_keeps_the_last_good() {
    let scene = Scene::new("no-json", 3).await;
    let good = r#"{"username":"robot","password":"good"}"#;
    let aws = &scene.world.localstack;
    aws.create_secret("no-json/ghcr", good).await.expect("a secret");
    let spoil = async {
        aws.put_secret("no-json/ghcr", r#"{"username":"robot","password":"#).await.expect("a version");
    };
    keeps_the_last_good(&scene, "aws", "no-json/ghcr", "Malformed", spoil).await;
}

#[tokio::test]
async fn a_secrets_manager_error_keeps_the_last_good() {
    let scene = Scene::new("no-aws", 3).await;
    let good = r#"{"username":"robot","password":"good"}"#;
    let aws = &scene.world.localstack;
    aws.create_secret("no-aws/ghcr", good).await.expect("a secret");
    let spoil = async {
        let schedule = json!({"SecretId": "no-aws/ghcr", "RecoveryWindowInDays": 7});
        aws.request("secretsmanager", "DeleteSecret", &schedule).await.expect("a scheduled deletion");
    };
    keeps_the_last_good(&scene, "aws", "no-aws/ghcr", "Deleted", spoil).await;
}

#[tokio::test]
async fn a_missing_key_is_told_and_the_neighbour_is_written() {
    let scene = Scene::new("no-key", 1).await;
    scene.put_vault("no-key/there", "good").await;
    let registries = [
        ("ghcr.io", "vault", "no-key/there"),
        ("quay.io", "vault", "no-key/typo"),
        ("gcr.io", "aws", "no-key/typo"),
    ];
    let manifests = scene.write(&[&scene.config(), &scene.cluster_pull_secret(&registries, "")]);
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.code, 1);
    assert_eq!(run.registries(), ["ghcr.io 1 Fetched", "quay.io - NotFound", "gcr.io - NotFound"]);
    assert_eq!(json!(scene.passwords("no-key-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn without_any_credential_nothing_is_written() {
    let scene = Scene::new("no-nothing", 1).await;
    let manifests =
        scene.write(&[&scene.config(), &scene.cluster_pull_secret(&[("ghcr.io", "files", "typo")], "")]);
    let mark = scene.world.kube.audit_mark().expect("an audit log");
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!((run.code, run.results()), (1, vec!["no-nothing-000: failed NoCredential".to_owned()]));
    assert_eq!(scene.writes_since(mark).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_secret_name_outside_the_role_stops_only_its_own_pull_secret() {
    let scene = scene("no-role").await;
    let good = scene.cluster_pull_secret(&[("ghcr.io", "vault", "no-role/ghcr")], "");
    let other = good
        .replace("{name: no-role}", "{name: other}")
        .replace("secretName: regcred", "secretName: unlisted");
    let run = scene.rotate(&scene.write(&[&scene.config(), &good, &other]), &[]).await;
    only_the_first_suffers(&scene, &run, "created", 1).await;
    let problem = &run.report()["clusterPullSecrets"][1]["problems"][0];
    assert_eq!(problem["reason"], "Forbidden");
    assert!(problem["message"].as_str().is_some_and(|it| it.contains("resourceNames")), "{problem}");
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_stops_only_its_own_registries() {
    let scene = Scene::new("no-open", 1).await;
    scene.put_vault("no-open/ghcr", "good").await;
    let broken = "- name: broken\n  vault: {address: \"https://127.0.0.1:1\", caFile: /nonexistent.pem}\n";
    let config = format!("{}{broken}", scene.config());
    let registries = [("ghcr.io", "vault", "no-open/ghcr"), ("quay.io", "broken", "x")];
    let run = scene.rotate(&scene.write(&[&config, &scene.cluster_pull_secret(&registries, "")]), &[]).await;
    assert_eq!(run.registries(), ["ghcr.io 1 Fetched", "quay.io - Misconfigured"], "{run:?}");
    assert_eq!(json!(scene.passwords("no-open-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn broken_json_is_never_taken_for_a_password() {
    let scene = Scene::new("no-brace", 3).await;
    let files = scene.directory.path().join("files");
    let cluster_pull_secret = scene.cluster_pull_secret(&[("ghcr.io", "files", "ghcr")], "");
    let cluster_pull_secret =
        cluster_pull_secret.replace(r#""host":"ghcr.io""#, r#""host":"ghcr.io","username":"robot""#);
    let manifests = scene.write(&[&scene.config(), &cluster_pull_secret]);
    std::fs::write(files.join("ghcr"), r#"{"password":"good"}"#).expect("a file");
    assert_eq!(scene.rotate(&manifests, &[]).await.code, 0);

    std::fs::write(files.join("ghcr"), r#"{"password":"bad""#).expect("a file");
    let run = scene.rotate(&manifests, &[]).await;
    assert_eq!(run.report()["clusterPullSecrets"][0]["registries"][0]["result"], "Malformed", "{run:?}");
    assert_eq!(json!(scene.passwords("no-brace-000").await), json!({"ghcr.io": "good"}));
}

#[tokio::test]
async fn regcreds_account_cannot_make_a_secret_that_is_no_pull_secret() {
    let scene = Scene::new("no-token", 1).await;
    let kubeconfig = scene.kubeconfig().await.display().to_string();
    let token = r#"{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/service-account-token",
        "metadata":{"name":"regcred","annotations":{"kubernetes.io/service-account.name":"default"}}}"#;
    let create = ["--kubeconfig", &kubeconfig, "create", "-n", "no-token-000", "-f", "-"];
    let told = || async { scene.world.kube.kubectl_stdin(&create, token).await };
    // A policy binds a moment after it was made; each creation that gets through is taken back.
    until(async || match told().await {
        Ok(_) => {
            scene
                .world
                .kube
                .delete("/api/v1/namespaces/no-token-000/secrets/regcred")
                .await
                .expect("a deletion");
            false
        }
        Err(error) => format!("{error:#}")
            .contains("regcred creates Secrets of type kubernetes.io/dockerconfigjson only"),
    })
    .await;
}
