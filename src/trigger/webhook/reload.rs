//! Files that are reloaded when they change while the process runs.
//!
//! They are checked when they are needed, at most once a second, and by their content: a file mounted into a
//! pod is replaced by switching a link, which modification times and lengths do not show.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::secret_file::{self, ReadError};

/// Time between two checks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The largest file: a few certificates, or a thousand keys.
const MAX_LENGTH: u64 = 256 * 1024;

/// Files that belong together.
#[derive(Debug)]
pub(super) struct ReloadingFile<const N: usize> {
    paths: [PathBuf; N],
    last: Mutex<LastCheck>,
}

/// The time and the result of the last check.
#[derive(Debug, Default)]
struct LastCheck {
    at: Option<Instant>,
    state: Option<Result<Fingerprint, FileError>>,
}

/// A digest that identifies contents without keeping them.
#[derive(PartialEq, Eq)]
struct Fingerprint([u8; digest::SHA256_OUTPUT_LEN]);

/// A file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {}: {why}", path.display())]
pub struct FileError {
    path: PathBuf,
    why: String,
}

impl<const N: usize> ReloadingFile<N> {
    /// Reads nothing yet.
    pub(super) fn new(paths: [PathBuf; N]) -> Self {
        Self { paths, last: Mutex::default() }
    }

    /// Returns the contents if they changed since the last check.
    pub(super) async fn changes(&self) -> Option<Result<[SecretSlice<u8>; N], FileError>> {
        let mut last = self.last.lock().await;
        if last.at.is_some_and(|at| Instant::now() < at + CHECK_INTERVAL) {
            return None;
        }
        let contents = self.read().await;
        last.at = Some(Instant::now());
        let state = Some(contents.as_ref().map(Fingerprint::new).map_err(Clone::clone));
        let has_changed = last.state != state;
        last.state = state;
        has_changed.then_some(contents)
    }

    async fn read(&self) -> Result<[SecretSlice<u8>; N], FileError> {
        let mut contents = [const { Vec::new() }; N].map(SecretSlice::from);
        for (content, path) in contents.iter_mut().zip(&self.paths) {
            (*content, _) = secret_file::read(path, MAX_LENGTH)
                .await
                .map_err(|error| FileError { path: path.clone(), why: describe(&error) })?;
        }
        Ok(contents)
    }
}

impl Fingerprint {
    fn new<const N: usize>(contents: &[SecretSlice<u8>; N]) -> Self {
        let mut hash = digest::Context::new(&SHA256);
        for content in contents {
            let content = content.expose_secret();
            hash.update(&content.len().to_le_bytes());
            hash.update(content);
        }
        let mut fingerprint = [0; digest::SHA256_OUTPUT_LEN];
        fingerprint.copy_from_slice(hash.finish().as_ref());
        Self(fingerprint)
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

fn describe(error: &ReadError) -> String {
    match error {
        ReadError::NotAFile => "not a regular file".to_owned(),
        ReadError::TooLarge => "larger than 256 KiB".to_owned(),
        ReadError::Io(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => "no such file".to_owned(),
            ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;

    /// The changed content of one file, or the error that replaces it.
    async fn changes(file: &ReloadingFile<1>) -> Option<String> {
        Some(match file.changes().await? {
            Ok([content]) => String::from_utf8(content.expose_secret().to_vec()).unwrap(),
            Err(error) => error.to_string(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn changed_content_is_returned_once() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "one").unwrap();
        let file = ReloadingFile::new([path.clone()]);
        assert_eq!(changes(&file).await.as_deref(), Some("one"));
        advance(CHECK_INTERVAL).await;
        assert_eq!(changes(&file).await, None);
        // Of the same length, and within the same second.
        std::fs::write(&path, "two").unwrap();
        advance(CHECK_INTERVAL).await;
        assert_eq!(changes(&file).await.as_deref(), Some("two"));
        assert_eq!(changes(&file).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_checked_once_a_second_at_most() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "one").unwrap();
        let file = ReloadingFile::new([path.clone()]);
        assert_eq!(changes(&file).await.as_deref(), Some("one"));
        std::fs::write(&path, "two").unwrap();
        advance(Duration::from_millis(999)).await;
        assert_eq!(changes(&file).await, None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(changes(&file).await.as_deref(), Some("two"));
    }

    #[tokio::test(start_paused = true)]
    async fn mounted_secret_is_reloaded_when_its_link_changes() {
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(root.join(version)).unwrap();
            std::fs::write(root.join(version).join("keys"), content).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/keys", root.join("keys")).unwrap();
        let file = ReloadingFile::new([root.join("keys")]);
        assert_eq!(changes(&file).await.as_deref(), Some("one"));
        symlink("..2", root.join("..new")).unwrap();
        std::fs::rename(root.join("..new"), root.join("..data")).unwrap();
        advance(CHECK_INTERVAL).await;
        assert_eq!(changes(&file).await.as_deref(), Some("two"));
    }

    /// Expects this error once.
    async fn check_error(file: &ReloadingFile<1>, expect: &str) {
        let message = format!("cannot read {}: {expect}", file.paths[0].display());
        assert_eq!(changes(file).await, Some(message));
        advance(CHECK_INTERVAL).await;
        assert_eq!(changes(file).await, None);
        advance(CHECK_INTERVAL).await;
    }

    #[tokio::test(start_paused = true)]
    async fn unreadable_file_is_reported_once_with_its_cause() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        let file = ReloadingFile::new([path.clone()]);
        check_error(&file, "no such file").await;
        std::fs::create_dir(&path).unwrap();
        check_error(&file, "not a regular file").await;
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'x'; usize::try_from(MAX_LENGTH).unwrap() + 1]).unwrap();
        check_error(&file, "larger than 256 KiB").await;
        std::fs::write(&path, "one").unwrap();
        assert_eq!(changes(&file).await.as_deref(), Some("one"));
    }

    fn fingerprint(texts: [&str; 2]) -> Fingerprint {
        Fingerprint::new(&texts.map(|text| SecretSlice::from(text.as_bytes().to_vec())))
    }

    #[tokio::test]
    async fn bytes_moved_between_files_change_the_fingerprint() {
        assert!(fingerprint(["ab", "c"]) != fingerprint(["a", "bc"]));
    }
}
