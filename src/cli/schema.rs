//! `regcred schema`: the JSON Schema of the manifests, for editors.

use super::{Exit, Failure, output};
use crate::manifest::json_schema;

const AFTER_HELP: &str = "\
Examples:
  regcred schema > regcred.schema.json
  regcred schema clusterpullsecret

An editor with the YAML language server checks a manifest that begins with
  # yaml-language-server: $schema=regcred.schema.json

For the exit codes, see regcred --help.";

/// Print the JSON Schema of the manifests, for completion and checks in editors.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Only this kind. Default: either.
    #[arg(value_enum, ignore_case = true)]
    kind: Option<ManifestKind>,
}

/// A kind of manifest, as an argument.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ManifestKind {
    /// Stores and triggers.
    Config,
    /// Credentials and the namespaces they go into.
    #[value(name = "clusterpullsecret")]
    ClusterPullSecret,
}

/// Runs the command.
pub fn run(Args { kind }: Args) -> Result<Exit, Failure> {
    let schema = match kind {
        None => json_schema::either_kind(),
        Some(ManifestKind::Config) => json_schema::config(),
        Some(ManifestKind::ClusterPullSecret) => json_schema::cluster_pull_secret(),
    };
    output::print_json(&schema)?;
    Ok(Exit::InSync)
}
