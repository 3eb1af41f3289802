//! The program of the sidecar's image: built with the flags of `deploy/Dockerfile`, and without the other commands.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use harness::bench::report::say;
use harness::deploy_folder;
use tokio::process::Command;
use world::{image_flags, image_target};

/// Builds the program, or what has changed of it.
pub(crate) async fn build() -> anyhow::Result<()> {
    say("building the program of the image, about 10 min the first time");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "--quiet", "--no-default-features", "--bin", "regcred"]);
    command.args(["--target", &image_target()]).arg("--target-dir").arg(directory());
    command.env("RUSTFLAGS", image_flags(&deploy_folder())?);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    let status = command.status().await.context("cannot run cargo")?;
    ensure!(status.success(), "cargo cannot build the program of the image: {status}");
    Ok(())
}

/// Returns the path of the program.
pub(crate) fn program() -> PathBuf {
    directory().join(image_target()).join("release/regcred")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("image")
}
