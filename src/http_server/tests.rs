//! Ports over real sockets: who gets a slot, and how a connection ends.
//!
//! By the clock of the machine: a paused clock jumps before the kernel has delivered what was sent.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Longer than any of these tests.
const LONG: Duration = Duration::from_mins(1);
/// Too short to matter.
const SHORT: Duration = Duration::from_millis(50);

/// Two slots, with long timeouts.
const LIMITS: Limits =
    Limits { port: "port of the test", connections: 2, timeout: LONG, grace_period: SHORT };

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: regcred\r\n\r\n";

/// A port that answers a request for each permit.
struct TestPort {
    address: SocketAddr,
    permits: Arc<Semaphore>,
    /// The requests that were received.
    received: Arc<Semaphore>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl TestPort {
    fn start(limits: Limits, permits: usize) -> Self {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (permits, received) = (Arc::new(Semaphore::new(permits)), Arc::new(Semaphore::new(0)));
        let (stop, stopped) = oneshot::channel();
        let shared = (Arc::clone(&permits), Arc::clone(&received));
        let task = tokio::spawn(async move {
            let handler = |stream, _, state| answer(stream, shared.clone(), state);
            serve(listener, limits, handler, async { drop(stopped.await) }).await;
        });
        Self { address, permits, received, stop, task }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request on a new connection, and waits until it is received.
    async fn request(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(REQUEST).await.unwrap();
        self.received.acquire().await.unwrap().forget();
        stream
    }

    /// Stops the port; returns the time until its end.
    async fn stop(self) -> Duration {
        let begin = Instant::now();
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        begin.elapsed()
    }
}

async fn answer(
    stream: TcpStream,
    (permits, received): (Arc<Semaphore>, Arc<Semaphore>),
    state: ConnectionState,
) {
    let service = service_fn(|_: Request<Incoming>| {
        state.set_active();
        received.add_permits(1);
        async {
            permits.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Body::from("done")))
        }
    });
    serve_connection(stream, service, state.clone()).await;
}

/// Everything received until the other end closes the connection.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection reset ends the answer as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

/// The answer to these bytes.
async fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    rest_of(stream).await
}

#[track_caller]
fn assert_done(answer: &str) {
    assert!(answer.contains(" 200 OK\r\n") && answer.ends_with("\r\n\r\ndone"), "{answer:?}");
}

#[tokio::test]
async fn new_connection_takes_the_slot_of_the_longest_idle_one() {
    let port = TestPort::start(LIMITS, 2);
    let (first, second) = (port.connect().await, port.connect().await);
    let begin = Instant::now();
    let third = port.connect().await;
    assert_eq!(rest_of(first).await, "");
    assert!(begin.elapsed() < HEAD_TIMEOUT, "{:?}", begin.elapsed());
    assert_done(&exchange(third, REQUEST).await);
    assert_done(&exchange(second, REQUEST).await);
}

#[tokio::test]
async fn connection_being_answered_keeps_its_slot() {
    let port = TestPort::start(LIMITS, 0);
    let (active, idle) = (port.request().await, port.connect().await);
    let begin = Instant::now();
    let also_active = port.request().await;
    assert_eq!(rest_of(idle).await, "");
    // Without an idle connection the next one waits.
    let mut waiting = port.connect().await;
    waiting.write_all(REQUEST).await.unwrap();
    assert!(timeout(2 * SHORT, port.received.acquire()).await.is_err());
    port.permits.add_permits(3);
    for stream in [active, also_active, waiting] {
        assert_done(&rest_of(stream).await);
    }
    assert!(begin.elapsed() < LONG, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn answered_connection_that_stays_open_is_idle() {
    let port = TestPort::start(LIMITS, 3);
    // Both have their answers, and their clients do not close them.
    let _open = [port.request().await, port.request().await];
    let begin = Instant::now();
    assert_done(&exchange(port.connect().await, REQUEST).await);
    assert!(begin.elapsed() < HEAD_TIMEOUT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn request_sent_late_is_served_within_the_grace_period() {
    let port = TestPort::start(Limits { grace_period: LONG, ..LIMITS }, 1);
    let stream = port.connect().await;
    let _others = [port.connect().await, port.connect().await];
    tokio::time::sleep(SHORT).await;
    assert_done(&exchange(stream, REQUEST).await);
}

#[tokio::test]
async fn request_that_has_arrived_is_served_without_a_grace_period() {
    let port = TestPort::start(Limits { connections: 1, grace_period: Duration::ZERO, ..LIMITS }, 50);
    // All are in the kernel's queue before the port is served: nothing is awaited here.
    let streams = [(); 50].map(|()| {
        let mut stream = std::net::TcpStream::connect(port.address).unwrap();
        stream.write_all(REQUEST).unwrap();
        stream.set_nonblocking(true).unwrap();
        TcpStream::from_std(stream).unwrap()
    });
    for stream in streams {
        assert_done(&rest_of(stream).await);
    }
}

#[tokio::test]
async fn head_without_end_times_out_whatever_is_sent() {
    let port = TestPort::start(LIMITS, 0);
    let (idle, mut slow) = (port.connect().await, port.connect().await);
    let begin = Instant::now();
    let write = async {
        while slow.write_all(b"G").await.is_ok() {
            tokio::time::sleep(SHORT).await;
        }
        begin.elapsed()
    };
    let (idle, slow) = tokio::join!(rest_of(idle), write);
    assert_eq!(idle, "");
    assert!((HEAD_TIMEOUT..5 * HEAD_TIMEOUT).contains(&slow), "{slow:?}");
    assert_eq!(port.received.available_permits(), 0);
}

#[tokio::test]
async fn half_closed_connection_receives_its_answer() {
    let port = TestPort::start(LIMITS, 0);
    let mut stream = port.request().await;
    stream.shutdown().await.unwrap();
    // The server has seen the end of the stream by then.
    tokio::time::sleep(SHORT).await;
    port.permits.add_permits(1);
    assert_done(&rest_of(stream).await);
}

#[tokio::test]
async fn every_form_of_request_gets_one_answer_and_the_end() {
    let port = TestPort::start(LIMITS, 4);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: regcred\r\nConnection: keep-alive\r\n\r\n",
        // The body of a request that needs none does not come.
        "GET / HTTP/1.1\r\nHost: regcred\r\nContent-Length: 10\r\n\r\n",
    ] {
        let begin = Instant::now();
        assert_done(&exchange(port.connect().await, request.as_bytes()).await);
        assert!(begin.elapsed() < HEAD_TIMEOUT, "{request:?}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn client_that_leaves_frees_its_slot() {
    let port = TestPort::start(Limits { grace_period: LONG, ..LIMITS }, 1);
    for _ in 0..10 {
        drop(port.connect().await);
    }
    let begin = Instant::now();
    assert_done(&exchange(port.connect().await, REQUEST).await);
    assert!(begin.elapsed() < HEAD_TIMEOUT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn stop_closes_idle_connections_and_finishes_requests() {
    let port = TestPort::start(Limits { connections: 100, ..LIMITS }, 0);
    let active = port.request().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(port.connect().await);
    }
    let (address, permits) = (port.address, Arc::clone(&port.permits));
    let stop = tokio::spawn(port.stop());
    for stream in idle {
        assert_eq!(rest_of(stream).await, "");
    }
    assert!(!stop.is_finished());
    assert!(TcpStream::connect(address).await.is_err());
    permits.add_permits(1);
    assert_done(&rest_of(active).await);
    assert!(stop.await.unwrap() < HEAD_TIMEOUT);
}

#[tokio::test]
async fn connection_ends_at_its_timeout_even_if_active() {
    let port = TestPort::start(Limits { timeout: SHORT, ..LIMITS }, 0);
    let begin = Instant::now();
    assert_eq!(rest_of(port.request().await).await, "");
    assert!((SHORT..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
}
