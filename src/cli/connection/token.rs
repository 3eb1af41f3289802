//! Bearer tokens that change while the process runs.
//!
//! In go a file or a credential plugin, out comes the header of each request. A file is read again after a minute,
//! a plugin runs again when its token expires; both also after the API server rejected the token. The renewal is a task
//! that all waiting requests share, and that a timeout of one of them does not end. kube sends the line break at the
//! end of a file as a part of the token.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response, StatusCode};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;
use tower::{BoxError, Layer, Service};

use super::plugin::{Plugin, PluginCredential, PluginError};
use crate::cli::wall_clock;
use crate::cluster::error::{Detail, Error, REQUEST_TIMEOUT};

/// The time after which a file is read again.
const FILE_PERIOD: Duration = Duration::from_mins(1);
/// The time a request waits for a plugin, shorter than its own timeout, so that its error names the plugin.
const WAIT: Duration = REQUEST_TIMEOUT.saturating_sub(Duration::from_secs(2));
/// The time after which a plugin is ended and may start again.
const PLUGIN_TIMEOUT: Duration = Duration::from_mins(2);

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
    /// The renewal in progress.
    renewal: Option<Renewal>,
}

/// A renewal that requests wait for.
type Renewal = Shared<BoxFuture<'static, Result<(), Error>>>;

impl TokenSource {
    /// Creates a source with the token that its origin gave last.
    pub(super) fn new(origin: TokenOrigin, token: Option<SecretString>, renew_at: Option<Timestamp>) -> Self {
        Self { origin, current: Mutex::new(CurrentToken { token, renew_at, renewal: None }) }
    }

    fn current(&self) -> MutexGuard<'_, CurrentToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the header of a request; `None` if the plugin gives certificates only.
    async fn header(self: &Arc<Self>) -> Result<Option<HeaderValue>, Error> {
        if let Some(renewal) = self.renewal() {
            timeout(WAIT, renewal).await.unwrap_or_else(|_| Err(self.unfinished()))?;
        }
        self.current().token.as_ref().map(bearer).transpose()
    }

    /// Returns the renewal in progress, and starts one that is due.
    fn renewal(self: &Arc<Self>) -> Option<Renewal> {
        let mut current = self.current();
        let is_due = current.renew_at.is_some_and(|at| at <= wall_clock());
        is_due.then(|| current.renewal.get_or_insert_with(|| Arc::clone(self).start_renewal()).clone())
    }

    /// Renews the token as a task: a request that ends before leaves the result to the next one. The end of the process
    /// ends the task and its plugin.
    fn start_renewal(self: Arc<Self>) -> Renewal {
        let task = tokio::spawn(async move {
            let renewed = self.renew().await;
            let mut current = self.current();
            current.renewal = None;
            (current.token, current.renew_at) = match renewed? {
                // While the file cannot be read, the last token is the best one.
                (None, at) if matches!(self.origin, TokenOrigin::File(_)) => (current.token.take(), at),
                renewed => renewed,
            };
            Ok(())
        });
        let ended = "the renewal of the token was ended";
        task.map(move |result| result.unwrap_or_else(|_| Err(Error::Unavailable(ended.into()))))
            .boxed()
            .shared()
    }

    /// Returns the next token, and the time from which it is read again.
    async fn renew(&self) -> Result<(Option<SecretString>, Option<Timestamp>), Error> {
        match &self.origin {
            TokenOrigin::File(file) => {
                let token = read_token(file.clone()).await.ok().flatten();
                Ok((token, Some(wall_clock() + FILE_PERIOD)))
            }
            TokenOrigin::Plugin(plugin) => {
                let credential = timeout(PLUGIN_TIMEOUT, plugin.run())
                    .await
                    .unwrap_or_else(|_| Err(plugin.without_end(PLUGIN_TIMEOUT)));
                let PluginCredential { token, certificate: _, expires } =
                    credential.map_err(|error| plugin_failure(plugin, &error))?;
                Ok((token, expires))
            }
        }
    }

    /// Returns the error of a request that does not wait for the renewal any longer.
    fn unfinished(&self) -> Error {
        match &self.origin {
            TokenOrigin::File(_) => Error::TimedOut,
            TokenOrigin::Plugin(plugin) => plugin_failure(plugin, &plugin.still_running()),
        }
    }

    /// Makes the next request read the token again, unless that happened since this header was sent.
    fn reject(&self, sent: &HeaderValue) {
        let mut current = self.current();
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
        WithToken { source: self.0.clone(), inner: Arc::new(tokio::sync::Mutex::new(inner)) }
    }
}

/// A service behind the [`TokenLayer`].
#[derive(Debug)]
pub(super) struct WithToken<S> {
    source: Option<Arc<TokenSource>>,
    /// The lock is held while a request is handed over, and not while it is answered.
    inner: Arc<tokio::sync::Mutex<S>>,
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
                source.reject(header);
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

    /// A source with an expired token, and a plugin that runs a script and then gives the number of its runs as a
    /// token that is expired, too.
    fn counting(directory: &Path, script: &str) -> Arc<TokenSource> {
        let text = format!(
            "cd {}; echo x >> count; {script}; printf '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"v\", \
             \"status\": {{\"expirationTimestamp\": \"2000-01-01T00:00:00Z\", \"token\": \"%s\"}}}}' \
             $(grep -c x count)",
            directory.display()
        );
        let settings = json!({"apiVersion": "v", "command": "sh", "args": ["-c", text]});
        let plugin = Plugin::new(serde_json::from_value(settings).expect("settings"), None, false);
        let origin = TokenOrigin::Plugin(Box::new(plugin.expect("a plugin")));
        Arc::new(TokenSource::new(origin, Some("0".into()), Some(wall_clock())))
    }

    /// Waits for a file that a plugin writes.
    async fn written(file: &Path) -> String {
        loop {
            match std::fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    #[tokio::test]
    async fn plugin_slower_than_a_request_serves_the_next_ones() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let (source, count) = (counting(path, "while [ ! -e go ]; do sleep 0.01; done"), path.join("count"));
        tokio::select! {
            answer = sent(&source) => panic!("the plugin waits: {answer:?}"),
            _ = written(&count) => {}
        }
        let (one, other, ()) = tokio::join!(sent(&source), sent(&source), async {
            std::fs::write(path.join("go"), "").expect("written");
        });
        assert_eq!(
            (one.expect("an answer"), other.expect("an answer")),
            ("Bearer 1".into(), "Bearer 1".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn plugin_that_does_not_end_is_named_and_starts_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = counting(directory.path(), "[ -e go ] || exec sleep 1000");
        let error = sent(&source).await.expect_err("no token").to_string();
        assert!(error.ends_with("the credential plugin sh is still running"), "{error}");
        let ended = source.renewal().expect("the first run").await.expect_err("no token").to_string();
        assert!(ended.ends_with("the credential plugin sh did not end within 120 s"), "{ended}");
        std::fs::write(directory.path().join("go"), "").expect("written");
        tokio::time::resume();
        let another = source.renewal().expect("another run").await;
        assert_eq!((another, source.current().renewal.is_none()), (Ok(()), true));
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// Returns true if a process exists. One that has ended, and was not waited for yet, is a zombie.
    fn is_running(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn end_of_the_process_ends_a_running_plugin() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = counting(directory.path(), "echo $$ > pid; exec sleep 1000");
        let file = directory.path().join("pid");
        let first = runtime();
        let pid = first.block_on(async {
            tokio::select! {
                answer = sent(&source) => panic!("the plugin waits: {answer:?}"),
                pid = written(&file) => pid,
            }
        });
        assert!(is_running(&pid));
        drop(first);
        runtime().block_on(async {
            while is_running(&pid) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }

    #[tokio::test]
    async fn plugin_runs_again_when_its_token_expires() {
        let directory = tempfile::tempdir().expect("a directory");
        let source = counting(directory.path(), ":");
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
