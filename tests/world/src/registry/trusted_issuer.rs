//! An issuer of identity tokens, such as a Vault: the token server accepts its tokens as passwords.

use std::path::Path;

use anyhow::Context as _;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Registry;
use crate::http;

/// Holds the trusted issuer, below the directory of a registry.
pub(super) const ISSUER_FILE: &str = "issuer.json";
/// The signature algorithm of identity tokens.
const ALGORITHM: Algorithm = Algorithm::RS256;

/// An issuer with the keys that it publishes.
#[derive(Serialize, Deserialize)]
pub(super) struct TrustedIssuer {
    issuer: String,
    audience: String,
    keys: JwkSet,
}

impl Registry {
    /// Accepts the tokens of an OIDC issuer for this audience as passwords, by the keys that it publishes now.
    pub async fn trust_issuer(&self, url: &str, audience: &str) -> anyhow::Result<()> {
        let issuer = TrustedIssuer::discover(&self.client, url, audience).await?;
        super::replace(&self.directory.join(ISSUER_FILE), &serde_json::to_string(&issuer)?)
    }
}

impl TrustedIssuer {
    /// Reads the documents that an issuer publishes.
    async fn discover(client: &Client, url: &str, audience: &str) -> anyhow::Result<Self> {
        let configuration: Value =
            http::json(client.get(format!("{url}/.well-known/openid-configuration"))).await?;
        let text = |name: &str| configuration[name].as_str().with_context(|| format!("there is no {name}"));
        let keys = http::json(client.get(text("jwks_uri")?)).await?;
        let keys = serde_json::from_value(keys).context("the published keys are no key set")?;
        Ok(Self { issuer: text("issuer")?.to_owned(), audience: audience.to_owned(), keys })
    }

    /// Reads the issuer that a registry trusts; `None` if there is none.
    pub(super) fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// Returns true if the issuer signed the token for the audience, and the token has not expired.
    pub(super) fn accepts(&self, token: &str) -> bool {
        self.claims(token).is_some()
    }

    fn claims(&self, token: &str) -> Option<Value> {
        let key = self.keys.find(&decode_header(token).ok()?.kid?)?;
        let mut validation = Validation::new(ALGORITHM);
        validation.leeway = 0;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let decoded = decode::<Value>(token, &DecodingKey::from_jwk(key).ok()?, &validation);
        decoded.ok().map(|decoded| decoded.claims)
    }
}
