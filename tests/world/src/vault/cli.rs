//! The real `vault` or `bao` command line, as root.

use std::path::Path;

use anyhow::Context as _;
use tokio::process::Command;

use super::Vault;
use crate::tool;

impl Vault {
    /// Returns the command `vault agent` with a file of settings, in an empty environment.
    #[must_use]
    pub fn agent(&self, settings: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("agent").arg(format!("-config={}", settings.display()));
        command.env_clear().env("HOME", "/nonexistent").kill_on_drop(true);
        command
    }

    /// Runs a program that calls `vault`, or `bao` if this is an OpenBao, with additional variables in its environment,
    /// and returns its stdout.
    pub async fn run(&self, program: &Path, environment: &[(&str, String)]) -> anyhow::Result<String> {
        let directory = self.program.parent().context("the path of the server has no directory")?.to_owned();
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(directory).chain(std::env::split_paths(&inherited)))?;
        let mut command = Command::new(program);
        // VAULT_NAMESPACE and the like may name another Vault.
        command.env_clear().env("PATH", path).env("HOME", std::env::temp_dir());
        command.env("VAULT_ADDR", &self.address).env("VAULT_TOKEN", &self.root_token);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        tool::stdout_of(command, "").await
    }
}
