//! Starts etcd, the API server and the controller manager, and waits until ServiceAccounts are created.

use std::path::Path;

use anyhow::Context as _;

use super::api_server::{ApiServer, succeeds};
use super::etcd::Etcd;
use super::{Kube, credentials, kubeconfig};
use crate::http;
use crate::process::Process;
use crate::programs::Program;
use crate::reaper::Reaper;

impl Kube {
    /// Starts a control plane that runs until the returned value or `reaper` is dropped.
    pub async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let mut kube = Self::start_bare(reaper).await?;
        let controllers = start_controllers(reaper, &kube.directory, &kube.kubeconfig()).await?;
        let default = format!("{}/api/v1/namespaces/default/serviceaccounts/default", kube.url);
        let (client, token) = (&kube.client, &kube.admin_token);
        controllers
            .wait_until("the first ServiceAccount", || async { succeeds(client, &default, token).await })
            .await?;
        kube.controllers = Some(controllers);
        Ok(kube)
    }

    /// Starts etcd and the API server alone: no controller creates ServiceAccounts or finalizes namespaces.
    pub async fn start_bare(reaper: &Reaper) -> anyhow::Result<Self> {
        let directory = reaper.new_directory("kube")?;
        let admin_token = credentials::random_token()?;
        let etcd = Etcd::start(reaper).await?;
        let apiserver = ApiServer::start(reaper, &directory, etcd.url(), &admin_token).await?;
        let (url, ca_file) = (apiserver.url(), apiserver.ca_file());

        let admin = kubeconfig::text(&url, Some(&ca_file), "admin", "default", &admin_token);
        let kubeconfig = directory.join("admin.kubeconfig");
        credentials::write_private(&kubeconfig, &admin)?;

        let ca = std::fs::read(&ca_file).context("cannot read the API server's certificate")?;
        let client = http::client(Some(&ca))?;
        Ok(Self {
            url,
            ca_file,
            admin_token,
            directory,
            client,
            controllers: None,
            apiserver,
            etcd,
            reaper: reaper.clone(),
        })
    }
}

async fn start_controllers(reaper: &Reaper, directory: &Path, kubeconfig: &Path) -> anyhow::Result<Process> {
    let program = Program::KubeControllerManager.path().await?;
    reaper.spawn("kube-controller-manager", directory, &program, |command| {
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--service-account-private-key-file=sa.key", "--root-ca-file=certs/apiserver.crt"])
            .args(["--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0"])
            .arg("--controllers=*,-nodeipam,-nodelifecycle")
            // With these limits the ServiceAccounts of a thousand namespaces take seconds, not minutes.
            .args(["--kube-api-qps=2000", "--kube-api-burst=4000"])
            .args(["--concurrent-serviceaccount-token-syncs=20", "--concurrent-namespace-syncs=50"]);
    })
}
