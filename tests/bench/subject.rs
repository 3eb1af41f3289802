//! `regcred rotate` as a user runs it: a process of its own, of which everything is measured from outside.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use world::service_account_user;

use crate::measure::{Memory, Requests, with_peak_memory};
use crate::stage::{CONCURRENCY, KEY, SERVICE_ACCOUNT, Stage};

/// One run.
pub(crate) struct Run {
    /// From before the process was started until it was gone.
    pub(crate) wall: Duration,
    pub(crate) peak_memory: Option<Memory>,
    /// By the API server's audit log.
    pub(crate) requests: Requests,
    /// Reads of the password by Vault's audit log.
    pub(crate) store_reads: usize,
}

pub(crate) async fn rotate(stage: &Stage) -> anyhow::Result<Run> {
    stage.rest().await;
    let (kube_mark, vault_mark) = (stage.kube.audit_mark()?, stage.vault.audit_mark()?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_regcred"));
    command.args(["rotate", "-f"]).arg(&stage.manifests);
    command.args(["--concurrency", &CONCURRENCY.to_string()]);
    command.env("KUBECONFIG", &stage.kubeconfig).env("VAULT_TOKEN", &stage.vault.root_token);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let begun = Instant::now();
    let child = command.spawn().context("failed to start regcred")?;
    let (output, peak_memory) = with_peak_memory(child).await.context("failed to wait for regcred")?;
    let wall = begun.elapsed();
    ensure!(
        output.status.success(),
        "regcred rotate: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );

    stage.rest().await;
    let user = service_account_user(SERVICE_ACCOUNT.0, SERVICE_ACCOUNT.1);
    let requests = Requests::count(&stage.kube.audit_events_by(&user, kube_mark)?);
    let store_reads = stage.vault.reads_of(&format!("secret/data/{KEY}"), vault_mark)?;
    Ok(Run { wall, peak_memory, requests, store_reads })
}
