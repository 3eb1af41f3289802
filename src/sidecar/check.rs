//! The exec probe: the file of a sidecar that runs in another process, as its readers find it.

use std::path::{Path, PathBuf};

use super::existing::{ExistingConfig, NotADockerConfig};
use super::output_file::{self, CheckedFile, OutputError};
use crate::named;

/// A file that is not ready.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// There is no file.
    #[error("{0} does not exist yet")]
    Absent(PathBuf),
    /// No sidecar has written it.
    #[error("no sidecar has written {0} yet")]
    Unwritten(PathBuf),
    /// It is no docker config.
    #[error("{path}: {error}")]
    NotADockerConfig {
        /// The path.
        path: PathBuf,
        /// The problem.
        error: NotADockerConfig,
    },
    /// It has no entry.
    #[error("{0} has no entry")]
    Empty(PathBuf),
    /// It lacks registries.
    #[error("{path} has no entry yet for {}", named::join(.missing, ", "))]
    Missing {
        /// The path.
        path: PathBuf,
        /// The registries.
        missing: Vec<String>,
    },
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] OutputError),
}

/// Checks a file: it is whole, and has an entry for every registry.
pub fn check(path: &Path) -> Result<(), NotReady> {
    let CheckedFile { content, record } = output_file::read_for_check(path)?;
    let path = path.to_owned();
    let Some(bytes) = content else { return Err(NotReady::Absent(path)) };
    let Some(record) = record else { return Err(NotReady::Unwritten(path)) };
    match ExistingConfig::parse(&bytes) {
        Err(error) => Err(NotReady::NotADockerConfig { path, error }),
        Ok(existing) if existing.entries.is_empty() => Err(NotReady::Empty(path)),
        Ok(_) if record.missing.is_empty() => Ok(()),
        Ok(_) => Err(NotReady::Missing { path, missing: record.missing.into_iter().collect() }),
    }
}
