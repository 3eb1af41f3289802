//! The test harness: a [`TestCluster`] is an API server, a Vault, the namespaces of one test, and `regcred` run by the
//! ServiceAccount that `deploy/` creates.
//!
//! Goes in: the path of the binary, `env!("CARGO_BIN_EXE_regcred")`, which only a test target knows. Comes out: objects
//! as an administrator reads them, and requests as the servers' audit logs record them. A test without its servers
//! fails; it is never skipped.

#![allow(clippy::missing_panics_doc, clippy::must_use_candidate, reason = "a panic is how a test reports")]

mod audit;
pub mod bench;
mod deny;
mod lane;
mod manifests;
mod observe;
mod quotes;
mod run;
mod setup;
mod shared_namespaces;
mod soak;
mod wait;

use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Mutex;
use world::{Kube, LocalStack, Reaper, Vault, World, service_account_user};

use crate::lane::Turn;

pub use audit::{is_write, line};
pub use manifests::registries;
pub use observe::{
    condition_of, credential_of, docker_config, docker_config_bytes, earlier_docker_config, entry,
    password_of, references_of, text, with_content,
};
pub use quotes::QuotedForms;
pub use run::Run;
pub use setup::{apply_file, apply_path, deploy_folder, install_crd};
pub use soak::repetitions;
pub use wait::{is_true_within, until, until_within};

/// The namespace of regcred, and the ServiceAccount that `deploy/` creates for it.
pub const NAMESPACE: &str = "regcred-system";
/// The ServiceAccount in [`NAMESPACE`].
pub const SERVICE_ACCOUNT: &str = "regcred";
/// Two more ServiceAccounts with the same rights, so that the audit log distinguishes replicas.
pub const REPLICAS: [&str; 2] = ["regcred-a", "regcred-b"];
/// The name of pull secrets.
pub const SECRET: &str = "regcred";
/// Another Secret name that an exclusive cluster allows.
pub const SECOND_SECRET: &str = "second";
/// The registry of [`TestCluster::cluster_pull_secret`].
pub const HOST: &str = "ghcr.io";
/// The API path of ClusterPullSecrets.
pub const CLUSTER_PULL_SECRETS: &str = "/apis/regcred.dev/v1alpha1/clusterpullsecrets";
/// The label that selects the namespaces of a test; its value is the name of the test.
pub const LABEL: &str = "test";

/// A server that tests share, or that one cluster owns and stops when it is dropped.
#[derive(Debug)]
pub enum Server<T: 'static> {
    /// Shared by the tests of this process.
    Shared(&'static T),
    /// Owned by one cluster.
    Own(Box<T>),
}

impl<T> Deref for Server<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Shared(server) => server,
            Self::Own(server) => server,
        }
    }
}

/// The servers of a cluster, with a kubeconfig for regcred.
struct Servers {
    kube: Server<Kube>,
    vault: Server<Vault>,
    kubeconfig: PathBuf,
    reaper: Reaper,
}

/// The cluster of one test.
#[derive(Debug)]
pub struct TestCluster {
    /// The API server.
    pub kube: Server<Kube>,
    /// The Vault.
    pub vault: Server<Vault>,
    /// The value of [`LABEL`] in the namespaces of this test, and the prefix of its keys.
    pub name: &'static str,
    /// The namespaces of this test.
    pub namespaces: Vec<String>,
    /// The directory of this test, for manifests and other files.
    pub directory: TempDir,
    /// A kubeconfig of regcred's ServiceAccount.
    pub kubeconfig: PathBuf,
    /// The owner of the servers, which starts further processes that end with them.
    pub reaper: Reaper,
    regcred: PathBuf,
    localstack: Option<&'static LocalStack>,
    turn: Option<Mutex<Turn>>,
}

impl TestCluster {
    /// Enters the world that all tests of the process share at the same time, with a LocalStack, and creates the
    /// namespaces `NAME-000` and on.
    pub async fn shared(regcred: &str, name: &'static str, namespaces: usize) -> Self {
        let world = World::shared().await;
        let kubeconfig = setup::world_kubeconfig(world).await.to_owned();
        let (kube, vault) = (Server::Shared(&world.kube), Server::Shared(&world.vault));
        let servers = Servers { kube, vault, kubeconfig, reaper: world.reaper().clone() };
        let mut cluster = Self::new(regcred, name, servers, None);
        cluster.localstack = Some(&world.localstack);
        cluster.add_namespaces(namespaces).await.expect("namespaces");
        cluster
    }

    /// Waits for its turn at an API server and a Vault that tests use one at a time, removes what earlier tests left,
    /// and creates the namespaces `NAME-000` and on. Another test may run at the same time, on servers of its own.
    pub async fn exclusive(regcred: &str, name: &'static str, namespaces: usize) -> Self {
        Self::enter(regcred, name, Turn::any().await).await.with_namespaces(namespaces).await
    }

    /// The same while no other test runs, for tests that measure time.
    pub async fn alone(regcred: &str, name: &'static str, namespaces: usize) -> Self {
        Self::enter(regcred, name, Turn::alone().await).await.with_namespaces(namespaces).await
    }

    /// The same for a test that is longer than many others together, and [pauses](Self::pause) for those that run alone.
    pub async fn long(regcred: &str, name: &'static str, namespaces: usize) -> Self {
        Self::enter(regcred, name, Turn::second().await).await.with_namespaces(namespaces).await
    }

    /// The same with the namespaces `shared-000` and on, which are created once for all tests.
    pub async fn exclusive_with_shared_namespaces(
        regcred: &str,
        name: &'static str,
        namespaces: usize,
    ) -> Self {
        Self::enter(regcred, name, Turn::first().await).await.with_shared_namespaces(namespaces).await
    }

    /// The same while no other test runs.
    pub async fn alone_with_shared_namespaces(regcred: &str, name: &'static str, namespaces: usize) -> Self {
        Self::enter(regcred, name, Turn::alone().await).await.with_shared_namespaces(namespaces).await
    }

    /// Lets the tests pass that wait to run alone; the cluster stays in use.
    pub async fn pause(&self) {
        if let Some(turn) = &self.turn {
            turn.lock().await.pause().await;
        }
    }

    /// Starts an API server and a Vault for this cluster alone, and creates the namespaces `NAME-000` and on.
    pub async fn own(regcred: &str, name: &'static str, namespaces: usize) -> anyhow::Result<Self> {
        Self::own_of_version(regcred, &deploy_folder(), name, namespaces).await
    }

    /// The same for another version of regcred, with the folder `deploy/` of that version.
    pub async fn own_of_version(
        regcred: &str,
        deploy: &Path,
        name: &'static str,
        namespaces: usize,
    ) -> anyhow::Result<Self> {
        let reaper = Reaper::new()?;
        let (kube, vault) = tokio::try_join!(Kube::start(&reaper), Vault::start(&reaper))?;
        apply_path(&kube, &deploy.join("rbac.yaml")).await?;
        let kubeconfig = kube.kubeconfig_as(NAMESPACE, SERVICE_ACCOUNT).await?;
        let (kube, vault) = (Server::Own(Box::new(kube)), Server::Own(Box::new(vault)));
        let mut cluster = Self::new(regcred, name, Servers { kube, vault, kubeconfig, reaper }, None);
        cluster.add_namespaces(namespaces).await.context("failed to create the namespaces")?;
        Ok(cluster)
    }

    async fn enter(regcred: &str, name: &'static str, turn: Turn) -> Self {
        let servers = turn.servers().await;
        setup::clear(&servers.kube, &servers.vault).await.expect("the remains of earlier tests are removed");
        let (kube, vault) = (Server::Shared(&servers.kube), Server::Shared(&servers.vault));
        let (kubeconfig, reaper) = (servers.kubeconfig.clone(), servers.reaper.clone());
        Self::new(regcred, name, Servers { kube, vault, kubeconfig, reaper }, Some(turn))
    }

    fn new(regcred: &str, name: &'static str, servers: Servers, turn: Option<Turn>) -> Self {
        let Servers { kube, vault, kubeconfig, reaper } = servers;
        Self {
            kube,
            vault,
            name,
            namespaces: Vec::new(),
            directory: tempfile::tempdir().expect("a directory"),
            kubeconfig,
            reaper,
            regcred: regcred.into(),
            localstack: None,
            turn: turn.map(Mutex::new),
        }
    }

    /// The binary of the tests.
    pub fn regcred(&self) -> &Path {
        &self.regcred
    }

    /// The LocalStack of the shared world.
    pub fn localstack(&self) -> &'static LocalStack {
        self.localstack.expect("only a shared cluster has a LocalStack")
    }

    /// The user of regcred's ServiceAccount, as the audit log records it.
    pub fn user(&self) -> String {
        service_account_user(NAMESPACE, SERVICE_ACCOUNT)
    }

    /// One namespace of this test.
    pub fn namespace(&self, n: usize) -> &str {
        &self.namespaces[n]
    }

    async fn with_namespaces(mut self, count: usize) -> Self {
        self.add_namespaces(count).await.expect("namespaces");
        self
    }

    async fn with_shared_namespaces(mut self, count: usize) -> Self {
        let shared = shared_namespaces::select(&self.kube, count, self.name).await;
        self.namespaces = shared.expect("namespaces");
        self
    }

    async fn add_namespaces(&mut self, count: usize) -> anyhow::Result<()> {
        let namespaces: Vec<_> = (0..count).map(|n| format!("{}-{n:03}", self.name)).collect();
        self.kube.create_namespaces(namespaces.clone(), &[(LABEL, self.name)]).await?;
        self.namespaces = namespaces;
        Ok(())
    }

    /// Adds one selected namespace, with its `default` ServiceAccount.
    pub async fn add_namespace(&mut self, name: &str) {
        self.kube.create_namespaces([name], &[(LABEL, self.name)]).await.expect("a namespace");
        self.namespaces.push(name.to_owned());
    }

    /// Adds a namespace to the selection, or removes it.
    pub async fn select(&self, namespace: &str, selected: bool) {
        let label = json!({"metadata": {"labels": {LABEL: selected.then_some(self.name)}}});
        self.kube.patch(&format!("/api/v1/namespaces/{namespace}"), &label).await.expect("a label");
    }
}
