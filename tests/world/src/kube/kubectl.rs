//! The real `kubectl` and `helm`, as admin.

use std::path::PathBuf;

use tokio::process::Command;

use super::Kube;
use crate::programs::Program;
use crate::tool;

impl Kube {
    /// Runs `kubectl` as admin and returns what it printed.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_stdin(arguments, "").await
    }

    /// Runs `kubectl` as admin with `input` on stdin, as for `apply -f -`, and returns what it printed.
    pub async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.as_admin(Command::new(Self::kubectl_path().await?), arguments, input).await
    }

    /// Runs `helm` as admin, as for `install`, and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.as_admin(tool::helm_command().await?, arguments, "").await
    }

    async fn as_admin(
        &self,
        mut command: Command,
        arguments: &[&str],
        input: &str,
    ) -> anyhow::Result<String> {
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // The discovery cache must not leak from one world into the next on the same port.
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"));
        tool::printed(command, input).await
    }

    /// The `kubectl` that [`Kube::kubectl`] runs.
    pub(crate) async fn kubectl_path() -> anyhow::Result<PathBuf> {
        Program::Kubectl.path().await
    }
}
