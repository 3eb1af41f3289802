//! A controller with a webhook, and its clients: good, bad and slow ones.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::hmac;
use futures::{StreamExt as _, stream};
use harness::TestCluster;
use reqwest::{Certificate, Client, ClientBuilder, RequestBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::controller::{Controller, Launch, RunController as _};

pub(crate) const TOKEN: &str = "t0ken-of-the-cluster";
pub(crate) const KEY: &str = "key-of-the-cluster";
/// The beginning of a request.
const POST: &str = "POST /v1/rotate HTTP/1.1\r\nHost: regcred\r\n";
/// The longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A controller with a webhook.
pub(crate) struct Hook {
    pub(crate) controller: Controller,
    pub(crate) address: String,
    port: u16,
    client: Client,
    directory: PathBuf,
}

impl Hook {
    /// Starts a controller with a webhook that has `more` settings than its files, and waits until it is ready.
    /// Creates missing key files.
    pub(crate) async fn start(cluster: &TestCluster, launch: Launch<'_>, more: &str) -> Self {
        let config =
            |triggers: &str| cluster.config(&format!("triggers: {{pollInterval: 0s, {triggers}}}\n"));
        Self::with(cluster, more, config, async |manifests| launch.manifests(&manifests).start().await).await
    }

    /// The same with a Vault at another address, which is polled each second.
    pub(crate) async fn start_polling(cluster: &TestCluster, vault: &str) -> Self {
        let config = |triggers: &str| {
            let triggers = format!("triggers: {{pollInterval: 1s, {triggers}}}\n");
            cluster.config_with_vault(&format!("address: \"{vault}\""), &triggers)
        };
        let launch = cluster.controller();
        Self::with(cluster, "", config, async |manifests| launch.manifests(&manifests).start().await).await
    }

    /// The same without waiting.
    pub(crate) async fn spawn(cluster: &TestCluster, launch: Launch<'_>, more: &str) -> Self {
        let config =
            |triggers: &str| cluster.config(&format!("triggers: {{pollInterval: 0s, {triggers}}}\n"));
        Self::with(cluster, more, config, async |manifests| launch.manifests(&manifests).spawn().await).await
    }

    async fn with(
        cluster: &TestCluster,
        more: &str,
        config: impl FnOnce(&str) -> String,
        start: impl AsyncFnOnce(PathBuf) -> Controller,
    ) -> Self {
        let port = world::free_port().expect("a free port");
        let address = format!("127.0.0.1:{port}");
        for (name, key) in [("tokens", TOKEN), ("keys", KEY)] {
            if !path(cluster, name).exists() {
                write(cluster, name, key);
            }
        }
        let files = format!(
            "tokenFile: {}, hmacKeyFile: {}",
            path(cluster, "tokens").display(),
            path(cluster, "keys").display()
        );
        let webhook = format!("webhook: {{listen: \"{address}\", {files}{more}}}");
        let controller = start(cluster.write(&[&config(&webhook)])).await;
        let client = builder().build().expect("a client");
        Self { controller, address, port, client, directory: cluster.directory.path().to_owned() }
    }

    /// Sends a request with the token; returns status and body of the answer.
    pub(crate) async fn post(&self, body: &str) -> (u16, String) {
        self.try_post(body).await.expect("an answer")
    }

    /// The same; `None` if the connection is cut off.
    pub(crate) async fn try_post(&self, body: &str) -> Option<(u16, String)> {
        let request = self.client.post(format!("http://{}/v1/rotate", self.address)).bearer_auth(TOKEN);
        answer_to(request.body(body.to_owned())).await.ok()
    }

    /// Sends a request with a signature.
    pub(crate) async fn post_signed(&self, at: i64, signature: &str, body: &str) -> (u16, String) {
        let request = self.client.post(format!("http://{}/v1/rotate", self.address));
        let request = request.header("X-Regcred-Timestamp", at).header("X-Regcred-Signature", signature);
        answer_to(request.body(body.to_owned())).await.expect("an answer")
    }

    /// Sends a request with the token over TLS, and trusts this certificate alone; `None` if no connection is made.
    pub(crate) async fn post_over_tls(&self, certificate: &str, body: &str) -> Option<(u16, String)> {
        let trusted = Certificate::from_pem(certificate.as_bytes()).expect("a certificate");
        let client = builder().tls_certs_only([trusted]).build().expect("a client");
        let request = client.post(format!("https://localhost:{}/v1/rotate", self.port)).bearer_auth(TOKEN);
        answer_to(request.body(body.to_owned())).await.ok()
    }

    /// Sends `count` requests without a valid key, `at_once` of them at the same time.
    pub(crate) async fn flood(&self, count: usize, at_once: usize) {
        stream::iter((0..count).map(|n| self.post_invalid(n)))
            .buffer_unordered(at_once)
            .collect::<()>()
            .await;
    }

    async fn post_invalid(&self, n: usize) {
        let header = match n % 3 {
            0 => String::new(),
            1 => format!("Authorization: Bearer hunter2-{n}\r\n"),
            _ => {
                format!("X-Regcred-Timestamp: {n}\r\nX-Regcred-Signature: sha256={}\r\n", "0".repeat(64))
            }
        };
        let body = "hunter2 ".repeat(n % 100);
        let request = format!("{POST}{header}Content-Length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(&self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", answer.escape_ascii());
    }

    /// The number of requests with this outcome.
    pub(crate) async fn counted(&self, outcome: &str) -> usize {
        let series = format!("regcred_triggers_total{{trigger=\"webhook\",outcome=\"{outcome}\"}}");
        let metrics = self.controller.metrics().await;
        let value = metrics.lines().find_map(|line| line.strip_prefix(&series)?.trim().parse().ok());
        value.unwrap_or_default()
    }

    /// The resident memory of the process in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.controller.resident().expect("/proc has the process")
    }

    /// The number of open files and connections of the process.
    pub(crate) fn connections(&self) -> usize {
        self.controller.open_files().expect("/proc has the process")
    }

    /// Runs a shell command in the directory of the key files; returns stdout.
    pub(crate) async fn shell(&self, command: &str) -> String {
        let mut shell = tokio::process::Command::new("sh");
        let output =
            shell.args(["-euc", command]).current_dir(&self.directory).output().await.expect("a shell");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.directory.join(name), content).expect("a writable directory");
    }
}

/// Sends a part of a request and waits until the connection is closed: nothing, half a head, or half a body.
pub(crate) async fn post_incompletely(address: &str, which: usize, now: i64) {
    let signature = "0".repeat(64);
    let head = format!("{POST}X-Regcred-Timestamp: {now}\r\nX-Regcred-Signature: sha256={signature}\r\n");
    let request = format!("{head}Content-Length: 10\r\n\r\n{{");
    let part = [0, POST.len() - 5, request.len()][which % 3];
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    // The connection may be closed already.
    let _ = stream.write_all(&request.as_bytes()[..part]).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// `sha256=` and the HMAC of the time and the body.
pub(crate) fn signature(key: &str, at: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let code = hmac::sign(&key, format!("{at}.{body}").as_bytes());
    code.as_ref().iter().fold("sha256=".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes it");
        text
    })
}

/// A file in the directory of the test.
pub(crate) fn path(cluster: &TestCluster, name: &str) -> PathBuf {
    cluster.directory.path().join(name)
}

pub(crate) fn write(cluster: &TestCluster, name: &str, content: &str) {
    std::fs::write(path(cluster, name), content).expect("a writable directory");
}

fn builder() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([]).timeout(TIMEOUT)
}

async fn answer_to(request: RequestBuilder) -> reqwest::Result<(u16, String)> {
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}
