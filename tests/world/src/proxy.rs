//! A proxy between a client and the API server that injects faults by rules.
//!
//! Plain HTTP towards the client, TLS towards the API server. Responses are forwarded chunk by chunk, so that the events
//! of a watch are not delayed. The proxy runs on a thread of its own, because rules change while a test waits.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::serve::ListenerExt as _;
use futures::{Stream, StreamExt as _, stream};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};

use crate::kube::Kube;
use crate::reaper::lock;
use crate::{http, port};

/// The most bytes of a request body.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: ProxyState,
    /// `None` while connections are refused.
    server: Mutex<Option<Server>>,
}

/// A fault, injected into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The proxy responds with a Status object of this code; the API server never sees the request.
    Respond(u16),
    /// The request is forwarded after this delay.
    Delay(Duration),
    /// The request is forwarded, and the response cut off: the client cannot know the outcome.
    DropResponse,
    /// The request is forwarded, and the body of the response cut off in its middle.
    CutResponse,
    /// The request is forwarded, and the body of the response never arrives: the connection stays open and silent.
    Stall,
}

/// The requests that get a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`; `None` for any.
    pub verb: Option<&'static str>,
    /// For example `secrets` or `clusterpullsecrets/status`; `None` for any.
    pub resource: Option<&'static str>,
    /// The fault is injected into every n-th of these requests; 1 for all.
    pub every: usize,
    /// The fault to inject.
    pub fault: Fault,
}

/// The kind of a request, in the terms of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKind {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The plural with the subresource, for example `secrets` or `clusterpullsecrets/status`; else the path.
    pub resource: String,
}

/// The state that [`Proxy`] and its server share; clones refer to the same state.
#[derive(Clone, Debug)]
struct ProxyState {
    url: String,
    ca: Bytes,
    /// Each rule with the number of requests that matched it.
    rules: Arc<Mutex<Vec<(Rule, usize)>>>,
    requests: Arc<Mutex<BTreeMap<RequestKind, usize>>>,
    /// Received by every open watch.
    watch_ends: broadcast::Sender<WatchEnd>,
}

/// The way an open watch is ended.
#[derive(Clone, Copy, Debug)]
enum WatchEnd {
    Cut,
    Expired,
}

impl Proxy {
    /// Starts a proxy to `kube` on a free loopback port.
    pub fn start(kube: &Kube) -> anyhow::Result<Self> {
        let state = ProxyState {
            url: kube.url.clone(),
            ca: kube.ca_pem()?.into(),
            rules: Arc::default(),
            requests: Arc::default(),
            watch_ends: broadcast::Sender::new(16),
        };
        let proxy = Self { port: port::free()?, state, server: Mutex::new(None) };
        proxy.accept()?;
        Ok(proxy)
    }

    /// Returns the URL, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Replaces all rules. The first rule that is due for a request applies.
    pub fn set_rules(&self, rules: impl IntoIterator<Item = Rule>) {
        *lock(&self.state.rules) = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    /// Cuts every open watch off in the middle of its stream.
    pub fn cut_watches(&self) {
        // An error means that no watch is open.
        let _ = self.state.watch_ends.send(WatchEnd::Cut);
    }

    /// Ends every open watch with a 410, as the API server does for a resourceVersion that is too old.
    pub fn expire_watches(&self) {
        let _ = self.state.watch_ends.send(WatchEnd::Expired);
    }

    /// Cuts off every connection and refuses new ones.
    pub fn refuse(&self) {
        lock(&self.server).take();
    }

    /// Accepts connections again after [`Proxy::refuse`].
    pub fn accept(&self) -> anyhow::Result<()> {
        let mut server = lock(&self.server);
        if server.is_none() {
            *server = Some(Server::start(self.port, self.state.clone())?);
        }
        Ok(())
    }

    /// Returns the requests since the last call, including those with an injected fault.
    #[must_use]
    pub fn take_requests(&self) -> BTreeMap<RequestKind, usize> {
        std::mem::take(&mut *lock(&self.state.requests))
    }
}

/// The thread on which connections are served; dropping it cuts them off.
#[derive(Debug)]
struct Server {
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(port: u16, state: ProxyState) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the proxy cannot listen")?;
        listener.set_nonblocking(true).context("the proxy cannot listen without blocking")?;
        let client = http::streaming_client(&state.ca)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("the proxy cannot start its runtime")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            // Fails only outside a runtime.
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            // With Nagle's algorithm, an event of a watch may wait for the acknowledgement of the one before.
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let router = Router::new().fallback(handle).with_state((state, client));
            let _ = axum::serve(listener, router).await;
        };
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! { () = serve => (), _ = stopped => () }
            });
            // The drop of the runtime closes its connections.
        });
        Ok(Self { stop: Some(stop), thread: Some(thread.context("cannot start the proxy's thread")?) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl ProxyState {
    /// Counts a request, and returns the fault to inject.
    fn take(&self, kind: &RequestKind) -> Option<Fault> {
        *lock(&self.requests).entry(kind.clone()).or_default() += 1;
        let mut rules = lock(&self.rules);
        rules.iter_mut().filter(|(rule, _)| rule.matches(kind)).find_map(|(rule, count)| {
            *count += 1;
            count.is_multiple_of(rule.every).then_some(rule.fault)
        })
    }
}

impl Rule {
    fn matches(&self, kind: &RequestKind) -> bool {
        self.verb.is_none_or(|verb| verb == kind.verb)
            && self.resource.is_none_or(|resource| resource == kind.resource)
    }
}

async fn handle(State((state, client)): State<(ProxyState, Client)>, request: Request) -> Response {
    let kind = RequestKind::from_request(request.method(), request.uri());
    let fault = state.take(&kind);
    match fault {
        Some(Fault::Respond(code)) => return error_response(code),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::DropResponse | Fault::CutResponse | Fault::Stall) | None => (),
    }
    let ends = (kind.verb == "watch").then(|| state.watch_ends.subscribe());
    match forward(&state, &client, request).await {
        Ok(response) if fault == Some(Fault::DropResponse) => {
            with_body(response, |_| Body::from_stream(stream::once(async { Err::<Bytes, _>(Interrupted) })))
        }
        Ok(response) if fault == Some(Fault::CutResponse) => {
            with_body(response, |response| Body::from_stream(half(response)))
        }
        Ok(response) if fault == Some(Fault::Stall) => {
            with_body(response, |response| Body::from_stream(silence(response)))
        }
        Ok(response) => with_body(response, |response| Body::from_stream(chunks(response, ends))),
        // The status that a load balancer would return.
        Err(_) => error_response(503),
    }
}

async fn forward(state: &ProxyState, client: &Client, request: Request) -> anyhow::Result<reqwest::Response> {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await?;
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = client.request(parts.method, format!("{}{target}", state.url));
    Ok(request.headers(parts.headers).body(body).send().await?)
}

/// Returns a response with the status and headers of the API server, and a body made from the rest.
fn with_body(mut upstream: reqwest::Response, body: impl FnOnce(reqwest::Response) -> Body) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = upstream.status();
    *response.headers_mut() = std::mem::take(upstream.headers_mut());
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    *response.body_mut() = body(upstream);
    response
}

/// Forwards the body chunk by chunk, until a watch is ended by the test.
fn chunks(
    response: reqwest::Response,
    ends: Option<broadcast::Receiver<WatchEnd>>,
) -> impl Stream<Item = Result<Bytes, Interrupted>> {
    struct Open {
        response: reqwest::Response,
        ends: Option<broadcast::Receiver<WatchEnd>>,
        /// True if the last chunk ended an event: only then can another event be inserted.
        between_events: bool,
    }
    let open = Open { response, ends, between_events: true };
    stream::unfold(Some(open), async |open| {
        let mut open = open?;
        let chunk = match &mut open.ends {
            Some(ends) if open.between_events => tokio::select! {
                chunk = open.response.chunk() => chunk,
                end = ends.recv() => match end {
                    Ok(WatchEnd::Expired) => return Some((Ok(expired()), None)),
                    Ok(WatchEnd::Cut) | Err(_) => return Some((Err(Interrupted), None)),
                },
            },
            _ => open.response.chunk().await,
        };
        match chunk {
            Ok(Some(chunk)) => {
                open.between_events = chunk.ends_with(b"\n");
                Some((Ok(chunk), Some(open)))
            }
            Ok(None) => None,
            Err(_) => Some((Err(Interrupted), None)),
        }
    })
}

/// Forwards the first half of the first chunk, then cuts the body off.
fn half(mut response: reqwest::Response) -> impl Stream<Item = Result<Bytes, Interrupted>> {
    let first = stream::once(async move {
        let chunk = response.chunk().await.ok().flatten().unwrap_or_default();
        Ok(chunk.slice(..chunk.len() / 2))
    });
    first.chain(stream::once(async { Err(Interrupted) }))
}

/// Keeps the response open, and forwards none of it.
fn silence(response: reqwest::Response) -> impl Stream<Item = Result<Bytes, Interrupted>> {
    stream::once(async move {
        let _open = response;
        std::future::pending().await
    })
}

/// The event that ends a watch with a resourceVersion that is too old.
fn expired() -> Bytes {
    format!("{}\n", json!({ "type": "ERROR", "object": status(410) })).into()
}

fn error_response(code: u16) -> Response {
    let mut response = Response::new(Body::from(status(code).to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, "application/json".parse().expect("a content type is a header"));
    if code == 429 {
        headers.insert(RETRY_AFTER, 1.into());
    }
    response
}

fn status(code: u16) -> Value {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "fault injected by the proxy", "reason": reason, "code": code,
    })
}

/// The error of a body that was cut off.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut off")
    }
}

impl std::error::Error for Interrupted {}

impl RequestKind {
    fn from_request(method: &Method, uri: &Uri) -> Self {
        let is_watch =
            uri.query().unwrap_or_default().split('&').any(|it| it == "watch=true" || it == "watch=1");
        let parts: Vec<_> = uri.path().split('/').skip(1).collect();
        let object = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] if !rest.is_empty() => rest,
            _ => return Self { verb: "get", resource: uri.path().to_owned() },
        };
        let object = match object {
            ["namespaces", _, "status" | "finalize"] => object,
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            _ => object,
        };
        let verb = match (method.as_str(), object.len() > 1) {
            ("GET", _) if is_watch => "watch",
            ("GET", false) => "list",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ => "get",
        };
        let resource = match object {
            [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
            _ => object[0].to_owned(),
        };
        Self { verb, resource }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expect: (&str, &str)) {
        let kind = RequestKind::from_request(&method.parse().unwrap(), &uri.parse().unwrap());
        assert_eq!((kind.verb, kind.resource.as_str()), expect, "{method} {uri}");
    }

    #[test]
    fn request_has_verb_and_resource_of_the_audit_log() {
        check("GET", "/api/v1/secrets?fieldSelector=metadata.name%3Da&limit=500", ("list", "secrets"));
        check("GET", "/api/v1/secrets?watch=true&resourceVersion=0", ("watch", "secrets"));
        check("GET", "/api/v1/namespaces?&watch=1", ("watch", "namespaces"));
        check("GET", "/api/v1/namespaces/a", ("get", "namespaces"));
        check("PATCH", "/api/v1/namespaces/a/secrets/b?fieldManager=f", ("patch", "secrets"));
        check("POST", "/api/v1/namespaces/a/serviceaccounts/b/token", ("create", "serviceaccounts/token"));
        check("DELETE", "/api/v1/namespaces/a/secrets", ("deletecollection", "secrets"));
        check("PUT", "/api/v1/namespaces/a/finalize", ("update", "namespaces/finalize"));
        let status = "/apis/regcred.dev/v1alpha1/clusterpullsecrets/images/status";
        check("PATCH", status, ("patch", "clusterpullsecrets/status"));
        check("POST", "/apis/events.k8s.io/v1/namespaces/default/events", ("create", "events"));
        check("GET", "/readyz", ("get", "/readyz"));
        check("GET", "/apis/regcred.dev/v1alpha1", ("get", "/apis/regcred.dev/v1alpha1"));
    }

    #[test]
    fn rule_applies_to_every_nth_matching_request() {
        let (watch_ends, rules) = (broadcast::Sender::new(1), Arc::default());
        let state =
            ProxyState { url: String::new(), ca: Bytes::new(), rules, requests: Arc::default(), watch_ends };
        let fault = Fault::Respond(409);
        let rule = Rule { verb: Some("patch"), resource: Some("secrets"), every: 3, fault };
        lock(&state.rules).push((rule, 0));
        let patch = RequestKind { verb: "patch", resource: "secrets".to_owned() };
        let create = RequestKind { verb: "create", ..patch.clone() };
        let hits: Vec<_> = (0..6).map(|_| (state.take(&create), state.take(&patch)).1.is_some()).collect();
        assert_eq!(hits, [false, false, true, false, false, true]);
        assert_eq!(lock(&state.requests)[&create], 6);
    }
}
