//! The cache directory: where built programs and the LocalStack installation are kept between runs.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::pins::{self, Pin};

/// `$XDG_CACHE_HOME/regcred-world`, or `~/.cache/regcred-world`.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: set one, so that built programs can be kept")?;
    Ok(base.join("regcred-world"))
}

/// The part of the cache that belongs to `pins`.
pub(crate) fn of(pins: &[Pin]) -> anyhow::Result<PathBuf> {
    Ok(root()?.join(pins::digest(pins)))
}

/// Creates `directory` and everything above it.
pub(crate) fn create(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// Waits until this process alone may change the cache; the lock falls with the returned file.
///
/// `waiting` is called once if another process holds the lock, so that nobody wonders about the silence.
pub(crate) fn lock(cache: &Path, waiting: impl FnOnce()) -> anyhow::Result<File> {
    create(cache)?;
    let path = cache.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        waiting();
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}
