//! A cable to the API server that can be cut: what was connected falls silent, as a network does that
//! drops every packet, and what connects anew gets no answer.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Cable {
    /// Where the API server is reached over the cable.
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    carrier: JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// How often it was cut so far.
    cuts: usize,
    is_cut: bool,
}

impl Cable {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sender, state) = watch::channel(State::default());
        let carrier = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, server, state.clone()));
            }
        });
        Self { address, state: sender, carrier }
    }

    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| *state = State { cuts: state.cuts + 1, is_cut: true });
    }

    /// Connections from before the cut are closed, and new ones work.
    pub(crate) fn mend(&self) {
        self.state.send_modify(|state| state.is_cut = false);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

/// Carries one connection until the cable is cut, and closes it when the cable is mended.
async fn carry(mut client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    let mended = state.wait_for(|state| !state.is_cut).await.map(|state| state.cuts);
    let (Ok(cuts), Ok(mut server)) = (mended, TcpStream::connect(server).await) else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        _ = async { state.clone().wait_for(|state| state.cuts != cuts).await.is_ok() } => {}
    }
    drop(state.wait_for(|state| !state.is_cut).await);
}
