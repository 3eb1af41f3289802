//! Who may ask, and how often.

pub(super) mod error;
pub(super) mod header;
pub(super) mod keys;
mod rate_limit;
mod replay;
pub(super) mod signature;

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::time::Instant;

use super::error::Refusal;
use crate::manifest::config::triggers::Webhook;
use error::AuthError;
use keys::{KeyFile, KeyId, Weak};
use rate_limit::RateLimiter;
use replay::Replays;
use signature::Signature;

/// Lets in whoever has a key.
#[derive(Debug)]
pub(super) struct Authenticator {
    tokens: Option<KeyFile>,
    hmac_keys: Option<KeyFile>,
    book: Mutex<AuthState>,
}

/// Who was let in.
#[derive(Debug)]
struct AuthState {
    allowances: RateLimiter,
    replays: Replays,
}

impl Authenticator {
    /// Reads the files.
    pub(super) async fn open(webhook: &Webhook) -> Result<Self, Weak> {
        let open = async |path: &Option<PathBuf>| match path {
            Some(path) => KeyFile::open(path).await.map(Some),
            None => Ok(None),
        };
        let allowances = RateLimiter::new(webhook.requests_per_second);
        Ok(Self {
            tokens: open(&webhook.token_file).await?,
            hmac_keys: open(&webhook.hmac_key_file).await?,
            book: Mutex::new(AuthState { allowances, replays: Replays::default() }),
        })
    }

    /// Lets the owner of a token in.
    pub(super) async fn admit(&self, token: KeyId) -> Result<(), Refusal> {
        let tokens = self.tokens.as_ref().ok_or(AuthError::NoTokenFile)?;
        if !tokens.holds(token).await {
            return Err(AuthError::WrongToken.into());
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
        let keys = self.hmac_keys.as_ref().ok_or(AuthError::NoKeyFile)?;
        let signer = keys.signer(signature, body).await.ok_or(AuthError::WrongSignature)?;
        let mut book = self.book();
        // Read in turn, for what one forgets as too old has to be too old for the next.
        let now = wall_clock();
        if !signature.is_timely(now) {
            return Err(AuthError::WrongTime.into());
        }
        // First, so that nobody uses up an allowance with what somebody else sent.
        if book.replays.holds(signature) {
            return Err(AuthError::Repeated.into());
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

    fn book(&self) -> MutexGuard<'_, AuthState> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuthState {
    fn spend(&mut self, key: KeyId) -> Result<(), Refusal> {
        if self.allowances.take(key, Instant::now()) { Ok(()) } else { Err(Refusal::TooMany) }
    }
}
