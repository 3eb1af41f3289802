//! The settings with which a Dockerfile builds the program of its image, for builds without Docker.

use std::path::Path;

use anyhow::Context as _;

/// Returns the flags with which the Dockerfile in `deploy` builds the program.
pub fn image_flags(deploy: &Path) -> anyhow::Result<String> {
    let file = deploy.join("Dockerfile");
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let flags = text.lines().find_map(|it| it.strip_prefix("ENV RUSTFLAGS=\"")?.strip_suffix('"'));
    flags.map(str::to_owned).with_context(|| format!("no RUSTFLAGS in {}", file.display()))
}

/// Returns the target triple of the program in the image.
#[must_use]
pub fn image_target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}
