//! `world`: a Kubernetes control plane, a Vault, a LocalStack and two registries for a shell.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use world::world_daemon::{self, RegistryAuth};

/// The world that regcred is tested in, for a shell: eval "$(world up)"
#[derive(Parser)]
#[command(name = "world")]
struct Arguments {
    #[command(subcommand)]
    command: WorldCommand,
}

#[derive(Subcommand)]
enum WorldCommand {
    /// Start a world that stays up, and print its environment
    Up,
    /// Print the environment of the world that is up
    Env,
    /// Stop the world that is up
    Down,
    /// Build and install the missing programs of a world
    Build,
    /// Change the password of a registry of the world that is up
    SetPassword {
        /// The registry, by its authentication
        registry: RegistryName,
        /// The new password; a password for tests, which may be on a command line
        password: String,
    },
    /// Run the daemon
    #[command(hide = true)]
    Daemon,
}

#[derive(Clone, Copy, ValueEnum)]
enum RegistryName {
    /// Basic authentication
    Basic,
    /// Bearer authentication by a token server
    Token,
}

impl From<RegistryName> for RegistryAuth {
    fn from(name: RegistryName) -> Self {
        match name {
            RegistryName::Basic => Self::Basic,
            RegistryName::Token => Self::Token,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    match run(command).await {
        Ok(data) => {
            // A closed stdout is no error: the reader has ended.
            let _ = std::io::stdout().lock().write_all(data.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "world: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command and returns its output for stdout.
async fn run(command: WorldCommand) -> anyhow::Result<String> {
    let nothing = String::new();
    match command {
        WorldCommand::Up => world_daemon::up().await,
        WorldCommand::Env => world_daemon::env(),
        WorldCommand::Down => world_daemon::down().await.map(|()| nothing),
        WorldCommand::Build => world::build_all().await.map(|()| nothing),
        WorldCommand::SetPassword { registry, password } => {
            world_daemon::set_password(registry.into(), &password).map(|()| nothing)
        }
        WorldCommand::Daemon => world_daemon::run().await.map(|()| nothing),
    }
}
