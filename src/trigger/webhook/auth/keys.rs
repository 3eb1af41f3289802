//! The keys of those who may ask, from a file that is read anew when it changes.
//!
//! A key on each line, so that a new one can be handed out before the old one is taken away. Blank lines
//! and those that begin with `#` are passed over. With a key that can be guessed nothing starts; one that comes
//! later is passed over, and told.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use aws_lc_rs::{constant_time, hmac};
use secrecy::{ExposeSecret, SecretSlice};
use tracing::{info, warn};

use super::super::reload::ReloadingFile;
use super::signature::Signature;

/// The fewest bytes of a key, which are 128 bits where all of them are random.
const MIN_LENGTH: usize = 16;

/// A key is so short that it can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key on line {line} of {} is not taken: it has fewer than {MIN_LENGTH} bytes; `openssl rand -hex 32` \
     makes one",
    path.display()
)]
pub struct Weak {
    path: PathBuf,
    line: usize,
}

/// Which key it is: its digest, by which keys are told apart without being kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::trigger::webhook) struct KeyId([u8; SHA256_OUTPUT_LEN]);

/// One that may ask. Of a key itself no more is kept than what checks a signature.
struct Key {
    id: KeyId,
    mac: hmac::Key,
}

/// A file with keys.
pub(in crate::trigger::webhook) struct KeyFile {
    path: PathBuf,
    file: ReloadingFile<1>,
    /// Replaced by whoever first sees another content.
    keys: RwLock<Arc<[Key]>>,
}

impl KeyFile {
    /// Reads the file, which may come later, but not with a weak key.
    pub(in crate::trigger::webhook) async fn open(path: &Path) -> Result<Self, Weak> {
        let file = ReloadingFile::new([path.to_owned()]);
        let file = Self { path: path.to_owned(), file, keys: RwLock::new(Arc::from([])) };
        file.renew().await.into_iter().next().map_or(Ok(file), Err)
    }

    /// Whether a token is one of these; every one of them is compared.
    pub(in crate::trigger::webhook) async fn holds(&self, token: KeyId) -> bool {
        self.keys().await.iter().fold(false, |holds, key| key.id.is(token) | holds)
    }

    /// Whose of these a signature is; every one of them is compared.
    pub(in crate::trigger::webhook) async fn signer(
        &self,
        signature: &Signature,
        body: &[u8],
    ) -> Option<KeyId> {
        let keys = self.keys().await;
        keys.iter().fold(None, |signer, key| signature.is_by(&key.mac, body).then_some(key.id).or(signer))
    }

    /// The keys that the file holds now.
    async fn keys(&self) -> Arc<[Key]> {
        for weak in self.renew().await {
            warn!("{weak}");
        }
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file where it changed: what is weak of it, and not taken.
    async fn renew(&self) -> Vec<Weak> {
        let (keys, weak) = match self.file.news().await {
            None => return Vec::new(),
            Some(Ok([content])) => {
                let (keys, weak) = keys(&self.path, &content);
                let file = self.path.display();
                if keys.is_empty() {
                    warn!(%file, "no key of the webhook's file can be taken, and until one can nobody may ask by it");
                } else {
                    info!(%file, keys = keys.len(), "read the webhook's keys");
                }
                (keys, weak)
            }
            Some(Err(error)) => {
                warn!("{error}; until it can, nobody may ask the webhook by a key of it");
                Default::default()
            }
        };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(keys);
        weak
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KeyId {
    /// That of a key.
    pub(in crate::trigger::webhook) fn of(key: &[u8]) -> Self {
        let mut id = [0; SHA256_OUTPUT_LEN];
        id.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(id)
    }

    /// Whether both are of one key; takes the same time either way.
    pub(in crate::trigger::webhook) fn is(self, other: Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(…)")
    }
}

/// The keys of a file, and those that are too weak to be any.
fn keys(path: &Path, content: &SecretSlice<u8>) -> (Vec<Key>, Vec<Weak>) {
    let (mut keys, mut weak) = (Vec::new(), Vec::new());
    let lines = content.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    for (key, line) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#")) {
        if key.len() < MIN_LENGTH {
            weak.push(Weak { path: path.to_owned(), line });
        } else {
            keys.push(Key { id: KeyId::of(key), mac: hmac::Key::new(hmac::HMAC_SHA256, key) });
        }
    }
    (keys, weak)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;
    use tokio::time::advance;

    use super::*;
    use crate::provider::without_tracing::tests::Log;

    const ONE: &str = "one-0123456789abcdef";
    const TWO: &str = "two-0123456789abcdef";

    /// A file with that content, and the directory it lies in.
    async fn file(content: &str) -> (TempDir, PathBuf, KeyFile) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, content).unwrap();
        let file = KeyFile::open(&path).await.unwrap();
        (directory, path, file)
    }

    async fn check(file: &KeyFile, tokens: &[&str], expect: bool) {
        for token in tokens {
            assert_eq!(file.holds(KeyId::of(token.as_bytes())).await, expect, "{token:?}");
        }
    }

    /// The file becomes this, and is looked at again.
    async fn become_(path: &Path, content: &str) {
        std::fs::write(path, content).unwrap();
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn there_is_a_key_on_each_line() {
        let content = format!("# of CI\n{ONE}\n\n  {TWO} \r\n#three-0123456789abcdef\nfour#0123456789abcdef");
        let (_directory, _, file) = file(&content).await;
        check(&file, &[ONE, TWO, "four#0123456789abcdef"], true).await;
        let three = "three-0123456789abcdef";
        let others = ["", three, &format!("#{three}"), "# of CI", "One-0123456789abcdef", &ONE[1..]];
        check(&file, &others, false).await;
        check(&file, &[&format!("{ONE}e"), &format!("{ONE}\n{TWO}")], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_comes_and_goes_with_the_file() {
        let (_directory, path, file) = file(ONE).await;
        become_(&path, &format!("{ONE}\n{TWO}")).await;
        check(&file, &[ONE, TWO], true).await;
        become_(&path, TWO).await;
        check(&file, &[TWO], true).await;
        check(&file, &[ONE], false).await;
        become_(&path, "# none").await;
        check(&file, &[ONE, TWO, ""], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_not_there_lets_nobody_in_until_it_is() {
        let (_directory, path, file) = file(ONE).await;
        std::fs::remove_file(&path).unwrap();
        advance(Duration::from_secs(1)).await;
        check(&file, &[ONE, ""], false).await;
        become_(&path, ONE).await;
        check(&file, &[ONE], true).await;
    }

    #[tokio::test]
    async fn a_key_has_16_bytes_and_no_fewer() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "# of CI\n0123456789abcdef\n\n  0123456789abcde \nshort\n").unwrap();
        let weak = KeyFile::open(&path).await.unwrap_err();
        let told = format!(
            "the key on line 4 of {} is not taken: it has fewer than 16 bytes; `openssl rand -hex 32` makes one",
            path.display()
        );
        assert_eq!(weak.to_string(), told);
        std::fs::write(&path, "0123456789abcdef").unwrap();
        check(&KeyFile::open(&path).await.unwrap(), &["0123456789abcdef"], true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_weak_key_that_comes_later_is_passed_over_and_told_once() {
        let (log, _guard) = Log::capture();
        let (_directory, path, file) = file(ONE).await;
        become_(&path, &format!("hunter2\n{TWO}\n\nhunter3")).await;
        check(&file, &[TWO], true).await;
        advance(Duration::from_secs(1)).await;
        check(&file, &[ONE, "hunter2", "hunter3"], false).await;
        for line in [1, 4] {
            let told = format!("the key on line {line} of {} is not taken: it has", path.display());
            assert_eq!(log.text().matches(&told).count(), 1, "{}", log.text());
        }
        assert!(!log.text().contains("hunter") && !log.text().contains(TWO), "{}", log.text());
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_keys_become_weak_nobody_may_ask() {
        let (log, _guard) = Log::capture();
        let (_directory, path, file) = file(ONE).await;
        become_(&path, "hunter2").await;
        check(&file, &[ONE, "hunter2", ""], false).await;
        let told = "no key of the webhook's file can be taken, and until one can nobody may ask by it";
        assert!(log.text().contains(told) && log.text().contains("the key on line 1 of"), "{}", log.text());
        become_(&path, TWO).await;
        check(&file, &[TWO], true).await;
    }

    #[tokio::test]
    async fn a_signature_is_of_the_key_that_made_it() {
        let three = "three-0123456789abcdef";
        let (_directory, _, file) = file(&format!("{ONE}\n{TWO}\n{three}")).await;
        for key in [ONE, TWO, three, "four"] {
            let signature = Signature::by(key, 1000, b"{}");
            let expect = (key != "four").then(|| KeyId::of(key.as_bytes()));
            assert_eq!(file.signer(&signature, b"{}").await, expect, "{key}");
        }
    }

    #[tokio::test]
    async fn no_key_is_shown() {
        let (_directory, _, file) = file("hunter2-hunter2-hunter2").await;
        let id = KeyId::of(b"hunter2");
        let shown = format!("{file:?} {id:?} {:?}", file.keys().await[0].mac);
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        assert_eq!(format!("{id:?}"), "KeyId(…)");
    }
}
