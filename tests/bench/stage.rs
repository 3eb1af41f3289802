//! Where both sides play: an API server, a Vault with one password, and the namespaces to write to.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use world::{Kube, Reaper, Vault, service_account_user};

/// Requests in flight, on both sides.
pub(crate) const CONCURRENCY: u16 = 32;
/// The ServiceAccount by which both sides act, with the rights that `deploy/rbac.yaml` gives it.
pub(crate) const SERVICE_ACCOUNT: (&str, &str) = ("regcred-system", "regcred");
/// The name of the Secret in every namespace.
pub(crate) const SECRET: &str = "regcred";
/// Who regcred says it is when it writes: the API server keeps a list of fields for each name.
pub(crate) const FIELD_MANAGER: &str = "regcred";
/// The annotation by which regcred knows what it added to a ServiceAccount.
pub(crate) const ADDED: &str = "regcred.dev/image-pull-secrets";
/// The registry that the password is for. Nobody asks it.
pub(crate) const HOST: &str = "ghcr.io";
/// Where the password lies in Vault.
pub(crate) const KEY: &str = "bench/ghcr";

/// Without a request for this long the API server is at rest: caches are filled, lines are logged.
const REST: Duration = Duration::from_millis(500);
/// The longest that anything here may take: a busy machine is slow, and ten thousand namespaces are many.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) struct Stage {
    pub(crate) kube: Kube,
    pub(crate) vault: Vault,
    /// A Config with the Vault.
    pub(crate) config: PathBuf,
    /// A ClusterPullSecret called `bench`.
    pub(crate) cluster_pull_secret: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Who uses that, as the audit log has it.
    pub(crate) user: String,
    pub(crate) namespaces: Vec<String>,
}

impl Stage {
    pub(crate) async fn set(namespaces: usize) -> anyhow::Result<Self> {
        let reaper = Reaper::new()?;
        let (kube, vault) = tokio::try_join!(Kube::start(&reaper), Vault::start(&reaper))?;
        kube.kubectl_stdin(&["apply", "-f", "-"], include_str!("../../deploy/rbac.yaml")).await?;
        let kubeconfig = kube.kubeconfig_as(SERVICE_ACCOUNT.0, SERVICE_ACCOUNT.1).await?;
        let namespaces: Vec<_> = (0..namespaces).map(|n| format!("bench-{n:05}")).collect();
        kube.create_namespaces(namespaces.clone(), &[]).await?;

        let directory = reaper.new_directory("bench")?;
        let config = json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "Config",
            "stores": [{ "name": "vault", "vault": { "address": vault.address } }],
        });
        let cluster_pull_secret = json!({
            "apiVersion": "regcred.dev/v1alpha1",
            "kind": "ClusterPullSecret",
            "metadata": { "name": "bench" },
            "spec": {
                "secretName": SECRET,
                "registries": [{ "host": HOST, "from": { "store": "vault", "key": KEY } }],
                "namespaces": { "include": ["bench-*"] },
            },
        });
        let stage = Self {
            config: write(&directory, "config.yaml", &config)?,
            cluster_pull_secret: write(&directory, "pull-secret.yaml", &cluster_pull_secret)?,
            user: service_account_user(SERVICE_ACCOUNT.0, SERVICE_ACCOUNT.1),
            kube,
            vault,
            kubeconfig,
            namespaces,
        };
        stage.change_password().await?;
        Ok(stage)
    }

    /// Waits until nobody has asked the API server for anything for a moment. It costs the machine a look
    /// at the length of a file.
    pub(crate) async fn rest(&self) -> anyhow::Result<()> {
        let rest = async {
            loop {
                let before = self.kube.audit_mark()?;
                tokio::time::sleep(REST).await;
                if self.kube.audit_mark()? == before {
                    return Ok(());
                }
            }
        };
        tokio::time::timeout(PATIENCE, rest).await.context("the API server does not come to rest")?
    }

    /// Does something in every namespace, as many at once as both sides may.
    pub(crate) async fn in_every_namespace(
        &self,
        act: impl AsyncFn(&str) -> kube::Result<()>,
    ) -> kube::Result<()> {
        let all = stream::iter(&self.namespaces).map(|namespace| act(namespace));
        all.buffer_unordered(CONCURRENCY.into()).try_collect().await
    }

    /// Puts a password into Vault that was never there.
    pub(crate) async fn change_password(&self) -> anyhow::Result<()> {
        let value = json!({ "username": "robot", "password": new_password() });
        self.vault.put_kv2("secret", KEY, &value).await?;
        Ok(())
    }

    /// Takes away what either side created, so that the next creates it again.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
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

/// A client with no connection yet, as a process that has just started has it.
pub(crate) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// JSON is YAML too.
fn write(directory: &Path, name: &str, manifest: &Value) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    std::fs::write(&path, manifest.to_string()).context("failed to write a manifest")?;
    Ok(path)
}

/// As long as a token of a registry is.
pub(crate) fn new_password() -> String {
    let random = || RandomState::new().hash_one(());
    format!("{:016x}{:016x}", random(), random())
}
