//! The cache directory, which keeps built programs and Python environments between runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::pins::{self, Pin};

/// Returns `$XDG_CACHE_HOME/regcred-world`, or `~/.cache/regcred-world`.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("no cache directory for built programs: set XDG_CACHE_HOME or HOME")?;
    Ok(base.join("regcred-world"))
}

/// Returns the part of the cache for `pins`.
pub(crate) fn directory(pins: &[Pin]) -> anyhow::Result<PathBuf> {
    Ok(root()?.join(pins::digest(pins)))
}

/// Creates `directory` and its parents.
pub(crate) fn create(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// Waits for the exclusive lock of a part of the cache, which is released when the returned file is dropped.
///
/// `on_wait` is called once if another process holds the lock, to explain the wait.
pub(crate) fn lock(cache: &Path, on_wait: impl FnOnce()) -> anyhow::Result<File> {
    create(cache)?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        on_wait();
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
