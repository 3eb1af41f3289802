//! Keys that authenticate senders, from a file that is reloaded when it changes.
//!
//! One key per line, so that a new key can be handed out before the old one is removed. Blank lines and those
//! that begin with `#` are ignored. A key that can be guessed prevents the start; one that is added later is
//! ignored, with a warning. No key is ever logged.

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

/// A key so short that it can be guessed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line} of {} has fewer than {MIN_LENGTH} bytes: generate a {noun} with `openssl rand -hex 32`",
    path.display()
)]
pub struct WeakKey {
    noun: &'static str,
    path: PathBuf,
    line: usize,
}

/// Identity of a key: its digest, which distinguishes keys without keeping them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::trigger::webhook) struct KeyId([u8; SHA256_OUTPUT_LEN]);

/// A key of the file. Of the key itself no more is kept than verifies a signature.
struct LoadedKey {
    id: KeyId,
    mac: hmac::Key,
}

/// A file of keys.
pub(super) struct KeyFile {
    /// The name of a key in messages: `token` or `key`.
    noun: &'static str,
    path: PathBuf,
    file: ReloadingFile<1>,
    /// Replaced by the first caller that finds changed content.
    keys: RwLock<Arc<[LoadedKey]>>,
}

impl KeyFile {
    /// Loads the file, which may be created later, but must hold no weak key.
    pub(super) async fn open(noun: &'static str, path: &Path) -> Result<Self, WeakKey> {
        let file = ReloadingFile::new([path.to_owned()]);
        let file = Self { noun, path: path.to_owned(), file, keys: RwLock::new(Arc::from([])) };
        file.reload().await.into_iter().next().map_or(Ok(file), Err)
    }

    /// Returns true if the file holds this token; compares it with every key.
    pub(super) async fn contains(&self, token: KeyId) -> bool {
        self.keys().await.iter().fold(false, |found, key| key.id.matches(token) | found)
    }

    /// Returns the key that made a signature; verifies it with every key.
    pub(super) async fn signer(&self, signature: &Signature, body: &[u8]) -> Option<KeyId> {
        let keys = self.keys().await;
        keys.iter().fold(None, |signer, key| signature.verify(&key.mac, body).then_some(key.id).or(signer))
    }

    /// Returns the keys that the file holds now.
    async fn keys(&self) -> Arc<[LoadedKey]> {
        let weak = self.reload().await;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        for weak in &weak {
            warn!("{weak}");
        }
        if keys.is_empty() && !weak.is_empty() {
            self.warn_unusable();
        }
        keys
    }

    fn warn_unusable(&self) {
        warn!(
            "no usable {} in {}: requests signed or authorised by it are rejected until one is added",
            self.noun,
            self.path.display()
        );
    }

    /// Reloads the file if it changed; returns its weak keys, which are ignored.
    async fn reload(&self) -> Vec<WeakKey> {
        let file = self.path.display();
        let (keys, weak) = match self.file.changes().await {
            None => return Vec::new(),
            Some(Ok([content])) => {
                let (keys, weak) = self.parse(&content);
                if !keys.is_empty() {
                    info!(%file, keys = keys.len(), "webhook {}s loaded", self.noun);
                } else if weak.is_empty() {
                    self.warn_unusable();
                }
                (keys, weak)
            }
            Some(Err(error)) => {
                warn!("{error}; requests signed or authorised by it are rejected until it is readable");
                Default::default()
            }
        };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(keys);
        weak
    }

    /// Splits the content into its keys and its weak keys.
    fn parse(&self, content: &SecretSlice<u8>) -> (Vec<LoadedKey>, Vec<WeakKey>) {
        let (mut keys, mut weak) = (Vec::new(), Vec::new());
        let lines = content.expose_secret().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
        for (key, line) in lines.filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#")) {
            if key.len() < MIN_LENGTH {
                weak.push(WeakKey { noun: self.noun, path: self.path.clone(), line });
            } else {
                keys.push(LoadedKey { id: KeyId::new(key), mac: hmac::Key::new(hmac::HMAC_SHA256, key) });
            }
        }
        (keys, weak)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl KeyId {
    /// Identifies a key.
    pub(super) fn new(key: &[u8]) -> Self {
        let mut id = [0; SHA256_OUTPUT_LEN];
        id.copy_from_slice(digest(&SHA256, key).as_ref());
        Self(id)
    }

    /// Returns true if both identify the same key; takes constant time.
    pub(super) fn matches(self, other: Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(…)")
    }
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

    /// A file with that content, and the directory that holds it.
    async fn file(content: &str) -> (TempDir, PathBuf, KeyFile) {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, content).unwrap();
        let file = KeyFile::open("token", &path).await.unwrap();
        (directory, path, file)
    }

    async fn check(file: &KeyFile, tokens: &[&str], expect: bool) {
        for token in tokens {
            assert_eq!(file.contains(KeyId::new(token.as_bytes())).await, expect, "{token:?}");
        }
    }

    /// Writes the file, and lets enough time pass for a reload.
    async fn rewrite(path: &Path, content: &str) {
        std::fs::write(path, content).unwrap();
        advance(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn each_line_holds_a_key() {
        let content = format!("# of CI\n{ONE}\n\n  {TWO} \r\n#three-0123456789abcdef\nfour#0123456789abcdef");
        let (_directory, _, file) = file(&content).await;
        check(&file, &[ONE, TWO, "four#0123456789abcdef"], true).await;
        let three = "three-0123456789abcdef";
        let others = ["", three, &format!("#{three}"), "# of CI", "One-0123456789abcdef", &ONE[1..]];
        check(&file, &others, false).await;
        check(&file, &[&format!("{ONE}e"), &format!("{ONE}\n{TWO}")], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn changed_file_adds_and_removes_keys() {
        let (_directory, path, file) = file(ONE).await;
        rewrite(&path, &format!("{ONE}\n{TWO}")).await;
        check(&file, &[ONE, TWO], true).await;
        rewrite(&path, TWO).await;
        check(&file, &[TWO], true).await;
        check(&file, &[ONE], false).await;
        rewrite(&path, "# none").await;
        check(&file, &[ONE, TWO, ""], false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn missing_file_rejects_every_key_until_it_is_back() {
        let (_directory, path, file) = file(ONE).await;
        std::fs::remove_file(&path).unwrap();
        advance(Duration::from_secs(1)).await;
        check(&file, &[ONE, ""], false).await;
        rewrite(&path, ONE).await;
        check(&file, &[ONE], true).await;
    }

    #[tokio::test]
    async fn key_shorter_than_16_bytes_prevents_the_start() {
        let (log, _guard) = Log::capture();
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "# of CI\n0123456789abcdef\n\n  0123456789abcde \nshort\n").unwrap();
        let weak = KeyFile::open("token", &path).await.unwrap_err();
        let message = format!(
            "line 4 of {} has fewer than 16 bytes: generate a token with `openssl rand -hex 32`",
            path.display()
        );
        assert_eq!(weak.to_string(), message);
        std::fs::write(&path, "short").unwrap();
        assert!(KeyFile::open("token", &path).await.is_err());
        assert!(!log.text().contains("WARN"), "{}", log.text());
        std::fs::write(&path, "0123456789abcdef").unwrap();
        check(&KeyFile::open("token", &path).await.unwrap(), &["0123456789abcdef"], true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn weak_key_added_later_is_ignored_and_logged_once() {
        let (log, _guard) = Log::capture();
        let (_directory, path, file) = file(ONE).await;
        rewrite(&path, &format!("hunter2\n{TWO}\n\nhunter3")).await;
        check(&file, &[TWO], true).await;
        advance(Duration::from_secs(1)).await;
        check(&file, &[ONE, "hunter2", "hunter3"], false).await;
        for line in [1, 4] {
            let message = format!("line {line} of {} has fewer than 16 bytes", path.display());
            assert_eq!(log.text().matches(&message).count(), 1, "{}", log.text());
        }
        assert!(!log.text().contains("hunter") && !log.text().contains(TWO), "{}", log.text());
    }

    #[tokio::test(start_paused = true)]
    async fn file_of_only_weak_keys_rejects_every_key() {
        let (log, _guard) = Log::capture();
        let (_directory, path, file) = file(ONE).await;
        rewrite(&path, "hunter2").await;
        check(&file, &[ONE, "hunter2", ""], false).await;
        let message = format!(
            "no usable token in {}: requests signed or authorised by it are rejected until one is added",
            path.display()
        );
        assert!(log.text().contains(&message) && log.text().contains("line 1 of"), "{}", log.text());
        rewrite(&path, TWO).await;
        check(&file, &[TWO], true).await;
    }

    #[tokio::test]
    async fn signer_is_the_key_that_made_the_signature() {
        let three = "three-0123456789abcdef";
        let (_directory, _, file) = file(&format!("{ONE}\n{TWO}\n{three}")).await;
        for key in [ONE, TWO, three, "four"] {
            let signature = Signature::sign(key, 1000, b"{}");
            let expect = (key != "four").then(|| KeyId::new(key.as_bytes()));
            assert_eq!(file.signer(&signature, b"{}").await, expect, "{key}");
        }
    }

    #[tokio::test]
    async fn debug_output_shows_no_key() {
        let (_directory, _, file) = file("hunter2-hunter2-hunter2").await;
        let id = KeyId::new(b"hunter2");
        let shown = format!("{file:?} {id:?} {:?}", file.keys().await[0].mac);
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        assert_eq!(format!("{id:?}"), "KeyId(…)");
    }
}
