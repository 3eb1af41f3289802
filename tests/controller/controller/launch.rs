//! The start of a controller: a cluster and settings go in, a running [`Controller`] comes out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harness::{NAMESPACE, SERVICE_ACCOUNT, TestCluster, until};
use serde_json::Value;
use world::{AwsEndpoint, Proxy};

use super::Controller;

/// The settings of a controller that is not started yet.
pub(crate) struct Launch<'a> {
    cluster: &'a TestCluster,
    manifests: PathBuf,
    identity: String,
    account: &'a str,
    proxy: Option<&'a Proxy>,
    arguments: Vec<String>,
    aws: Option<&'a AwsEndpoint>,
    binary: PathBuf,
}

/// The controllers of a cluster.
pub(crate) trait RunController {
    /// Prepares a controller with the `Config` of the cluster.
    fn controller(&self) -> Launch<'_>;

    /// Puts a password, applies a ClusterPullSecret named like the test, starts a controller, and waits until every
    /// namespace is in sync.
    async fn start_synced(&self, password: &str) -> Controller;

    /// The same with another value of one field of the spec.
    async fn start_synced_with(&self, password: &str, field: &str, value: Value) -> Controller;
}

impl RunController for TestCluster {
    fn controller(&self) -> Launch<'_> {
        Launch::new(self)
    }

    async fn start_synced(&self, password: &str) -> Controller {
        start_synced(self, password, &self.cluster_pull_secret(self.name)).await
    }

    async fn start_synced_with(&self, password: &str, field: &str, value: Value) -> Controller {
        let mut cluster_pull_secret = self.cluster_pull_secret(self.name);
        cluster_pull_secret["spec"][field] = value;
        start_synced(self, password, &cluster_pull_secret).await
    }
}

async fn start_synced(cluster: &TestCluster, password: &str, cluster_pull_secret: &Value) -> Controller {
    cluster.put_password(password).await;
    cluster.apply(cluster_pull_secret).await;
    let controller = cluster.controller().start().await;
    cluster.until_synced(password).await;
    controller
}

impl<'a> Launch<'a> {
    fn new(cluster: &'a TestCluster) -> Self {
        Self {
            cluster,
            manifests: cluster.write(&[&cluster.config("")]),
            identity: SERVICE_ACCOUNT.to_owned(),
            account: SERVICE_ACCOUNT,
            proxy: None,
            arguments: Vec::new(),
            aws: None,
            binary: cluster.regcred().to_owned(),
        }
    }

    /// Sets other manifests.
    pub(crate) fn manifests(mut self, manifests: &Path) -> Self {
        manifests.clone_into(&mut self.manifests);
        self
    }

    /// Sets another ServiceAccount, and its name as the identity.
    pub(crate) fn replica(mut self, account: &'a str) -> Self {
        account.clone_into(&mut self.identity);
        self.account = account;
        self
    }

    /// Sets another identity of the same ServiceAccount, as each pod of a Deployment has.
    pub(crate) fn identity(mut self, identity: &str) -> Self {
        identity.clone_into(&mut self.identity);
        self
    }

    /// Sends requests to the API server through a proxy.
    pub(crate) fn through(mut self, proxy: &'a Proxy) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// Adds credentials for this AWS.
    pub(crate) fn aws(mut self, aws: &'a AwsEndpoint) -> Self {
        self.aws = Some(aws);
        self
    }

    /// Sets the binary of this version or of the baseline.
    pub(crate) fn binary(mut self, binary: &Path) -> Self {
        binary.clone_into(&mut self.binary);
        self
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(self) -> Controller {
        let controller = self.spawn().await;
        until("a controller that is ready", async || {
            let ended = controller.process.try_wait();
            assert!(ended.is_none(), "regcred run ended before it was ready: {ended:?}");
            controller.is_ready().await
        })
        .await;
        controller
    }

    /// Starts the process without waiting.
    pub(crate) async fn spawn(self) -> Controller {
        let cluster = self.cluster;
        let kubeconfig = match self.proxy {
            Some(proxy) => cluster.kube.kubeconfig_through(proxy, NAMESPACE, self.account).await,
            None => cluster.kube.kubeconfig_as(NAMESPACE, self.account).await,
        };
        let kubeconfig = kubeconfig.expect("a token");
        // The baseline answers probes at the port of the metrics.
        let is_baseline = self.binary != cluster.regcred();
        let [metrics, probes] = [(); 2].map(|()| {
            let port = world::free_port().expect("a free port");
            SocketAddr::from(([127, 0, 0, 1], port))
        });
        let directory = cluster.reaper.new_directory("regcred").expect("a directory");
        let process = cluster.reaper.spawn("regcred", &directory, &self.binary, |command| {
            command.arg("run").args(["--namespace", NAMESPACE, "--identity", &self.identity]);
            command.args(["--listen", &metrics.to_string()]);
            if !is_baseline {
                command.args(["--probe-listen", &probes.to_string()]);
            }
            command.args(["--log-format", "json"]);
            command.arg("-f").arg(&self.manifests).args(&self.arguments);
            // Nothing of the machine the tests run on, not even a PATH.
            command.env_remove("PATH");
            command.env("KUBECONFIG", &kubeconfig).env("VAULT_TOKEN", &cluster.vault.root_token);
            command.envs(self.aws.map(AwsEndpoint::env).unwrap_or_default());
        });
        let probes = if is_baseline { metrics } else { probes };
        Controller { process: process.expect("regcred runs"), metrics, probes }
    }
}
