//! `deploy/vault/`, applied to a real Vault and a real OpenBao, which review tokens at a real API server.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use regcred::credential::Key;
use regcred::manifest::config::{KubernetesAuth, KvVersion, VaultAuth, VaultSettings};
use regcred::provider::vault as vault_provider;
use regcred::provider::{Environment, Provider};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Kube, Reaper, Vault};

use crate::rendering::{NAME, NAMESPACE, deploy, read};

/// The audience of the role.
const AUDIENCE: &str = "vault";

/// An API server and a Vault, set up as in the documentation.
struct TestCluster {
    kube: Kube,
    vault: Vault,
    reaper: Reaper,
}

impl TestCluster {
    /// Returns the cluster with a Vault.
    async fn vault() -> &'static Self {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::new(Vault::start).await).await
    }

    /// Returns the cluster with an OpenBao.
    async fn openbao() -> &'static Self {
        static SHARED: OnceCell<TestCluster> = OnceCell::const_new();
        SHARED.get_or_init(async || Self::new(Vault::start_openbao).await).await
    }

    async fn new(start_vault: impl AsyncFnOnce(&Reaper) -> anyhow::Result<Vault>) -> Self {
        let reaper = Reaper::new().expect("a reaper");
        let (kube, vault) = tokio::join!(Kube::start(&reaper), start_vault(&reaper));
        let cluster = Self { kube: kube.expect("an API server"), vault: vault.expect("a Vault"), reaper };
        cluster.kube.create_namespaces([NAMESPACE, "elsewhere"], &[]).await.expect("namespaces");
        for namespace in [NAMESPACE, "elsewhere"] {
            let account = json!({"metadata": {"name": NAME}});
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            cluster.kube.post(&path, &account).await.expect("a ServiceAccount");
        }
        for key in ["ci/ghcr", "ci/deep/er", "other/x"] {
            cluster.vault.put_kv2("secret", key, &json!({"password": key})).await.expect("a credential");
        }
        cluster.run_setup(&cluster.reviewer_environment().await).await;
        cluster
    }

    /// Creates a token reviewer, and returns the variables that `setup.sh` needs for a Vault outside the cluster.
    async fn reviewer_environment(&self) -> Vec<(&'static str, String)> {
        let directory = self.reaper.new_directory("setup").expect("a directory");
        let reviewer = self.kube.token("kube-system", "default", 3600).await.expect("a token");
        let subject = "--serviceaccount=kube-system:default";
        let create =
            ["create", "clusterrolebinding", "vault", "--clusterrole=system:auth-delegator", subject];
        self.kube.kubectl(&create).await.expect("a reviewer");
        let token_file = directory.join("reviewer");
        std::fs::write(&token_file, reviewer).expect("a file");
        vec![
            ("KUBERNETES_HOST", self.kube.url.clone()),
            ("KUBERNETES_CA_FILE", self.kube.ca_file.display().to_string()),
            ("REVIEWER_TOKEN_FILE", token_file.display().to_string()),
        ]
    }

    async fn run_setup(&self, environment: &[(&str, String)]) -> String {
        self.vault.run(&deploy("vault/setup.sh"), environment).await.expect("setup.sh runs")
    }

    /// Requests a token of a ServiceAccount for these audiences; for that of the API server if there are none.
    async fn account_token(&self, namespace: &str, account: &str, audiences: &[&str]) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let spec = json!({"spec": {"expirationSeconds": 600, "audiences": audiences}});
        let answer = self.kube.post(&path, &spec).await.expect("a token");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Sends a request with a token, and with a body unless it reads.
    async fn request(&self, token: &str, method: &str, path: &str) -> anyhow::Result<Value> {
        let body = json!({"data": {"password": "x"}});
        let body = (method != "GET" && method != "LIST").then_some(&body);
        self.vault.request_as(token, method, path, body).await
    }

    async fn log_in(&self, jwt: &str) -> anyhow::Result<Value> {
        let body = json!({"role": "regcred", "jwt": jwt});
        Ok(self.vault.request_as("", "POST", "auth/kubernetes/login", Some(&body)).await?["auth"].take())
    }

    /// The settings of a store that logs in with this role and the token in a file.
    fn settings(&self, role: &str, token_file: PathBuf) -> VaultSettings {
        let (role, mount) = (role.to_owned(), "kubernetes".to_owned());
        VaultSettings {
            address: self.vault.address.parse().expect("an address"),
            mount: "secret".to_owned(),
            kv: KvVersion::V2,
            namespace: None,
            ca_file: None,
            redirect_hosts: Vec::new(),
            allow_http: false,
            auth: VaultAuth::Kubernetes(KubernetesAuth { role, mount, token_file }),
        }
    }

    /// Reads everything that `setup.sh` writes.
    async fn vault_settings(&self) -> Vec<Value> {
        let paths = ["auth/kubernetes/config", "auth/kubernetes/role/regcred", "sys/policies/acl/regcred"];
        let mut settings = Vec::new();
        for path in paths {
            settings.push(self.vault.read(path).await.expect("a response")["data"].take());
        }
        settings
    }

    /// Logs in as regcred and returns the `auth` of the response.
    async fn log_in_as_regcred(&self) -> Value {
        let jwt = self.account_token(NAMESPACE, NAME, &[AUDIENCE]).await;
        self.log_in(&jwt).await.expect("regcred logs in")
    }
}

/// Runs tests against both servers, each in a module with the name of the server.
macro_rules! on_every_server {
    ($($test:ident)*) => {
        on_every_server!(@ vault: $($test)*);
        on_every_server!(@ openbao: $($test)*);
    };
    (@ $server:ident: $($test:ident)*) => {
        mod $server {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::TestCluster::$server().await).await;
            })*
        }
    };
}

on_every_server! {
    login_token_reads_only_values_and_versions_below_ci
    other_accounts_and_audiences_cannot_log_in
    regcred_reads_with_the_projected_token
    optional_rights_suffice_for_a_lease
    second_setup_changes_nothing
    refused_login_names_the_cause_that_vault_tells
}

async fn login_token_reads_only_values_and_versions_below_ci(cluster: &TestCluster) {
    let auth = cluster.log_in_as_regcred().await;
    assert_eq!(auth["policies"], json!(["regcred"]));
    assert_eq!((&auth["lease_duration"], &auth["renewable"]), (&json!(1200), &json!(true)));
    let token = auth["client_token"].as_str().expect("a token");

    for key in ["ci/ghcr", "ci/deep/er"] {
        let value = cluster.request(token, "GET", &format!("secret/data/{key}")).await.expect("a value");
        assert_eq!(value["data"]["data"]["password"], key);
        let metadata =
            cluster.request(token, "GET", &format!("secret/metadata/{key}")).await.expect("a version");
        assert_eq!(metadata["data"]["current_version"], 1);
    }
    cluster.request(token, "POST", "auth/token/renew-self").await.expect("the token is renewed");
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
        ("POST", "sys/leases/renew"),
        ("POST", "sys/leases/revoke"),
        ("GET", "sys/policies/acl/regcred"),
    ] {
        let refused = cluster.request(token, method, path).await.expect_err(path).to_string();
        assert!(
            refused.contains("403") && refused.contains("permission denied"),
            "{method} {path}: {refused}"
        );
    }
    cluster.request(token, "POST", "auth/token/revoke-self").await.expect("the token is revoked");
    assert!(cluster.request(token, "GET", "secret/data/ci/ghcr").await.is_err());
}

async fn other_accounts_and_audiences_cannot_log_in(cluster: &TestCluster) {
    for (namespace, account, audience) in [
        (NAMESPACE, "default", AUDIENCE),
        ("elsewhere", NAME, AUDIENCE),
        // A token for another audience, or for that of the API server, is invalid for Vault.
        (NAMESPACE, NAME, "another"),
    ] {
        let jwt = cluster.account_token(namespace, account, &[audience]).await;
        let refused = cluster.log_in(&jwt).await.expect_err("no login").to_string();
        assert!(refused.contains("403"), "{namespace}/{account} for {audience}: {refused}");
    }
    let jwt = cluster.account_token(NAMESPACE, NAME, &[]).await;
    assert!(cluster.log_in(&jwt).await.is_err(), "the audience of the API server");
    cluster.log_in_as_regcred().await;
}

async fn regcred_reads_with_the_projected_token(cluster: &TestCluster) {
    let token_file = cluster.reaper.new_directory("token").expect("a directory").join("token");
    let jwt = cluster.account_token(NAMESPACE, NAME, &[AUDIENCE]).await;
    std::fs::write(&token_file, jwt).expect("a file");
    let settings = cluster.settings("regcred", token_file);
    let provider =
        vault_provider::Vault::open("vault".into(), &settings, &Environment::default()).expect("a provider");
    let values = provider.read(&[Key("ci/ghcr".to_owned()), Key("other/x".to_owned())]).await;
    assert!(values[0].is_ok(), "{values:?}");
    assert!(values[1].is_err(), "{values:?}");
}

/// The optional lines of the policy.
fn optional_rules() -> String {
    let policy = read("vault/policy.hcl");
    let (_, optional) = policy.split_once("remove the `# ` of these lines.\n").expect("optional lines");
    let is_rule = |line: &&str| ["path ", "  ", "}"].iter().any(|start| line.starts_with(start));
    let rules = optional.lines().map(|line| line.strip_prefix("# ").expect("a comment")).filter(is_rule);
    rules.collect::<Vec<_>>().join("\n")
}

async fn optional_rights_suffice_for_a_lease(cluster: &TestCluster) {
    let vault = &cluster.vault;
    let mount = json!({"type": "kv", "options": {"version": "1", "leased_passthrough": "true"}});
    vault.write("sys/mounts/artifactory", &mount).await.expect("an engine");
    let path = "artifactory/token/puller";
    vault.write(path, &json!({"password": "x", "ttl": "1h"})).await.expect("a credential");
    vault.put_policy("optional", &optional_rules()).await.expect("a policy");
    // The policy `default` has a part of these rights, and the role of regcred has not.
    let token = json!({"policies": ["optional"], "no_default_policy": true});
    let mut token = vault.write("auth/token/create", &token).await.expect("a token")["auth"].take();
    let token = token["client_token"].take();
    let token = token.as_str().expect("a token");

    let issued = vault.request_as(token, "GET", path, None).await.expect("a credential");
    let lease = json!({"lease_id": issued["lease_id"]});
    vault.request_as(token, "POST", "sys/leases/revoke", Some(&lease)).await.expect("a revocation");
    // Without the right both servers answer 403. OpenBao 2.7 panics where it renews a lease of this engine.
    let renewal = vault.request_as(token, "POST", "sys/leases/renew", Some(&lease)).await;
    let gone = renewal.expect_err("it is revoked").to_string();
    assert!(gone.contains("400") && gone.contains("lease not found"), "{gone}");
    let other = vault.request_as(token, "GET", "secret/data/ci/ghcr", None).await;
    assert!(other.expect_err("no other right").to_string().contains("403"));
}

async fn second_setup_changes_nothing(cluster: &TestCluster) {
    let before = cluster.vault_settings().await;
    assert_eq!(before[0]["kubernetes_host"], cluster.kube.url.as_str());
    assert_eq!(before[2]["policy"], read("vault/policy.hcl"));
    let written: Value = serde_json::from_str(&read("vault/role.json")).expect("JSON");
    for name in ["bound_service_account_names", "bound_service_account_namespaces", "audience"] {
        assert_eq!(before[1][name], written[name], "{name}");
    }

    let said = cluster.run_setup(&[]).await;
    assert!(said.contains("auth/kubernetes exists and is not changed"), "{said}");
    assert_eq!(cluster.vault_settings().await, before);
}

async fn refused_login_names_the_cause_that_vault_tells(cluster: &TestCluster) {
    let token_file = cluster.reaper.new_directory("refused").expect("a directory").join("token");
    for (role, namespace, account, audience, expect) in [
        ("nope", NAMESPACE, NAME, AUDIENCE, "there is no role nope."),
        ("regcred", NAMESPACE, "default", AUDIENCE, "role regcred is not bound to this ServiceAccount."),
        ("regcred", "elsewhere", NAME, AUDIENCE, "role regcred is not bound to the namespace of this"),
        ("regcred", NAMESPACE, NAME, "another", "the token in `tokenFile` is not for the audience of role"),
        ("regcred", NAMESPACE, "", AUDIENCE, "the Vault could not have the token reviewed."),
    ] {
        let jwt = match account {
            "" => "no token".to_owned(),
            account => cluster.account_token(namespace, account, &[audience]).await,
        };
        std::fs::write(&token_file, jwt).expect("a file");
        let settings = cluster.settings(role, token_file.clone());
        let provider = vault_provider::Vault::open("vault".into(), &settings, &Environment::default())
            .expect("a provider");
        let error = provider.read(&[Key("ci/ghcr".to_owned())]).await.remove(0).expect_err("a refusal");
        let start = "store vault, key ci/ghcr: access denied: the login at auth/kubernetes was refused: ";
        assert!(error.to_string().starts_with(&format!("{start}{expect}")), "{error}");
    }
}

#[tokio::test]
async fn setup_uses_bao_where_vault_is_missing() {
    let cluster = TestCluster::openbao().await;
    let directory = cluster.reaper.new_directory("bao").expect("a directory");
    let which = directory.join("which");
    std::fs::write(&which, "#!/bin/sh\nfor it in bao dirname grep cat; do command -v $it; done\n")
        .expect("a script");
    std::fs::set_permissions(&which, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let found = cluster.vault.run(&which, &[]).await.expect("the programs that the script calls");
    let bin = directory.join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    for (program, name) in found.lines().zip(["bao", "dirname", "grep", "cat"]) {
        symlink(program, bin.join(name)).expect("a link");
    }
    let path = ("PATH", bin.display().to_string());
    let said = cluster.run_setup(std::slice::from_ref(&path)).await;
    assert!(said.contains("auth/kubernetes exists and is not changed"), "{said}");
    std::fs::remove_file(bin.join("bao")).expect("no client");
    let failed =
        cluster.vault.run(&deploy("vault/setup.sh"), &[path]).await.expect_err("no client").to_string();
    assert!(failed.contains("neither vault nor bao is installed"), "{failed}");
}
