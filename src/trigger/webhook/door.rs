//! Who may ask, and how often.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

use super::allowance::Allowances;
use super::keys::{KeyFile, KeyId, Weak};
use super::refusal::Refusal;
use super::replay::Replays;
use super::signature::Signature;
use super::stranger::Stranger;
use crate::manifest::config::triggers::Webhook;

/// Lets in whoever has a key.
#[derive(Debug)]
pub(super) struct Door {
    tokens: Option<KeyFile>,
    hmac_keys: Option<KeyFile>,
    book: Mutex<Book>,
}

/// Who was let in.
#[derive(Debug)]
struct Book {
    allowances: Allowances,
    replays: Replays,
}

impl Door {
    /// Reads the files.
    pub(super) async fn open(webhook: &Webhook) -> Result<Self, Weak> {
        let open = async |path: &Option<PathBuf>| match path {
            Some(path) => KeyFile::open(path).await.map(Some),
            None => Ok(None),
        };
        let allowances = Allowances::new(webhook.requests_per_second);
        Ok(Self {
            tokens: open(&webhook.token_file).await?,
            hmac_keys: open(&webhook.hmac_key_file).await?,
            book: Mutex::new(Book { allowances, replays: Replays::default() }),
        })
    }

    /// Lets the owner of a token in.
    pub(super) async fn admit(&self, token: KeyId) -> Result<(), Refusal> {
        let tokens = self.tokens.as_ref().ok_or(Stranger::NoTokenFile)?;
        if !tokens.holds(token).await {
            return Err(Stranger::WrongToken.into());
        }
        self.book().spend(token)
    }

    /// Lets whoever signed this body in, once.
    pub(super) async fn admit_signed(
        &self,
        signature: &Signature,
        body: &[u8],
        wall_clock: fn() -> Timestamp,
    ) -> Result<(), Refusal> {
        let keys = self.hmac_keys.as_ref().ok_or(Stranger::NoKeyFile)?;
        let signer = keys.signer(signature, body).await.ok_or(Stranger::WrongSignature)?;
        let mut book = self.book();
        // Read in turn, for what one forgets as too old has to be too old for the next.
        let now = wall_clock();
        if !signature.is_timely(now) {
            return Err(Stranger::WrongTime.into());
        }
        // First, so that nobody uses up an allowance with what somebody else sent.
        if book.replays.holds(signature) {
            return Err(Stranger::Repeated.into());
        }
        book.spend(signer)?;
        book.replays.remember(signature, now);
        Ok(())
    }

    /// What was signed was not carried out, and may come again.
    pub(super) fn forget(&self, signature: &Signature) {
        self.book().replays.forget(signature);
    }

    /// How many keys and signatures are kept in memory.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        let book = self.book();
        (book.allowances.len(), book.replays.len())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn spend(&mut self, key: KeyId) -> Result<(), Refusal> {
        if self.allowances.take(key, Instant::now()) { Ok(()) } else { Err(Refusal::TooMany) }
    }
}
