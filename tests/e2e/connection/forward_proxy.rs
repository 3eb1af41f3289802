//! A forward proxy in front of the API server: HTTP `CONNECT` and SOCKS5 on the same port.
//!
//! In go connections, out come tunnels to the API server, whatever name they ask for, and the names in order.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The answer to a request for a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A tunnel.
    Tunnel,
    /// A tunnel for the user `robot:hunter:2`, 407 for others.
    TunnelForRobot,
    /// A status line without a tunnel.
    Status(&'static str),
    /// The end of the connection.
    Close,
}

/// A running proxy, stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct ForwardProxy {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    targets: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl ForwardProxy {
    /// Starts a proxy to the server at `HOST:PORT`.
    pub(crate) async fn start(server: &str, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let targets = Arc::<Mutex<Vec<String>>>::default();
        let (server, seen) = (server.to_owned(), Arc::clone(&targets));
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                tokio::spawn(serve(client, server.clone(), answer, Arc::clone(&seen)));
            }
        });
        Self { address, targets, task }
    }

    /// Returns the targets that were asked for since the last call, without repetitions.
    pub(crate) fn take_targets(&self) -> Vec<String> {
        let mut targets = std::mem::take(&mut *self.targets.lock().unwrap_or_else(PoisonError::into_inner));
        targets.dedup();
        targets
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection; one that breaks ends.
async fn serve(
    mut client: TcpStream,
    server: String,
    answer: Answer,
    targets: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut first = [0];
    client.peek(&mut first).await.ok()?;
    let (target, user) = if first == [5] { socks5(&mut client).await? } else { connect(&mut client).await? };
    targets.lock().unwrap_or_else(PoisonError::into_inner).push(target);
    let is_http = first != [5];
    let status = match answer {
        // Basic authentication of robot:hunter:2.
        Answer::TunnelForRobot if user.as_deref() != Some("Basic cm9ib3Q6aHVudGVyOjI=") => {
            Some("407 Proxy Authentication Required")
        }
        Answer::Tunnel | Answer::TunnelForRobot => None,
        Answer::Status(status) => Some(status),
        Answer::Close => return None,
    };
    let reply = match (is_http, status) {
        (true, Some(status)) => format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
        (true, None) => b"HTTP/1.1 200 Connection established\r\n\r\n".to_vec(),
        // Host unreachable, or success.
        (false, status) => vec![5, if status.is_some() { 4 } else { 0 }, 0, 1, 0, 0, 0, 0, 0, 0],
    };
    client.write_all(&reply).await.ok()?;
    if status.is_none() {
        let mut server = TcpStream::connect(server).await.ok()?;
        copy_bidirectional(&mut client, &mut server).await.ok()?;
    }
    Some(())
}

/// Reads the head of a `CONNECT` request: the target, and the value of `Proxy-Authorization`.
async fn connect(client: &mut TcpStream) -> Option<(String, Option<String>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let user = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| value.to_owned())
    });
    Some((target, user))
}

/// Reads a SOCKS5 request without authentication for a name or an IPv4 address.
async fn socks5(client: &mut TcpStream) -> Option<(String, Option<String>)> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await.ok()?;
    client.read_exact(&mut vec![0; greeting[1].into()]).await.ok()?;
    client.write_all(&[5, 0]).await.ok()?;
    let mut request = [0; 4];
    client.read_exact(&mut request).await.ok()?;
    let length = if request[3] == 3 { client.read_u8().await.ok()? } else { 4 };
    let mut host = vec![0; length.into()];
    client.read_exact(&mut host).await.ok()?;
    let host = match host[..] {
        [a, b, c, d] if request[3] == 1 => format!("{a}.{b}.{c}.{d}"),
        _ => String::from_utf8(host).ok()?,
    };
    Some((format!("{host}:{}", client.read_u16().await.ok()?), None))
}
