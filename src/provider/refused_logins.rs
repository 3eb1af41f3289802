//! Logins that a store refused, so that the same ones are not tried again: servers lock a role for everybody after
//! a few refused logins.
//!
//! In: the contents of a login. Out: whether they were refused a short time ago. Only a keyed hash of them is kept,
//! in memory and, where there is a [`RefusedLoginRecord`], across restarts and from one leader to the next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::{hmac, rand};
use secrecy::zeroize::Zeroizing;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use tracing::warn;

/// The time after which a refused login is tried again. The servers count refused logins until there was none for 15
/// minutes, and lock for as long.
pub const PAUSE: Duration = Duration::from_mins(20);

/// The contents of a login, with everything that says where it is made.
pub struct LoginAttempt(Zeroizing<Vec<u8>>);

/// A login that was refused, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedLogin {
    /// A random number, by which no two hashes are alike.
    pub salt: u128,
    /// The keyed hash of the contents.
    pub hash: u128,
    /// The time of the refusal.
    pub refused: Instant,
}

/// The place that keeps refused logins across restarts.
#[async_trait]
pub trait RefusedLoginRecord: Send + Sync {
    /// Returns the refused logins of every replica.
    async fn load(&self) -> Result<Vec<RefusedLogin>, RecordError>;

    /// Adds a refused login.
    async fn add(&self, refused: &RefusedLogin) -> Result<(), RecordError>;
}

/// A record that cannot be read or written: the object and the problem.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(pub String);

/// The refused logins of one process and its record.
#[derive(Default)]
pub struct RefusedLogins {
    known: Mutex<Vec<RefusedLogin>>,
    /// The turn of each attempt in flight, by a hash of its contents.
    turns: SyncMutex<BTreeMap<u128, Arc<Mutex<()>>>>,
    record: Option<Arc<dyn RefusedLoginRecord>>,
    has_warned: AtomicBool,
}

impl LoginAttempt {
    /// Creates the attempt from its parts, each of which counts.
    #[must_use]
    pub fn new(parts: &[&str]) -> Self {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
        for part in parts {
            // The length keeps two parts from reading like two others.
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        Self(Zeroizing::new(bytes))
    }

    fn hash(&self, salt: u128) -> u128 {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salt.to_be_bytes());
        let tag = hmac::sign(&key, &self.0);
        tag.as_ref().iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
    }
}

impl RefusedLogin {
    fn new(attempt: &LoginAttempt, salt: u128, refused: Instant) -> Self {
        Self { salt, hash: attempt.hash(salt), refused }
    }

    /// Returns true if this attempt is not to be made at this time.
    fn forbids(&self, attempt: &LoginAttempt, now: Instant) -> bool {
        self.is_recent(now) && attempt.hash(self.salt) == self.hash
    }

    fn is_recent(&self, now: Instant) -> bool {
        now < self.refused + PAUSE
    }
}

impl RefusedLogins {
    /// Refused logins that outlast this process in a record.
    #[must_use]
    pub fn recorded(record: Arc<dyn RefusedLoginRecord>) -> Self {
        Self { record: Some(record), ..Self::default() }
    }

    /// Begins an attempt; `None` if it was refused a short time ago, by this process or another. The outcome is known
    /// before the next attempt with the same contents begins, so that several stores with one login make one.
    pub async fn begin(&self, attempt: &LoginAttempt) -> Option<OwnedMutexGuard<()>> {
        let turn = self.turn(attempt).lock_owned().await;
        (!self.forbid(attempt).await).then_some(turn)
    }

    fn turn(&self, attempt: &LoginAttempt) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        // Nothing of it outlasts the attempt.
        Arc::clone(turns.entry(attempt.hash(0)).or_default())
    }

    async fn forbid(&self, attempt: &LoginAttempt) -> bool {
        let now = Instant::now();
        if self.is_known(attempt, now).await {
            return true;
        }
        // Another replica may have led since the last login.
        let Some(record) = &self.record else { return false };
        match record.load().await {
            Ok(recorded) => {
                let refused = recorded.into_iter().find(|it| it.forbids(attempt, now));
                let is_forbidden = refused.is_some();
                self.known.lock().await.extend(refused);
                is_forbidden
            }
            Err(error) => {
                self.warn(&error);
                false
            }
        }
    }

    async fn is_known(&self, attempt: &LoginAttempt, now: Instant) -> bool {
        let mut known = self.known.lock().await;
        known.retain(|it| it.is_recent(now));
        known.iter().any(|it| it.forbids(attempt, now))
    }

    /// Remembers that this attempt was refused.
    pub async fn add(&self, attempt: &LoginAttempt) {
        let mut salt = [0; 16];
        // Without random numbers the hashes of two alike attempts are alike, which tells nothing of their contents.
        let _ = rand::fill(&mut salt);
        let refused = RefusedLogin::new(attempt, u128::from_be_bytes(salt), Instant::now());
        self.known.lock().await.push(refused.clone());
        if let Some(record) = &self.record
            && let Err(error) = record.add(&refused).await
        {
            self.warn(&error);
        }
    }

    fn warn(&self, error: &RecordError) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            warn!(
                "refused logins are remembered by this process only, and tried again after a restart: {error}"
            );
        }
    }
}

impl fmt::Debug for RefusedLogins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusedLogins").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::without_tracing::tests::Log;

    const ROLE: &str = "hunter2-role";

    /// A record that other processes share, or that cannot be reached.
    struct FakeRecord(Option<Mutex<Vec<RefusedLogin>>>);

    #[async_trait]
    impl RefusedLoginRecord for FakeRecord {
        async fn load(&self) -> Result<Vec<RefusedLogin>, RecordError> {
            match &self.0 {
                Some(refused) => Ok(refused.lock().await.clone()),
                None => Err(RecordError("forbidden".to_owned())),
            }
        }

        async fn add(&self, refused: &RefusedLogin) -> Result<(), RecordError> {
            match &self.0 {
                Some(all) => all.lock().await.push(refused.clone()),
                None => return Err(RecordError("forbidden".to_owned())),
            }
            Ok(())
        }
    }

    fn attempt(secret_id: &str) -> LoginAttempt {
        LoginAttempt::new(&["https://vault:8200/", "approle", ROLE, secret_id])
    }

    #[test]
    fn parts_of_an_attempt_do_not_run_together() {
        let hashes = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""]]
            .map(|parts| LoginAttempt::new(parts).hash(7));
        let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
        assert_ne!(attempt("a").hash(1), attempt("a").hash(2));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_login_is_forbidden_for_twenty_minutes() {
        let logins = RefusedLogins::default();
        assert!(!logins.forbid(&attempt("stale")).await);
        logins.add(&attempt("stale")).await;
        assert!(logins.forbid(&attempt("stale")).await);
        assert!(!logins.forbid(&attempt("corrected")).await);
        tokio::time::advance(Duration::from_secs(19 * 60 + 59)).await;
        assert!(logins.forbid(&attempt("stale")).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!logins.forbid(&attempt("stale")).await);
    }

    #[tokio::test(start_paused = true)]
    async fn record_forbids_to_the_next_process() {
        let record = Arc::new(FakeRecord(Some(Mutex::default())));
        let next = RefusedLogins::recorded(record.clone());
        assert!(!next.forbid(&attempt("stale")).await);
        RefusedLogins::recorded(record.clone()).add(&attempt("stale")).await;
        assert!(next.forbid(&attempt("stale")).await);
        assert!(!next.forbid(&attempt("corrected")).await);
        tokio::time::advance(PAUSE).await;
        assert!(!RefusedLogins::recorded(record).forbid(&attempt("stale")).await);
    }

    #[tokio::test]
    async fn unreachable_record_leaves_memory_and_is_logged_once() {
        let (log, _guard) = Log::capture();
        let logins = RefusedLogins::recorded(Arc::new(FakeRecord(None)));
        assert!(!logins.forbid(&attempt("stale")).await);
        logins.add(&attempt("stale")).await;
        assert!(logins.forbid(&attempt("stale")).await);
        assert!(!logins.forbid(&attempt("corrected")).await);
        assert_eq!(log.text().matches("forbidden").count(), 1, "{}", log.text());
    }

    #[tokio::test]
    async fn contents_of_a_login_are_not_kept() {
        let record = Arc::new(FakeRecord(Some(Mutex::default())));
        let logins = RefusedLogins::recorded(record.clone());
        logins.add(&attempt("hunter2")).await;
        let kept = format!("{logins:?} {:?}", record.load().await);
        assert!(kept.contains("RefusedLogin") && !kept.contains("hunter2"), "{kept}");
    }
}
