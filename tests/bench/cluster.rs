//! The cluster of one side: an API server, a Vault with one password, and the namespaces to write to.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use harness::{HOST, SECRET, TestCluster, registries};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::side::Build;

/// Requests in flight, on every side.
pub(crate) const CONCURRENCY: u16 = 32;
/// The field manager of regcred's writes: the API server keeps a list of fields for each manager.
pub(crate) const FIELD_MANAGER: &str = "regcred";
/// The annotation that records regcred's entries in a ServiceAccount.
pub(crate) const ADDED: &str = "regcred.dev/image-pull-secrets";
/// The key of the password in Vault.
pub(crate) const KEY: &str = "bench/ghcr";

/// The time without a request after which the API server is idle: caches are filled, lines are logged.
const IDLE: Duration = Duration::from_millis(500);
/// The longest wait for anything: a busy machine is slow, and ten thousand namespaces are many.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(5);

/// The steps of a benchmark on its cluster.
pub(crate) trait Bench: Sized {
    /// Starts a cluster for a version, with these namespaces, a password, a Config and a
    /// ClusterPullSecret called `bench`.
    async fn start(build: &Build, namespaces: usize) -> anyhow::Result<Self>;

    /// A Config with the Vault.
    fn config_file(&self) -> PathBuf;

    /// The ClusterPullSecret.
    fn object_file(&self) -> PathBuf;

    /// Waits until the API server is idle. The check costs the machine a read of a file's length.
    async fn wait_idle(&self) -> anyhow::Result<()>;

    /// Runs an action in every namespace, with the concurrency of every side.
    async fn in_every_namespace(&self, act: impl AsyncFn(&str) -> kube::Result<()>) -> kube::Result<()>;

    /// Puts a new password into Vault.
    async fn change_password(&self) -> anyhow::Result<()>;

    /// Removes the objects of regcred and of the bare writes, so that the next run creates them again.
    async fn reset(&self) -> anyhow::Result<()>;
}

impl Bench for TestCluster {
    async fn start(Build { regcred, deploy }: &Build, namespaces: usize) -> anyhow::Result<Self> {
        let regcred = regcred.to_str().context("the path of the binary is not UTF-8")?;
        let cluster = Self::own_of_version(regcred, deploy, "bench", namespaces).await?;
        let config = json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "Config",
            "stores": [{ "name": "vault", "vault": { "address": cluster.vault.address } }],
        });
        let cluster_pull_secret = json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "ClusterPullSecret",
            "metadata": { "name": cluster.name },
            "spec": {
                "secretName": SECRET,
                "registries": registries(&[(HOST, "vault", KEY)]),
                "namespaces": { "include": ["bench-*"] },
            },
        });
        write(&cluster.config_file(), &config)?;
        write(&cluster.object_file(), &cluster_pull_secret)?;
        cluster.change_password().await?;
        Ok(cluster)
    }

    fn config_file(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    fn object_file(&self) -> PathBuf {
        self.directory.path().join("object.yaml")
    }

    async fn wait_idle(&self) -> anyhow::Result<()> {
        let idle = async {
            loop {
                let before = self.kube.audit_mark()?;
                tokio::time::sleep(IDLE).await;
                if self.kube.audit_mark()? == before {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(TIMEOUT, idle).await.context("the API server does not become idle")?
    }

    async fn in_every_namespace(&self, act: impl AsyncFn(&str) -> kube::Result<()>) -> kube::Result<()> {
        let all = stream::iter(&self.namespaces).map(|namespace| act(namespace));
        all.buffer_unordered(CONCURRENCY.into()).try_collect().await
    }

    async fn change_password(&self) -> anyhow::Result<()> {
        let value = json!({ "username": "robot", "password": new_password() });
        self.vault.put_kv2("secret", KEY, &value).await?;
        Ok(())
    }

    async fn reset(&self) -> anyhow::Result<()> {
        let client = client(&self.kubeconfig).await?;
        self.in_every_namespace(async |namespace| {
            let reset = json!({ "metadata": { "annotations": { ADDED: null } }, "imagePullSecrets": null });
            let service_accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
            service_accounts.patch_metadata("default", &PatchParams::default(), &Patch::Merge(reset)).await?;
            match Api::<Secret>::namespaced(client.clone(), namespace)
                .delete(SECRET, &DeleteParams::default())
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                result => result.map(|_| ()),
            }
        })
        .await
        .context("failed to clear the namespaces")
    }
}

/// Creates a client without a connection, like that of a process that has just started.
pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Writes a manifest as JSON, which is YAML too.
fn write(path: &Path, manifest: &Value) -> anyhow::Result<()> {
    std::fs::write(path, manifest.to_string()).context("failed to write a manifest")
}

/// Returns a random password with the length of a registry's token.
pub(crate) fn new_password() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(()), RandomState::new().hash_one(()))
}
