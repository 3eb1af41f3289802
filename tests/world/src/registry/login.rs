//! Login at a registry as every client does it: request, challenge, authorized request.

use anyhow::{Context as _, bail};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use super::Registry;

/// The credentials of an authorized request.
#[derive(Clone)]
pub(super) enum Credentials {
    Basic { username: String, password: String },
    Bearer(String),
}

impl Credentials {
    /// Adds the credentials to a request.
    pub(super) fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { username, password } => request.basic_auth(username, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Registry {
    /// Returns true if the registry currently accepts this username and password.
    pub async fn login(&self, username: &str, password: &str) -> anyhow::Result<bool> {
        let Some(credentials) = self.authorize(username, password, None).await? else { return Ok(false) };
        let response = credentials
            .apply(self.client.get(self.url("/v2/")))
            .send()
            .await
            .context("no response from the registry")?;
        is_authorized(response.status())
    }

    /// Returns true if this user can currently pull an image, by a request for the manifest.
    pub async fn can_pull(
        &self,
        repository: &str,
        tag: &str,
        username: &str,
        password: &str,
    ) -> anyhow::Result<bool> {
        let scope = format!("repository:{repository}:pull");
        let Some(credentials) = self.authorize(username, password, Some(&scope)).await? else {
            return Ok(false);
        };
        let url = self.url(&format!("/v2/{repository}/manifests/{tag}"));
        let request = self.client.head(url).header("accept", super::image::MANIFEST_TYPE);
        let response = credentials.apply(request).send().await.context("no response from the registry")?;
        is_authorized(response.status())
    }

    /// Gets credentials by the challenge of the registry; `None` if the token server rejects the password.
    pub(super) async fn authorize(
        &self,
        username: &str,
        password: &str,
        scope: Option<&str>,
    ) -> anyhow::Result<Option<Credentials>> {
        let response =
            self.client.get(self.url("/v2/")).send().await.context("no response from the registry")?;
        let challenge = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .context("the registry sent no challenge")?;
        if challenge.starts_with("Basic ") {
            return Ok(Some(Credentials::Basic {
                username: username.to_owned(),
                password: password.to_owned(),
            }));
        }
        let realm = parameter(challenge, "realm").context("the challenge of the registry has no realm")?;
        let service =
            parameter(challenge, "service").context("the challenge of the registry has no service")?;
        let mut url = Url::parse(realm).context("the realm is not a URL")?;
        url.query_pairs_mut().append_pair("service", service);
        if let Some(scope) = scope {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let request = self.client.get(url.as_str()).basic_auth(username, Some(password));
        let response = request.send().await.context("no response from the token server")?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let answer: Value = response.json().await.context("the response of the token server is not JSON")?;
        let token = answer["token"].as_str().context("the response of the token server has no token")?;
        Ok(Some(Credentials::Bearer(token.to_owned())))
    }

    /// Returns the full URL of a path of this registry.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }
}

fn is_authorized(status: StatusCode) -> anyhow::Result<bool> {
    match status {
        StatusCode::OK => Ok(true),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
        other => bail!("unexpected status of the registry: {other}"),
    }
}

/// Returns a quoted parameter of a `WWW-Authenticate` header.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_by_name() {
        let challenge = r#"Bearer realm="http://127.0.0.1:1/token",service="world",scope="a:b:pull""#;
        assert_eq!(parameter(challenge, "realm"), Some("http://127.0.0.1:1/token"));
        assert_eq!(parameter(challenge, "service"), Some("world"));
        assert_eq!(parameter(challenge, "error"), None);
    }
}
