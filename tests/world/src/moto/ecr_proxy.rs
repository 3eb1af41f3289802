//! A proxy in front of moto: the tokens of moto never differ and expired in 2015, and each that passes gets a password
//! and an end of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Moto;
use crate::http;
use crate::reaper::lock;

/// The largest body of a request.
const MAX_BODY: usize = 1 << 20;

/// The request for a token.
const GET_TOKEN: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

/// A running proxy, which serves on the runtime that started it; dropping it ends it.
#[derive(Debug)]
pub struct EcrProxy {
    /// Its URL, `http://127.0.0.1:PORT`.
    pub endpoint: String,
    state: Arc<ProxyState>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct ProxyState {
    upstream: String,
    client: reqwest::Client,
    tokens: Mutex<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    /// The time for which the next token is valid.
    life: Duration,
    /// True while requests are answered as by an ECR that is down.
    is_down: bool,
    /// The passwords that were issued, the latest last.
    issued: Vec<String>,
    /// The end of the last token; a later one has a later end.
    last_end: Timestamp,
    /// The access key that signed the last request.
    access_key: String,
}

impl EcrProxy {
    /// Starts a proxy with tokens that are valid for this time.
    pub async fn start(moto: &Moto, life: Duration) -> anyhow::Result<Self> {
        let tokens = Tokens {
            life,
            is_down: false,
            issued: Vec::new(),
            last_end: Timestamp::MIN,
            access_key: String::new(),
        };
        let state = Arc::new(ProxyState {
            upstream: moto.endpoint.clone(),
            client: http::client(None)?,
            tokens: Mutex::new(tokens),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the proxy cannot listen")?;
        let endpoint = format!("http://{}", listener.local_addr().context("the proxy has no address")?);
        let router = Router::new().fallback(handle).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { endpoint, state, server })
    }

    /// Sets the time for which later tokens are valid.
    pub fn set_life(&self, life: Duration) {
        lock(&self.state.tokens).life = life;
    }

    /// Answers requests as an ECR that is down does, or stops that.
    pub fn set_down(&self, is_down: bool) {
        lock(&self.state.tokens).is_down = is_down;
    }

    /// Returns the passwords that were issued, the latest last.
    #[must_use]
    pub fn issued(&self) -> Vec<String> {
        lock(&self.state.tokens).issued.clone()
    }

    /// Returns the access key that signed the last request.
    #[must_use]
    pub fn access_key(&self) -> String {
        lock(&self.state.tokens).access_key.clone()
    }
}

impl Drop for EcrProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn handle(State(state): State<Arc<ProxyState>>, request: Request) -> Response {
    if lock(&state.tokens).is_down {
        return status(StatusCode::SERVICE_UNAVAILABLE);
    }
    forward(&state, request).await.unwrap_or_else(|_| status(StatusCode::BAD_GATEWAY))
}

async fn forward(state: &ProxyState, request: Request) -> anyhow::Result<Response> {
    let (mut head, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await?;
    head.headers.remove("host");
    let is_for_token = head.headers.get("x-amz-target").is_some_and(|target| target == GET_TOKEN);
    if let Some(key) = head.headers.get("authorization").and_then(|it| access_key(it.to_str().ok()?)) {
        lock(&state.tokens).access_key = key;
    }
    let url = format!("{}{}", state.upstream, head.uri);
    let sent = state.client.request(head.method, url).headers(head.headers).body(body).send().await?;
    let status = sent.status();
    let mut body = sent.bytes().await?;
    if is_for_token && status.is_success() {
        let mut answer = serde_json::from_slice(&body)?;
        lock(&state.tokens).issue(&mut answer)?;
        body = serde_json::to_vec(&answer)?.into();
    }
    Ok(Response::builder().status(status).body(Body::from(body))?)
}

impl Tokens {
    /// Puts another password and its end into the answer of moto.
    fn issue(&mut self, answer: &mut Value) -> anyhow::Result<()> {
        let data = answer["authorizationData"].get_mut(0).context("moto issued no token")?;
        let password = format!("token-{}", self.issued.len() + 1);
        let expires = (now() + self.life).max(self.last_end + Duration::from_millis(1));
        self.last_end = expires;
        data["authorizationToken"] = BASE64_STANDARD.encode(format!("AWS:{password}")).into();
        data["expiresAt"] =
            serde_json::from_str(&format!("{}.{:03}", expires.as_second(), expires.subsec_millisecond()))?;
        self.issued.push(password);
        Ok(())
    }
}

/// Returns the access key in an `Authorization` header.
fn access_key(header: &str) -> Option<String> {
    let (_, credential) = header.split_once("Credential=")?;
    credential.split('/').next().map(ToOwned::to_owned)
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

#[expect(clippy::disallowed_methods, reason = "the proxy is a server with a clock of its own")]
fn now() -> Timestamp {
    Timestamp::now()
}
