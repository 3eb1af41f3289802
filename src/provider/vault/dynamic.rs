//! Paths at which an engine issues a credential for each request, and the leases of these.
//!
//! A request is sent once: an answer that was lost would leave a second credential behind. Only a refusal that surely
//! came before the engine is followed by another request.

use std::sync::{Arc, PoisonError};

use serde_json::json;
use tokio::time::Instant;
use tracing::debug;
use vaultrs::api::kv1::requests::{GetSecretRequest, SetSecretRequest};

use super::Vault;
use super::client::Response;
use super::error::RequestError;
use super::held_leases::{HeldLeases, LeaseOfKey};
use super::issued::{self, Issued};
use super::session::Session;
use crate::credential::dynamic_path::{DynamicPath, Method};
use crate::credential::{Expiry, Key, Life, StoredValue, Version};
use crate::provider::error::RequestContext;
use crate::provider::{Error, ErrorKind, log_read};

/// The path that renews a lease.
const RENEW: &str = "leases/renew";

impl Vault {
    /// Requests a path, and keeps the lease of the answer.
    pub(super) async fn read_path(
        &self,
        key: &Key,
        path: DynamicPath<'_>,
        started: Instant,
    ) -> Result<StoredValue, Error> {
        let requested = Instant::now();
        let deadline = started + self.retry_policy.total_timeout;
        let (outcome, attempts) = self
            .retry_policy
            .retry_throttled(deadline, &self.store, key, || self.request_path(path, started))
            .await;
        let outcome = outcome.and_then(|(session, response)| {
            issued::parse(&response).map(|issued| self.keep(key, issued, session))
        });
        let outcome = outcome.map_err(|kind| {
            let context = RequestContext {
                store: self.display_name.clone(),
                location: format!("at {}", path.path),
                waited: requested.elapsed(),
                attempts: Some(attempts),
            };
            kind.in_request(self.store_key(key), context)
        });
        log_read(&self.store_key(key), &outcome, requested);
        outcome
    }

    /// Requests a path, a second time after a new login if the Vault may no longer accept the token.
    async fn request_path(
        &self,
        path: DynamicPath<'_>,
        started: Instant,
    ) -> Result<(Arc<Session>, Response), ErrorKind> {
        let session = self.sessions.current().await?;
        match send_path(&session, path).await {
            Err(denial @ ErrorKind::Denied(_)) if session.logged_in < started => {
                let session = self.sessions.after(session, denial).await?;
                let response = send_path(&session, path).await?;
                Ok((session, response))
            }
            outcome => Ok((session, outcome?)),
        }
    }

    /// Keeps the lease of an issued credential, and returns the credential with its life.
    fn keep(&self, key: &Key, issued: Issued, session: Arc<Session>) -> StoredValue {
        let Issued { bytes, lease, lifetime: granted } = issued;
        // The Vault revokes the leases of a token together with it.
        let token = lease.as_ref().and_then(|_| session.lease().remaining(Instant::now()));
        let lifetime = granted.into_iter().chain(token).min();
        if lease.is_some() && granted.is_none() {
            session.let_expire();
        }
        let held = lease.zip(granted).map(|(granted, lifetime)| LeaseOfKey {
            granted,
            since: Instant::now(),
            lifetime,
            session,
        });
        self.leases(|leases| leases.on_issued(key, held));
        let issued = (self.wall_clock.0)();
        StoredValue {
            version: Version::unversioned(),
            bytes,
            expiry: lifetime.map(|lifetime| Expiry::Issued(Life::new(issued, lifetime))),
            account: None,
        }
    }

    /// Renews the lease of the last credential of a key; `None` where another credential has to be requested.
    pub(super) async fn renew_lease(&self, key: &Key) -> Option<Life> {
        let LeaseOfKey { granted, session, .. } = self.leases(|leases| leases.renewable(key))?;
        if !self.sessions.extend(&session).await {
            return None;
        }
        let (since, renewed, id) = ((self.wall_clock.0)(), Instant::now(), granted.id);
        let response = self.send_lease(&session, RENEW, &id).await.ok()?;
        let granted = issued::renewed(&response)?;
        let lifetime = session.lease().remaining(Instant::now()).map_or(granted, |token| token.min(granted));
        let is_renewed = self.leases(|leases| leases.on_renewed(key, &id, renewed, granted));
        if is_renewed {
            debug!(store = %self.store, %key, "lease renewed");
        }
        is_renewed.then(|| Life::new(since, lifetime))
    }

    /// Sends a request about a lease.
    pub(super) async fn send_lease(
        &self,
        session: &Session,
        path: &str,
        id: &str,
    ) -> Result<Response, RequestError> {
        let data = json!({ "lease_id": id }).to_string().into_bytes();
        let request = SetSecretRequest { mount: "sys".to_owned(), path: path.to_owned(), data };
        session.client.send(request).await
    }

    /// Changes the leases; the lock is never held across a request.
    pub(super) fn leases<T>(&self, change: impl FnOnce(&mut HeldLeases) -> T) -> T {
        change(&mut self.leases.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn send_path(session: &Session, path: DynamicPath<'_>) -> Result<Response, ErrorKind> {
    path.check().map_err(|error| ErrorKind::Misconfigured(format!("the path {error}")))?;
    let (mount, rest) = path.path.split_once('/').unwrap_or((path.path, ""));
    let (mount, rest) = (mount.to_owned(), rest.to_owned());
    let response = match path.method {
        Method::Read => session.client.send(GetSecretRequest { mount, path: rest }).await,
        Method::Write => {
            session.client.send(SetSecretRequest { mount, path: rest, data: b"{}".to_vec() }).await
        }
    };
    response.map_err(|error| error.path_kind(path, session.is_proven))
}
