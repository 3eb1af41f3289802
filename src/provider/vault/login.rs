//! The one token that all reads of a Vault share.
//!
//! Nothing renews it in the background: a read that finds it at two thirds of its life renews it, and
//! logs in anew where that is refused. However many reads want that at once, one does it, and what
//! came to nothing is not tried again for a while as long as the token lives.
//!
//! When the process ends, the token is left to expire: a provider has no end of its own, and a token
//! revoked too early would fail the reads still under way. A short `token_ttl` on the role keeps what
//! is left behind short-lived; twenty minutes are enough for a rotation, and longer ones renew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::fs;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::debug;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest, RevokeTokenSelfRequest};

use super::connection::{Client, Connection, Token};
use super::failure;
use super::lease::{Lease, Step};
use crate::credential::StoreName;
use crate::manifest::config::{AppRoleAuth, KubernetesAuth, VaultAuth};
use crate::provider::Environment;
use crate::provider::failure::Failure;

/// Where the token comes from, and the one that is in use.
pub(super) struct Sessions {
    store: StoreName,
    connection: Connection,
    source: Source,
    /// Held while logging in, so that the others wait for the outcome.
    current: Mutex<Option<Arc<Session>>>,
}

/// A token in use.
pub(super) struct Session {
    pub(super) client: Arc<Client>,
    /// When the token was last got by a login, or taken from its source.
    pub(super) logged_in: Instant,
    /// Whether the Vault has ever said that it knows this token.
    pub(super) is_proven: bool,
    lease: Lease,
}

/// Where a token comes from, read anew each time it is wanted.
enum Source {
    Kubernetes(KubernetesAuth),
    AppRole(AppRoleAuth),
    File(PathBuf),
    Environment(Token),
}

/// The answer to a login or a renewal.
#[derive(Deserialize)]
struct Granted {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    lease_duration: u64,
    #[serde(default)]
    renewable: bool,
}

/// The answer to a token that asks about itself.
#[derive(Deserialize)]
struct LookedUp {
    data: About,
}

#[derive(Deserialize)]
struct About {
    ttl: u64,
    #[serde(default)]
    renewable: bool,
}

impl Sessions {
    /// Logs in nowhere yet. What is wrong with the settings comes back as the error.
    pub(super) fn open(
        store: StoreName,
        connection: Connection,
        auth: &VaultAuth,
        environment: &Environment,
    ) -> Result<Self, String> {
        let source = match auth {
            VaultAuth::Kubernetes(auth) => Source::Kubernetes(auth.clone()),
            VaultAuth::AppRole(auth) => Source::AppRole(auth.clone()),
            VaultAuth::TokenFile(path) => Source::File(path.clone()),
            VaultAuth::Environment => {
                let token = environment.vault_token.as_ref();
                let token = token.ok_or("no way to log in: set `auth`, or VAULT_TOKEN in the environment")?;
                let token = Token::parse(token.expose_secret());
                Source::Environment(token.ok_or("VAULT_TOKEN is empty or no token")?)
            }
        };
        Ok(Self { store, connection, source, current: Mutex::new(None) })
    }

    /// The session to read with: the one there is, renewed or replaced where that is due.
    pub(super) async fn current(&self) -> Result<Arc<Session>, Failure> {
        let mut current = self.current.lock().await;
        let Some(session) = current.as_ref() else {
            return Ok(Arc::clone(current.insert(self.log_in().await?)));
        };
        let now = Instant::now();
        let step = session.lease.step(now);
        if step == Step::Keep {
            return Ok(Arc::clone(session));
        }
        // Noted beforehand, for a read that reaches its deadline stops waiting for the answer.
        let session = session.leased(session.lease.tried_at(now));
        current.replace(Arc::clone(&session));
        let next = if step == Step::Renew { self.renew(&session).await } else { self.log_in().await };
        match next {
            // A third of its life was left; the reads can do with what remains of that.
            Err(failure) if failure.is_retryable() && session.lease.is_alive(Instant::now()) => Ok(session),
            next => Ok(Arc::clone(current.insert(next?))),
        }
    }

    /// The session after one that was refused a read; a login where no other read has made one.
    ///
    /// The token may be dead, or its role may have got other policies since it was issued.
    pub(super) async fn after(&self, refused: &Session) -> Result<Arc<Session>, Failure> {
        let mut current = self.current.lock().await;
        match current.as_ref() {
            Some(session) if session.logged_in > refused.logged_in => Ok(Arc::clone(session)),
            _ => {
                let session = self.log_in().await?;
                current.replace(Arc::clone(&session));
                self.give_back(refused).await;
                Ok(session)
            }
        }
    }

    /// Revokes a token that a login brought, lest a key that stays denied fill the Vault with leases.
    async fn give_back(&self, session: &Session) {
        match self.source {
            Source::Kubernetes(_) | Source::AppRole(_) => {
                // A dead token cannot revoke itself and need not.
                let _ = session.client.send(RevokeTokenSelfRequest {}).await;
            }
            Source::File(_) | Source::Environment(_) => {}
        }
    }

    /// Renews a token, or replaces it where the Vault does not renew it any more.
    async fn renew(&self, session: &Session) -> Result<Arc<Session>, Failure> {
        let now = Instant::now();
        let answer = session.client.send(RenewTokenSelfRequest { increment: None }).await;
        let renewed = answer.map_err(failure::of_token).and_then(|body| parse::<Granted>(&body));
        match renewed {
            Ok(Granted { auth }) => {
                let lease = Lease::new(now, auth.lease_duration, auth.renewable);
                if lease.is_running_out(&session.lease) {
                    return self.log_in().await;
                }
                debug!(store = %self.store, "token renewed");
                Ok(session.leased(lease))
            }
            Err(failure) if failure.is_retryable() => Err(failure),
            Err(_) => self.log_in().await,
        }
    }

    async fn log_in(&self) -> Result<Arc<Session>, Failure> {
        let now = Instant::now();
        let nobody = self.connection.client(None);
        let (body, mount) = match &self.source {
            Source::Kubernetes(KubernetesAuth { role, mount, token_file }) => {
                let jwt = read_file("auth.kubernetes.tokenFile", token_file).await?.to_string();
                let request = LoginWithKubernetesRequest { mount: mount.clone(), role: role.clone(), jwt };
                let who = format!("role {role}, the ServiceAccounts it is bound to and its audience");
                (
                    nobody.send(request).await.map_err(|refusal| failure::of_login(refusal, mount, &who))?,
                    mount,
                )
            }
            Source::AppRole(AppRoleAuth { role_id_file, secret_id_file, mount }) => {
                let request = LoginWithApproleRequest {
                    mount: mount.clone(),
                    role_id: read_file("auth.appRole.roleIdFile", role_id_file).await?.to_string(),
                    secret_id: read_file("auth.appRole.secretIdFile", secret_id_file).await?.to_string(),
                };
                let who = "`roleIdFile` and `secretIdFile`";
                (nobody.send(request).await.map_err(|refusal| failure::of_login(refusal, mount, who))?, mount)
            }
            Source::File(path) => {
                let text = read_file("auth.tokenFile", path).await?;
                let token = Token::parse(&text).ok_or_else(|| {
                    Failure::Denied(format!("`auth.tokenFile` {} holds no token", path.display()))
                })?;
                return self.look_up(&token).await;
            }
            Source::Environment(token) => return self.look_up(token).await,
        };
        let Granted { auth } = parse(&body)?;
        let token = Token::parse(&Zeroizing::new(auth.client_token))
            .ok_or_else(|| Failure::Denied(format!("the login at auth/{mount} brought no token")))?;
        debug!(store = %self.store, "logged in");
        Ok(Arc::new(Session {
            client: Arc::new(self.connection.client(Some(&token))),
            logged_in: now,
            is_proven: true,
            lease: Lease::new(now, auth.lease_duration, auth.renewable),
        }))
    }

    /// Takes a token that somebody else got, and asks how long it lives.
    async fn look_up(&self, token: &Token) -> Result<Arc<Session>, Failure> {
        let now = Instant::now();
        let client = Arc::new(self.connection.client(Some(token)));
        let answer = client.send(LookupTokenSelfRequest {}).await;
        let (is_proven, lease) = match answer.map_err(failure::of_token).and_then(|body| parse(&body)) {
            Ok(LookedUp { data }) => (true, Lease::new(now, data.ttl, data.renewable)),
            // It may lack the default policy and still be good to read: the read will show.
            Err(Failure::Denied(_)) => (false, Lease::new(now, 0, false)),
            Err(failure) => return Err(failure),
        };
        Ok(Arc::new(Session { client, logged_in: now, is_proven, lease }))
    }
}

impl Session {
    /// The same token with another lease.
    fn leased(&self, lease: Lease) -> Arc<Self> {
        let Self { client, logged_in, is_proven, lease: _ } = self;
        Arc::new(Self { client: Arc::clone(client), logged_in: *logged_in, is_proven: *is_proven, lease })
    }
}

fn parse<T: DeserializeOwned>(body: &SecretSlice<u8>) -> Result<T, Failure> {
    serde_json::from_slice(body.expose_secret())
        .map_err(|_| Failure::Misconfigured("the answer is not from a Vault; check `address`".to_owned()))
}

/// The content of a file that a setting names, without the newline at its end.
async fn read_file(setting: &str, path: &Path) -> Result<Zeroizing<String>, Failure> {
    let text = fs::read_to_string(path).await.map(Zeroizing::new).map_err(|error| {
        Failure::Denied(format!("`{setting}` {} cannot be read: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Failure::Denied(format!("`{setting}` {} is empty", path.display()))),
        content => Ok(Zeroizing::new(content.to_owned())),
    }
}

#[cfg(test)]
mod tests;
