//! `world`: a Kubernetes control plane, a Vault, a LocalStack and two registries for a shell.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use world::keeper::{self, Which};

/// The world that regcred is tested in, for a shell: eval "$(world up)"
#[derive(Parser)]
#[command(name = "world")]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Start a world that stays up, and print its environment
    Up,
    /// Print the environment of the world that is up
    Env,
    /// Stop the world that is up
    Down,
    /// Build and install whatever a world needs and is missing
    Build,
    /// Change the password of a registry of the world that is up
    SetPassword {
        /// Which registry
        registry: RegistryName,
        /// The new password; a test's password, so it may stand on a command line
        password: String,
    },
    /// Be the process that keeps a world
    #[command(hide = true)]
    Keep,
}

#[derive(Clone, Copy, ValueEnum)]
enum RegistryName {
    /// The one with Basic authentication
    Basic,
    /// The one with a token server
    Token,
}

impl From<RegistryName> for Which {
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
            // A closed stdout means that nobody wants the data any more.
            let _ = std::io::stdout().lock().write_all(data.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "world: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Carries out an order and returns what belongs on stdout.
async fn run(order: Order) -> anyhow::Result<String> {
    let nothing = String::new();
    match order {
        Order::Up => keeper::up().await,
        Order::Env => keeper::env(),
        Order::Down => keeper::down().await.map(|()| nothing),
        Order::Build => world::build_all().await.map(|()| nothing),
        Order::SetPassword { registry, password } => {
            keeper::set_password(registry.into(), &password).map(|()| nothing)
        }
        Order::Keep => keeper::keep().await.map(|()| nothing),
    }
}
