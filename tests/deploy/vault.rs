//! `deploy/vault/`, applied to a real Vault that asks a real API server who is who.

use regcred::credential::Key;
use regcred::manifest::config::{KubernetesAuth, KvVersion, VaultAuth, VaultSettings};
use regcred::provider::{Environment, Provider, vault};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Kube, Reaper, Vault};

use crate::rendering::{NAME, NAMESPACE, deploy, read};

/// The audience of the role.
const AUDIENCE: &str = "vault";

/// An API server and a Vault, set up as a reader would.
struct Scene {
    kube: Kube,
    vault: Vault,
    reaper: Reaper,
}

impl Scene {
    /// The one that all tests share.
    async fn shared() -> &'static Self {
        static SHARED: OnceCell<Scene> = OnceCell::const_new();
        SHARED.get_or_init(Self::new).await
    }

    async fn new() -> Self {
        let reaper = Reaper::new().expect("a reaper");
        let (kube, vault) = tokio::join!(Kube::start(&reaper), Vault::start(&reaper));
        let scene = Self { kube: kube.expect("an API server"), vault: vault.expect("a Vault"), reaper };
        scene.kube.create_namespaces([NAMESPACE, "elsewhere"], &[]).await.expect("namespaces");
        for namespace in [NAMESPACE, "elsewhere"] {
            let account = json!({"metadata": {"name": NAME}});
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            scene.kube.post(&path, &account).await.expect("a ServiceAccount");
        }
        for key in ["ci/ghcr", "ci/deep/er", "other/x"] {
            scene.vault.put_kv2("secret", key, &json!({"password": key})).await.expect("a credential");
        }
        scene.set_up(&scene.whom_to_ask().await).await;
        scene
    }

    /// What a Vault has to be told that is not in the cluster.
    async fn whom_to_ask(&self) -> Vec<(&'static str, String)> {
        let directory = self.reaper.new_directory("setup").expect("a directory");
        let file = |name: &str, content: &str| {
            let path = directory.join(name);
            std::fs::write(&path, content).expect("a file");
            path.display().to_string()
        };
        let reviewer = self.kube.token("kube-system", "default", 3600).await.expect("a token");
        let subject = "--serviceaccount=kube-system:default";
        let create =
            ["create", "clusterrolebinding", "vault", "--clusterrole=system:auth-delegator", subject];
        self.kube.kubectl(&create).await.expect("the reviewer may review");
        vec![
            ("KUBERNETES_HOST", self.kube.url.clone()),
            ("KUBERNETES_CA_FILE", file("ca.pem", &self.kube.ca_pem().expect("certificates"))),
            ("REVIEWER_TOKEN_FILE", file("reviewer", &reviewer)),
        ]
    }

    async fn set_up(&self, environment: &[(&str, String)]) -> String {
        self.vault.run(&deploy("vault/setup.sh"), environment).await.expect("setup.sh runs")
    }

    /// A token of a ServiceAccount for these audiences; for the API server's own where there are none.
    async fn account_token(&self, namespace: &str, account: &str, audiences: &[&str]) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let spec = json!({"spec": {"expirationSeconds": 600, "audiences": audiences}});
        let answer = self.kube.post(&path, &spec).await.expect("a token");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    async fn log_in(&self, jwt: &str) -> anyhow::Result<Value> {
        let body = json!({"role": "regcred", "jwt": jwt});
        Ok(self.vault.request_as("", "POST", "auth/kubernetes/login", Some(&body)).await?["auth"].take())
    }

    async fn regcred(&self) -> Value {
        let jwt = self.account_token(NAMESPACE, NAME, &[AUDIENCE]).await;
        self.log_in(&jwt).await.expect("regcred logs in")
    }
}

#[tokio::test]
async fn the_token_of_a_login_reads_values_and_versions_below_ci_and_nothing_else() {
    let scene = Scene::shared().await;
    let auth = scene.regcred().await;
    assert_eq!(auth["policies"], json!(["regcred"]));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(1200), &json!(true)));
    let token = auth["client_token"].as_str().expect("a token");
    let ask = async |method: &str, path: &str| {
        let body = json!({"data": {"password": "x"}});
        let body = (method != "GET" && method != "LIST").then_some(&body);
        scene.vault.request_as(token, method, path, body).await
    };

    for key in ["ci/ghcr", "ci/deep/er"] {
        let value = ask("GET", &format!("secret/data/{key}")).await.expect("a value");
        assert_eq!(value["data"]["data"]["password"], key);
        let metadata = ask("GET", &format!("secret/metadata/{key}")).await.expect("a version");
        assert_eq!(metadata["data"]["current_version"], 1);
    }
    ask("POST", "auth/token/renew-self").await.expect("its life goes on");
    for (method, path) in [
        ("GET", "secret/data/other/x"),
        ("GET", "secret/metadata/other/x"),
        ("LIST", "secret/metadata/"),
        ("LIST", "secret/metadata/ci/"),
        ("POST", "secret/data/ci/ghcr"),
        ("POST", "secret/metadata/ci/ghcr"),
        ("DELETE", "secret/data/ci/ghcr"),
        ("DELETE", "secret/metadata/ci/ghcr"),
        ("POST", "secret/destroy/ci/ghcr"),
        ("POST", "cubbyhole/x"),
        ("POST", "auth/token/create"),
        ("GET", "sys/policies/acl/regcred"),
    ] {
        let refused = ask(method, path).await.expect_err(path).to_string();
        assert!(
            refused.contains("403") && refused.contains("permission denied"),
            "{method} {path}: {refused}"
        );
    }
    ask("POST", "auth/token/revoke-self").await.expect("it is given back");
    assert!(ask("GET", "secret/data/ci/ghcr").await.is_err());
}

#[tokio::test]
async fn nobody_else_logs_in() {
    let scene = Scene::shared().await;
    for (namespace, account, audience) in [
        (NAMESPACE, "default", AUDIENCE),
        ("elsewhere", NAME, AUDIENCE),
        // A token that a pod shows to somebody else, or to the API server, is none for Vault.
        (NAMESPACE, NAME, "somebody-else"),
    ] {
        let jwt = scene.account_token(namespace, account, &[audience]).await;
        let refused = scene.log_in(&jwt).await.expect_err("no login").to_string();
        assert!(refused.contains("403"), "{namespace}/{account} for {audience}: {refused}");
    }
    let jwt = scene.account_token(NAMESPACE, NAME, &[]).await;
    assert!(scene.log_in(&jwt).await.is_err(), "the API server's own audience");
    scene.regcred().await;
}

#[tokio::test]
async fn regcred_reads_with_the_token_that_is_mounted_for_vault() {
    let scene = Scene::shared().await;
    let token_file = scene.reaper.new_directory("token").expect("a directory").join("token");
    let jwt = scene.account_token(NAMESPACE, NAME, &[AUDIENCE]).await;
    std::fs::write(&token_file, jwt).expect("a file");
    let settings = VaultSettings {
        address: scene.vault.address.parse().expect("an address"),
        mount: "secret".to_owned(),
        kv: KvVersion::V2,
        namespace: None,
        ca_file: None,
        auth: VaultAuth::Kubernetes(KubernetesAuth {
            role: "regcred".to_owned(),
            mount: "kubernetes".to_owned(),
            token_file,
        }),
    };
    let provider =
        vault::Vault::open("vault".into(), &settings, &Environment::default()).expect("a provider");
    let values = provider.read(&[Key("ci/ghcr".to_owned()), Key("other/x".to_owned())]).await;
    assert!(values[0].is_ok(), "{values:?}");
    assert!(values[1].is_err(), "{values:?}");
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_what_was_there_stays() {
    let scene = Scene::shared().await;
    let vault = &scene.vault;
    let all = async || {
        let paths = ["auth/kubernetes/config", "auth/kubernetes/role/regcred", "sys/policies/acl/regcred"];
        let mut answers = Vec::new();
        for path in paths {
            answers.push(vault.read(path).await.expect("an answer")["data"].take());
        }
        answers
    };
    let before = all().await;
    assert_eq!(before[0]["kubernetes_host"], scene.kube.url.as_str());
    assert_eq!(before[2]["policy"], read("vault/policy.hcl"));
    let written: Value = serde_json::from_str(&read("vault/role.json")).expect("JSON");
    for name in ["bound_service_account_names", "bound_service_account_namespaces", "audience"] {
        assert_eq!(before[1][name], written[name], "{name}");
    }

    let said = scene.set_up(&[]).await;
    assert!(said.contains("auth/kubernetes is there, and stays as it is"), "{said}");
    assert_eq!(all().await, before);
}
