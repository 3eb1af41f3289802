//! A proxy between a client and the API server, which passes everything through until it is told to misbehave.
//!
//! Plain HTTP towards the client, TLS towards the API server. Answers go through chunk by chunk, so that a watch is as prompt
//! as without it. It runs on a thread of its own, because rules are switched while a test waits for something else.

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
use futures::{Stream, stream};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{broadcast, oneshot};

use crate::guardian::lock;
use crate::kube::Kube;
use crate::{http, port};

/// No honest request body is longer.
const LONGEST_BODY: usize = 4 * 1024 * 1024;

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    desk: Desk,
    /// `None` while connections are refused.
    server: Mutex<Option<Server>>,
}

/// What is done to a request instead of passing it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with a Status object of this code; the API server never sees it.
    Answer(u16),
    /// It is passed through after that long.
    Delay(Duration),
    /// It is passed through, and the answer breaks off: the client cannot know what became of it.
    Lose,
}

/// Which requests a [`Fault`] is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch` or `delete`; `None` for each of them.
    pub verb: Option<&'static str>,
    /// For example `secrets` or `clusterpullsecrets/status`; `None` for any.
    pub resource: Option<&'static str>,
    /// Every how many of these requests; 1 for all.
    pub every: usize,
    /// What is done to them.
    pub fault: Fault,
}

/// What kind of request it is, in the words of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` or `deletecollection`.
    pub verb: &'static str,
    /// The plural with the subresource, for example `secrets` or `clusterpullsecrets/status`; the path where it is none.
    pub resource: String,
}

/// What both sides of the proxy share; clones are the same desk.
#[derive(Clone, Debug)]
struct Desk {
    url: String,
    ca: Bytes,
    /// Each with how many requests it has met.
    rules: Arc<Mutex<Vec<(Rule, usize)>>>,
    requests: Arc<Mutex<BTreeMap<Kind, usize>>>,
    /// Heard by every open watch.
    ends: broadcast::Sender<End>,
}

/// How an open watch is ended.
#[derive(Clone, Copy, Debug)]
enum End {
    Cut,
    Expired,
}

impl Proxy {
    /// Starts a proxy to `kube` on a free loopback port.
    pub fn start(kube: &Kube) -> anyhow::Result<Self> {
        let desk = Desk {
            url: kube.url.clone(),
            ca: kube.ca_pem()?.into(),
            rules: Arc::default(),
            requests: Arc::default(),
            ends: broadcast::Sender::new(16),
        };
        let proxy = Self { port: port::free()?, desk, server: Mutex::new(None) };
        proxy.accept()?;
        Ok(proxy)
    }

    /// Where it listens, `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Misbehaves by these rules from now on, and by no others. The first that is due for a request is followed.
    pub fn follow(&self, rules: impl IntoIterator<Item = Rule>) {
        *lock(&self.desk.rules) = rules.into_iter().map(|rule| (rule, 0)).collect();
    }

    /// Cuts every open watch off in the middle of its stream.
    pub fn cut_watches(&self) {
        // An error says that there are none.
        let _ = self.desk.ends.send(End::Cut);
    }

    /// Ends every open watch as the API server does when it has forgotten the version a client is at: by a 410.
    pub fn expire_watches(&self) {
        let _ = self.desk.ends.send(End::Expired);
    }

    /// Cuts every connection off and refuses new ones.
    pub fn refuse(&self) {
        lock(&self.server).take();
    }

    /// Undoes [`Proxy::refuse`].
    pub fn accept(&self) -> anyhow::Result<()> {
        let mut server = lock(&self.server);
        if server.is_none() {
            *server = Some(Server::start(self.port, self.desk.clone())?);
        }
        Ok(())
    }

    /// The requests since the last call, also those that were answered by a rule.
    #[must_use]
    pub fn take_requests(&self) -> BTreeMap<Kind, usize> {
        std::mem::take(&mut *lock(&self.desk.requests))
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
    fn start(port: u16, desk: Desk) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("the proxy cannot listen")?;
        listener.set_nonblocking(true).context("the proxy cannot listen without blocking")?;
        let client = http::streaming_client(&desk.ca)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("the proxy cannot start its runtime")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = async move {
            // Fails only outside a runtime.
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            // Without this an event of a watch may wait for the acknowledgement of the one before.
            let listener = listener.tap_io(|connection| drop(connection.set_nodelay(true)));
            let router = Router::new().fallback(answer).with_state((desk, client));
            let _ = axum::serve(listener, router).await;
        };
        let thread = std::thread::Builder::new().name("proxy".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! { () = serve => (), _ = stopped => () }
            });
            // Dropping the runtime drops its connections.
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

impl Desk {
    /// Counts a request, and says what is to be done to it.
    fn take(&self, kind: &Kind) -> Option<Fault> {
        *lock(&self.requests).entry(kind.clone()).or_default() += 1;
        let mut rules = lock(&self.rules);
        rules.iter_mut().filter(|(rule, _)| rule.is_for(kind)).find_map(|(rule, met)| {
            *met += 1;
            met.is_multiple_of(rule.every).then_some(rule.fault)
        })
    }
}

impl Rule {
    fn is_for(&self, kind: &Kind) -> bool {
        self.verb.is_none_or(|verb| verb == kind.verb)
            && self.resource.is_none_or(|resource| resource == kind.resource)
    }
}

async fn answer(State((desk, client)): State<(Desk, Client)>, request: Request) -> Response {
    let kind = Kind::of(request.method(), request.uri());
    let fault = desk.take(&kind);
    match fault {
        Some(Fault::Answer(code)) => return refusal(code),
        Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::Lose) | None => (),
    }
    let ends = (kind.verb == "watch").then(|| desk.ends.subscribe());
    match pass(&desk, &client, request).await {
        Ok(answer) if fault == Some(Fault::Lose) => {
            from(answer, |_| Body::from_stream(stream::once(async { Err::<Bytes, _>(CutOff) })))
        }
        Ok(answer) => from(answer, |answer| Body::from_stream(chunks(answer, ends))),
        // As a load balancer says it.
        Err(_) => refusal(503),
    }
}

async fn pass(desk: &Desk, client: &Client, request: Request) -> anyhow::Result<reqwest::Response> {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST_BODY).await?;
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = client.request(parts.method, format!("{}{target}", desk.url));
    Ok(request.headers(parts.headers).body(body).send().await?)
}

/// An answer with the API server's head and a body made of the rest.
fn from(mut answer: reqwest::Response, body: impl FnOnce(reqwest::Response) -> Body) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    for name in [CONNECTION, TRANSFER_ENCODING] {
        response.headers_mut().remove(name);
    }
    *response.body_mut() = body(answer);
    response
}

/// The body as it comes, until a watch is ended from outside.
fn chunks(
    answer: reqwest::Response,
    ends: Option<broadcast::Receiver<End>>,
) -> impl Stream<Item = Result<Bytes, CutOff>> {
    struct Open {
        answer: reqwest::Response,
        ends: Option<broadcast::Receiver<End>>,
        /// Whether the last chunk ended an event: another may stand only there.
        between_events: bool,
    }
    let open = Open { answer, ends, between_events: true };
    stream::unfold(Some(open), async |open| {
        let mut open = open?;
        let chunk = match &mut open.ends {
            Some(ends) if open.between_events => tokio::select! {
                chunk = open.answer.chunk() => chunk,
                end = ends.recv() => match end {
                    Ok(End::Expired) => return Some((Ok(expired()), None)),
                    Ok(End::Cut) | Err(_) => return Some((Err(CutOff), None)),
                },
            },
            _ => open.answer.chunk().await,
        };
        match chunk {
            Ok(Some(chunk)) => {
                open.between_events = chunk.ends_with(b"\n");
                Some((Ok(chunk), Some(open)))
            }
            Ok(None) => None,
            Err(_) => Some((Err(CutOff), None)),
        }
    })
}

/// The event by which a watch ends whose version is too old.
fn expired() -> Bytes {
    format!("{}\n", json!({ "type": "ERROR", "object": status(410) })).into()
}

fn refusal(code: u16) -> Response {
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
        "message": "the proxy was told to say so", "reason": reason, "code": code,
    })
}

/// Why a body ends early.
#[derive(Debug)]
struct CutOff;

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut off")
    }
}

impl std::error::Error for CutOff {}

impl Kind {
    fn of(method: &Method, uri: &Uri) -> Self {
        let watches =
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
            ("GET", _) if watches => "watch",
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
        let kind = Kind::of(&method.parse().unwrap(), &uri.parse().unwrap());
        assert_eq!((kind.verb, kind.resource.as_str()), expect, "{method} {uri}");
    }

    #[test]
    fn requests_are_named_as_in_the_audit_log() {
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
    fn a_rule_is_followed_for_every_nth_request_it_is_for() {
        let (ends, rules) = (broadcast::Sender::new(1), Arc::default());
        let desk = Desk { url: String::new(), ca: Bytes::new(), rules, requests: Arc::default(), ends };
        let fault = Fault::Answer(409);
        let rule = Rule { verb: Some("patch"), resource: Some("secrets"), every: 3, fault };
        lock(&desk.rules).push((rule, 0));
        let patch = Kind { verb: "patch", resource: "secrets".to_owned() };
        let create = Kind { verb: "create", ..patch.clone() };
        let met: Vec<_> = (0..6).map(|_| (desk.take(&create), desk.take(&patch)).1.is_some()).collect();
        assert_eq!(met, [false, false, true, false, false, true]);
        assert_eq!(lock(&desk.requests)[&create], 6);
    }
}
