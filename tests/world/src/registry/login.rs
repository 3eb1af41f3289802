//! Logging in at a registry the way every client does: ask, read the challenge, answer it.

use anyhow::{Context as _, bail};
use reqwest::header::WWW_AUTHENTICATE;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

use super::Registry;

/// What the registry accepts as proof.
#[derive(Clone)]
pub(super) enum Pass {
    Basic { username: String, password: String },
    Bearer(String),
}

impl Pass {
    /// Puts the proof on a request.
    pub(super) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Basic { username, password } => request.basic_auth(username, Some(password)),
            Self::Bearer(token) => request.bearer_auth(token),
        }
    }
}

impl Registry {
    /// Whether the registry lets this user in with this password, just now.
    pub async fn login(&self, username: &str, password: &str) -> anyhow::Result<bool> {
        let Some(pass) = self.pass(username, password, None).await? else { return Ok(false) };
        let response =
            pass.on(self.client.get(self.url("/v2/"))).send().await.context("the registry did not answer")?;
        judge(response.status())
    }

    /// Whether this user may pull an image, just now: asks for its manifest.
    pub async fn can_pull(
        &self,
        repository: &str,
        tag: &str,
        username: &str,
        password: &str,
    ) -> anyhow::Result<bool> {
        let scope = format!("repository:{repository}:pull");
        let Some(pass) = self.pass(username, password, Some(&scope)).await? else { return Ok(false) };
        let url = self.url(&format!("/v2/{repository}/manifests/{tag}"));
        let request = self.client.head(url).header("accept", super::image::MANIFEST_TYPE);
        let response = pass.on(request).send().await.context("the registry did not answer")?;
        judge(response.status())
    }

    /// Answers the registry's challenge; `None` if its token server refuses.
    pub(super) async fn pass(
        &self,
        username: &str,
        password: &str,
        scope: Option<&str>,
    ) -> anyhow::Result<Option<Pass>> {
        let response =
            self.client.get(self.url("/v2/")).send().await.context("the registry did not answer")?;
        let challenge = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok())
            .context("the registry asks for no password")?;
        if challenge.starts_with("Basic ") {
            return Ok(Some(Pass::Basic { username: username.to_owned(), password: password.to_owned() }));
        }
        let realm = parameter(challenge, "realm").context("the registry's challenge names no realm")?;
        let service = parameter(challenge, "service").context("the registry's challenge names no service")?;
        let mut url = Url::parse(realm).context("the realm is not a URL")?;
        url.query_pairs_mut().append_pair("service", service);
        if let Some(scope) = scope {
            url.query_pairs_mut().append_pair("scope", scope);
        }
        let request = self.client.get(url.as_str()).basic_auth(username, Some(password));
        let response = request.send().await.context("the token server did not answer")?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let answer: Value = response.json().await.context("the token server did not answer in JSON")?;
        let token = answer["token"].as_str().context("the token server answered without a token")?;
        Ok(Some(Pass::Bearer(token.to_owned())))
    }

    /// The full URL of a path of this registry.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }
}

fn judge(status: StatusCode) -> anyhow::Result<bool> {
    match status {
        StatusCode::OK => Ok(true),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(false),
        other => bail!("the registry answered {other}, which is neither yes nor no"),
    }
}

/// A quoted parameter of a `WWW-Authenticate` header.
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
