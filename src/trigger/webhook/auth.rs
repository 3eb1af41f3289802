//! Authentication and rate limiting of requests.
//!
//! In go the credentials of a request, by token or by signature; out comes whether it may proceed. No key or
//! token is ever logged.

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

use super::error::Rejection;
use crate::manifest::config::triggers::Webhook;
use error::AuthError;
use keys::{KeyFile, KeyId, WeakKey};
use rate_limit::RateLimiter;
use replay::Replays;
use signature::Signature;

/// Authenticates requests by the tokens and keys of two files.
#[derive(Debug)]
pub(super) struct Authenticator {
    tokens: Option<KeyFile>,
    hmac_keys: Option<KeyFile>,
    state: Mutex<AuthState>,
}

/// State of the keys in use and of the requests already accepted.
#[derive(Debug)]
struct AuthState {
    rate_limiter: RateLimiter,
    replays: Replays,
}

impl Authenticator {
    /// Loads the files.
    pub(super) async fn open(webhook: &Webhook) -> Result<Self, WeakKey> {
        let rate_limiter = RateLimiter::new(webhook.requests_per_second);
        Ok(Self {
            tokens: open_if_set("token", webhook.token_file.as_ref()).await?,
            hmac_keys: open_if_set("key", webhook.hmac_key_file.as_ref()).await?,
            state: Mutex::new(AuthState { rate_limiter, replays: Replays::default() }),
        })
    }

    /// Accepts a known token within its rate limit.
    pub(super) async fn authenticate_token(&self, token: KeyId) -> Result<(), Rejection> {
        let tokens = self.tokens.as_ref().ok_or(AuthError::NoTokenFile)?;
        if !tokens.contains(token).await {
            return Err(AuthError::UnknownToken.into());
        }
        self.state().limit(token)
    }

    /// Accepts a valid signature of this body, once and within the rate limit of its key.
    pub(super) async fn authenticate_signature(
        &self,
        signature: &Signature,
        body: &[u8],
        wall_clock: fn() -> Timestamp,
    ) -> Result<(), Rejection> {
        let keys = self.hmac_keys.as_ref().ok_or(AuthError::NoKeyFile)?;
        let signer = keys.signer(signature, body).await.ok_or(AuthError::InvalidSignature)?;
        let mut state = self.state();
        // Read under the lock: a signature that one request forgets as too old is too old for the next one.
        let now = wall_clock();
        if !signature.is_fresh(now) {
            return Err(AuthError::TimestampOutOfWindow.into());
        }
        // Before the rate limit, so that a replay does not count against the owner of the key.
        if state.replays.contains(signature) {
            return Err(AuthError::Replayed.into());
        }
        state.limit(signer)?;
        state.replays.insert(signature, now);
        Ok(())
    }

    /// Forgets the signature of a request that was not carried out, so that it may be retried.
    pub(super) fn forget(&self, signature: &Signature) {
        self.state().replays.remove(signature);
    }

    /// The number of keys and signatures kept in memory.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        let state = self.state();
        (state.rate_limiter.len(), state.replays.len())
    }

    fn state(&self) -> MutexGuard<'_, AuthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AuthState {
    fn limit(&mut self, key: KeyId) -> Result<(), Rejection> {
        if self.rate_limiter.try_acquire(key, Instant::now()) { Ok(()) } else { Err(Rejection::RateLimited) }
    }
}

async fn open_if_set(noun: &'static str, path: Option<&PathBuf>) -> Result<Option<KeyFile>, WeakKey> {
    match path {
        Some(path) => KeyFile::open(noun, path).await.map(Some),
        None => Ok(None),
    }
}
