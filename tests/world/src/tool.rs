//! Deployment tools that need no server: Helm, and kubectl's kustomize.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::programs::Program;

/// Runs `helm` without a cluster, as for `template` and `lint`, and returns its stdout.
pub async fn helm(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = helm_command().await?;
    command.args(arguments);
    stdout_of(command, "").await
}

/// Runs `kubectl kustomize` on a directory and returns its stdout.
pub async fn kustomize(directory: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(Program::Kubectl.path().await?);
    command.arg("kustomize").arg(directory);
    stdout_of(command, "").await
}

/// Returns `kubectl` without the caller's own settings, for a kubeconfig and variables of the test.
pub async fn kubectl_command() -> anyhow::Result<Command> {
    let mut command = Command::new(Program::Kubectl.path().await?);
    command.env_clear().env("KUBECACHEDIR", "/dev/null").kill_on_drop(true);
    Ok(command)
}

/// Returns `helm` without the caller's own settings.
pub(crate) async fn helm_command() -> anyhow::Result<Command> {
    let mut command = Command::new(Program::Helm.path().await?);
    // HELM_NAMESPACE, HELM_KUBECONTEXT and the like may name another cluster.
    command.env_clear().env("HOME", std::env::temp_dir()).env("KUBECONFIG", "/dev/null");
    Ok(command)
}

/// Runs a command with `input` on stdin and returns its stdout.
pub(crate) async fn stdout_of(mut command: Command, input: &str) -> anyhow::Result<String> {
    let name = Path::new(command.as_std().get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.as_std().get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {line}"))?;
    let mut stdin = child.stdin.take().with_context(|| format!("{line} has no stdin"))?;
    let feed = async {
        // A program may close stdin unread; its own output is more useful than a broken pipe.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output.with_context(|| format!("cannot wait for {line}"))?;
    if !output.status.success() {
        bail!("{line} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{line} printed bytes that are not UTF-8"))
}
