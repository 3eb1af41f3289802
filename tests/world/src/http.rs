//! The HTTP clients that the world itself uses.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response};
use serde_json::Value;

/// How long one request may take, its answer included.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client that keeps no connection: tests share a world, each on a runtime of its own, and a kept connection dies
/// with the runtime that opened it.
pub(crate) fn client(ca: Option<&[u8]>) -> anyhow::Result<Client> {
    build(ca, 0, Some(PATIENCE))
}

/// A client that keeps connections, for a burst of requests within one call.
pub(crate) fn burst_client(ca: Option<&[u8]>) -> anyhow::Result<Client> {
    build(ca, 64, Some(PATIENCE))
}

/// A client that keeps connections and whose answers may go on for ever, as a watch does.
pub(crate) fn streaming_client(ca: &[u8]) -> anyhow::Result<Client> {
    build(Some(ca), 64, None)
}

fn build(ca: Option<&[u8]>, kept: usize, patience: Option<Duration>) -> anyhow::Result<Client> {
    // An error means that somebody installed it before, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder =
        Client::builder().no_proxy().pool_max_idle_per_host(kept).redirect(reqwest::redirect::Policy::none());
    if let Some(patience) = patience {
        builder = builder.timeout(patience);
    }
    // Without this the machine's own roots would be loaded for every client; loopback needs none of them.
    let roots = ca
        .map_or(Ok(Vec::new()), Certificate::from_pem_bundle)
        .context("the CA file holds no certificates")?;
    builder = builder.tls_certs_only(roots);
    builder.build().context("cannot build an HTTP client")
}

/// Sends a request and returns the JSON of a successful answer; `null` for an empty one.
pub(crate) async fn json(request: RequestBuilder) -> anyhow::Result<Value> {
    let (client, request) = request.build_split();
    let request = request.context("the request is not well formed")?;
    let about = format!("{} {}", request.method(), request.url());
    let response = client.execute(request).await.with_context(|| format!("{about} got no answer"))?;
    let status = response.status();
    let body = response.bytes().await.with_context(|| format!("{about} broke off"))?;
    if !status.is_success() {
        bail!("{about} was answered {status}: {}", String::from_utf8_lossy(&body));
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).with_context(|| format!("{about} was not answered in JSON"))
}

/// Whether a GET is answered with success just now; a refused connection is a plain no.
pub(crate) async fn answers(client: &Client, url: &str) -> bool {
    client
        .request(Method::GET, url)
        .send()
        .await
        .as_ref()
        .is_ok_and(|response: &Response| response.status().is_success())
}
