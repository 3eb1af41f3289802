//! Starts etcd, the API server and the controller manager, and waits until ServiceAccounts get made.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Client;

use super::{Kube, credentials, kubeconfig};
use crate::guardian::Guardian;
use crate::process::Process;
use crate::programs::Program;
use crate::{http, port};

/// Name of the audit log in the control plane's directory.
pub(super) const AUDIT_LOG: &str = "audit.log";

/// One line for each finished request; the API server's talk with itself is left out.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived", "ResponseStarted", "Panic"],
  "omitManagedFields": true,
  "rules": [
    { "level": "None", "users": ["system:apiserver"] },
    { "level": "Metadata" }
  ]
}"#;

impl Kube {
    /// Starts a control plane that lives as long as the returned value and `guardian`.
    pub async fn start(guardian: &Guardian) -> anyhow::Result<Self> {
        let directory = guardian.new_directory("kube")?;
        let admin_token = credentials::random_token()?;
        let (etcd, etcd_url) = start_etcd(guardian).await?;
        let (apiserver, url, ca_file) =
            start_apiserver(guardian, &directory, &etcd_url, &admin_token).await?;

        let admin = kubeconfig::text(&url, &ca_file, "admin", "default", &admin_token);
        let kubeconfig = directory.join("admin.kubeconfig");
        credentials::write_private(&kubeconfig, &admin)?;
        let controllers = start_controllers(guardian, &directory, &kubeconfig).await?;

        let ca = std::fs::read(&ca_file).context("cannot read the API server's certificate")?;
        let client = http::client(Some(&ca))?;
        let default = format!("{url}/api/v1/namespaces/default/serviceaccounts/default");
        controllers
            .until("the first ServiceAccount", || async { succeeds(&client, &default, &admin_token).await })
            .await?;
        Ok(Self {
            url,
            ca_file,
            admin_token,
            directory,
            client,
            _processes: [controllers, apiserver, etcd],
            _guardian: guardian.clone(),
        })
    }
}

async fn start_etcd(guardian: &Guardian) -> anyhow::Result<(Process, String)> {
    let program = Program::Etcd.path().await?;
    let logs = guardian.new_directory("etcd")?;
    let data = guardian.new_directory_in_memory("etcd-data")?;
    let client = format!("http://127.0.0.1:{}", port::free()?);
    let peer = format!("http://127.0.0.1:{}", port::free()?);
    let process = guardian.spawn("etcd", &logs, &program, |command| {
        command
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            // Nothing here outlives a crash anyway.
            .args(["--unsafe-no-fsync", "--log-level", "warn"]);
    })?;
    let health = format!("{client}/health");
    let http = http::client(None)?;
    process.until("answering", || async { http::answers(&http, &health).await.then_some(()) }).await?;
    Ok((process, client))
}

async fn start_apiserver(
    guardian: &Guardian,
    directory: &Path,
    etcd: &str,
    admin_token: &str,
) -> anyhow::Result<(Process, String, PathBuf)> {
    let program = Program::KubeApiserver.path().await?;
    let port = port::free()?;
    let (private, public) = credentials::service_account_keys()?;
    credentials::write_private(&directory.join("sa.key"), &private)?;
    credentials::write_private(&directory.join("sa.pub"), &public)?;
    credentials::write_private(
        &directory.join("tokens.csv"),
        &format!("{admin_token},admin,admin,system:masters\n"),
    )?;
    credentials::write_private(&directory.join("audit-policy.json"), AUDIT_POLICY)?;
    let process = guardian.spawn("kube-apiserver", directory, &program, |command| {
        command
            .arg(format!("--etcd-servers={etcd}"))
            .arg(format!("--secure-port={port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            // A loopback address may not be an endpoint of the service `kubernetes`, and no pod asks for it.
            .arg("--endpoint-reconciler-type=none")
            .args(["--cert-dir=certs", "--token-auth-file=tokens.csv", "--authorization-mode=RBAC"])
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .args(["--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.pub"])
            .args(["--service-cluster-ip-range=10.0.0.0/24", "--allow-privileged=true"])
            .args(["--audit-policy-file=audit-policy.json", &format!("--audit-log-path={AUDIT_LOG}")])
            // Zero: never rotated, so that a mark stays a byte offset of the whole run.
            .arg("--audit-log-maxsize=0");
    })?;
    let url = format!("https://127.0.0.1:{port}");
    let ca_file = directory.join("certs/apiserver.crt");
    let ready = format!("{url}/readyz");
    process
        .until("being ready", || async {
            // The certificate is written before the server listens; until then there is nothing to trust.
            let ca = std::fs::read(&ca_file).ok()?;
            let client = http::client(Some(&ca)).ok()?;
            succeeds(&client, &ready, admin_token).await
        })
        .await?;
    Ok((process, url, ca_file))
}

async fn start_controllers(
    guardian: &Guardian,
    directory: &Path,
    kubeconfig: &Path,
) -> anyhow::Result<Process> {
    let program = Program::KubeControllerManager.path().await?;
    guardian.spawn("kube-controller-manager", directory, &program, |command| {
        command
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .args(["--service-account-private-key-file=sa.key", "--root-ca-file=certs/apiserver.crt"])
            .args(["--use-service-account-credentials=true", "--leader-elect=false", "--secure-port=0"])
            .arg("--controllers=*,-nodeipam,-nodelifecycle")
            // A thousand namespaces get their ServiceAccounts in seconds, not minutes.
            .args(["--kube-api-qps=2000", "--kube-api-burst=4000"])
            .args(["--concurrent-serviceaccount-token-syncs=20", "--concurrent-namespace-syncs=50"]);
    })
}

async fn succeeds(client: &Client, url: &str, token: &str) -> Option<()> {
    let response = client.get(url).bearer_auth(token).send().await.ok()?;
    response.status().is_success().then_some(())
}
