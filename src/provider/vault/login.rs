//! The login of each auth method, and the renewal and revocation of the tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::fs;
use tokio::time::Instant;
use tracing::debug;
use vaultrs::api::auth::approle::requests::LoginWithApproleRequest;
use vaultrs::api::auth::kubernetes::requests::LoginWithKubernetesRequest;
use vaultrs::api::token::requests::{LookupTokenSelfRequest, RenewTokenSelfRequest, RevokeTokenSelfRequest};

use super::client::{Client, ClientFactory, Response, Token};
use super::error::RequestError;
use super::lease::{TokenAction, TokenLease};
use super::login_refusal::{self, Login};
use super::session::Session;
use crate::credential::StoreName;
use crate::manifest::config::{AppRoleAuth, KubernetesAuth, VaultAuth};
use crate::provider::refused_logins::{LoginAttempt, RefusedLogins};
use crate::provider::{Denied, Environment, ErrorKind};

/// The logins with one auth method, and the requests about the tokens that they grant.
pub(super) struct Logins {
    store: StoreName,
    clients: ClientFactory,
    auth_method: AuthMethod,
    refused: Arc<RefusedLogins>,
}

/// The outlook of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    /// The token needs no renewal yet, or was renewed.
    Lives,
    /// The Vault renews the token no longer, or only for a short time.
    Ends,
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

impl Logins {
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
        let refused = Arc::clone(&environment.refused_logins);
        Ok(Self { store, clients, auth_method, refused })
    }

    /// Returns true if a login grants a token of its own, which is revoked when it is replaced.
    pub(super) fn grant_tokens(&self) -> bool {
        match self.auth_method {
            AuthMethod::Kubernetes(_) | AuthMethod::AppRole(_) => true,
            AuthMethod::File(_) | AuthMethod::Environment(_) => false,
        }
    }

    /// Renews the token of a session if that is due.
    pub(super) async fn extend(&self, session: &Session) -> Result<Extension, ErrorKind> {
        let (now, lease) = (Instant::now(), session.lease());
        let action = lease.action(now);
        if action == TokenAction::Keep {
            return Ok(Extension::Lives);
        }
        // Recorded first, because a read that reaches its deadline stops waiting for the response.
        session.set_lease(lease.attempted_at(now));
        if action == TokenAction::LogIn {
            return Ok(Extension::Ends);
        }
        let response = session.client.send(RenewTokenSelfRequest { increment: None }).await;
        match response.map_err(RequestError::token_kind).and_then(|response| parse(&response)) {
            Ok(LoginResponse { auth }) => {
                let renewed = TokenLease::new(now, auth.lease_duration, auth.renewable);
                if renewed.is_running_out(&lease) {
                    return Ok(Extension::Ends);
                }
                debug!(store = %self.store, "token renewed");
                session.set_lease(renewed);
                Ok(Extension::Lives)
            }
            Err(kind) if kind.is_retryable() => Err(kind),
            Err(_) => Ok(Extension::Ends),
        }
    }

    /// Revokes the token of a session.
    pub(super) async fn revoke(&self, session: &Session) {
        // An expired token cannot revoke itself and need not.
        let _ = session.client.send(RevokeTokenSelfRequest {}).await;
        debug!(store = %self.store, "replaced token revoked");
    }

    /// Logs in, or reads the token again from where it is.
    pub(super) async fn log_in(&self) -> Result<Arc<Session>, ErrorKind> {
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
        let lease = TokenLease::new(now, auth.lease_duration, auth.renewable);
        Ok(Session::new(self.clients.client(Some(&token)), now, true, lease))
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
        let Some(_turn) = self.refused.begin(&attempt).await else {
            return Err(login_denied(login_refusal::not_tried(mount)));
        };
        let request = LoginWithApproleRequest {
            mount: mount.clone(),
            role_id: role_id.to_string(),
            secret_id: secret_id.to_string(),
        };
        match client.send(request).await {
            Ok(response) => Ok(response),
            Err(error) => {
                if error.is_refused_login() {
                    self.refused.add(&attempt).await;
                }
                Err(error.login_kind(Login::AppRole { mount }))
            }
        }
    }

    /// Looks up the lifetime of a token from a file or a variable.
    async fn look_up(&self, token: &Token) -> Result<Arc<Session>, ErrorKind> {
        let now = Instant::now();
        let client = self.clients.client(Some(token));
        let response = client.send(LookupTokenSelfRequest {}).await;
        let looked_up = response.map_err(RequestError::token_kind).and_then(|response| parse(&response));
        let (is_proven, lease) = match looked_up {
            Ok(LookupResponse { data }) => (true, TokenLease::new(now, data.ttl, data.renewable)),
            // A token without the default policy cannot look itself up but may still read.
            Err(ErrorKind::Denied(_)) => (false, TokenLease::new(now, 0, false)),
            Err(kind) => return Err(kind),
        };
        Ok(Session::new(client, now, is_proven, lease))
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
