//! The real `kubectl` and `helm`, as admin.

use std::path::PathBuf;

use tokio::process::Command;

use super::Kube;
use crate::programs::Program;
use crate::tool;

impl Kube {
    /// Runs `kubectl` as admin and returns its stdout.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_stdin(arguments, "").await
    }

    /// Runs `kubectl` as admin with `input` on stdin, as for `apply -f -`, and returns its stdout.
    pub async fn kubectl_stdin(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.as_admin(Command::new(Self::kubectl_path().await?), arguments, input).await
    }

    /// Runs `helm` as admin, as for `install`, and returns its stdout.
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
            // Another world on the same port must not reuse the discovery cache.
            .env("KUBECACHEDIR", self.directory.join("kubectl-cache"));
        tool::stdout_of(command, input).await
    }

    /// Returns the path of the `kubectl` that [`Kube::kubectl`] runs.
    pub(crate) async fn kubectl_path() -> anyhow::Result<PathBuf> {
        Program::Kubectl.path().await
    }
}
