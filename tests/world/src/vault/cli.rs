//! The real `vault` command line, as root.

use std::path::Path;

use anyhow::Context as _;
use tokio::process::Command;

use super::Vault;
use crate::programs::Program;
use crate::tool;

impl Vault {
    /// Runs a program that calls `vault`, with additional variables in its environment, and returns its stdout.
    pub async fn run(&self, program: &Path, environment: &[(&str, String)]) -> anyhow::Result<String> {
        let vault = Program::Vault.path().await?;
        let directory = vault.parent().context("the path of vault has no directory")?.to_owned();
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
