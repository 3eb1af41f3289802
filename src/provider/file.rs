//! A directory with one file per key.
//!
//! A key is a path below the directory, a value is the content of the file, and its version is the time
//! of the last modification. Symbolic links are followed, because a mounted Secret consists of them. A key
//! never leaves the directory by itself.

use std::fs::Metadata;
use std::io;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::fs;
use tokio::time::Instant;

use super::error::RequestContext;
use super::retry::{CONCURRENT_READS, RetryPolicy, until};
use super::{Denied, Error, ErrorKind, MAX_VALUE_BYTES, Provider, log_read, log_version};
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::FileStore;
use crate::secret_file::{self, ReadError};

/// A directory with one file per key.
#[derive(Debug)]
pub struct Directory {
    store: StoreName,
    path: PathBuf,
    /// The fix where the directory is missing.
    missing_fix: &'static str,
    retry_policy: RetryPolicy,
}

impl Directory {
    /// Reads nothing yet: the directory may be mounted later.
    #[must_use]
    pub fn open(store: StoreName, settings: &FileStore) -> Self {
        let missing_fix = "create it, or correct `file.directory`";
        Self { store, path: settings.directory.clone(), missing_fix, retry_policy: RetryPolicy::DEFAULT }
    }

    /// Opens the directory that the command line names; reads nothing yet.
    #[must_use]
    pub fn open_default(store: StoreName, path: &Path) -> Self {
        let missing_fix = "create it, or pass --files DIR";
        Self { store, path: path.to_owned(), missing_fix, retry_policy: RetryPolicy::DEFAULT }
    }

    fn store_key(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }

    /// The context of an error about a key.
    fn request_context(&self, key: &Key, since: Instant) -> RequestContext {
        RequestContext {
            store: "the store".to_owned(),
            location: format!("at {}", self.path.join(&key.0).display()),
            waited: since.elapsed(),
            attempts: None,
        }
    }

    async fn read_one(&self, key: &Key, deadline: Instant) -> Result<StoredValue, Error> {
        let started = Instant::now();
        let outcome = until(deadline, self.fetch(key)).await;
        let outcome =
            outcome.map_err(|kind| kind.in_request(self.store_key(key), self.request_context(key, started)));
        log_read(&self.store_key(key), &outcome, started);
        outcome
    }

    async fn version_of(&self, key: &Key, deadline: Instant) -> Result<Version, Error> {
        let started = Instant::now();
        let outcome = until(deadline, self.metadata(key)).await;
        let outcome =
            outcome.map_err(|kind| kind.in_request(self.store_key(key), self.request_context(key, started)));
        log_version(&self.store_key(key), &outcome, started);
        outcome
    }

    async fn fetch(&self, key: &Key) -> Result<StoredValue, ErrorKind> {
        self.if_mounted(read_file(&self.path.join(path_of(key)?)).await).await
    }

    async fn metadata(&self, key: &Key) -> Result<Version, ErrorKind> {
        let path = self.path.join(path_of(key)?);
        let metadata = secret_file::metadata(&path).await.map_err(|unread| explain(&unread, &path));
        version(&self.if_mounted(metadata).await?, &path)
    }

    /// Distinguishes a missing file from a missing directory.
    async fn if_mounted<T>(&self, outcome: Result<T, ErrorKind>) -> Result<T, ErrorKind> {
        match outcome {
            Err(ErrorKind::NotFound) if !is_directory(&self.path).await => {
                let (path, fix) = (self.path.display(), self.missing_fix);
                Err(ErrorKind::Unavailable(format!("no directory {path}: {fix}")))
            }
            outcome => outcome,
        }
    }
}

#[async_trait]
impl Provider for Directory {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let deadline = Instant::now() + self.retry_policy.total_timeout;
        let reads: Vec<_> = keys.iter().map(|key| self.read_one(key, deadline)).collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS).collect().await
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        let deadline = Instant::now() + self.retry_policy.total_timeout;
        let lookups: Vec<_> = keys.iter().map(|key| self.version_of(key, deadline)).collect();
        futures::stream::iter(lookups).buffered(CONCURRENT_READS).collect().await
    }

    fn can_lag(&self) -> bool {
        false
    }
}

/// The path that a key names; every part of it is an ordinary name.
fn path_of(key: &Key) -> Result<&Path, ErrorKind> {
    let path = Path::new(&key.0);
    let mut parts = path.components().peekable();
    let is_empty = parts.peek().is_none();
    if is_empty || key.0.contains('\0') || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(ErrorKind::Misconfigured(
            "the key must be a path below the directory, without `..`".to_owned(),
        ));
    }
    Ok(path)
}

async fn is_directory(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|metadata| metadata.is_dir())
}

async fn read_file(path: &Path) -> Result<StoredValue, ErrorKind> {
    let read = secret_file::read(path, MAX_VALUE_BYTES as u64).await;
    let (bytes, metadata) = read.map_err(|unread| explain(&unread, path))?;
    Ok(StoredValue { version: version(&metadata, path)?, bytes, expiry: None, account: None })
}

fn version(metadata: &Metadata, path: &Path) -> Result<Version, ErrorKind> {
    let modified = metadata.modified().map_err(|error| explain(&error.into(), path))?;
    let modified = Timestamp::try_from(modified).map_err(|_| {
        ErrorKind::Malformed(format!("{} has an impossible modification time", path.display()))
    })?;
    Ok(Version::Unordered(format!("{modified:.9}")))
}

fn explain(unread: &ReadError, path: &Path) -> ErrorKind {
    let error = match unread {
        ReadError::Io(error) => error,
        ReadError::NotAFile => return not_a_file(path),
        ReadError::TooLarge => {
            return ErrorKind::Malformed(format!("{} is larger than 1 MiB", path.display()));
        }
    };
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => {
            ErrorKind::Denied(Denied::Key(format!("no permission to read {}", path.display())))
        }
        io::ErrorKind::IsADirectory => not_a_file(path),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            ErrorKind::Misconfigured(format!("{} cannot be read: {error}", path.display()))
        }
        _ => ErrorKind::Unavailable(format!("{} cannot be read: {error}", path.display())),
    }
}

fn not_a_file(path: &Path) -> ErrorKind {
    ErrorKind::Misconfigured(format!("{} is not a file", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use secrecy::ExposeSecret;
    use tempfile::TempDir;

    use super::*;

    fn directory() -> (TempDir, Directory) {
        let root = TempDir::new().unwrap();
        let settings = FileStore { directory: root.path().to_owned() };
        let directory = Directory::open("files".into(), &settings);
        (root, directory)
    }

    async fn read(directory: &Directory, key: &str) -> Result<StoredValue, Error> {
        directory.read(&[key.into()]).await.remove(0)
    }

    #[tokio::test]
    async fn version_is_the_modification_time_in_nanoseconds() {
        let (root, directory) = directory();
        let path = root.path().join("ghcr");
        std::fs::write(&path, "hunter2\n").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 120);
        std::fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        let value = read(&directory, "ghcr").await.unwrap();
        assert_eq!(value.version.to_string(), "2023-11-14T22:13:20.000000120Z");
        assert_eq!(directory.versions(&["ghcr".into()]).await.remove(0).unwrap(), value.version);
        assert_eq!(value.bytes.expose_secret(), b"hunter2\n");
    }

    #[tokio::test]
    async fn mounted_secret_is_read_through_its_links() {
        let (root, directory) = directory();
        std::fs::create_dir(root.path().join("..2024")).unwrap();
        std::fs::write(root.path().join("..2024/ghcr"), "hunter2").unwrap();
        symlink("..2024", root.path().join("..data")).unwrap();
        symlink("..data/ghcr", root.path().join("ghcr")).unwrap();
        assert_eq!(read(&directory, "ghcr").await.unwrap().bytes.expose_secret(), b"hunter2");
    }

    #[tokio::test]
    async fn key_outside_the_directory_is_rejected() {
        let (root, directory) = directory();
        std::fs::write(root.path().join("ghcr"), "hunter2").unwrap();
        let name = root.path().file_name().unwrap().to_str().unwrap();
        let absolute = root.path().join("ghcr");
        let keys =
            [&format!("../{name}/ghcr"), "a/../ghcr", "..", ".", "", "/", absolute.to_str().unwrap(), "a\0"];
        for key in keys {
            let error = read(&directory, key).await.unwrap_err();
            assert!(matches!(error.kind, ErrorKind::Misconfigured(_)), "{key:?}: {error}");
            assert!(error.to_string().ends_with("a path below the directory, without `..`"), "{error}");
        }
    }

    #[tokio::test]
    async fn directory_as_a_key_is_named_in_the_error() {
        let (root, directory) = directory();
        std::fs::create_dir(root.path().join("ci")).unwrap();
        let error = read(&directory, "ci").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Misconfigured(_)), "{error}");
        assert!(error.to_string().ends_with("/ci is not a file"), "{error}");
    }

    #[tokio::test]
    async fn path_through_a_file_is_not_found() {
        let (root, directory) = directory();
        std::fs::write(root.path().join("ghcr"), "hunter2").unwrap();
        let error = read(&directory, "ghcr/token").await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::NotFound), "{error}");
    }

    #[tokio::test]
    async fn unmounted_directory_is_unavailable() {
        let settings = FileStore { directory: "/nowhere/at/all".into() };
        let configured = Directory::open("files".into(), &settings);
        let default = Directory::open_default("files".into(), &settings.directory);
        for (directory, fix) in [(configured, "correct `file.directory`"), (default, "pass --files DIR")] {
            let error = read(&directory, "ghcr").await.unwrap_err();
            let message = "the store is unavailable: no directory /nowhere/at/all: create it, or";
            assert_eq!(error.to_string(), format!("store files, key ghcr: {message} {fix}"));
        }
    }

    #[tokio::test]
    async fn value_over_one_mebibyte_is_malformed() {
        let (root, directory) = directory();
        let length = MAX_VALUE_BYTES;
        std::fs::write(root.path().join("fits"), vec![b'x'; length]).unwrap();
        std::fs::write(root.path().join("large"), vec![b'x'; length + 1]).unwrap();
        let values = directory.read(&["fits".into(), "large".into()]).await;
        assert_eq!(values[0].as_ref().unwrap().bytes.expose_secret().len(), length);
        let error = values[1].as_ref().unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Malformed(_)), "{error}");
        assert!(error.to_string().ends_with("/large is larger than 1 MiB"), "{error}");
    }

    #[test]
    fn every_io_error_is_classified() {
        for (kind, expect) in [
            (io::ErrorKind::NotFound, ErrorKind::NotFound),
            (io::ErrorKind::NotADirectory, ErrorKind::NotFound),
            (
                io::ErrorKind::PermissionDenied,
                ErrorKind::Denied(Denied::Key("no permission to read /d/k".to_owned())),
            ),
            (io::ErrorKind::IsADirectory, ErrorKind::Misconfigured("/d/k is not a file".to_owned())),
        ] {
            assert_eq!(explain(&io::Error::from(kind).into(), Path::new("/d/k")), expect, "{kind}");
        }
        let disk = io::Error::other("disk on fire");
        assert_eq!(
            explain(&disk.into(), Path::new("/d/k")),
            ErrorKind::Unavailable("/d/k cannot be read: disk on fire".to_owned())
        );
    }
}
