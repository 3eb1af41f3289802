//! A directory with one file per key.
//!
//! A key is a path below the directory, a value is the content of the file and its version the time
//! the file was last modified. Symbolic links are followed: a mounted Secret is a farm of them. A key
//! never leads out of the directory by itself.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::fs;
use tokio::time::Instant;

use super::failure::{Asked, Failure};
use super::retry::{CONCURRENT_READS, RetryPolicy, until};
use super::{Error, Provider, log_read, log_version};
use crate::credential::{Key, StoreKey, StoreName, StoredValue, Version};
use crate::manifest::config::FileStore;
use crate::secret_file::{self, ReadError};

/// The largest value: what a Kubernetes Secret holds.
const MAX_LENGTH: u64 = 1024 * 1024;

/// A directory with one file per key.
#[derive(Debug)]
pub struct Directory {
    store: StoreName,
    path: PathBuf,
    patience: RetryPolicy,
}

impl Directory {
    /// Looks at nothing yet: the directory may be mounted later.
    #[must_use]
    pub fn open(store: StoreName, settings: &FileStore) -> Self {
        Self { store, path: settings.directory.clone(), patience: RetryPolicy::USUAL }
    }

    async fn read_one(&self, key: &Key, deadline: Instant) -> Result<StoredValue, Error> {
        let started = Instant::now();
        let fetch = async { self.if_mounted(read_file(&self.path.join(path_of(key)?)).await).await };
        let outcome = until(deadline, fetch).await.map_err(|failure| self.error(failure, key, started));
        log_read(&self.place(key), &outcome, started);
        outcome
    }

    async fn version_of(&self, key: &Key, deadline: Instant) -> Result<Version, Error> {
        let started = Instant::now();
        let look = async {
            let path = self.path.join(path_of(key)?);
            let metadata = self.if_mounted(look_up(&path).await).await?;
            version(&metadata, &path)
        };
        let outcome = until(deadline, look).await.map_err(|failure| self.error(failure, key, started));
        log_version(&self.place(key), &outcome, started);
        outcome
    }

    /// Tells a file that is not there from a directory that is not.
    async fn if_mounted<T>(&self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        match outcome {
            Err(Failure::NotFound) if !is_directory(&self.path).await => {
                Err(Failure::Unavailable(format!("no directory {}", self.path.display())))
            }
            outcome => outcome,
        }
    }

    fn error(&self, failure: Failure, key: &Key, started: Instant) -> Error {
        let looked = format!("at {}", self.path.join(&key.0).display());
        let asked = Asked { whom: "the store", looked, waited: started.elapsed(), attempts: None };
        failure.at(self.place(key), &asked)
    }

    fn place(&self, key: &Key) -> StoreKey {
        StoreKey { store: self.store.clone(), key: key.clone() }
    }
}

#[async_trait]
impl Provider for Directory {
    async fn read(&self, keys: &[Key]) -> Vec<Result<StoredValue, Error>> {
        let deadline = Instant::now() + self.patience.total;
        let reads: Vec<_> = keys.iter().map(|key| self.read_one(key, deadline)).collect();
        futures::stream::iter(reads).buffered(CONCURRENT_READS).collect().await
    }

    async fn versions(&self, keys: &[Key]) -> Vec<Result<Version, Error>> {
        let deadline = Instant::now() + self.patience.total;
        let looks: Vec<_> = keys.iter().map(|key| self.version_of(key, deadline)).collect();
        futures::stream::iter(looks).buffered(CONCURRENT_READS).collect().await
    }
}

/// The path a key names, which has only ordinary parts.
fn path_of(key: &Key) -> Result<&Path, Failure> {
    let path = Path::new(&key.0);
    let mut parts = path.components().peekable();
    let is_empty = parts.peek().is_none();
    if is_empty || key.0.contains('\0') || !parts.all(|part| matches!(part, Component::Normal(_))) {
        return Err(Failure::Misconfigured(
            "the key has to be a path below the directory, without `..`".to_owned(),
        ));
    }
    Ok(path)
}

async fn is_directory(path: &Path) -> bool {
    fs::metadata(path).await.is_ok_and(|metadata| metadata.is_dir())
}

async fn read_file(path: &Path) -> Result<StoredValue, Failure> {
    let (bytes, metadata) = secret_file::read(path, MAX_LENGTH).await.map_err(|why| explain(&why, path))?;
    Ok(StoredValue { version: version(&metadata, path)?, bytes, expires_at: None, account: None })
}

async fn look_up(path: &Path) -> Result<Metadata, Failure> {
    secret_file::metadata(path).await.map_err(|why| explain(&why, path))
}

fn version(metadata: &Metadata, path: &Path) -> Result<Version, Failure> {
    let modified = metadata.modified().map_err(|error| explain(&error.into(), path))?;
    let modified = Timestamp::try_from(modified)
        .map_err(|_| Failure::Malformed(format!("{} has an impossible modification time", path.display())))?;
    Ok(Version(format!("{modified:.9}")))
}

fn explain(why: &ReadError, path: &Path) -> Failure {
    let no_file = || Failure::Misconfigured(format!("{} is not a file", path.display()));
    let error = match why {
        ReadError::Io(error) => error,
        ReadError::NotAFile => return no_file(),
        ReadError::TooLarge => return Failure::Malformed(format!("{} is larger than 1 MiB", path.display())),
    };
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Failure::NotFound,
        ErrorKind::PermissionDenied => Failure::Denied(format!("no permission to read {}", path.display())),
        ErrorKind::IsADirectory => no_file(),
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => {
            Failure::Misconfigured(format!("{} cannot be read: {error}", path.display()))
        }
        _ => Failure::Unavailable(format!("{} cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
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
    async fn the_version_is_the_modification_time_to_the_nanosecond() {
        let (root, directory) = directory();
        let path = root.path().join("ghcr");
        std::fs::write(&path, "hunter2\n").unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 120);
        std::fs::File::open(&path).unwrap().set_modified(modified).unwrap();
        let value = read(&directory, "ghcr").await.unwrap();
        assert_eq!(value.version.0, "2023-11-14T22:13:20.000000120Z");
        assert_eq!(directory.versions(&["ghcr".into()]).await.remove(0).unwrap(), value.version);
        assert_eq!(value.bytes.expose_secret(), b"hunter2\n");
    }

    #[tokio::test]
    async fn a_mounted_secret_is_read_through_its_links() {
        let (root, directory) = directory();
        std::fs::create_dir(root.path().join("..2024")).unwrap();
        std::fs::write(root.path().join("..2024/ghcr"), "hunter2").unwrap();
        symlink("..2024", root.path().join("..data")).unwrap();
        symlink("..data/ghcr", root.path().join("ghcr")).unwrap();
        assert_eq!(read(&directory, "ghcr").await.unwrap().bytes.expose_secret(), b"hunter2");
    }

    #[tokio::test]
    async fn a_key_that_leads_out_of_the_directory_is_refused() {
        let (root, directory) = directory();
        std::fs::write(root.path().join("ghcr"), "hunter2").unwrap();
        let name = root.path().file_name().unwrap().to_str().unwrap();
        let absolute = root.path().join("ghcr");
        let keys =
            [&format!("../{name}/ghcr"), "a/../ghcr", "..", ".", "", "/", absolute.to_str().unwrap(), "a\0"];
        for key in keys {
            let error = read(&directory, key).await.unwrap_err();
            assert!(matches!(error, Error::Misconfigured { .. }), "{key:?}: {error}");
            assert!(error.to_string().ends_with("a path below the directory, without `..`"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_not_a_file_is_named() {
        let (root, directory) = directory();
        std::fs::create_dir(root.path().join("ci")).unwrap();
        let error = read(&directory, "ci").await.unwrap_err();
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert!(error.to_string().ends_with("/ci is not a file"), "{error}");
    }

    #[tokio::test]
    async fn a_path_through_a_file_is_not_found() {
        let (root, directory) = directory();
        std::fs::write(root.path().join("ghcr"), "hunter2").unwrap();
        let error = read(&directory, "ghcr/token").await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_directory_that_is_not_mounted_is_unavailable() {
        let settings = FileStore { directory: "/nowhere/at/all".into() };
        let directory = Directory::open("files".into(), &settings);
        let error = read(&directory, "ghcr").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "store files, key ghcr: the store is unavailable: no directory /nowhere/at/all"
        );
    }

    #[tokio::test]
    async fn a_value_may_be_one_mebibyte_and_no_more() {
        let (root, directory) = directory();
        let length = usize::try_from(MAX_LENGTH).unwrap();
        std::fs::write(root.path().join("fits"), vec![b'x'; length]).unwrap();
        std::fs::write(root.path().join("large"), vec![b'x'; length + 1]).unwrap();
        let values = directory.read(&["fits".into(), "large".into()]).await;
        assert_eq!(values[0].as_ref().unwrap().bytes.expose_secret().len(), length);
        let error = values[1].as_ref().unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().ends_with("/large is larger than 1 MiB"), "{error}");
    }

    #[test]
    fn every_refusal_of_the_kernel_is_explained() {
        let check = |kind: ErrorKind, expect: Failure| {
            assert_eq!(explain(&io::Error::from(kind).into(), Path::new("/d/k")), expect, "{kind}");
        };
        check(ErrorKind::NotFound, Failure::NotFound);
        check(ErrorKind::NotADirectory, Failure::NotFound);
        check(ErrorKind::PermissionDenied, Failure::Denied("no permission to read /d/k".to_owned()));
        check(ErrorKind::IsADirectory, Failure::Misconfigured("/d/k is not a file".to_owned()));
        let disk = io::Error::other("disk on fire");
        assert_eq!(
            explain(&disk.into(), Path::new("/d/k")),
            Failure::Unavailable("/d/k cannot be read: disk on fire".to_owned())
        );
    }
}
