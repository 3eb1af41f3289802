//! The webhook over real sockets: who dawdles, who floods it, who is heard all the same.
//!
//! By the clock of the machine: one that is paused jumps while the kernel has yet to bring what was sent.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::http_server::MAX_HEAD;

/// A webhook on a port of its own, which ends when it is told to.
pub(super) struct Port {
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Port {
    pub(super) async fn open(scene: &Scene) -> Self {
        Self::open_within(BOUNDS, scene).await
    }

    pub(super) async fn open_within(bounds: Bounds, scene: &Scene) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let settings = Settings { bounds, ..scene.settings().await };
        let stopped = async { drop(stopped.await) };
        let server = tokio::spawn(serve(listener, settings, scene.triggers.clone(), stopped));
        Self { address, stop, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// All that is answered to these bytes, until the server closes the connection.
    async fn answer_to(&self, bytes: &[u8]) -> String {
        exchange(self.connect().await, bytes).await
    }
}

/// All that is answered to these bytes, until the other end closes the connection.
pub(super) async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset ends as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// A request with the token.
pub(super) fn good(rest: &str) -> Vec<u8> {
    format!("POST {PATH} HTTP/1.1\r\nHost: regcred\r\nAuthorization: Bearer {TOKEN}\r\n{rest}").into_bytes()
}

/// Longer than any of these tests.
pub(super) const LONG: Duration = Duration::from_mins(1);
/// Not worth waiting for.
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// A port with few places.
pub(super) fn bounds(life: Duration, crowded_life: Duration) -> Bounds {
    Bounds { connections: 2, life, crowded_life, ..BOUNDS }
}

const LAST: &str = "Content-Length: 0\r\n\r\n";

#[track_caller]
fn assert_status(answer: &str, status: u16) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?} is no {status}");
}

#[tokio::test]
async fn a_connection_carries_one_request() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let port = Port::open(&scene).await;
    let two = [good(LAST), good(LAST)].concat();
    let answer = port.answer_to(&two).await;
    assert_status(&answer, 202);
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{\"pullSecrets\":[\"images\"]}"), "{answer}");
    assert_eq!(*looks.lock().unwrap(), [TriggerScope::All]);
}

#[tokio::test]
async fn a_body_in_chunks_is_as_good_and_no_longer() {
    let (scene, trigger_receiver) = Scene::new();
    let looks = play(trigger_receiver);
    let port = Port::open(&scene).await;
    let chunked = |body: &str| good(&format!("Transfer-Encoding: chunked\r\n\r\n{body}"));
    let body = "c\r\n{\"pullSecret\r\nb\r\n\":\"images\"}\r\n0\r\n\r\n";
    assert_status(&port.answer_to(&chunked(body)).await, 202);
    assert_eq!(*looks.lock().unwrap(), [TriggerScope::Object("images".to_owned())]);
    let endless = format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(17);
    assert_status(&port.answer_to(&chunked(&endless)).await, 413);
    assert_status(&port.answer_to(&chunked("no length\r\n")).await, 400);
    assert_eq!(looks.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn who_says_that_it_is_too_much_need_not_send_it() {
    let (scene, _wakes) = Scene::new();
    let port = Port::open(&scene).await;
    let request = good("Content-Length: 65537\r\nExpect: 100-continue\r\n\r\n");
    assert_status(&port.answer_to(&request).await, 413);
    // Who sends it nevertheless is heard out, so that the answer arrives.
    let request = [good("Content-Length: 900000\r\n\r\n"), b"x".repeat(900_000)].concat();
    assert_status(&port.answer_to(&request).await, 413);
}

#[tokio::test]
async fn who_has_no_key_is_refused_before_its_body_is_read() {
    let (scene, _wakes) = Scene::new();
    let port = Port::open(&scene).await;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: regcred\r\n");
    let rests = [
        "Content-Length: 1000\r\n\r\n",
        "Authorization: Bearer hunter2\r\nContent-Length: 1000\r\n\r\n",
        "X-Regcred-Timestamp: 1\r\nContent-Length: 1000\r\n\r\n",
    ];
    for rest in rests {
        assert_status(&port.answer_to((head.clone() + rest).as_bytes()).await, 401);
    }
    let endless = format!("{head}x: {}", "x".repeat(2 * MAX_HEAD));
    assert_status(&port.answer_to(endless.as_bytes()).await, 431);
}

#[tokio::test]
async fn who_sends_half_a_request_is_left_after_a_while() {
    let (scene, _wakes) = Scene::new();
    let port = Port::open_within(bounds(SHORT, LONG), &scene).await;
    for half in [&b""[..], b"POST", &good(""), &good("Content-Length: 2\r\n\r\n{")] {
        let begin = Instant::now();
        assert_eq!(port.answer_to(half).await, "", "{}", half.escape_ascii());
        assert!((SHORT..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn where_everybody_dawdles_who_does_not_is_answered() {
    let (scene, trigger_receiver) = Scene::new();
    let _looks = play(trigger_receiver);
    let begin = Instant::now();
    let port = Port::open_within(bounds(LONG, SHORT), &scene).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = port.connect().await;
        stream.write_all(b"POST /v1/rotate HTTP/1.1\r\n").await.unwrap();
        idle.push(stream);
    }
    assert_status(&port.answer_to(&good(LAST)).await, 202);
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn who_waits_for_an_answer_is_in_nobodys_way() {
    let (scene, mut trigger_receiver) = Scene::new();
    let port = Port::open_within(bounds(LONG, SHORT), &scene).await;
    let signature = Signature::by(KEY, NOW, b"");
    let signed = format!(
        "POST {PATH} HTTP/1.1\r\nHost: regcred\r\nX-Regcred-Timestamp: {NOW}\r\n\
         X-Regcred-Signature: {signature}\r\n{LAST}"
    );
    for request in [good(LAST), signed.into_bytes()] {
        let mut stream = port.connect().await;
        stream.write_all(&request).await.unwrap();
        let wake = trigger_receiver.recv().await.unwrap();
        // One dawdles at the other place, and one more waits for it.
        let (dawdler, _waiting) = (port.connect().await, port.connect().await);
        assert_eq!(exchange(dawdler, b"").await, "");
        wake.reply.unwrap().send(Ok(vec!["images".to_owned()])).unwrap();
        assert_status(&exchange(stream, b"").await, 202);
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_who_dawdles() {
    let (scene, _wakes) = Scene::new();
    let begin = Instant::now();
    let port = Port::open_within(bounds(LONG, SHORT), &scene).await;
    let mut stream = port.connect().await;
    stream.write_all(b"POST").await.unwrap();
    port.stop.send(()).unwrap();
    port.server.await.unwrap();
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
    assert!(TcpStream::connect(port.address).await.is_err());
}
