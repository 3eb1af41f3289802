//! The tokens that the requests to a Vault share: the current one, and earlier ones that leases still need.
//!
//! No background task renews a token: a read that finds it at two thirds of its lifetime renews it, and
//! logs in again if the renewal is refused. Of concurrent reads one does so, and a failed attempt is not
//! repeated for a while as long as the token lives.
//!
//! A token is in use as long as a request or a lease holds its [`Session`]. A token that another one replaced is
//! revoked once it is not. At the end of the process the token is left to expire: a provider has no shutdown of its
//! own, and a token revoked too early would fail the reads in flight. A short `token_ttl` on the role keeps what
//! remains short-lived; twenty minutes are enough for a rotation, and longer ones renew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::ClientFactory;
use super::login::{Extension, Logins};
use super::session::Session;
use crate::credential::StoreName;
use crate::manifest::config::VaultAuth;
use crate::provider::{Denied, Environment, ErrorKind};

/// The time between two logins because the policies deny a key: those of the role may have changed since the login.
const LOGIN_PAUSE: Duration = Duration::from_mins(5);

/// The tokens of one Vault.
pub(super) struct Sessions {
    logins: Logins,
    /// Locked during a login, so that concurrent reads wait for its outcome.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Session>>,
    /// Sessions of logins that another one replaced, and that are not revoked yet.
    replaced: Vec<Arc<Session>>,
    /// The last login because the policies denied a key.
    last_login_after_denial: Option<Instant>,
}

impl Sessions {
    /// Makes no request yet. The error describes the problem with the settings.
    pub(super) fn open(
        store: StoreName,
        clients: ClientFactory,
        auth: &VaultAuth,
        environment: &Environment,
    ) -> Result<Self, String> {
        let logins = Logins::open(store, clients, auth, environment)?;
        Ok(Self { logins, state: Mutex::default() })
    }

    /// Returns the current session, renewed or replaced if that is due.
    pub(super) async fn current(&self) -> Result<Arc<Session>, ErrorKind> {
        self.current_in(&mut *self.state.lock().await).await
    }

    async fn current_in(&self, state: &mut State) -> Result<Arc<Session>, ErrorKind> {
        let Some(session) = state.current.clone() else {
            return Ok(Arc::clone(state.current.insert(self.logins.log_in().await?)));
        };
        let next = match self.logins.extend(&session).await {
            Ok(Extension::Lives) => return Ok(session),
            Ok(Extension::Ends) => self.logins.log_in().await,
            Err(kind) => Err(kind),
        };
        match next {
            // A third of the lifetime was left; what remains of it is enough for the reads.
            Err(kind) if kind.is_retryable() && session.lease().is_alive(Instant::now()) => Ok(session),
            next => Ok(Arc::clone(state.current.insert(next?))),
        }
    }

    /// Returns the session that follows a denied one, and logs in unless another read has.
    ///
    /// The token may have expired, or the policies of its role may have changed since it was issued. Only a change of
    /// the policies leaves hope for a token that the Vault knows: a login that was in vain is not repeated for a while.
    pub(super) async fn after(
        &self,
        denied: Arc<Session>,
        denial: ErrorKind,
    ) -> Result<Arc<Session>, ErrorKind> {
        let mut state = self.state.lock().await;
        let newer = state.current.as_ref().filter(|it| it.logged_in > denied.logged_in);
        if let Some(session) = newer {
            return Ok(Arc::clone(session));
        }
        let is_by_policy = matches!(denial, ErrorKind::Denied(Denied::Key(_))) && self.logins.grant_tokens();
        if is_by_policy && state.last_login_after_denial.is_some_and(|last| last.elapsed() < LOGIN_PAUSE) {
            return Err(denial);
        }
        let session = self.logins.log_in().await?;
        if is_by_policy {
            state.last_login_after_denial = Some(session.logged_in);
        }
        let replaced = state.current.replace(Arc::clone(&session));
        if self.logins.grant_tokens() {
            state.replaced.extend(replaced);
        }
        Ok(session)
    }

    /// Renews the token of a lease if that is due; returns false if the token ends before long.
    pub(super) async fn extend(&self, session: &Arc<Session>) -> bool {
        let mut state = self.state.lock().await;
        if state.current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            return self.current_in(&mut state).await.is_ok_and(|current| Arc::ptr_eq(&current, session));
        }
        match self.logins.extend(session).await {
            Ok(extension) => extension == Extension::Lives,
            Err(_) => session.lease().is_alive(Instant::now()),
        }
    }

    /// Revokes the tokens of replaced sessions that are not in use, so that a key that stays denied does not fill the
    /// Vault with tokens.
    pub(super) async fn revoke_unused(&self) {
        let unused = self.state.lock().await.take_unused();
        for session in unused {
            self.logins.revoke(&session).await;
        }
    }
}

impl State {
    /// Removes the replaced sessions that are not in use, and returns those to revoke.
    fn take_unused(&mut self) -> Vec<Arc<Session>> {
        self.replaced.retain(|it| !it.must_expire());
        // No request gets a replaced session, so that the number never rises again.
        self.replaced.extract_if(.., |it| Arc::strong_count(it) == 1).collect()
    }
}

#[cfg(test)]
mod tests;
