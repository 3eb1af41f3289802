//! Redirects between two mock servers, each of which records the requests with the token.

use url::Host;

use super::*;
use crate::manifest::config::RedirectHost;

/// A standby, and the active node that it redirects to.
struct TestPair {
    standby: MockServer,
    active: MockServer,
}

impl TestPair {
    /// Starts a pair that knows the active node under this name.
    async fn start(host: &str) -> Self {
        let active = server(secret(7)).await;
        let standby = MockServer::start().await;
        for at in ["/v1/secret/data/ci/0", "/v1/auth/token/lookup-self"] {
            let location = format!("http://{host}:{}{at}", active.address().port());
            let response = ResponseTemplate::new(307).insert_header("location", location.as_str());
            Mock::given(path(at)).respond_with(response).mount(&standby).await;
        }
        Self { standby, active }
    }

    async fn read(&self, redirect_hosts: Vec<RedirectHost>) -> Result<StoredValue, Error> {
        let settings = settings(&self.standby.uri(), VaultAuth::Environment);
        open(&VaultSettings { redirect_hosts, ..settings }).read(&keys(1)).await.remove(0)
    }

    /// Returns the tokens that the active node received.
    async fn tokens(&self) -> Vec<String> {
        let requests = self.active.received_requests().await.expect("requests are recorded");
        let tokens = requests
            .iter()
            .map(|request| request.headers["x-vault-token"].to_str().expect("text").to_owned());
        tokens.collect()
    }
}

fn localhost(port: Option<u16>) -> RedirectHost {
    RedirectHost { host: Host::Domain("localhost".to_owned()), port }
}

#[tokio::test]
async fn redirect_to_another_host_is_refused_without_a_request() {
    let pair = TestPair::start("localhost").await;
    let port = pair.active.address().port();
    for hosts in [Vec::new(), vec![localhost(Some(port - 1))]] {
        let error = pair.read(hosts).await.expect_err("a refused redirect");
        let message = format!(
            "the Vault redirects to localhost:{port}, which is no host of this store, and nothing was sent there. \
             If it is a node of this Vault, add it to `redirectHosts`"
        );
        assert_eq!(error.to_string(), format!("store vault, key ci/0: {message}"));
        assert_eq!(<&str>::from(error.reason()), "Misconfigured");
    }
    assert_eq!(pair.tokens().await, Vec::<String>::new());
}

#[tokio::test]
async fn redirect_to_a_configured_host_is_followed_with_the_token() {
    for port in [false, true] {
        let pair = TestPair::start("localhost").await;
        let port = port.then(|| pair.active.address().port());
        let value = pair.read(vec![localhost(port)]).await.expect("a value of the active node");
        assert_eq!(value.version.to_string(), "7");
        let tokens = pair.tokens().await;
        assert!(!tokens.is_empty() && tokens.iter().all(|token| token == "hvs.token"), "{tokens:?}");
    }
}

#[tokio::test]
async fn redirect_to_the_own_host_needs_no_setting() {
    let pair = TestPair::start("127.0.0.1").await;
    let value = pair.read(Vec::new()).await.expect("a value of the active node");
    assert_eq!(value.version.to_string(), "7");
}
