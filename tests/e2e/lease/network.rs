//! A network link to the API server that can be cut: open connections fall silent, as in a network that
//! drops every packet, and new ones get no answer.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct NetworkLink {
    /// The address of the API server over this link.
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    proxy: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// The number of cuts so far.
    cuts: usize,
    is_cut: bool,
}

impl NetworkLink {
    pub(crate) async fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, state) = watch::channel(State::default());
        let proxy = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, server, state.clone()));
            }
        });
        Self { address, state: sender, proxy }
    }

    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| *state = State { cuts: state.cuts + 1, is_cut: true });
    }

    /// Closes the connections from before the cut, and admits new ones.
    pub(crate) fn restore(&self) {
        self.state.send_modify(|state| state.is_cut = false);
    }
}

impl Drop for NetworkLink {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

/// Forwards one connection until the link is cut, and closes it when the link is restored.
async fn forward(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let restored = state.wait_for(|state| !state.is_cut).await.map(|state| state.cuts);
    let (Ok(cuts), Ok(mut server)) = (restored, TcpStream::connect(server).await) else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        _ = async { state.clone().wait_for(|state| state.cuts != cuts).await.is_ok() } => {}
    }
    drop(state.wait_for(|state| !state.is_cut).await);
}
