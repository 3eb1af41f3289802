//! Every part of the world works as the tests of regcred expect.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use world::{
    KeyringQuestion, LocalStack, OpenBaoCluster, Queue, Registry, Vault, World, ask_kubelet,
    service_account_user,
};

/// Lets the compiler check that a value is `Send`: tests also use worlds on spawned tasks.
fn assert_send<T: Send>(value: T) -> T {
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn created_namespaces_have_their_service_account() {
    let world = World::shared().await;
    let names: Vec<_> = (0..1000).map(|n| format!("many-{n}")).collect();
    // Seconds on an idle machine; a minute means that the controllers are rate-limited.
    let started = Instant::now();
    assert_send(world.kube.create_namespaces(names, &[("team", "a")])).await.unwrap();
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    let listed = world.kube.get("/api/v1/namespaces?labelSelector=team%3Da").await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1000);
    let account = world.kube.get("/api/v1/namespaces/many-7/serviceaccounts/default").await.unwrap();
    assert_eq!(account["metadata"]["name"], "default");
}

#[tokio::test]
async fn service_account_is_limited_to_its_rights_and_audited() {
    let kube = &World::shared().await.kube;
    kube.create_namespaces(["limited"], &[]).await.unwrap();
    let mark = kube.audit_mark().unwrap();
    let config = kube.kubeconfig_as("limited", "default").await.unwrap();
    let config = config.to_str().unwrap();
    let refused = kube.kubectl(&["--kubeconfig", config, "get", "secrets"]).await.unwrap_err();
    assert!(refused.to_string().contains("forbidden"), "{refused}");
    kube.kubectl(&[
        "create",
        "rolebinding",
        "view",
        "--clusterrole=view",
        "--serviceaccount=limited:default",
        "-n",
        "limited",
    ])
    .await
    .unwrap();
    kube.kubectl(&["--kubeconfig", config, "get", "serviceaccounts"]).await.unwrap();
    let events = kube.audit_events_by(&service_account_user("limited", "default"), mark).unwrap();
    assert!(events.iter().any(|event| event.resource == "secrets" && event.code == 403), "{events:?}");
    assert!(
        events.iter().any(|event| event.resource == "serviceaccounts" && event.code == 200),
        "{events:?}"
    );
    assert!(events.iter().all(|event| !event.is_write()), "{events:?}");
}

#[tokio::test]
async fn kubectl_applies_from_stdin() {
    let kube = &World::shared().await.kube;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: from-stdin }\n";
    kube.kubectl_stdin(&["apply", "-f", "-"], manifest).await.unwrap();
    kube.get("/api/v1/namespaces/default/configmaps/from-stdin").await.unwrap();
}

#[tokio::test]
async fn service_account_reads_its_secret_from_vault() {
    let world = World::shared().await;
    check_login(world, &world.vault, "vaulted").await;
}

#[tokio::test]
async fn service_account_reads_its_secret_from_openbao() {
    let world = World::shared().await;
    check_login(world, world.openbao().await, "openbaoed").await;
}

async fn check_login(world: &World, vault: &Vault, namespace: &str) {
    assert_eq!(vault.put_kv2("secret", "ci/ghcr", &json!({ "username": "u" })).await.unwrap(), 1);
    assert_eq!(vault.put_kv2("secret", "ci/ghcr", &json!({ "username": "v" })).await.unwrap(), 2);
    vault.put_kv1("kv1", "ci/old", &json!({ "username": "w" })).await.unwrap();
    vault.enable_kv("teams/a/kv", 2).await.unwrap();
    assert_eq!(vault.put_kv2("teams/a/kv", "x", &json!({ "k": "v" })).await.unwrap(), 1);
    vault.put_policy("ci", r#"path "secret/data/ci/*" { capabilities = ["read"] }"#).await.unwrap();
    vault
        .create_kubernetes_role("kubernetes", "ci", &["default"], &[namespace], &["ci"], "1m")
        .await
        .unwrap();
    world.kube.create_namespaces([namespace], &[]).await.unwrap();
    let jwt = world.kube.token(namespace, "default", 600).await.unwrap();
    let login = json!({ "role": "ci", "jwt": jwt });
    let token = login_token(&vault.write("auth/kubernetes/login", &login).await.unwrap());
    let mark = vault.audit_mark().unwrap();
    assert_eq!(status(&vault.address, "secret/data/ci/ghcr", &token).await, 200);
    assert_eq!(status(&vault.address, "secret/data/other", &token).await, 403);
    assert_eq!(vault.reads_of("secret/data/ci/ghcr", mark).unwrap(), 1);
}

#[tokio::test]
async fn separate_vault_can_be_sealed_and_unsealed() {
    check_seal(&Vault::start(World::shared().await.reaper()).await.unwrap()).await;
}

#[tokio::test]
async fn separate_openbao_can_be_sealed_and_unsealed() {
    check_seal(&Vault::start_openbao(World::shared().await.reaper()).await.unwrap()).await;
}

async fn check_seal(vault: &Vault) {
    vault.put_kv2("secret", "a", &json!({ "k": "v" })).await.unwrap();
    vault.seal().await.unwrap();
    assert!(vault.read("secret/data/a").await.unwrap_err().to_string().contains("503"));
    vault.unseal().await.unwrap();
    assert_eq!(vault.read("secret/data/a").await.unwrap()["data"]["data"]["k"], "v");
}

#[tokio::test]
async fn openbao_cluster_answers_at_every_node() {
    let cluster = OpenBaoCluster::start(World::shared().await.reaper()).await.unwrap();
    let active = cluster.active().await.unwrap();
    let standbys = cluster.standbys().await.unwrap();
    assert_eq!((cluster.nodes().len(), standbys.len()), (3, 2));
    assert_eq!(active.put_kv2("secret", "a", &json!({ "k": "v" })).await.unwrap(), 1);
    let mark = active.audit_mark().unwrap();
    for standby in standbys {
        standby.put_kv2("secret", "b", &json!({})).await.unwrap();
        let standby_mark = standby.audit_mark().unwrap();
        let begin = Instant::now();
        while standby.read("secret/data/a").await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(10), "the write does not reach a standby");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(standby.reads_of("secret/data/a", standby_mark).unwrap(), 1, "it answers itself");
    }
    assert_eq!(active.reads_of("secret/data/a", mark).unwrap(), 0);
}

#[tokio::test]
async fn new_value_of_secret_becomes_current() {
    let localstack = &World::shared().await.localstack;
    let arn = localstack.create_secret("ci/ghcr", "one").await.unwrap();
    let version = localstack.put_secret("ci/ghcr", "two").await.unwrap();
    let value =
        localstack.request("secretsmanager", "GetSecretValue", &json!({ "SecretId": arn })).await.unwrap();
    assert_eq!(
        (value["SecretString"].as_str(), value["VersionId"].as_str()),
        (Some("two"), Some(version.as_str()))
    );
}

#[tokio::test]
async fn event_reaches_a_queue_directly_and_by_topic_in_an_envelope() {
    let localstack = &World::shared().await.localstack;
    let pattern = json!({ "source": ["aws.secretsmanager"], "detail": { "name": ["world/ghcr"] } });
    let (direct, by_topic) = (queue(localstack, "direct").await, queue(localstack, "by-topic").await);
    localstack.create_rule("direct", &pattern, &direct.arn).await.unwrap();
    let topic = localstack.create_topic("topic", &by_topic.arn).await.unwrap();
    localstack.create_rule("by-topic", &pattern, &topic).await.unwrap();
    localstack.put_event("Secret Label Updated", &["arn"], &json!({ "name": "world/ghcr" })).await.unwrap();
    let event = receive(localstack, &direct).await;
    assert_eq!((&event["source"], &event["resources"]), (&json!("aws.secretsmanager"), &json!(["arn"])));
    let envelope = receive(localstack, &by_topic).await;
    let inside: Value = serde_json::from_str(envelope["Message"].as_str().unwrap()).unwrap();
    assert_eq!((&envelope["Type"], &inside["detail"]), (&json!("Notification"), &event["detail"]));
    assert_eq!(localstack.messages(&direct.dead_letter_url).await.unwrap(), 0);
}

#[tokio::test]
async fn delayed_messages_become_visible_together() {
    let localstack = &World::shared().await.localstack;
    let queue = queue(localstack, "many").await;
    let bodies: Vec<_> = (0..35).map(|n| n.to_string()).collect();
    let started = Instant::now();
    localstack.send(&queue, &bodies, Duration::from_secs(2)).await.unwrap();
    assert_eq!(localstack.messages(&queue.url).await.unwrap(), 35);
    receive(localstack, &queue).await;
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

async fn queue(localstack: &LocalStack, name: &str) -> Queue {
    localstack.create_queue(name, 10).await.unwrap()
}

/// Returns the body of the next message.
async fn receive(localstack: &LocalStack, queue: &Queue) -> Value {
    let body = json!({ "QueueUrl": queue.url, "WaitTimeSeconds": 20 });
    let answer = localstack.request("sqs", "ReceiveMessage", &body).await.unwrap();
    serde_json::from_str(answer["Messages"][0]["Body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn password_changes_while_the_registry_runs() {
    let world = World::shared().await;
    check_registry(&world.registry).await;
}

#[tokio::test]
async fn password_changes_while_the_token_registry_runs() {
    let world = World::shared().await;
    check_registry(&world.token_registry).await;
}

async fn check_registry(registry: &Registry) {
    let user = registry.username.as_str();
    let first = registry.password().unwrap();
    let digest = registry.push_image("team/app", "1").await.unwrap();
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert!(registry.login(user, &first).await.unwrap());
    assert!(!registry.login(user, "wrong").await.unwrap());
    assert!(!registry.login("nobody", &first).await.unwrap());
    let mut current = first;
    // Faster than the ticks of a file system's clock: each change must take effect all the same.
    for round in 0..10 {
        let next = format!("changed-{round}");
        registry.set_password(&next).unwrap();
        assert!(registry.login(user, &next).await.unwrap(), "round {round}");
        assert!(!registry.login(user, &current).await.unwrap(), "round {round}");
        current = next;
    }
    assert!(registry.can_pull("team/app", "1", user, &current).await.unwrap());
    assert!(!registry.can_pull("team/app", "1", user, "wrong").await.unwrap());
}

#[tokio::test]
async fn kubelet_keyring_finds_credentials_by_host() {
    let good = question(&json!({ "auths": { "127.0.0.1:5000": { "username": "u", "password": "p" } } }));
    let other = question(&json!({ "auths": { "localhost:5000": { "username": "u", "password": "p" } } }));
    let bad = question(&json!({ "auths": { "127.0.0.1:5000": { "auth": "%" } } }));
    let answers = ask_kubelet(&[good, other, bad]).await.unwrap();
    let [good, other, bad] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((good.credentials[0].username.as_str(), good.credentials[0].password.as_str()), ("u", "p"));
    assert!(other.credentials.is_empty() && other.error.is_none());
    assert!(bad.error.as_deref().unwrap().contains("illegal base64"), "{bad:?}");
}

fn question(docker_config: &Value) -> KeyringQuestion {
    KeyringQuestion {
        namespace: "a".to_owned(),
        name: "s".to_owned(),
        kind: "kubernetes.io/dockerconfigjson".to_owned(),
        docker_config: docker_config.to_string().into_bytes(),
        image: "127.0.0.1:5000/team/app".to_owned(),
    }
}

fn login_token(answer: &Value) -> String {
    answer["auth"]["client_token"].as_str().unwrap().to_owned()
}

async fn status(address: &str, path: &str, token: &str) -> u16 {
    let request = reqwest::Client::builder().no_proxy().build().unwrap().get(format!("{address}/v1/{path}"));
    request.header("x-vault-token", token).send().await.unwrap().status().as_u16()
}
