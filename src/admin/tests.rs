//! Answers of the server to the kubelet and to Prometheus.

use std::net::SocketAddr;

use axum::body::{Body, to_bytes};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, advance, timeout};
use tower::ServiceExt;

use super::*;
use crate::http_server::MAX_HEAD;

fn health() -> Health {
    Health {
        heartbeat: Heartbeat::new(),
        readiness: Readiness::not_ready("waiting for the first list of namespaces"),
        metrics: Arc::new(Metrics::new()),
    }
}

async fn answer_to(health: &Health, request: Request<Body>) -> (u16, String) {
    let response = router(health.clone()).oneshot(request).await.unwrap();
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
    let response = router(health).oneshot(request).await.unwrap();
    assert_eq!(response.headers()[CONTENT_TYPE], metrics::CONTENT_TYPE);
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(body.contains("\nregcred_leader 1\n") && body.ends_with("# EOF\n"), "{body}");
}

#[tokio::test]
async fn unknown_path_or_method_is_rejected() {
    for path in ["/", "/live/", "/healthz", "/metrics/x", "/debug/pprof"] {
        check(&health(), path, 404, "").await;
    }
    let request = Request::post("/live").body(Body::from("hunter2")).unwrap();
    assert_eq!(answer_to(&health(), request).await, (405, String::new()));
}

/// Starts a server on a free port, which stops when the sender is dropped.
async fn start(health: Health) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, health, async { drop(stopped.await) }));
    (address, stop, server)
}

/// Everything that one connection receives until the server closes it.
async fn get_from(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: regcred\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn socket_is_served_until_shutdown() {
    let health = health();
    for n in 0..1000 {
        health.metrics.set_targets(&format!("images-{n}"), 1, 0);
    }
    let (address, stop, server) = start(health.clone()).await;
    let answer = get_from(address, "/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwaiting for the first list of namespaces\n"), "{answer}");
    // Far more than the limit on the head of a request.
    let answer = get_from(address, "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("\r\nconnection: close"), "{head}");
    assert!(body.len() > 4 * MAX_HEAD && body.ends_with("# EOF\n"), "{} bytes", body.len());
    stop.send(()).unwrap();
    server.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn endless_head_is_rejected() {
    let (address, _stop, _server) = start(health()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("GET /live HTTP/1.1\r\nx: {}", "x".repeat(2 * MAX_HEAD));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer.escape_ascii().to_string(), "HTTP/1.1 431");
}

#[tokio::test(start_paused = true)]
async fn incomplete_request_times_out() {
    let (address, _stop, _server) = start(health()).await;
    let begin = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    let mut byte = [0];
    // The only timer is the server's: a paused clock jumps to it, accepted or not.
    assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
    assert!((LIMITS.timeout..2 * LIMITS.timeout).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_slow_clients() {
    let (address, stop, server) = start(health()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
    stop.send(()).unwrap();
    timeout(2 * LIMITS.timeout, server).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_for_a_free_slot() {
    let (address, _stop, _server) = start(health()).await;
    let begin = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..LIMITS.connections {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = get_from(address, "/live").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(begin.elapsed() >= LIMITS.timeout, "{:?}", begin.elapsed());
}
