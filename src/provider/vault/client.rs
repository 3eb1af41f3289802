//! The client of one Vault: its address, its certificate authority, its namespace, and a token.
//!
//! No setting comes from the `VAULT_…` environment variables of vaultrs and the `vault` command, so none
//! of them can disable the verification of certificates.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Certificate;
use rustify::Endpoint;
use rustls::crypto::aws_lc_rs;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use tracing::warn;
use vaultrs::client::{Client as _, VaultClient, VaultClientSettings};

use super::bounded_client::BoundedClient;
use super::consistency::{Consistency, ConsistentClient};
use super::error::RequestError;
use super::{health, redirect};
use crate::manifest::config::VaultSettings;
use crate::provider::ErrorKind;
use crate::provider::proxy::StoreProxy;
use crate::provider::without_tracing::without_tracing;

/// Creates clients of one Vault.
pub(super) struct ClientFactory {
    http: reqwest::Client,
    address: url::Url,
    /// The address without its path.
    origin: url::Url,
    /// The path of the API, without the slash at its beginning.
    api_path: String,
    namespace: Option<String>,
    timeout: Duration,
    certificate_hint: String,
    proxy: Option<StoreProxy>,
    consistency: Arc<Consistency>,
}

/// A client of a Vault, with a token or, for a login, without.
///
/// No `Debug`: the settings inside print the token.
pub(super) struct Client {
    vault: VaultClient,
    http: ConsistentClient,
    namespace: Option<String>,
    certificate_hint: String,
    proxy: Option<StoreProxy>,
}

/// A successful response.
pub(super) struct Response {
    pub(super) body: SecretSlice<u8>,
    /// The time of the response, by the clock of the sender.
    pub(super) date: Option<Timestamp>,
}

/// A token that fits into a header.
#[derive(Clone, Debug)]
pub(super) struct Token(SecretString);

impl ClientFactory {
    /// Opens no connection yet. The error describes the problem with the settings.
    pub(super) fn new(settings: &VaultSettings, timeout: Duration) -> Result<Self, String> {
        let VaultSettings {
            address,
            namespace,
            ca_file,
            redirect_hosts: _,
            allow_http: _,
            mount: _,
            kv: _,
            auth: _,
        } = settings;
        if address.query().is_some() || address.fragment().is_some() {
            return Err(format!("`address` {address} must end with the host and port, or with a path"));
        }
        if namespace.as_deref().is_some_and(|namespace| !is_visible_ascii(namespace)) {
            return Err("`namespace` has characters that are invalid in an HTTP header".to_owned());
        }
        // reqwest panics without a TLS library chosen by the process: main chooses one, a test may not.
        let _ = aws_lc_rs::default_provider().install_default();
        let is_encrypted = address.scheme() == "https";
        let mut http = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(redirect::policy(settings))
            .https_only(is_encrypted);
        let certificate_hint = match ca_file {
            Some(path) => {
                let authorities = read_authorities(path)
                    .map_err(|problem| format!("`caFile` {}: {problem}", path.display()))?;
                http = http.tls_certs_only(authorities);
                format!("`caFile` {} did not sign the Vault's certificate", path.display())
            }
            None => "set `caFile` to the authority that signed the Vault's certificate".to_owned(),
        };
        if !is_encrypted {
            // Plain HTTP works in an image without any certificate authority.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|_| {
            "this machine has no certificate authorities to verify `address` with; set `caFile`".to_owned()
        })?;
        Ok(Self {
            http,
            address: address.clone(),
            origin: origin(address),
            api_path: api_path(address),
            namespace: namespace.clone(),
            timeout,
            certificate_hint,
            proxy: StoreProxy::from_environment(address.as_str()),
            consistency: Arc::default(),
        })
    }

    /// Returns what tells this Vault and its namespace from others.
    pub(super) fn identity(&self) -> [&str; 2] {
        [self.address.as_str(), self.namespace.as_deref().unwrap_or_default()]
    }

    /// Refuses a Vault without namespaces if one is set.
    pub(super) async fn require_namespaces(&self) -> Result<(), ErrorKind> {
        let Some(namespace) = &self.namespace else { return Ok(()) };
        let mut url = self.origin.clone();
        url.set_path(&format!("{}/sys/health", self.api_path));
        health::require_namespaces(&self.http, url, namespace).await
    }

    /// Creates a client with a token, or without one for a login.
    pub(super) fn client(&self, token: Option<&Token>) -> Client {
        let token = token.map_or_else(String::new, |Token(token)| token.expose_secret().to_owned());
        // Every field is set, because vaultrs fills the others from the environment.
        let settings = VaultClientSettings {
            address: self.origin.clone(),
            ca_certs: Vec::new(),
            identity: None,
            timeout: Some(self.timeout),
            token: token.clone(),
            verify: true,
            version: 1,
            wrapping: false,
            namespace: self.namespace.clone(),
            proxy: None,
        };
        let vault = VaultClient {
            http: rustify::clients::reqwest::Client::new(self.origin.as_str(), self.http.clone()),
            middle: vaultrs::api::EndpointMiddleware {
                token,
                version: self.api_path.clone(),
                wrap: None,
                namespace: self.namespace.clone(),
            },
            settings,
        };
        let http = ConsistentClient {
            http: BoundedClient { http: self.http.clone(), base: self.origin.to_string() },
            consistency: Arc::clone(&self.consistency),
        };
        let (namespace, certificate_hint) = (self.namespace.clone(), self.certificate_hint.clone());
        Client { vault, http, namespace, certificate_hint, proxy: self.proxy.clone() }
    }
}

impl Client {
    /// Sends a request. Any response counts as a secret.
    pub(super) async fn send(&self, request: impl Endpoint) -> Result<Response, RequestError> {
        let request = request.with_middleware(self.vault.middle());
        let outcome = without_tracing(request.exec(&self.http)).await;
        if self.http.consistency.take_refusal() {
            warn!(
                address = %self.http.http.base,
                "the Vault refuses the headers of consistent reads with status 400: none are sent any more, and a \
                 standby may answer with earlier versions"
            );
        }
        match outcome {
            Ok(result) => {
                let date = result.response.headers().get(DATE).and_then(|date| date.to_str().ok());
                let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
                Ok(Response { body: result.response.into_body().into(), date })
            }
            Err(error) => {
                let namespace = self.namespace.as_deref();
                let (hint, proxy) = (&self.certificate_hint, self.proxy.as_ref());
                Err(RequestError::from_client_error(&error, namespace, hint, proxy))
            }
        }
    }
}

impl Token {
    /// Parses a token from a file or a variable, where a newline may follow it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        (!text.is_empty() && is_visible_ascii(text)).then(|| Self(text.into()))
    }
}

/// Returns the address without its path: vaultrs puts the path of the API in front of any other.
fn origin(address: &url::Url) -> url::Url {
    let mut origin = address.clone();
    origin.set_path("");
    origin
}

/// Returns the path of the API, which begins with that of the address.
fn api_path(address: &url::Url) -> String {
    match address.path().trim_matches('/') {
        "" => "v1".to_owned(),
        prefix => format!("{prefix}/v1"),
    }
}

/// Reads the certificates of a PEM file.
fn read_authorities(path: &Path) -> Result<Vec<Certificate>, String> {
    let pem = fs::read(path).map_err(|error| error.to_string())?;
    Certificate::from_pem_bundle(&pem)
        .ok()
        .filter(|authorities| !authorities.is_empty())
        .ok_or_else(|| "no PEM certificate in the file".to_owned())
}

/// Returns true if the text is valid in a header; vaultrs panics on other text.
fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::VaultAuth;
    use crate::provider::vault::tests::settings;

    type Edit = fn(&mut VaultSettings);

    fn open(edit: impl FnOnce(&mut VaultSettings)) -> Result<(), String> {
        let mut settings = settings("https://vault.vault:8200", VaultAuth::Environment);
        edit(&mut settings);
        ClientFactory::new(&settings, Duration::from_secs(1)).map(drop)
    }

    #[test]
    fn invalid_setting_is_named() {
        let cases: [(Edit, &str); 4] = [
            (
                |settings| settings.address = "https://lb/vault?a=b".parse().unwrap(),
                "`address` https://lb/vault?a=b must end with the host and port, or with a path",
            ),
            (
                |settings| settings.namespace = Some("team-a\n".to_owned()),
                "`namespace` has characters that are invalid in an HTTP header",
            ),
            (
                |settings| settings.ca_file = Some("/nowhere/ca.pem".into()),
                "`caFile` /nowhere/ca.pem: No such file or directory (os error 2)",
            ),
            (
                |settings| settings.ca_file = Some("/dev/null".into()),
                "`caFile` /dev/null: no PEM certificate in the file",
            ),
        ];
        for (edit, expect) in cases {
            assert_eq!(open(edit).unwrap_err(), expect);
        }
        assert_eq!(open(|_| {}), Ok(()));
    }

    fn parse(text: &str) -> Option<String> {
        Token::parse(text).map(|Token(token)| token.expose_secret().to_owned())
    }

    #[test]
    fn token_is_trimmed_and_must_be_visible_ascii() {
        assert_eq!(parse("hvs.hunter2\n").as_deref(), Some("hvs.hunter2"));
        assert_eq!(parse("hvs.hunter2\r\n").as_deref(), Some("hvs.hunter2"));
        for text in ["", "\n", "hvs\nhunter2", "hvs hunter2", "hvs.hunter²"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_token() {
        let token = format!("{:?}", Token::parse("hvs.hunter2").unwrap());
        assert!(!token.contains("hunter2"), "{token}");
    }
}
