//! The cluster of the demo: a world with twenty namespaces, and `regcred` with the ServiceAccount of
//! `deploy/rbac.yaml`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::process::Command;
use world::{KeyringQuestion, Registry, World, ask_kubelet, service_account_user};

pub(crate) const NAMESPACES: usize = 20;

const SYSTEM_NAMESPACE: &str = "regcred-system";
const SERVICE_ACCOUNT: &str = "regcred";
/// The rights of regcred's token in Vault.
const VAULT_POLICY: &str = r#"path "secret/data/ci/*" { capabilities = ["read"] }"#;

pub(crate) struct DemoCluster {
    regcred: PathBuf,
    world: World,
    kubeconfig: PathBuf,
    vault_token: String,
    manifests: PathBuf,
}

/// The output and the requests of one run of `regcred rotate`.
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) wall: Duration,
    /// Requests to the API server that wrote to a namespace of a team, those that wrote regcred's own state, and the
    /// others.
    pub(crate) writes: usize,
    pub(crate) own_writes: usize,
    pub(crate) reads: usize,
    /// Reads of the password in Vault.
    pub(crate) store_reads: usize,
}

impl DemoCluster {
    pub(crate) async fn start(regcred: &Path) -> anyhow::Result<Self> {
        let world = World::start_bare().await?;
        let kube = &world.kube;
        kube.apply_yaml(include_str!("../../../deploy/rbac.yaml")).await?;
        let kubeconfig = kube.kubeconfig_as(SYSTEM_NAMESPACE, SERVICE_ACCOUNT).await?;

        world.vault.put_policy("regcred", VAULT_POLICY).await?;
        let body = json!({ "policies": ["regcred"] });
        let answer = world.vault.request("POST", "auth/token/create", Some(&body)).await?;
        let vault_token =
            answer["auth"]["client_token"].as_str().context("Vault returned no token")?.to_owned();

        let manifests = world.reaper().new_directory("demo")?.join("manifests.yaml");
        let text = include_str!("../manifests.yaml")
            .replace("VAULT", &world.vault.address)
            .replace("SECRETS_MANAGER", &world.localstack.endpoint)
            .replace("BASIC_REGISTRY", &world.registry.host)
            .replace("TOKEN_REGISTRY", &world.token_registry.host);
        std::fs::write(&manifests, text).context("failed to write the manifests")?;
        Ok(Self { regcred: regcred.to_owned(), world, kubeconfig, vault_token, manifests })
    }

    /// The registry with its password in Vault.
    pub(crate) fn basic(&self) -> &Registry {
        &self.world.registry
    }

    /// The registry with its password in Secrets Manager.
    pub(crate) fn token(&self) -> &Registry {
        &self.world.token_registry
    }

    pub(crate) async fn create_namespaces(&self) -> anyhow::Result<()> {
        let names = (1..=NAMESPACES).map(|n| format!("team-{n:02}"));
        self.world.kube.create_namespaces(names, &[]).await
    }

    pub(crate) async fn fill_stores(&self) -> anyhow::Result<()> {
        self.put_in_vault().await?;
        self.world.localstack.create_secret("prod/registry", &stored(self.token())?.to_string()).await?;
        Ok(())
    }

    pub(crate) async fn change_passwords(&self) -> anyhow::Result<()> {
        for registry in [self.basic(), self.token()] {
            registry.set_password(&format!("{:016x}", RandomState::new().hash_one(&registry.host)))?;
        }
        self.put_in_vault().await?;
        self.world.localstack.put_secret("prod/registry", &stored(self.token())?.to_string()).await?;
        Ok(())
    }

    async fn put_in_vault(&self) -> anyhow::Result<()> {
        self.world.vault.put_kv2("secret", "ci/registry", &stored(self.basic())?).await?;
        Ok(())
    }

    /// Runs `regcred rotate`, which must succeed and print no password.
    pub(crate) async fn rotate(&self) -> anyhow::Result<Run> {
        let (kube, vault) = (&self.world.kube, &self.world.vault);
        let (kube_mark, vault_mark) = (kube.audit_mark()?, vault.audit_mark()?);
        let mut command = Command::new(&self.regcred);
        command.args(["rotate", "-f"]).arg(&self.manifests).stdin(Stdio::null());
        command.env("KUBECONFIG", &self.kubeconfig).env("VAULT_TOKEN", &self.vault_token);
        command.envs(self.world.localstack.env());
        let started = Instant::now();
        let output = command.output().await.context("failed to start regcred")?;
        let wall = started.elapsed();

        let (stdout, stderr) = (String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?);
        for registry in [self.basic(), self.token()] {
            let password = registry.password()?;
            ensure!(!format!("{stdout}{stderr}").contains(&password), "regcred printed a password");
        }
        ensure!(output.status.success(), "regcred rotate: {}\n{stdout}{stderr}", output.status);

        kube.settle_audit_log().await?;
        let requests =
            kube.audit_events_by(&service_account_user(SYSTEM_NAMESPACE, SERVICE_ACCOUNT), kube_mark)?;
        let reads = requests.iter().filter(|request| !request.is_write()).count();
        let own_writes =
            requests.iter().filter(|it| it.is_write() && it.namespace == SYSTEM_NAMESPACE).count();
        let writes = requests.len() - reads - own_writes;
        let store_reads = vault.reads_of("secret/data/ci/registry", vault_mark)?;
        Ok(Run { stdout, wall, writes, own_writes, reads, store_reads })
    }

    /// Runs `regcred sidecar --once`, and counts the registries at which the entry of its file logs in.
    pub(crate) async fn sidecar_logins(&self) -> anyhow::Result<usize> {
        let file = self.manifests.with_file_name("config.json");
        let mut command = Command::new(&self.regcred);
        command.args(["sidecar", "-f"]).arg(&self.manifests).arg("--output").arg(&file).arg("--once");
        // A sidecar needs no cluster.
        command
            .env_remove("KUBECONFIG")
            .env("VAULT_TOKEN", &self.vault_token)
            .envs(self.world.localstack.env())
            .stdin(Stdio::null());
        let output = command.output().await.context("failed to start regcred")?;
        let stderr = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "regcred sidecar: {}\n{stderr}", output.status);
        let config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let mut logins = 0;
        for registry in [self.basic(), self.token()] {
            let auth = config["auths"][&registry.host]["auth"].as_str().context("the file has no entry")?;
            let auth = String::from_utf8(BASE64_STANDARD.decode(auth)?)?;
            let (username, password) = auth.split_once(':').context("the entry has no password")?;
            ensure!(!stderr.contains(password), "regcred printed a password");
            logins += usize::from(registry.login(username, password).await?);
        }
        Ok(logins)
    }

    /// Counts the namespaces with a credential that logs in at the first and at the second registry. The lookup is that
    /// for a pod without `imagePullSecrets`: its ServiceAccount, the referenced Secrets, the kubelet's own code, the real
    /// registry.
    pub(crate) async fn logins(&self) -> anyhow::Result<[usize; 2]> {
        let secrets = self.referenced_secrets().await?;
        let mut logins = [0, 0];
        for (registry, count) in [self.basic(), self.token()].into_iter().zip(&mut logins) {
            let questions = secrets
                .iter()
                .map(|(namespace, secret)| question(namespace, secret, &registry.host))
                .collect::<anyhow::Result<Vec<_>>>()?;
            for answer in ask_kubelet(&questions).await? {
                ensure!(answer.error.is_none(), "the kubelet cannot read a pull secret: {:?}", answer.error);
                if let [credential] = answer.credentials.as_slice()
                    && registry.login(&credential.username, &credential.password).await?
                {
                    *count += 1;
                }
            }
        }
        Ok(logins)
    }

    /// Returns the UID of the Secret in each namespace.
    pub(crate) async fn secret_uids(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let secrets = self.referenced_secrets().await?;
        Ok(secrets
            .into_iter()
            .map(|(namespace, secret)| (namespace, secret["metadata"]["uid"].clone()))
            .collect())
    }

    /// Returns the Secret of each namespace that its `default` ServiceAccount references.
    async fn referenced_secrets(&self) -> anyhow::Result<BTreeMap<String, Value>> {
        let service_accounts = self.list_by_name("serviceaccounts", "default").await?;
        let mut secrets = self.list_by_name("secrets", "regcred").await?;
        secrets.retain(|namespace, _| {
            service_accounts
                .get(namespace)
                .is_some_and(|it| it["imagePullSecrets"] == json!([{ "name": "regcred" }]))
        });
        Ok(secrets)
    }

    /// Returns the object with this name in each namespace.
    async fn list_by_name(&self, resource: &str, name: &str) -> anyhow::Result<BTreeMap<String, Value>> {
        let path = format!("/api/v1/{resource}?fieldSelector=metadata.name%3D{name}");
        let list = self.world.kube.get(&path).await?;
        let items = list["items"].as_array().into_iter().flatten();
        Ok(items
            .map(|it| (it["metadata"]["namespace"].as_str().unwrap_or_default().to_owned(), it.clone()))
            .collect())
    }
}

/// Returns the value in a store for a registry: its username and its current password.
fn stored(registry: &Registry) -> anyhow::Result<Value> {
    Ok(json!({ "username": registry.username, "password": registry.password()? }))
}

fn question(namespace: &str, secret: &Value, host: &str) -> anyhow::Result<KeyringQuestion> {
    let data = secret["data"][".dockerconfigjson"].as_str().context("a pull secret has no docker config")?;
    Ok(KeyringQuestion {
        namespace: namespace.to_owned(),
        name: "regcred".to_owned(),
        kind: secret["type"].as_str().unwrap_or_default().to_owned(),
        docker_config: BASE64_STANDARD.decode(data)?,
        image: format!("{host}/team/app:1"),
    })
}
