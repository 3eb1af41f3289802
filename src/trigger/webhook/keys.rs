//! The keys of those who may ask, from a file that is read anew when it changes.
//!
//! A key on each line, so that a new one can be handed out before the old one is taken away. Blank lines
//! and those that begin with `#` are passed over.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::{constant_time, hmac};
use secrecy::{ExposeSecret, SecretSlice};
use tracing::{info, warn};

use super::signature::Signature;
use super::watched::Watched;

/// Which key it is: its digest, by which keys are told apart without being kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct KeyId([u8; SHA256_OUTPUT_LEN]);

/// One that may ask. Of a key itself no more is kept than what checks a signature.
struct Key {
    id: KeyId,
    mac: hmac::Key,
}

/// A file with keys.
pub(super) struct KeyFile {
    path: PathBuf,
    file: Watched<1>,
    /// Replaced by whoever first sees another content.
    keys: RwLock<Arc<[Key]>>,
}

impl KeyFile {
    /// Reads the file, which may come later.
    pub(super) async fn open(path: &Path) -> Self {
        let file = Watched::new([path.to_owned()]);
        let file = Self { path: path.to_owned(), file, keys: RwLock::new(Arc::from([])) };
        file.keys().await;
        file
    }

    /// Whether a token is one of these; every one of them is compared.
    pub(super) async fn holds(&self, token: KeyId) -> bool {
        self.keys().await.iter().fold(false, |holds, key| key.id.is(token) | holds)
    }

    /// Whose of these a signature is; every one of them is compared.
    pub(super) async fn signer(&self, signature: &Signature, body: &[u8]) -> Option<KeyId> {
        let keys = self.keys().await;
        keys.iter().fold(None, |signer, key| signature.is_by(&key.mac, body).then_some(key.id).or(signer))
    }

    /// The keys by what the file holds now.
    async fn keys(&self) -> Arc<[Key]> {
        let Some(news) = self.file.news().await else {
            return Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        };
        let keys: Arc<[Key]> = match news {
            Ok([content]) => {
                let keys: Arc<[Key]> = keys(&content).collect();
                let file = self.path.display();
                if keys.is_empty() {
                    warn!(%file, "there is no key in the webhook's file, and until there is one nobody may ask by it");
                } else {
                    info!(%file, keys = keys.len(), "read the webhook's keys");
                }
                keys
            }
            Err(error) => {
                warn!("{error}; until it can, nobody may ask the webhook by a key of it");
                Arc::from([])
            }
        };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&keys);
        keys
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KeyId {
    /// That of a key.
    pub(super) fn of(key: &[u8]) -> Self {
        let mut id = [0; SHA256_OUTPUT_LEN];
        id.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(id)
    }

    /// Whether both are of one key; takes the same time either way.
    pub(super) fn is(self, other: Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(…)")
    }
}

fn keys(content: &SecretSlice<u8>) -> impl Iterator<Item = Key> {
    let lines = content.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let is_key = |line: &&[u8]| !line.is_empty() && !line.starts_with(b"#");
    lines.filter(is_key).map(|key| Key { id: KeyId::of(key), mac: hmac::Key::new(hmac::HMAC_SHA256, key) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;

    /// A file with that content, and the directory it lies in.
    async fn file(content: &str) -> (TempDir, PathBuf, KeyFile) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, content).unwrap();
        let file = KeyFile::open(&path).await;
        (directory, path, file)
    }

    async fn check(file: &KeyFile, tokens: &[&str], expect: bool) {
        for token in tokens {
            assert_eq!(file.holds(KeyId::of(token.as_bytes())).await, expect, "{token:?}");
        }
    }

    #[tokio::test]
    async fn there_is_a_key_on_each_line() {
        let (_directory, _, file) = file("# of CI\none\n\n  two \r\n#three\nfour#4").await;
        check(&file, &["one", "two", "four#4"], true).await;
        check(&file, &["", "three", "#three", "# of CI", "One", "on", "onee", "one\ntwo"], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_and_goes_with_the_file() {
        let (_directory, path, file) = file("one").await;
        let become_ = async |content: &str| {
            std::fs::write(&path, content).unwrap();
            advance(Duration::from_secs(1)).await;
        };
        become_("one\ntwo").await;
        check(&file, &["one", "two"], true).await;
        become_("two").await;
        check(&file, &["two"], true).await;
        check(&file, &["one"], false).await;
        become_("# none").await;
        check(&file, &["one", "two", ""], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_there_lets_nobody_in_until_it_is() {
        let (_directory, path, file) = file("one").await;
        std::fs::remove_file(&path).unwrap();
        advance(Duration::from_secs(1)).await;
        check(&file, &["one", ""], false).await;
        std::fs::write(&path, "one").unwrap();
        advance(Duration::from_secs(1)).await;
        check(&file, &["one"], true).await;
    }

    #[tokio::test]
    async fn a_signature_is_of_the_key_that_made_it() {
        let (_directory, _, file) = file("one\ntwo\nthree").await;
        for key in ["one", "two", "three", "four"] {
            let signature = Signature::by(key, 1000, b"{}");
            let expect = (key != "four").then(|| KeyId::of(key.as_bytes()));
            assert_eq!(file.signer(&signature, b"{}").await, expect, "{key}");
        }
    }

    #[tokio::test]
    async fn no_key_is_shown() {
        let (_directory, _, file) = file("hunter2").await;
        let id = KeyId::of(b"hunter2");
        let shown = format!("{file:?} {id:?} {:?}", file.keys().await[0].mac);
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        assert_eq!(format!("{id:?}"), "KeyId(…)");
    }
}
