//! Bearer tokens that change while the process runs.
//!
//! In go a file or a credential plugin, out comes the header of each request. A file is read again after a minute,
//! a plugin runs again when its token expires; both also after the API server rejected the token. kube sends the line
//! break at the end of a file as a part of the token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tower::{BoxError, Layer, Service};

use super::plugin::{Plugin, PluginCredential, PluginError};
use crate::cli::wall_clock;
use crate::cluster::error::{Detail, Error};

/// The time after which a file is read again.
const FILE_PERIOD: Duration = Duration::from_mins(1);

/// The token of a user, and where the next one comes from.
#[derive(Debug)]
pub(super) struct TokenSource {
    origin: TokenOrigin,
    current: Mutex<CurrentToken>,
}

/// The origin of tokens.
#[derive(Debug)]
pub(super) enum TokenOrigin {
    /// A file that holds a token.
    File(PathBuf),
    /// A credential plugin.
    Plugin(Box<Plugin>),
}

#[derive(Debug)]
struct CurrentToken {
    token: Option<SecretString>,
    /// The time from which the token is read again.
    renew_at: Option<Timestamp>,
}

impl TokenSource {
    /// Creates a source with the token that its origin gave last.
    pub(super) fn new(origin: TokenOrigin, token: Option<SecretString>, renew_at: Option<Timestamp>) -> Self {
        Self { origin, current: Mutex::new(CurrentToken { token, renew_at }) }
    }

    /// Returns the header of a request; `None` if the plugin gives certificates only.
    async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let mut current = self.current.lock().await;
        if current.renew_at.is_some_and(|at| at <= wall_clock()) {
            self.renew(&mut current).await?;
        }
        current.token.as_ref().map(bearer).transpose()
    }

    async fn renew(&self, current: &mut CurrentToken) -> Result<(), Error> {
        match &self.origin {
            TokenOrigin::File(file) => {
                // While the file cannot be read, the last token is the best one.
                if let Some(token) = read_token(file.clone()).await.ok().flatten() {
                    current.token = Some(token);
                }
                current.renew_at = Some(wall_clock() + FILE_PERIOD);
            }
            TokenOrigin::Plugin(plugin) => {
                let credential = plugin.run().await.map_err(|error| plugin_failure(plugin, &error))?;
                let PluginCredential { token, certificate: _, expires } = credential;
                (current.token, current.renew_at) = (token, expires);
            }
        }
        Ok(())
    }

    /// Makes the next request read the token again, unless that happened since this header was sent.
    async fn reject(&self, sent: &HeaderValue) {
        let mut current = self.current.lock().await;
        let header = current.token.as_ref().map(bearer);
        if matches!(header, Some(Ok(header)) if header == sent) {
            current.renew_at = Some(wall_clock());
        }
    }
}

/// Reads the first token of a file, and when to read the next one.
pub(super) async fn first_file_token(
    file: &Path,
    fallback: Option<SecretString>,
) -> io::Result<(SecretString, Timestamp)> {
    let token = match read_token(file.to_owned()).await {
        Ok(token) => token.or(fallback).ok_or_else(|| io::Error::other("the file is empty"))?,
        Err(error) => fallback.ok_or(error)?,
    };
    Ok((token, wall_clock() + FILE_PERIOD))
}

/// Reads the token of a file; `None` if the file is empty.
async fn read_token(file: PathBuf) -> io::Result<Option<SecretString>> {
    let text = tokio::fs::read_to_string(file).await.map(secrecy::zeroize::Zeroizing::new)?;
    let token = text.trim();
    Ok((!token.is_empty()).then(|| SecretString::from(token)))
}

fn bearer(token: &SecretString) -> Result<HeaderValue, Error> {
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| {
        Error::Unauthorized("the token of the kubeconfig holds characters that HTTP forbids".into())
    })?;
    header.set_sensitive(true);
    Ok(header)
}

/// Describes a plugin that gave no credential.
fn plugin_failure(plugin: &Plugin, error: &PluginError) -> Error {
    let detail = Detail::from_own_words(error.to_string());
    Error::Unavailable(match (error, plugin.install_hint()) {
        (PluginError::NotInstalled(_), Some(hint)) => detail.with_fix(format!("Install it: {hint}")),
        _ => detail,
    })
}

/// A tower layer that adds the token to each request.
#[derive(Clone, Debug)]
pub(super) struct TokenLayer(pub(super) Option<Arc<TokenSource>>);

impl<S> Layer<S> for TokenLayer {
    type Service = WithToken<S>;

    fn layer(&self, inner: S) -> WithToken<S> {
        WithToken { source: self.0.clone(), inner: Arc::new(Mutex::new(inner)) }
    }
}

/// A service behind the [`TokenLayer`].
#[derive(Debug)]
pub(super) struct WithToken<S> {
    source: Option<Arc<TokenSource>>,
    /// The lock is held while a request is handed over, and not while it is answered.
    inner: Arc<Mutex<S>>,
}

impl<S, B, R> Service<Request<B>> for WithToken<S>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<R>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let (source, inner) = (self.source.clone(), Arc::clone(&self.inner));
        let answer = async move {
            let header = match &source {
                Some(source) => source.header().await?,
                None => None,
            };
            if let Some(header) = &header {
                request.headers_mut().insert(AUTHORIZATION, header.clone());
            }
            let answer = {
                let mut inner = inner.lock().await;
                std::future::poll_fn(|context| inner.poll_ready(context)).await.map_err(Into::into)?;
                inner.call(request)
            };
            let response = answer.await.map_err(Into::into)?;
            if let (Some(source), Some(header)) = (&source, &header)
                && response.status() == StatusCode::UNAUTHORIZED
            {
                source.reject(header).await;
            }
            Ok(response)
        };
        answer.boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tower::util::ServiceExt;

    use super::*;

    /// A server that answers 401 with the token it got as a header.
    fn echo(request: Request<()>) -> futures::future::Ready<Result<Response<String>, BoxError>> {
        let token = request.headers().get(AUTHORIZATION).map(|it| it.to_str().expect("text").to_owned());
        let mut response = Response::new(token.unwrap_or_default());
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        futures::future::ready(Ok(response))
    }

    async fn sent(source: &Arc<TokenSource>) -> Result<String, BoxError> {
        let service = TokenLayer(Some(Arc::clone(source))).layer(tower::util::service_fn(echo));
        Ok(service.oneshot(Request::new(())).await?.into_body())
    }

    #[tokio::test]
    async fn file_is_read_again_after_a_rejection() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "one\r\n").expect("written");
        let path = file.path().to_owned();
        let first = read_token(path.clone()).await.expect("readable");
        let later = wall_clock() + FILE_PERIOD;
        let source = Arc::new(TokenSource::new(TokenOrigin::File(path.clone()), first, Some(later)));
        std::fs::write(&path, "\n two\n").expect("written");
        assert_eq!(sent(&source).await.expect("an answer"), "Bearer one");
        assert_eq!(sent(&source).await.expect("an answer"), "Bearer two");
        for unusable in ["", "\n"] {
            std::fs::write(&path, unusable).expect("written");
            assert_eq!(sent(&source).await.expect("an answer"), "Bearer two", "the last good token stays");
        }
        drop(file);
        assert_eq!(sent(&source).await.expect("an answer"), "Bearer two");
    }

    #[tokio::test]
    async fn plugin_runs_again_when_its_token_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let count = directory.path().join("count");
        let text = format!(
            "echo x >> {count}; printf '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"v\", \"status\": \
             {{\"expirationTimestamp\": \"2000-01-01T00:00:00Z\", \"token\": \"%s\"}}}}' $(grep -c x {count})",
            count = count.display()
        );
        let settings = json!({"apiVersion": "v", "command": "sh", "args": ["-c", text]});
        let plugin = Plugin::new(serde_json::from_value(settings).expect("settings"), None, false);
        let origin = TokenOrigin::Plugin(Box::new(plugin.expect("a plugin")));
        let source = Arc::new(TokenSource::new(origin, Some("0".into()), Some(wall_clock())));
        assert_eq!(sent(&source).await.expect("an answer"), "Bearer 1");
        assert_eq!(sent(&source).await.expect("an answer"), "Bearer 2");
    }

    #[tokio::test]
    async fn missing_plugin_fails_the_request_with_its_hint() {
        let settings = json!({"command": "/nonexist/p", "installHint": "brew install p"});
        let plugin = Plugin::new(serde_json::from_value(settings).expect("settings"), None, false);
        let origin = TokenOrigin::Plugin(Box::new(plugin.expect("a plugin")));
        let source = Arc::new(TokenSource::new(origin, Some("t".into()), Some(wall_clock())));
        let error = sent(&source).await.expect_err("no token");
        let error = error.downcast_ref::<Error>().expect("regcred's own error");
        assert_eq!(error.fix(), Some("Install it: brew install p"));
        assert!(error.to_string().contains("the credential plugin /nonexist/p is not installed"), "{error}");
    }
}
