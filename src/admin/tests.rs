//! Answers of the server to the kubelet and to Prometheus.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, advance};
use tower::ServiceExt;

use super::*;
use crate::http_server::{HEAD_TIMEOUT, MAX_HEAD};

fn health() -> Health {
    Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("waiting for the first list of namespaces"),
        metrics: Arc::new(Metrics::new()),
    }
}

async fn answer_to(health: &Health, request: Request<Body>) -> (u16, String) {
    let response = probe_router(health.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn check(health: &Health, path: &str, status: u16, body: &str) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(answer_to(health, request).await, (status, body.to_owned()), "{path}");
}

#[tokio::test(start_paused = true)]
async fn live_while_the_sync_loop_ticks() {
    let health = health();
    check(&health, "/live", 200, "alive\n").await;
    advance(Duration::from_secs(50)).await;
    health.heartbeat.beat();
    advance(Duration::from_mins(1)).await;
    check(&health, "/live", 200, "alive\n").await;
    advance(Duration::from_secs(1)).await;
    check(&health, "/live", 503, "sync loop stalled: last tick 61 s ago\n").await;
    health.heartbeat.beat();
    check(&health, "/live", 200, "alive\n").await;
}

#[tokio::test]
async fn ready_once_the_caches_are_synced() {
    let health = health();
    check(&health, "/ready", 503, "waiting for the first list of namespaces\n").await;
    health.readiness.set_not_ready("waiting for the first list of Secrets");
    check(&health, "/ready", 503, "waiting for the first list of Secrets\n").await;
    health.readiness.set_ready();
    check(&health, "/ready", 200, "ready\n").await;
}

#[tokio::test]
async fn unavailable_store_does_not_affect_readiness() {
    let health = health();
    health.readiness.set_ready();
    let sealed = crate::manifest::status::reason::FetchedReason::Sealed;
    health.metrics.fetched(&"vault".into(), sealed, Duration::from_secs(30));
    check(&health, "/ready", 200, "ready\n").await;
    check(&health, "/live", 200, "alive\n").await;
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let health = health();
    health.metrics.set_leader(true);
    let request = Request::get("/metrics").body(Body::empty()).unwrap();
    let response = metrics_router(health.metrics).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], metrics::CONTENT_TYPE);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("\nregcred_leader 1\n") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn unknown_path_or_method_is_rejected() {
    for path in ["/", "/live/", "/healthz", "/metrics", "/debug/pprof"] {
        check(&health(), path, 404, "").await;
    }
    let request = Request::post("/live").body(Body::from("hunter2")).unwrap();
    assert_eq!(answer_to(&health(), request).await, (405, String::new()));
    for path in ["/live", "/ready", "/metrics/x"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(metrics_router(health().metrics).oneshot(request).await.unwrap().status(), 404, "{path}");
    }
}

/// A server on a free port, which stops on request or when dropped.
struct TestServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl TestServer {
    async fn start<Server: Future<Output = ()> + Send + 'static>(
        serve: impl FnOnce(TcpListener, oneshot::Receiver<()>) -> Server,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        Self { address, stop, task: tokio::spawn(serve(listener, stopped)) }
    }

    async fn probes(health: Health) -> Self {
        Self::start(|listener, stopped| serve_probes(listener, health, async { drop(stopped.await) })).await
    }

    async fn metrics(health: Health) -> Self {
        Self::start(|listener, stopped| {
            serve_metrics(listener, health.metrics, async { drop(stopped.await) })
        })
        .await
    }

    /// Everything that one connection receives until the server closes it.
    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: regcred\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        assert!(TcpStream::connect(self.address).await.is_err());
    }
}

#[tokio::test]
async fn probes_are_served_until_shutdown() {
    let server = TestServer::probes(health()).await;
    let answer = server.get("/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwaiting for the first list of namespaces\n"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_served_until_shutdown() {
    let health = health();
    for n in 0..1000 {
        health.metrics.set_targets(&format!("images-{n}"), 1, 0);
    }
    let server = TestServer::metrics(health).await;
    // Far more than the limit on the head of a request.
    let answer = server.get("/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close"), "{head}");
    assert!(body.len() > 4 * MAX_HEAD && body.ends_with("# EOF\n"), "{} bytes", body.len());
    server.stop().await;
}

#[tokio::test]
async fn endless_head_is_rejected() {
    let server = TestServer::probes(health()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET /live HTTP/1.1\r\nx: {}", "x".repeat(2 * MAX_HEAD));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer.escape_ascii().to_string(), "HTTP/1.1 431");
}

#[tokio::test]
async fn probe_is_answered_while_idle_clients_hold_every_slot() {
    let server = TestServer::probes(health()).await;
    let begin = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..2 * PROBES.connections {
        idle.push(TcpStream::connect(server.address).await.unwrap());
    }
    let answer = server.get("/live").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begin.elapsed() < HEAD_TIMEOUT, "{:?}", begin.elapsed());
}
