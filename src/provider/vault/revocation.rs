//! The revocation of leases that later credentials replaced.
//!
//! The caller has made sure that their credentials are in use nowhere. After a failure that may pass, the
//! caller takes the lease again; after any other, the lease runs out by itself.

use std::sync::PoisonError;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Vault;
use crate::provider::{Denied, ErrorKind};

/// The path that revokes a lease.
const REVOKE: &str = "leases/revoke";

impl Vault {
    /// Revokes leases.
    pub(super) async fn revoke_each(&self, ids: Vec<String>) {
        let mut ids = ids.into_iter();
        for id in ids.by_ref() {
            let Err(kind) = self.revoke_lease(&id).await else {
                self.on_revoked(&id);
                continue;
            };
            self.log_failed_revocation(&kind);
            if is_final(&kind) {
                self.leases(|leases| leases.remove_taken(&id));
                continue;
            }
            let now = Instant::now();
            self.leases(|leases| leases.return_taken(&id, now));
            break;
        }
        // The cause concerns the others, too.
        let now = Instant::now();
        ids.for_each(|id| self.leases(|leases| leases.return_taken(&id, now)));
        self.sessions.revoke_unused().await;
    }

    async fn revoke_lease(&self, id: &str) -> Result<(), ErrorKind> {
        let deadline = Instant::now() + self.retry_policy.total_timeout;
        self.retry_policy.retry(deadline, &self.store, None, || self.send_revocation(id)).await.0
    }

    async fn send_revocation(&self, id: &str) -> Result<(), ErrorKind> {
        let session = self.sessions.current().await?;
        let revoked = self.send_lease(&session, REVOKE, id).await;
        revoked.map(drop).map_err(|error| error.lease_kind(REVOKE, session.is_proven))
    }

    fn on_revoked(&self, id: &str) {
        debug!(store = %self.store, "replaced lease revoked");
        self.leases(|leases| leases.remove_taken(id));
        if self.revocation_failure.lock().unwrap_or_else(PoisonError::into_inner).ends() {
            info!(store = %self.store, "replaced leases are revoked again");
        }
    }

    fn log_failed_revocation(&self, kind: &ErrorKind) {
        let message = failure(kind);
        if self.revocation_failure.lock().unwrap_or_else(PoisonError::into_inner).begins(&message) {
            warn!(store = %self.store, "{message}");
        }
    }
}

/// Returns true if another attempt would fail for the same reason.
fn is_final(kind: &ErrorKind) -> bool {
    !kind.is_retryable() && !matches!(kind, ErrorKind::Denied(Denied::Login(_)) | ErrorKind::Sealed(_))
}

fn failure(kind: &ErrorKind) -> String {
    match kind {
        ErrorKind::Denied(Denied::Key(_)) => format!(
            "failed to revoke a replaced lease, which runs out by itself: {kind}. Grant `update` on sys/{REVOKE}"
        ),
        kind if is_final(kind) => {
            format!("failed to revoke a replaced lease, which runs out by itself: {kind}")
        }
        kind => format!(
            "failed to revoke a replaced lease: {kind}. It is tried again after the next reconciliation, until the \
             lease runs out"
        ),
    }
}
