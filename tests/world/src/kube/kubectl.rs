//! The real `kubectl`, as admin.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Kube;
use crate::programs::Program;

impl Kube {
    /// Runs `kubectl` as admin and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_stdin(arguments, "").await
    }

    /// Runs `kubectl` as admin with `input` on stdin, as for `apply -f -`, and returns what it printed.
    pub async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = Command::new(Self::kubectl_path().await?)
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // Its discovery cache must not leak from one world into the next on the same port.
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start kubectl")?;
        let mut stdin = child.stdin.take().context("kubectl has no stdin")?;
        let feed = async {
            // A kubectl that reads nothing closes its end; what it prints tells more than that.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(feed, child.wait_with_output());
        let output = output.context("kubectl could not be waited for")?;
        if !output.status.success() {
            bail!(
                "kubectl {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout).context("kubectl printed something that is not text")
    }

    /// The `kubectl` that [`Kube::kubectl`] runs.
    pub(crate) async fn kubectl_path() -> anyhow::Result<PathBuf> {
        Program::Kubectl.path().await
    }
}
