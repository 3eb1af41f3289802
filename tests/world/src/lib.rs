//! The world that regcred is tested in: everything real, started in seconds on one machine without containers.
//!
//! A [`World`] is a Kubernetes control plane, a Vault, a LocalStack and two registries on free loopback ports, with all
//! their files in one temporary directory. Programs come from `$REGCRED_WORLD_BIN`, from `PATH` or from the cache, and
//! are built from pinned sources once if they are nowhere. Each part can be started alone under a [`Guardian`] too.
//! Whatever happens to the owner, nothing is left running and no file stays behind.

pub mod docs;
mod guardian;
mod http;
mod infrastructure;
mod journal;
pub mod keeper;
mod keyring;
mod kube;
mod localstack;
mod port;
mod process;
mod programs;
mod proxy;
mod registry;
mod talk;
mod tool;
mod vault;

use anyhow::Context as _;
use tokio::sync::OnceCell;

pub use guardian::Guardian;
pub use infrastructure::{cfn_lint, cloudformation, terraform};
pub use keyring::{KeyringAnswer, KeyringCredential, KeyringQuestion, ask_kubelet};
pub use kube::{AuditEvent, AuditMark, Ending, Kube, service_account_user};
pub use localstack::{LocalStack, Queue, REGION};
pub use port::free as free_port;
pub use process::Process;
pub use programs::{build_all, build_bare};
pub use proxy::{Fault, Kind, Proxy, Rule};
pub use registry::Registry;
pub use tool::{helm, kustomize};
pub use vault::{Vault, VaultAuditEvent, VaultAuditMark};

/// Everything at once.
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
    guardian: Guardian,
}

impl World {
    /// Builds what is missing, then starts all parts at the same time and waits until each is ready.
    pub async fn start() -> anyhow::Result<Self> {
        build_all().await?;
        let guardian = Guardian::new()?;
        let (control_plane, localstack, registry, token_registry) = tokio::try_join!(
            async {
                let (kube, vault) = tokio::try_join!(
                    async { Kube::start(&guardian).await.context("Kubernetes did not start") },
                    async { Vault::start(&guardian).await.context("Vault did not start") },
                )?;
                vault
                    .enable_kubernetes_auth("kubernetes", &kube)
                    .await
                    .context("Vault cannot use Kubernetes")?;
                anyhow::Ok((kube, vault))
            },
            async { LocalStack::start(&guardian).await.context("LocalStack did not start") },
            async { Registry::start_basic(&guardian).await.context("the registry did not start") },
            async { Registry::start_token(&guardian).await.context("the token registry did not start") },
        )?;
        let (kube, vault) = control_plane;
        Ok(Self { kube, vault, localstack, registry, token_registry, guardian })
    }

    /// Builds what is missing, then starts the parts that the demo needs: the API server without controllers, so that
    /// no ServiceAccount appears by itself, and Vault without the Kubernetes auth method.
    pub async fn start_bare() -> anyhow::Result<Self> {
        build_bare().await?;
        let guardian = Guardian::new()?;
        let (kube, vault, localstack, registry, token_registry) = tokio::try_join!(
            async { Kube::start_bare(&guardian).await.context("Kubernetes did not start") },
            async { Vault::start_bare(&guardian).await.context("Vault did not start") },
            async { LocalStack::start(&guardian).await.context("LocalStack did not start") },
            async { Registry::start_basic(&guardian).await.context("the registry did not start") },
            async { Registry::start_token(&guardian).await.context("the token registry did not start") },
        )?;
        Ok(Self { kube, vault, localstack, registry, token_registry, guardian })
    }

    /// The one world that all tests of a process share, started by the first that asks.
    ///
    /// # Panics
    ///
    /// If it cannot start: a test without its world fails, it is never skipped.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<World> = OnceCell::const_new();
        let world = SHARED.get_or_try_init(Self::start).await;
        world.unwrap_or_else(|error| panic!("the world did not start: {error:#}"))
    }

    /// The environment that points kubectl, Vault's and AWS's tools and regcred here, as admin.
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

    /// The guardian, to start further parts that end with this world.
    #[must_use]
    pub fn guardian(&self) -> &Guardian {
        &self.guardian
    }
}
