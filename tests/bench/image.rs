//! The program of the image, which is what users run: static, with the flags of `deploy/Dockerfile`.
//!
//! `make bench-…` gives these flags to cargo, and so the program that cargo builds for a benchmark is the image's.

use anyhow::ensure;
use harness::deploy_folder;
use world::image_flags;

/// The flags with which the benchmark and the program that belongs to it were built.
const FLAGS: Option<&str> = option_env!("RUSTFLAGS");

/// Refuses a program that was not built as in the image.
pub(crate) fn ensure_flags() -> anyhow::Result<()> {
    ensure!(
        FLAGS == Some(image_flags(&deploy_folder())?.as_str()),
        "this program was not built with the flags of deploy/Dockerfile: run make bench-rotate or make bench-run"
    );
    Ok(())
}
