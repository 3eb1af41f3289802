//! One token in use, with its lifetime.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::client::Client;
use super::lease::TokenLease;

/// A token in use.
pub(super) struct Session {
    pub(super) client: Client,
    /// The time of the login, or of the last read of the token from its file or variable.
    pub(super) logged_in: Instant,
    /// True if the Vault has confirmed this token.
    pub(super) is_proven: bool,
    lease: Mutex<TokenLease>,
    /// True once the token has to expire by itself, because the Vault would revoke leases together with it.
    must_expire: AtomicBool,
}

impl Session {
    pub(super) fn new(client: Client, logged_in: Instant, is_proven: bool, lease: TokenLease) -> Arc<Self> {
        let (lease, must_expire) = (Mutex::new(lease), AtomicBool::new(false));
        Arc::new(Self { client, logged_in, is_proven, lease, must_expire })
    }

    /// Returns the lease of the token.
    pub(super) fn lease(&self) -> TokenLease {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_lease(&self, lease: TokenLease) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }

    /// Keeps the token from ever being revoked: namespaces may hold a credential with a lease that was forgotten.
    pub(super) fn let_expire(&self) {
        self.must_expire.store(true, Ordering::Relaxed);
    }

    pub(super) fn must_expire(&self) -> bool {
        self.must_expire.load(Ordering::Relaxed)
    }
}
