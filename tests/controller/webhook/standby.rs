//! A standby of Vault that lags behind: it answers reads of a value as they were, for a number of reads.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The path of values; that of their versions is below `secret/metadata`.
const DATA: &str = "/v1/secret/data/";
const METADATA: &str = "/v1/secret/metadata/";

/// A proxy in front of a Vault, for one key.
pub(crate) struct Standby {
    pub(crate) address: String,
    state: Arc<StandbyState>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct StandbyState {
    vault: String,
    client: reqwest::Client,
    answers: Mutex<Answers>,
}

#[derive(Debug, Default)]
struct Answers {
    /// The last answers about the value and about its version.
    last: [Vec<u8>; 2],
    /// The answers that are given in place of newer ones.
    old: [Vec<u8>; 2],
    /// The number of reads of the value that get the old answer.
    lag: usize,
    /// True if the version stays old.
    hides_version: bool,
    /// The reads of the value, and the polls that got the present version.
    reads: usize,
    polls: usize,
}

impl Standby {
    pub(crate) async fn start(vault: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
        let state = StandbyState { vault: vault.to_owned(), client, answers: Mutex::default() };
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Self { address, state, server }
    }

    /// Keeps the present answers: the version until [`Standby::show_version`], the value for this number of reads.
    pub(crate) fn lag(&self, reads: usize) {
        let mut answers = self.state.answers();
        let Answers { last, old, .. } = &mut *answers;
        old.clone_from(last);
        (answers.lag, answers.hides_version, answers.reads) = (reads, true, 0);
    }

    /// Answers the value that was kept last once more, for this number of reads.
    pub(crate) fn lag_again(&self, reads: usize) {
        self.state.answers().lag = reads;
    }

    /// Answers polls of the version with the present one.
    pub(crate) fn show_version(&self) {
        self.state.answers().hides_version = false;
    }

    /// The polls that got the present version.
    pub(crate) fn polls(&self) -> usize {
        self.state.answers().polls
    }

    /// The reads of the value since [`Standby::lag`].
    pub(crate) fn reads(&self) -> usize {
        self.state.answers().reads
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StandbyState {
    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    /// Returns the old answer about the value (0) or its version (1), while it is given.
    fn old(&mut self, part: usize) -> Option<Vec<u8>> {
        let is_old = if part == 0 {
            self.reads += 1;
            let is_old = self.lag > 0;
            self.lag = self.lag.saturating_sub(1);
            is_old
        } else {
            self.hides_version
        };
        Some(self.old[part].clone()).filter(|old| is_old && !old.is_empty())
    }
}

async fn answer(State(state): State<Arc<StandbyState>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let part = [DATA, METADATA].iter().position(|prefix| path.starts_with(prefix));
    if let Some(old) = part.and_then(|part| state.answers().old(part)) {
        return Response::new(Body::from(old));
    }
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let url = format!("{}{}", state.vault, head.uri);
    let mut headers = head.headers;
    headers.remove("host");
    let sent = state.client.request(head.method, url).headers(headers).body(body).send().await;
    let sent = sent.expect("an answer of Vault");
    let status = sent.status();
    let body = sent.bytes().await.expect("the whole answer").to_vec();
    if let Some(part) = part.filter(|_| status.is_success()) {
        let mut answers = state.answers();
        answers.last[part].clone_from(&body);
        answers.polls += part;
    }
    Response::builder().status(status).body(Body::from(body)).expect("a response")
}
