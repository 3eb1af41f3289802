//! The baseline: regcred as of the commit in `tests/baseline`, for tests in which two versions meet, and for benchmarks.
//!
//! In goes the repository, out come the binary and the manifests of that commit, which are built once into the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::go::last_lines;
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

/// The profile of cargo that builds the binary.
#[derive(Clone, Copy, Debug)]
enum Profile {
    /// For tests: built sooner.
    Debug,
    /// For benchmarks: optimized as releases are.
    Release,
}

impl Profile {
    /// The suffix of its part of the cache.
    fn suffix(self) -> &'static str {
        match self {
            Self::Debug => "",
            Self::Release => "-release",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Debug => &[],
            Self::Release => &["--release"],
        }
    }

    /// The folder in cargo's target directory.
    fn folder(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
        }
    }
}

impl Baseline {
    /// Returns the baseline, which is built first if it is missing.
    pub async fn build() -> anyhow::Result<Self> {
        blocking(|| build(COMMIT.trim(), Profile::Debug)).await
    }

    /// Returns the baseline with an optimized binary.
    pub async fn build_release() -> anyhow::Result<Self> {
        blocking(|| build(COMMIT.trim(), Profile::Release)).await
    }
}

fn build(commit: &str, profile: Profile) -> anyhow::Result<Baseline> {
    let cache = cache::root()?.join(format!("baseline-{}{}", &commit[..16], profile.suffix()));
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
    compile(&sources, &target, profile)?;
    cache::create(&cache.join("bin"))?;
    let built = target.join(profile.folder()).join("regcred");
    std::fs::rename(built, &baseline.regcred).context("cannot keep the baseline")?;
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

fn compile(sources: &Path, target: &Path, profile: Profile) -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(sources)
        .args(["build", "--locked", "--bin", "regcred"])
        .args(profile.arguments())
        .arg("--target-dir")
        .arg(target)
        .stdin(Stdio::null())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo build of the baseline failed: {}",
            last_lines(&String::from_utf8_lossy(&output.stderr), 20)
        );
    }
    Ok(())
}
