//! The way to one Vault: its address, its certificate authority, its namespace, and a token.
//!
//! No setting comes from the `VAULT_…` environment variables that vaultrs and the `vault` command
//! know, so none of them can turn off the verification of certificates.

use std::fs;
use std::time::Duration;

use http::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::Certificate;
use reqwest::redirect::Policy;
use rustify::Endpoint;
use rustls::crypto::aws_lc_rs;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettings};

use super::failure::Refusal;
use crate::manifest::config::VaultSettings;
use crate::provider::without_tracing::unheard;

/// The way to a Vault.
pub(super) struct Connection {
    http: reqwest::Client,
    address: url::Url,
    namespace: Option<String>,
    timeout: Duration,
    mend: String,
}

/// The way to a Vault, as one who holds a token or as nobody yet.
///
/// No `Debug`: the settings within print the token.
pub(super) struct Client {
    vault: VaultClient,
    mend: String,
}

/// An answer.
pub(super) struct Reply {
    pub(super) body: SecretSlice<u8>,
    /// When it was given, by the clock of whoever gave it.
    pub(super) date: Option<Timestamp>,
}

/// A token that fits into a header.
#[derive(Clone, Debug)]
pub(super) struct Token(SecretString);

impl Connection {
    /// Opens no connection yet. What is wrong with the settings comes back as the error.
    pub(super) fn open(settings: &VaultSettings, timeout: Duration) -> Result<Self, String> {
        let VaultSettings { address, namespace, ca_file, mount: _, kv: _, auth: _ } = settings;
        if address.path() != "/" || address.query().is_some() {
            return Err(format!("`address` {address} has to end with the host and port"));
        }
        if namespace.as_deref().is_some_and(|namespace| !is_visible_ascii(namespace)) {
            return Err("`namespace` has characters that no HTTP header can carry".to_owned());
        }
        // reqwest panics where the process has not chosen a TLS library: main has, a test may not.
        let _ = aws_lc_rs::default_provider().install_default();
        let is_encrypted = address.scheme() == "https";
        let mut http =
            reqwest::Client::builder().timeout(timeout).redirect(Policy::limited(3)).https_only(is_encrypted);
        let mend = match ca_file {
            Some(path) => {
                let trouble = |what: String| format!("`caFile` {}: {what}", path.display());
                let pem = fs::read(path).map_err(|error| trouble(error.to_string()))?;
                let authorities = Certificate::from_pem_bundle(&pem)
                    .ok()
                    .filter(|authorities| !authorities.is_empty())
                    .ok_or_else(|| trouble("holds no PEM certificate".to_owned()))?;
                http = http.tls_certs_only(authorities);
                format!("`caFile` {} did not sign the Vault's certificate", path.display())
            }
            None => "set `caFile` to the authority that signed the Vault's certificate".to_owned(),
        };
        if !is_encrypted {
            // An image without any certificate authority is good enough for plain HTTP.
            http = http.tls_certs_only([]);
        }
        let http = http.build().map_err(|_| {
            "this machine has no certificate authorities to check `address` against; set `caFile`".to_owned()
        })?;
        Ok(Self { http, address: address.clone(), namespace: namespace.clone(), timeout, mend })
    }

    /// A client with a token, or with none for a login.
    pub(super) fn client(&self, token: Option<&Token>) -> Client {
        let token = token.map_or_else(String::new, |Token(token)| token.expose_secret().to_owned());
        // Every field is named, for vaultrs fills those that are not from the environment.
        let settings = VaultClientSettings {
            address: self.address.clone(),
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
            http: rustify::clients::reqwest::Client::new(self.address.as_str(), self.http.clone()),
            middle: vaultrs::api::EndpointMiddleware {
                token,
                version: "v1".to_owned(),
                wrap: None,
                namespace: self.namespace.clone(),
            },
            settings,
        };
        Client { vault, mend: self.mend.clone() }
    }
}

impl Client {
    /// Sends a request; the answer is a secret whatever it is.
    pub(super) async fn send(&self, request: impl Endpoint) -> Result<SecretSlice<u8>, Refusal> {
        self.ask(request).await.map(|reply| reply.body)
    }

    /// The same, with what is known of the answer beside its body.
    pub(super) async fn ask(&self, request: impl Endpoint) -> Result<Reply, Refusal> {
        let request = request.with_middleware(self.vault.middle());
        match unheard(request.exec(self.vault.http())).await {
            Ok(answer) => {
                let date = answer.response.headers().get(DATE).and_then(|date| date.to_str().ok());
                let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
                Ok(Reply { body: answer.response.into_body().into(), date })
            }
            Err(error) => Err(Refusal::of(&error, &self.mend)),
        }
    }
}

impl Token {
    /// A token as it stands in a file or a variable, where a newline may follow it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end();
        (!text.is_empty() && is_visible_ascii(text)).then(|| Self(text.into()))
    }
}

/// Whether text can stand in a header; vaultrs panics on what cannot.
fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::config::{KvVersion, VaultAuth};

    fn open(change: impl FnOnce(&mut VaultSettings)) -> Result<(), String> {
        let mut settings = VaultSettings {
            address: "https://vault.vault:8200".parse().unwrap(),
            mount: "secret".to_owned(),
            kv: KvVersion::V2,
            namespace: None,
            ca_file: None,
            auth: VaultAuth::Environment,
        };
        change(&mut settings);
        Connection::open(&settings, Duration::from_secs(1)).map(drop)
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let check = |change: fn(&mut VaultSettings), expect: &str| {
            assert_eq!(open(change).unwrap_err(), expect);
        };
        check(
            |settings| settings.address = "https://lb/vault".parse().unwrap(),
            "`address` https://lb/vault has to end with the host and port",
        );
        check(
            |settings| settings.namespace = Some("team-a\n".to_owned()),
            "`namespace` has characters that no HTTP header can carry",
        );
        check(
            |settings| settings.ca_file = Some("/nowhere/ca.pem".into()),
            "`caFile` /nowhere/ca.pem: No such file or directory (os error 2)",
        );
        check(
            |settings| settings.ca_file = Some("/dev/null".into()),
            "`caFile` /dev/null: holds no PEM certificate",
        );
        assert_eq!(open(|_| {}), Ok(()));
    }

    #[test]
    fn a_token_loses_its_newline_and_has_no_other() {
        let parse = |text| Token::parse(text).map(|Token(token)| token.expose_secret().to_owned());
        assert_eq!(parse("hvs.hunter2\n").as_deref(), Some("hvs.hunter2"));
        assert_eq!(parse("hvs.hunter2\r\n").as_deref(), Some("hvs.hunter2"));
        for text in ["", "\n", "hvs\nhunter2", "hvs hunter2", "hvs.hunter²"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = format!("{:?}", Token::parse("hvs.hunter2").unwrap());
        assert!(!token.contains("hunter2"), "{token}");
    }
}
