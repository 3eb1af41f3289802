//! The webhook over real sockets: slow clients, floods of connections, and requests served in spite of them.
//!
//! By the clock of the machine: a paused clock jumps before the kernel has delivered what was sent.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;
use crate::http_server::MAX_HEAD;

/// A webhook on a free port.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl TestServer {
    pub(super) async fn start(webhook: &TestWebhook) -> Self {
        Self::start_with(LIMITS, webhook).await
    }

    pub(super) async fn start_with(limits: Limits, webhook: &TestWebhook) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let settings = WebhookSettings { limits, ..webhook.settings().await };
        let stopped = async { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, settings, webhook.triggers.clone(), stopped));
        Self { address, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything answered to these bytes on a new connection.
    async fn answer_to(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }
}

/// Everything answered to these bytes until the other end closes the connection.
pub(super) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A connection reset ends the answer as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A request with the token.
pub(super) fn request(rest: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nHost: regcred\r\nAuthorization: Bearer {TOKEN}\r\n{rest}").into_bytes()
}

/// A request with the token and these chunks.
fn chunked(chunks: &str) -> Vec<u8> {
    request(&format!("Transfer-Encoding: chunked\r\n\r\n{chunks}"))
}

/// Longer than any of these tests.
pub(super) const LONG: Duration = Duration::from_mins(1);
/// Too short to matter.
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// A port with few slots.
pub(super) fn limits(timeout: Duration, grace_period: Duration) -> Limits {
    Limits { connections: 2, timeout, grace_period, ..LIMITS }
}

pub(super) const NO_BODY: &str = "Content-Length: 0\r\n\r\n";

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?} is no {status}");
}

#[tokio::test]
async fn connection_carries_one_request() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let server = TestServer::start(&webhook).await;
    let two = [request(NO_BODY), request(NO_BODY)].concat();
    let answer = server.answer_to(&two).await;
    assert_status(&answer, 202);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\n{\"clusterPullSecrets\":[\"images\"],\"result\":\"Accepted\"}"),
        "{answer}"
    );
    assert_eq!(*scopes.lock().unwrap(), [TriggerScope::All]);
}

#[tokio::test]
async fn chunked_body_has_the_same_limit() {
    let (webhook, receiver) = TestWebhook::new();
    let scopes = accept_all(receiver);
    let server = TestServer::start(&webhook).await;
    let body = "13\r\n{\"clusterPullSecret\r\nb\r\n\":\"images\"}\r\n0\r\n\r\n";
    assert_status(&server.answer_to(&chunked(body)).await, 202);
    assert_eq!(*scopes.lock().unwrap(), [TriggerScope::Object("images".to_owned())]);
    let endless = format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(17);
    assert_status(&server.answer_to(&chunked(&endless)).await, 413);
    assert_status(&server.answer_to(&chunked("no length\r\n")).await, 400);
    assert_eq!(scopes.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn declared_length_over_the_limit_is_rejected_unread() {
    let (webhook, _receiver) = TestWebhook::new();
    let server = TestServer::start(&webhook).await;
    let expecting = request("Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
    assert_status(&server.answer_to(&expecting).await, 413);
    // A body that is sent nevertheless is drained, so that the answer arrives.
    let sent = [request("Content-Length: 900000\r\n\r\n"), b"x".repeat(900_000)].concat();
    assert_status(&server.answer_to(&sent).await, 413);
}

#[tokio::test]
async fn unauthorized_request_is_rejected_before_its_body_is_read() {
    let (webhook, _receiver) = TestWebhook::new();
    let server = TestServer::start(&webhook).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: regcred\r\n");
    let rests = [
        "Content-Length: 1000\r\n\r\n",
        "Authorization: Bearer hunter2\r\nContent-Length: 1000\r\n\r\n",
        "X-Regcred-Timestamp: 1\r\nContent-Length: 1000\r\n\r\n",
    ];
    for rest in rests {
        assert_status(&server.answer_to((head.clone() + rest).as_bytes()).await, 401);
    }
    let endless = format!("{head}x: {}", "x".repeat(2 * MAX_HEAD));
    assert_status(&server.answer_to(endless.as_bytes()).await, 431);
}

#[tokio::test]
async fn incomplete_request_times_out() {
    let (webhook, _receiver) = TestWebhook::new();
    let server = TestServer::start_with(limits(SHORT, LONG), &webhook).await;
    for half in [&b""[..], b"POST", &request(""), &request("Content-Length: 2\r\n\r\n{")] {
        let begin = Instant::now();
        assert_eq!(server.answer_to(half).await, "", "{}", half.escape_ascii());
        assert!((SHORT..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn request_is_served_while_slow_clients_hold_every_slot() {
    let (webhook, receiver) = TestWebhook::new();
    let _scopes = accept_all(receiver);
    let begin = Instant::now();
    let server = TestServer::start_with(limits(LONG, SHORT), &webhook).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(b"POST /v1/rotate HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    assert_status(&server.answer_to(&request(NO_BODY)).await, 202);
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn authenticated_request_keeps_its_slot_until_it_is_answered() {
    let (webhook, mut receiver) = TestWebhook::new();
    let server = TestServer::start_with(limits(LONG, SHORT), &webhook).await;
    let signature = Signature::sign(KEY, NOW, b"");
    let signed = format!(
        "POST {PATH} HTTP/1.1\r\nHost: regcred\r\nX-Regcred-Timestamp: {NOW}\r\n\
         X-Regcred-Signature: {signature}\r\n{NO_BODY}"
    );
    for request in [request(NO_BODY), signed.into_bytes()] {
        let mut stream = server.connect().await;
        stream.write_all(&request).await.unwrap();
        let event = receiver.recv().await.unwrap();
        // A slow client holds the other slot, and one more waits for it.
        let (slow, _waiting) = (server.connect().await, server.connect().await);
        assert_eq!(exchange(slow, b"").await, "");
        event.reply.unwrap().send(Ok(vec!["images".to_owned()])).unwrap();
        event.ack.unwrap().ack(AckOutcome::Done);
        assert_status(&exchange(stream, b"").await, 202);
    }
}

#[tokio::test]
async fn stop_does_not_wait_for_slow_clients() {
    let (webhook, _receiver) = TestWebhook::new();
    let begin = Instant::now();
    let server = TestServer::start_with(limits(LONG, SHORT), &webhook).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST").await.unwrap();
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert!(TcpStream::connect(server.address).await.is_err());
}
