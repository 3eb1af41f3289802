//! Files that may be replaced while the process runs.
//!
//! They are looked at when they are needed, at most once a second, and by their content: what is mounted
//! into a pod is replaced by a link that changes, which times and lengths tell nothing of.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::secret_file::{self, Unread};

/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// The largest file: a few certificates, or a thousand keys.
const MAX_LENGTH: u64 = 256 * 1024;

/// Files that belong together.
#[derive(Debug)]
pub(super) struct ReloadingFile<const N: usize> {
    paths: [PathBuf; N],
    seen: Mutex<Seen>,
}

/// What a look saw.
#[derive(Debug, Default)]
struct Seen {
    looked_at: Option<Instant>,
    state: Option<Result<Print, Unreadable>>,
}

/// What contents are known by without being kept.
#[derive(PartialEq, Eq)]
struct Print([u8; digest::SHA256_OUTPUT_LEN]);

/// A file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be read: {why}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    why: String,
}

impl<const N: usize> ReloadingFile<N> {
    /// Looks at nothing yet.
    pub(super) fn new(paths: [PathBuf; N]) -> Self {
        Self { paths, seen: Mutex::default() }
    }

    /// What the files hold, where that is not what the last look saw.
    pub(super) async fn news(&self) -> Option<Result<[SecretSlice<u8>; N], Unreadable>> {
        let mut seen = self.seen.lock().await;
        if seen.looked_at.is_some_and(|looked_at| Instant::now() < looked_at + PAUSE) {
            return None;
        }
        let contents = self.read().await;
        seen.looked_at = Some(Instant::now());
        let state = Some(contents.as_ref().map(print).map_err(Clone::clone));
        let is_new = seen.state != state;
        seen.state = state;
        is_new.then_some(contents)
    }

    async fn read(&self) -> Result<[SecretSlice<u8>; N], Unreadable> {
        let mut contents = [const { Vec::new() }; N].map(SecretSlice::from);
        for (content, path) in contents.iter_mut().zip(&self.paths) {
            let unreadable = |why| Unreadable { path: path.clone(), why: explain(&why) };
            (*content, _) = secret_file::read(path, MAX_LENGTH).await.map_err(unreadable)?;
        }
        Ok(contents)
    }
}

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Print(…)")
    }
}

fn print<const N: usize>(contents: &[SecretSlice<u8>; N]) -> Print {
    let mut hash = digest::Context::new(&SHA256);
    for content in contents {
        let content = content.expose_secret();
        hash.update(&content.len().to_le_bytes());
        hash.update(content);
    }
    let mut print = Print([0; digest::SHA256_OUTPUT_LEN]);
    print.0.copy_from_slice(hash.finish().as_ref());
    print
}

fn explain(why: &Unread) -> String {
    match why {
        Unread::NoFile => "it is not a file".to_owned(),
        Unread::TooLong => "it is larger than 256 KiB".to_owned(),
        Unread::Refused(error) => match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => "it is not there".to_owned(),
            ErrorKind::PermissionDenied => "no permission".to_owned(),
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

    /// What is told of one file: its content, or why there is none.
    async fn news(watched: &ReloadingFile<1>) -> Option<String> {
        let text =
            |[content]: [SecretSlice<u8>; 1]| String::from_utf8(content.expose_secret().to_vec()).unwrap();
        Some(watched.news().await?.map_or_else(|error| error.to_string(), text))
    }

    #[tokio::test(start_paused = true)]
    async fn a_content_is_told_once() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "one").unwrap();
        let watched = ReloadingFile::new([path.clone()]);
        assert_eq!(news(&watched).await.as_deref(), Some("one"));
        advance(PAUSE).await;
        assert_eq!(news(&watched).await, None);
        // As long as before, and in the same second.
        std::fs::write(&path, "two").unwrap();
        advance(PAUSE).await;
        assert_eq!(news(&watched).await.as_deref(), Some("two"));
        assert_eq!(news(&watched).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_looked_at_once_a_second_at_most() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "one").unwrap();
        let watched = ReloadingFile::new([path.clone()]);
        assert_eq!(news(&watched).await.as_deref(), Some("one"));
        std::fs::write(&path, "two").unwrap();
        advance(Duration::from_millis(999)).await;
        assert_eq!(news(&watched).await, None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(news(&watched).await.as_deref(), Some("two"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mounted_secret_is_replaced_by_its_links() {
        let directory = TempDir::new().unwrap();
        let inside = |name: &str| directory.path().join(name);
        for (version, content) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(inside(version)).unwrap();
            std::fs::write(inside(version).join("keys"), content).unwrap();
        }
        symlink("..1", inside("..data")).unwrap();
        symlink("..data/keys", inside("keys")).unwrap();
        let watched = ReloadingFile::new([inside("keys")]);
        assert_eq!(news(&watched).await.as_deref(), Some("one"));
        symlink("..2", inside("..new")).unwrap();
        std::fs::rename(inside("..new"), inside("..data")).unwrap();
        advance(PAUSE).await;
        assert_eq!(news(&watched).await.as_deref(), Some("two"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_is_told_once_with_its_reason() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        let watched = ReloadingFile::new([path.clone()]);
        let expect = async |why: &str| {
            let told = format!("{} cannot be read: {why}", path.display());
            assert_eq!(news(&watched).await, Some(told));
            advance(PAUSE).await;
            assert_eq!(news(&watched).await, None);
            advance(PAUSE).await;
        };
        expect("it is not there").await;
        std::fs::create_dir(&path).unwrap();
        expect("it is not a file").await;
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, vec![b'x'; usize::try_from(MAX_LENGTH).unwrap() + 1]).unwrap();
        expect("it is larger than 256 KiB").await;
        std::fs::write(&path, "one").unwrap();
        assert_eq!(news(&watched).await.as_deref(), Some("one"));
    }

    #[tokio::test]
    async fn what_moves_from_one_file_to_the_next_is_another_content() {
        let contents = |texts: [&str; 2]| texts.map(|text| SecretSlice::from(text.as_bytes().to_vec()));
        assert!(print(&contents(["ab", "c"])) != print(&contents(["a", "bc"])));
    }
}
