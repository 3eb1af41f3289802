//! The world that regcred is tested in: real servers, started in seconds on one machine without containers.
//!
//! A [`World`] is a Kubernetes control plane, a Vault, a LocalStack and two registries on free loopback ports, with all
//! their files in one temporary directory. Programs come from `$REGCRED_WORLD_BIN`, from `PATH` or from the cache;
//! missing programs are built once from pinned sources. Each part can also be started alone under a [`Reaper`]. A moto, an
//! OpenBao or a cluster of them is started by the tests that need it.
//! However the owner ends, no process and no file is left behind.

mod aws_endpoint;
mod clients;
pub mod docs;
mod http;
mod infrastructure;
mod json_lines;
mod keyring;
mod kube;
mod localstack;
mod moto;
mod port;
mod process;
mod programs;
mod progress;
mod proxy;
mod reaper;
mod registry;
mod tool;
mod vault;
pub mod world_daemon;

use anyhow::Context as _;
use tokio::sync::OnceCell;

pub use aws_endpoint::{AwsEndpoint, REGION};
pub use clients::{LongLivedDockerPy, RegistryClient};
pub use infrastructure::{cfn_lint, cloudformation, terraform};
pub use keyring::{KeyringAnswer, KeyringCredential, KeyringQuestion, ask_kubelet};
pub use kube::{AuditEvent, AuditMark, Backup, Kube, StopSignal, service_account_user};
pub use localstack::{LocalStack, Queue};
pub use moto::{EcrProxy, Moto};
pub use port::free as free_port;
pub use process::Process;
pub use programs::{Baseline, build_all, build_bare, image_flags, image_target};
pub use proxy::{Fault, Proxy, RequestKind, Rule};
pub use reaper::Reaper;
pub use registry::Registry;
pub use tool::{helm, kubectl_command, kustomize};
pub use vault::{OpenBaoCluster, Vault, VaultAuditEvent, VaultAuditMark};

/// All parts together.
#[derive(Debug)]
pub struct World {
    /// The Kubernetes API server.
    pub kube: Kube,
    /// Vault; [`World::start`] sets up the Kubernetes auth method at `auth/kubernetes/` for [`World::kube`].
    pub vault: Vault,
    /// The AWS services.
    pub localstack: LocalStack,
    /// A registry with Basic authentication.
    pub registry: Registry,
    /// A registry with a token server.
    pub token_registry: Registry,
    /// Started by the first test that needs it.
    openbao: OnceCell<Vault>,
    /// The same.
    moto: OnceCell<Moto>,
    reaper: Reaper,
}

impl World {
    /// Builds missing programs, then starts all parts at the same time and waits until each is ready.
    pub async fn start() -> anyhow::Result<Self> {
        build_all().await?;
        let reaper = Reaper::new()?;
        let (control_plane, localstack, registry, token_registry) = tokio::try_join!(
            async {
                let (kube, vault) = tokio::try_join!(
                    async { Kube::start(&reaper).await.context("Kubernetes did not start") },
                    async { Vault::start(&reaper).await.context("Vault did not start") },
                )?;
                vault
                    .enable_kubernetes_auth("kubernetes", &kube)
                    .await
                    .context("Vault's Kubernetes auth method did not start")?;
                anyhow::Ok((kube, vault))
            },
            async { LocalStack::start(&reaper).await.context("LocalStack did not start") },
            async { Registry::start_basic(&reaper).await.context("the registry did not start") },
            async { Registry::start_token(&reaper).await.context("the token registry did not start") },
        )?;
        let (kube, vault) = control_plane;
        Ok(Self {
            kube,
            vault,
            localstack,
            registry,
            token_registry,
            openbao: OnceCell::new(),
            moto: OnceCell::new(),
            reaper,
        })
    }

    /// Builds missing programs, then starts the parts that the demo needs: the API server without controllers, so that no
    /// controller creates ServiceAccounts, and Vault without the Kubernetes auth method.
    pub async fn start_bare() -> anyhow::Result<Self> {
        build_bare().await?;
        let reaper = Reaper::new()?;
        let (kube, vault, localstack, registry, token_registry) = tokio::try_join!(
            async { Kube::start_bare(&reaper).await.context("Kubernetes did not start") },
            async { Vault::start_bare(&reaper).await.context("Vault did not start") },
            async { LocalStack::start(&reaper).await.context("LocalStack did not start") },
            async { Registry::start_basic(&reaper).await.context("the registry did not start") },
            async { Registry::start_token(&reaper).await.context("the token registry did not start") },
        )?;
        Ok(Self {
            kube,
            vault,
            localstack,
            registry,
            token_registry,
            openbao: OnceCell::new(),
            moto: OnceCell::new(),
            reaper,
        })
    }

    /// Returns the world that all tests of a process share; the first call starts it.
    ///
    /// # Panics
    ///
    /// If the world cannot start: a test without its world fails and is never skipped.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<World> = OnceCell::const_new();
        let world = SHARED.get_or_try_init(Self::start).await;
        world.unwrap_or_else(|error| panic!("the world did not start: {error:#}"))
    }

    /// Returns an OpenBao with the same engines and auth methods as [`World::vault`]; the first call starts it.
    ///
    /// # Panics
    ///
    /// If it cannot start: a test without its server fails and is never skipped.
    pub async fn openbao(&self) -> &Vault {
        let openbao = self.openbao.get_or_try_init(|| self.start_openbao()).await;
        openbao.unwrap_or_else(|error| panic!("OpenBao did not start: {error:#}"))
    }

    /// Returns a moto, which has the services that LocalStack lacks; the first call starts it.
    ///
    /// # Panics
    ///
    /// If it cannot start: a test without its server fails and is never skipped.
    pub async fn moto(&self) -> &Moto {
        let moto = self.moto.get_or_try_init(|| Moto::start(&self.reaper)).await;
        moto.unwrap_or_else(|error| panic!("moto did not start: {error:#}"))
    }

    async fn start_openbao(&self) -> anyhow::Result<Vault> {
        let openbao = Vault::start_openbao(&self.reaper).await?;
        openbao.enable_kubernetes_auth("kubernetes", &self.kube).await?;
        Ok(openbao)
    }

    /// Returns the environment that points kubectl, the tools of Vault and AWS, and regcred to this world, as admin.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = vec![
            ("KUBECONFIG", self.kube.kubeconfig().display().to_string()),
            ("VAULT_ADDR", self.vault.address.clone()),
            ("VAULT_TOKEN", self.vault.root_token.clone()),
        ];
        env.extend(self.localstack.env());
        env
    }

    /// Returns the reaper, to start further parts that end with this world.
    #[must_use]
    pub fn reaper(&self) -> &Reaper {
        &self.reaper
    }
}
