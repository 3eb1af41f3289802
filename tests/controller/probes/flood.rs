//! Clients that hold connections and never complete a request, on a thread of their own. Each connects again as soon
//! as its connection is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The clients that send nothing.
const IDLE: usize = 2000;
/// The clients that send a head, a byte at a time.
const SLOW: usize = 200;
/// The time between two bytes of a slow client.
const BYTE_INTERVAL: Duration = Duration::from_millis(100);
/// A head with no end.
const HEAD: &[u8] = b"GET /live HTTP/1.1\r\nHost: regcred\r\nAccept: */*\r\nX: ";

/// A running flood of one address; dropping it ends the clients.
pub(super) struct Flood {
    /// The clients that hold a connection.
    connected: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Starts the clients.
    pub(super) fn start(address: SocketAddr) -> Self {
        raise_file_limit();
        let connected = Arc::new(AtomicUsize::new(0));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&connected);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut tasks = JoinSet::new();
                for n in 0..IDLE + SLOW {
                    let connected = Arc::clone(&shared);
                    tasks.spawn(async move { run(address, n >= IDLE, &connected).await });
                }
                // Sent or dropped, either ends the flood.
                let _ = stopped.await;
            });
        });
        Self { connected, stop: Some(stop), thread: Some(thread) }
    }

    /// Waits until most clients hold a connection: the others are between two connections.
    pub(super) async fn until_connected(&self) {
        let most = (IDLE + SLOW) * 3 / 4;
        until("most clients hold a connection", async || self.connected.load(Ordering::Relaxed) >= most)
            .await;
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the flood panicked");
        }
    }
}

/// Runs one client.
async fn run(address: SocketAddr, slow: bool, connected: &AtomicUsize) {
    loop {
        let Ok(stream) = TcpStream::connect(address).await else {
            // The kernel's queue is full, or nothing listens any more.
            tokio::time::sleep(BYTE_INTERVAL).await;
            continue;
        };
        connected.fetch_add(1, Ordering::Relaxed);
        hold(stream, slow).await;
        connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holds a connection until the other end closes it.
async fn hold(stream: TcpStream, slow: bool) {
    // A reset leaves no port in the state TIME_WAIT: there are fewer ports than connections.
    let _ = stream.set_zero_linger();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let read = reader.read_to_end(&mut answer);
    let write = async {
        for byte in if slow { HEAD } else { &[] } {
            let _ = writer.write_all(&[*byte]).await;
            tokio::time::sleep(BYTE_INTERVAL).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = read => {}
        () = write => {}
    }
}

/// Raises the limit of open files of this process: the usual one is below the number of clients.
fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("a process may use its own limit");
}
