//! The baseline: regcred as of the commit in `tests/baseline`, for tests in which two versions meet, and for benchmarks.
//!
//! In goes the repository, out come the binary and the manifests of that commit, which are built once into the cache.
//! Benchmarks compare what users run: the program of the image, built with the flags of the Dockerfile of that commit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::go::last_lines;
use super::image::{image_flags, image_target};
use super::{blocking, cache};
use crate::progress::report;

const COMMIT: &str = include_str!("../../../baseline");

/// The binary and the manifests of the baseline.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// The binary.
    pub regcred: PathBuf,
    /// The folder `deploy` of that commit.
    pub deploy: PathBuf,
}

/// The way in which the binary is built.
#[derive(Clone, Copy, Debug)]
enum Build {
    /// For tests: built sooner.
    Debug,
    /// For benchmarks: as in the image.
    Image,
}

impl Build {
    /// The suffix of its part of the cache.
    fn suffix(self) -> &'static str {
        match self {
            Self::Debug => "",
            Self::Image => "-image",
        }
    }

    fn compile(self, sources: &Path, target: &Path) -> anyhow::Result<PathBuf> {
        match self {
            Self::Debug => {
                cargo(sources, target, &[], None)?;
                Ok(target.join("debug/regcred"))
            }
            Self::Image => {
                let flags = image_flags(&sources.join("deploy"))?;
                let triple = image_target();
                cargo(sources, target, &["--release", "--target", &triple], Some(&flags))?;
                Ok(target.join(triple).join("release/regcred"))
            }
        }
    }
}

impl Baseline {
    /// Returns the baseline, which is built first if it is missing.
    pub async fn build() -> anyhow::Result<Self> {
        blocking(|| build(COMMIT.trim(), Build::Debug)).await
    }

    /// Returns the baseline with the program of its image.
    pub async fn build_image() -> anyhow::Result<Self> {
        blocking(|| build(COMMIT.trim(), Build::Image)).await
    }
}

fn build(commit: &str, build: Build) -> anyhow::Result<Baseline> {
    let cache = cache::root()?.join(format!("baseline-{}{}", &commit[..16], build.suffix()));
    let _lock = cache::lock(&cache, || report("waiting for another process that builds the baseline"))?;
    let baseline = Baseline { regcred: cache.join("bin/regcred"), deploy: cache.join("src/deploy") };
    if baseline.regcred.is_file() && baseline.deploy.is_dir() {
        return Ok(baseline);
    }
    let (sources, target) = (cache.join("src"), cache.join("target"));
    // The lock is held, so existing sources are left over from an interrupted build.
    let _ = std::fs::remove_dir_all(&sources);
    unpack(commit, &sources)?;
    report("building the baseline of regcred, about 8 min the first time");
    let started = Instant::now();
    let program = build.compile(&sources, &target)?;
    cache::create(&cache.join("bin"))?;
    std::fs::rename(program, &baseline.regcred).context("cannot keep the baseline")?;
    let _ = std::fs::remove_dir_all(&target);
    report(&format!("built the baseline in {} s", started.elapsed().as_secs()));
    Ok(baseline)
}

/// Writes the files of a commit into a new folder.
fn unpack(commit: &str, folder: &Path) -> anyhow::Result<()> {
    cache::create(folder)?;
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut archive = Command::new("git")
        .args(["-C", repository, "archive", commit])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run git")?;
    let files = archive.stdout.take().context("git has no output")?;
    let unpacked = Command::new("tar").arg("-x").arg("-C").arg(folder).stdin(files).status();
    if !archive.wait()?.success() || !unpacked.context("cannot run tar")?.success() {
        bail!(
            "the commit {commit} of tests/baseline cannot be read: fetch the whole history of the repository"
        );
    }
    Ok(())
}

fn cargo(sources: &Path, target: &Path, arguments: &[&str], flags: Option<&str>) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(sources).args(["build", "--locked", "--bin", "regcred"]).args(arguments);
    command.arg("--target-dir").arg(target).stdin(Stdio::null());
    // Cargo sets it for tests, by a setting of this version alone.
    command.env_remove("AWS_LC_SYS_NO_JITTER_ENTROPY");
    if let Some(flags) = flags {
        command.env("RUSTFLAGS", flags);
    }
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo build of the baseline failed: {}",
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    Ok(())
}
