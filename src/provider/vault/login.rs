//! The one token that all reads of a Vault share.
//!
//! No background task renews the token: a read that finds it at two thirds of its lifetime renews it, and
//! logs in again if the renewal is refused. Of concurrent reads one does so, and a failed attempt is not
//! repeated for a while as long as the token lives.
//!
//! At the end of the process the token is left to expire: a provider has no shutdown of its own, and a token
//! revoked too early would fail the reads in flight. A short `token_ttl` on the role keeps what remains
//! short-lived; twenty minutes are enough for a rotation, and longer ones renew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::fs;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest, RevokeTokenSelfRequest};

use super::client::{Client, ClientFactory, Response, Token};
use super::error::RequestError;
use super::lease::{TokenAction, TokenLease};
use super::login_refusal::{self, Login};
use crate::credential::StoreName;
use crate::manifest::config::{AppRoleAuth, KubernetesAuth, VaultAuth};
use crate::provider::refused_logins::{LoginAttempt, RefusedLogins};
use crate::provider::{Denied, Environment, ErrorKind};

/// The auth method, and the session in use.
pub(super) struct Sessions {
    store: StoreName,
    clients: ClientFactory,
    auth_method: AuthMethod,
    refused_logins: Arc<RefusedLogins>,
    /// Locked during a login, so that concurrent reads wait for its outcome.
    current: Mutex<Option<Arc<Session>>>,
}

/// A token in use.
pub(super) struct Session {
    pub(super) client: Arc<Client>,
    /// The time of the login, or of the last read of the token from its file or variable.
    pub(super) logged_in: Instant,
    /// True if the Vault has confirmed this token.
    pub(super) is_proven: bool,
    lease: TokenLease,
    /// True once credentials were requested, whose leases the Vault revokes together with the token.
    has_leases: Arc<AtomicBool>,
}

/// The source of a token, read again for each login.
enum AuthMethod {
    Kubernetes(KubernetesAuth),
    AppRole(AppRoleAuth),
    File(PathBuf),
    Environment(Token),
}

/// The response to a login or a renewal.
#[derive(Deserialize)]
struct LoginResponse {
    auth: GrantedAuth,
}

#[derive(Deserialize)]
struct GrantedAuth {
    client_token: String,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// The response to `lookup-self`.
#[derive(Deserialize)]
struct LookupResponse {
    data: TokenInfo,
}

#[derive(Deserialize)]
struct TokenInfo {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Sessions {
    /// Makes no request yet. The error describes the problem with the settings.
    pub(super) fn open(
        store: StoreName,
        clients: ClientFactory,
        auth: &VaultAuth,
        environment: &Environment,
    ) -> Result<Self, String> {
        let auth_method = match auth {
            VaultAuth::Kubernetes(auth) => AuthMethod::Kubernetes(auth.clone()),
            VaultAuth::AppRole(auth) => AuthMethod::AppRole(auth.clone()),
            VaultAuth::TokenFile(path) => AuthMethod::File(path.clone()),
            VaultAuth::Environment => {
                let token = environment.vault_token.as_ref();
                let token = token.ok_or("no auth method: set `auth`, or VAULT_TOKEN in the environment")?;
                let token = Token::parse(token.expose_secret());
                AuthMethod::Environment(token.ok_or("VAULT_TOKEN is empty or not a valid token")?)
            }
        };
        let refused_logins = Arc::clone(&environment.refused_logins);
        Ok(Self { store, clients, auth_method, refused_logins, current: Mutex::new(None) })
    }

    /// Returns the current session, renewed or replaced if that is due.
    pub(super) async fn current(&self) -> Result<Arc<Session>, ErrorKind> {
        let mut current = self.current.lock().await;
        let Some(session) = current.as_ref() else {
            return Ok(Arc::clone(current.insert(self.log_in().await?)));
        };
        let now = Instant::now();
        let action = session.lease.action(now);
        if action == TokenAction::Keep {
            return Ok(Arc::clone(session));
        }
        // Recorded first, because a read that reaches its deadline stops waiting for the response.
        let session = session.with_lease(session.lease.attempted_at(now));
        current.replace(Arc::clone(&session));
        let next =
            if action == TokenAction::Renew { self.renew(&session).await } else { self.log_in().await };
        match next {
            // A third of the lifetime was left; what remains of it is enough for the reads.
            Err(kind) if kind.is_retryable() && session.lease.is_alive(Instant::now()) => Ok(session),
            next => Ok(Arc::clone(current.insert(next?))),
        }
    }

    /// Returns the session that follows a denied one, and logs in unless another read has.
    ///
    /// The token may have expired, or the policies of its role may have changed since it was issued.
    pub(super) async fn after(&self, denied: &Session) -> Result<Arc<Session>, ErrorKind> {
        let mut current = self.current.lock().await;
        match current.as_ref() {
            Some(session) if session.logged_in > denied.logged_in => Ok(Arc::clone(session)),
            _ => {
                let session = self.log_in().await?;
                current.replace(Arc::clone(&session));
                self.revoke(denied).await;
                Ok(session)
            }
        }
    }

    /// Revokes a token from a login, so that a key that stays denied does not fill the Vault with leases.
    async fn revoke(&self, session: &Session) {
        match self.auth_method {
            // Namespaces still hold credentials of such a token, which runs out by itself.
            _ if session.has_leases.load(Ordering::Relaxed) => {}
            AuthMethod::Kubernetes(_) | AuthMethod::AppRole(_) => {
                // An expired token cannot revoke itself and need not.
                let _ = session.client.send(RevokeTokenSelfRequest {}).await;
            }
            AuthMethod::File(_) | AuthMethod::Environment(_) => {}
        }
    }

    /// Renews a token, or replaces it if the Vault no longer renews it.
    async fn renew(&self, session: &Session) -> Result<Arc<Session>, ErrorKind> {
        let now = Instant::now();
        let response = session.client.send(RenewTokenSelfRequest { increment: None }).await;
        match response.map_err(RequestError::token_kind).and_then(|response| parse(&response)) {
            Ok(LoginResponse { auth }) => {
                let lease = TokenLease::new(now, auth.lease_duration, auth.renewable);
                if lease.is_running_out(&session.lease) {
                    return self.log_in().await;
                }
                debug!(store = %self.store, "token renewed");
                Ok(session.with_lease(lease))
            }
            Err(kind) if kind.is_retryable() => Err(kind),
            Err(_) => self.log_in().await,
        }
    }

    async fn log_in(&self) -> Result<Arc<Session>, ErrorKind> {
        self.clients.require_namespaces().await?;
        let now = Instant::now();
        let client = self.clients.client(None);
        let (response, mount) = match &self.auth_method {
            AuthMethod::Kubernetes(KubernetesAuth { role, mount, token_file }) => {
                let jwt = read_file("auth.kubernetes.tokenFile", token_file).await?.to_string();
                let request = LoginWithKubernetesRequest { mount: mount.clone(), role: role.clone(), jwt };
                let login = Login::Kubernetes { mount, role };
                (client.send(request).await.map_err(|error| error.login_kind(login))?, mount)
            }
            AuthMethod::AppRole(auth) => (self.log_in_with_app_role(&client, auth).await?, &auth.mount),
            AuthMethod::File(path) => {
                let text = read_file("auth.tokenFile", path).await?;
                let token = Token::parse(&text).ok_or_else(|| {
                    login_denied(format!("`auth.tokenFile` {} is not a valid token", path.display()))
                })?;
                return self.look_up(&token).await;
            }
            AuthMethod::Environment(token) => return self.look_up(token).await,
        };
        let LoginResponse { auth } = parse(&response)?;
        let token = Token::parse(&Zeroizing::new(auth.client_token))
            .ok_or_else(|| login_denied(format!("the login at auth/{mount} returned no token")))?;
        debug!(store = %self.store, "logged in");
        Ok(Arc::new(Session {
            client: Arc::new(self.clients.client(Some(&token))),
            logged_in: now,
            is_proven: true,
            lease: TokenLease::new(now, auth.lease_duration, auth.renewable),
            has_leases: Arc::default(),
        }))
    }

    /// Logs in with the contents of the two files, unless they were refused a short time ago.
    async fn log_in_with_app_role(
        &self,
        client: &Client,
        AppRoleAuth { role_id_file, secret_id_file, mount }: &AppRoleAuth,
    ) -> Result<Response, ErrorKind> {
        let role_id = read_file("auth.appRole.roleIdFile", role_id_file).await?;
        let secret_id = read_file("auth.appRole.secretIdFile", secret_id_file).await?;
        let [address, namespace] = self.clients.identity();
        let attempt = LoginAttempt::new(&[address, namespace, mount, &role_id, &secret_id]);
        if self.refused_logins.forbid(&attempt).await {
            return Err(login_denied(login_refusal::not_tried(mount)));
        }
        let request = LoginWithApproleRequest {
            mount: mount.clone(),
            role_id: role_id.to_string(),
            secret_id: secret_id.to_string(),
        };
        match client.send(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                if error.is_refused_login() {
                    self.refused_logins.add(&attempt).await;
                }
                Err(error.login_kind(Login::AppRole { mount }))
            }
        }
    }

    /// Looks up the lifetime of a token from a file or a variable.
    async fn look_up(&self, token: &Token) -> Result<Arc<Session>, ErrorKind> {
        let now = Instant::now();
        let client = Arc::new(self.clients.client(Some(token)));
        let response = client.send(LookupTokenSelfRequest {}).await;
        let looked_up = response.map_err(RequestError::token_kind).and_then(|response| parse(&response));
        let (is_proven, lease) = match looked_up {
            Ok(LookupResponse { data }) => (true, TokenLease::new(now, data.ttl, data.renewable)),
            // A token without the default policy cannot look itself up but may still read.
            Err(ErrorKind::Denied(_)) => (false, TokenLease::new(now, 0, false)),
            Err(kind) => return Err(kind),
        };
        Ok(Arc::new(Session { client, logged_in: now, is_proven, lease, has_leases: Arc::default() }))
    }
}

impl Session {
    /// The same token with another lease.
    fn with_lease(&self, lease: TokenLease) -> Arc<Self> {
        let Self { client, logged_in, is_proven, lease: _, has_leases } = self;
        let (client, has_leases) = (Arc::clone(client), Arc::clone(has_leases));
        Arc::new(Self { client, logged_in: *logged_in, is_proven: *is_proven, lease, has_leases })
    }

    /// Keeps the token from being revoked: it requests a credential that may have a lease.
    pub(super) fn keep_alive(&self) {
        self.has_leases.store(true, Ordering::Relaxed);
    }

    /// Returns the rest of the lifetime of the token; `None` if it never expires.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        self.lease.remaining(now)
    }
}

fn parse<T: DeserializeOwned>(response: &Response) -> Result<T, ErrorKind> {
    serde_json::from_slice(response.body.expose_secret())
        .map_err(|_| ErrorKind::Misconfigured("the response is not from a Vault; check `address`".to_owned()))
}

fn login_denied(what: String) -> ErrorKind {
    ErrorKind::Denied(Denied::Login(what))
}

/// Reads the file that a setting names, without the trailing newline.
async fn read_file(setting: &str, path: &Path) -> Result<Zeroizing<String>, ErrorKind> {
    let text = fs::read_to_string(path)
        .await
        .map(Zeroizing::new)
        .map_err(|error| login_denied(format!("`{setting}` {} cannot be read: {error}", path.display())))?;
    match text.trim() {
        "" => Err(login_denied(format!("`{setting}` {} is empty", path.display()))),
        content => Ok(Zeroizing::new(content.to_owned())),
    }
}

#[cfg(test)]
mod tests;
