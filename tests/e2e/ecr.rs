//! `regcred rotate` with tokens of Amazon ECR: moto issues them, behind a proxy that gives each a password `token-N` and
//! an end of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::{Run, TestCluster};
use serde_json::{Value, json};
use world::{EcrProxy, Moto, REGION, World};

use crate::cluster::test_cluster;

/// The time for which ECR issues a token.
const LIFE: Duration = Duration::from_hours(12);
/// An account that is not that of moto.
const OTHER: &str = "999999999999";

/// A cluster with a store of ECR.
struct EcrCluster {
    cluster: TestCluster,
    moto: &'static Moto,
    proxy: EcrProxy,
}

impl EcrCluster {
    async fn new(name: &'static str) -> Self {
        let cluster = test_cluster(name, 2).await;
        let moto = World::shared().await.moto().await;
        let proxy = EcrProxy::start(moto, LIFE).await.expect("a proxy");
        Self { cluster, moto, proxy }
    }

    /// Writes the Config with `more` fields of the store, and a ClusterPullSecret of these registries.
    fn manifests(&self, registries: &Value, more: &str) -> PathBuf {
        let mut object = self.cluster.cluster_pull_secret(self.cluster.name);
        object["spec"]["registries"] = registries.clone();
        let endpoint = &self.proxy.endpoint;
        let store = format!(
            "- name: ecr\n  awsEcr: {{region: {REGION}, registryIds: [\"{}\", \"{OTHER}\"], endpointUrl: \"{endpoint}\"{more}}}\n\
             - name: secrets\n  awsSecretsManager: {{region: {REGION}, endpointUrl: \"{endpoint}\"{more}}}\n",
            Moto::ACCOUNT
        );
        self.cluster.write(&[&self.cluster.config(&store), &object.to_string()])
    }

    async fn rotate(&self, manifests: &Path) -> Run {
        let manifests = manifests.display().to_string();
        let mut command = self.cluster.command(&["rotate", "-f", &manifests, "--output", "json"]);
        // `endpointUrl` of the Config has precedence over these.
        for variable in ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL"] {
            command.env(variable, "http://127.0.0.1:9");
        }
        command.env("AWS_ENDPOINT_URL_STS", &self.moto.endpoint).output().await.expect("regcred runs").into()
    }

    async fn passwords(&self) -> Value {
        json!(self.cluster.passwords(self.cluster.namespace(0)).await)
    }
}

fn host(id: &str) -> String {
    format!("{id}.dkr.ecr.{REGION}.amazonaws.com")
}

fn registry(host: &str, store: &str, key: &str) -> Value {
    json!({"host": host, "from": {"store": store, "key": key}})
}

#[tokio::test]
async fn token_is_written_for_every_host_and_account() {
    let ecr = EcrCluster::new("rot-ecr").await;
    let fips = format!("{OTHER}.dkr.ecr-fips.{REGION}.amazonaws.com");
    let path = format!("{}/team", host(Moto::ACCOUNT));
    let registries = json!([
        {"from": {"store": "ecr", "key": Moto::ACCOUNT}},
        registry(&path, "ecr", Moto::ACCOUNT),
        registry(&fips, "ecr", OTHER),
    ]);
    let manifests = ecr.manifests(&registries, "");
    for (round, result) in [(1, "created"), (2, "updated")] {
        let run = ecr.rotate(&manifests).await;
        assert_eq!(run.code, 0, "{run:?}");
        assert_eq!(run.results(), [format!("rot-ecr-000: {result}"), format!("rot-ecr-001: {result}")]);
        let token = format!("token-{round}");
        assert_eq!(
            ecr.passwords().await,
            json!({host(Moto::ACCOUNT): token, path.clone(): token, fips.clone(): token})
        );
        assert_eq!(ecr.proxy.issued().len(), round, "one request serves both accounts");
        let registries = run.registries();
        assert!(registries[2].starts_with(&format!("{fips} expires@2")), "{registries:?}");
    }
}

#[tokio::test]
async fn earlier_token_does_not_replace_a_later_one() {
    let ecr = EcrCluster::new("rot-ecr-older").await;
    let manifests = ecr.manifests(&json!([registry(&host(OTHER), "ecr", OTHER)]), "");
    assert_eq!(ecr.rotate(&manifests).await.code, 0);
    let path = format!("/api/v1/namespaces/{}/secrets/{}", ecr.cluster.namespace(0), harness::SECRET);
    let secret = ecr.cluster.secret(ecr.cluster.namespace(0)).await.expect("a Secret");
    let versions = secret["metadata"]["annotations"]["regcred.dev/versions"].as_str().expect("versions");
    let (_, fingerprint) = versions.rsplit_once('#').expect("a fingerprint");
    let later = format!("{}=ecr:expires@2099-01-01T00:00:00Z#{fingerprint}", host(OTHER));
    let annotation = json!({"metadata": {"annotations": {"regcred.dev/versions": later}}});
    ecr.cluster.kube.patch(&path, &annotation).await.expect("an annotation");
    let run = ecr.rotate(&manifests).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.results()[0], "rot-ecr-older-000: refused OlderVersion");
    assert_eq!(ecr.passwords().await, json!({host(OTHER): "token-1"}));
}

#[tokio::test]
async fn registry_that_a_token_is_not_for_is_named() {
    let ecr = EcrCluster::new("rot-ecr-refused").await;
    let region = format!("{}.dkr.ecr.eu-north-1.amazonaws.com", Moto::ACCOUNT);
    let registries = json!([
        registry("public.ecr.aws", "ecr", Moto::ACCOUNT),
        registry(&region, "ecr", Moto::ACCOUNT),
        registry(&host("111111111111"), "ecr", "111111111111"),
        registry(&host(OTHER), "ecr", OTHER),
    ]);
    let run = ecr.rotate(&ecr.manifests(&registries, "")).await;
    assert_eq!(run.code, 1, "{run:?}");
    let report = run.report();
    let message =
        |n: usize| report["clusterPullSecrets"][0]["registries"][n]["message"].as_str().unwrap_or_default();
    assert!(message(0).contains("Remove this registry"), "{report}");
    assert!(message(1).contains("Compare the account and the region of both"), "{report}");
    assert!(message(2).contains("`registryIds` of the store does not have this registry"), "{report}");
    assert_eq!(ecr.passwords().await, json!({host(OTHER): "token-1"}), "the others are written");
}

#[tokio::test]
async fn role_is_assumed_by_both_stores_of_aws() {
    let ecr = EcrCluster::new("rot-ecr-role").await;
    ecr.moto
        .create_secret("rot-ecr-role/ghcr", r#"{"username":"robot","password":"pw"}"#)
        .await
        .expect("a secret");
    let role = format!(", roleArn: \"arn:aws:iam::{}:role/puller\"", Moto::ACCOUNT);
    for (store, key, host, expect) in [
        ("ecr", Moto::ACCOUNT, host(Moto::ACCOUNT), "token-"),
        ("secrets", "rot-ecr-role/ghcr", "ghcr.io".to_owned(), "pw"),
    ] {
        for (more, is_role) in [("", false), (role.as_str(), true)] {
            let run = ecr.rotate(&ecr.manifests(&json!([registry(&host, store, key)]), more)).await;
            assert_eq!(run.code, 0, "{run:?}");
            let passwords = ecr.passwords().await;
            assert!(passwords[&host].as_str().is_some_and(|it| it.starts_with(expect)), "{passwords}");
            let access_key = ecr.proxy.access_key();
            assert_eq!(access_key.starts_with("ASIA"), is_role, "{access_key}");
        }
    }
}
