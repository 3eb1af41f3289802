//! The HTTP clients that the world itself uses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::Value;

/// The longest duration of one request, including its response.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Builds a client that keeps no connection: tests share a world, each on a runtime of its own, and an idle connection
/// dies with the runtime that opened it.
pub(crate) fn client(ca: Option<&[u8]>) -> anyhow::Result<Client> {
    build(ca, 0, Some(REQUEST_TIMEOUT))
}

/// Builds a client that keeps connections, for a burst of requests within one call.
pub(crate) fn burst_client(ca: Option<&[u8]>) -> anyhow::Result<Client> {
    build(ca, 64, Some(REQUEST_TIMEOUT))
}

/// Builds a client that keeps connections and has no timeout, for watches.
pub(crate) fn streaming_client(ca: &[u8]) -> anyhow::Result<Client> {
    build(Some(ca), 64, None)
}

fn build(ca: Option<&[u8]>, max_idle: usize, timeout: Option<Duration>) -> anyhow::Result<Client> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(max_idle)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    // By default every client loads the machine's root certificates; loopback needs none of them.
    let roots = ca
        .map_or(Ok(Vec::new()), Certificate::from_pem_bundle)
        .context("the CA file holds no certificates")?;
    builder = builder.tls_certs_only(roots);
    builder.build().context("cannot build an HTTP client")
}

/// Sends a request and returns the JSON of a successful response; `null` for an empty one.
pub(crate) async fn json(request: RequestBuilder) -> anyhow::Result<Value> {
    let (client, request) = request.build_split();
    let request = request.context("malformed request")?;
    let target = format!("{} {}", request.method(), request.url());
    let response = client.execute(request).await.with_context(|| format!("{target} got no response"))?;
    let status = response.status();
    let body = response.bytes().await.with_context(|| format!("{target}: the response ended early"))?;
    if !status.is_success() {
        bail!("{target} returned {status}: {}", String::from_utf8_lossy(&body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).with_context(|| format!("{target}: the response is not JSON"))
}

/// Returns true if a GET succeeds; a refused connection is false.
pub(crate) async fn is_healthy(client: &Client, url: &str) -> bool {
    client
        .request(Method::GET, url)
        .send()
        .await
        .as_ref()
        .is_ok_and(|response: &Response| response.status().is_success())
}
