//! Concurrent reads with a token that is due for renewal.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;
use crate::manifest::config::AppRoleAuth;
use crate::provider::vault::client::Token;
use crate::provider::vault::lease::TokenLease;
use crate::provider::vault::tests::settings;

const RENEW: &str = "/v1/auth/token/renew-self";
const LOG_IN: &str = "/v1/auth/approle/login";

fn granted(seconds: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(
        json!({"auth": {"client_token": "hvs.token", "lease_duration": seconds, "renewable": true}}),
    )
}

fn refused() -> ResponseTemplate {
    ResponseTemplate::new(403).set_body_json(json!({"errors": ["permission denied"]}))
}

fn down() -> ResponseTemplate {
    ResponseTemplate::new(503)
}

/// A response that arrives too late.
fn late() -> ResponseTemplate {
    granted(60).set_delay(Duration::from_mins(1))
}

/// A mock Vault and a session with a token lifetime of 60 s.
struct SessionFixture {
    server: MockServer,
    sessions: Sessions,
    _ids: TempDir,
}

impl SessionFixture {
    /// `age` in seconds; `renewal` and `login` are the responses of the Vault.
    async fn new(age: u64, is_renewable: bool, renewal: ResponseTemplate, login: ResponseTemplate) -> Self {
        let ids = TempDir::new().unwrap();
        let file = ids.path().join("id");
        std::fs::write(&file, "id").unwrap();
        let server = MockServer::start().await;
        Mock::given(path(RENEW)).respond_with(renewal).mount(&server).await;
        Mock::given(path(LOG_IN)).respond_with(login).mount(&server).await;
        let auth = VaultAuth::AppRole(AppRoleAuth {
            role_id_file: file.clone(),
            secret_id_file: file,
            mount: "approle".to_owned(),
        });
        let settings = settings(&server.uri(), auth);
        let clients = ClientFactory::new(&settings, Duration::from_secs(1)).unwrap();
        let environment = Environment::default();
        let client = clients.client(Token::parse("hvs.token").as_ref());
        let sessions = Sessions::open("vault".into(), clients, &settings.auth, &environment).unwrap();
        let since = Instant::now() - Duration::from_secs(age);
        let session = Session::new(client, since, true, TokenLease::new(since, 60, is_renewable));
        sessions.state.lock().await.current = Some(session);
        Self { server, sessions, _ids: ids }
    }

    /// Returns true if each of 16 concurrent reads gets a session.
    async fn serves_all_reads(&self) -> bool {
        let reads = futures::future::join_all((0..16).map(|_| self.sessions.current())).await;
        reads.iter().all(Result::is_ok)
    }

    /// The numbers of renewals and of logins.
    async fn requests(&self) -> (usize, usize) {
        let requests = self.server.received_requests().await.unwrap();
        (count(&requests, RENEW), count(&requests, LOG_IN))
    }
}

fn count(requests: &[Request], path: &str) -> usize {
    requests.iter().filter(|request| request.url.path() == path).count()
}

/// Checks the requests of 16 concurrent reads with a renewable token that is 40 s old.
async fn check_due(renewal: ResponseTemplate, requests: (usize, usize)) {
    let fixture = SessionFixture::new(40, true, renewal, granted(60)).await;
    assert!(fixture.serves_all_reads().await);
    assert_eq!(fixture.requests().await, requests);
}

#[tokio::test]
async fn due_token_is_renewed_once_for_all_reads() {
    check_due(granted(60), (1, 0)).await;
}

#[tokio::test]
async fn refused_renewal_leads_to_a_login() {
    check_due(refused(), (1, 1)).await;
}

#[tokio::test]
async fn renewal_near_the_maximum_ttl_leads_to_a_login() {
    check_due(granted(20), (1, 1)).await;
}

#[tokio::test]
async fn retryable_renewal_failure_keeps_the_token() {
    check_due(down(), (1, 0)).await;
}

#[tokio::test]
async fn renewal_without_a_response_delays_all_reads_once() {
    check_due(late(), (1, 0)).await;
}

#[tokio::test]
async fn renewal_abandoned_by_a_read_is_not_repeated_by_the_next() {
    let fixture = SessionFixture::new(40, true, late(), granted(60)).await;
    let timed_out = tokio::time::timeout(Duration::from_millis(300), fixture.sessions.current()).await;
    assert!(timed_out.is_err());
    assert!(fixture.serves_all_reads().await);
    assert_eq!(fixture.requests().await, (1, 0));
}

#[tokio::test]
async fn retryable_login_failure_keeps_the_live_token() {
    let fixture = SessionFixture::new(40, false, refused(), down()).await;
    assert!(fixture.serves_all_reads().await);
    assert_eq!(fixture.requests().await, (0, 1));
    let fixture = SessionFixture::new(40, true, refused(), down()).await;
    assert!(fixture.serves_all_reads().await);
    assert_eq!(fixture.requests().await, (1, 1));
}

#[tokio::test]
async fn expired_token_is_not_used() {
    let fixture = SessionFixture::new(60, true, granted(60), down()).await;
    assert!(matches!(fixture.sessions.current().await, Err(ErrorKind::Unavailable(_))));
    assert_eq!(fixture.requests().await, (0, 1));
}

#[tokio::test]
async fn renewal_in_a_missing_namespace_names_it() {
    let missing = || ResponseTemplate::new(404).set_body_json(json!({"errors": ["namespace not found"]}));
    let fixture = SessionFixture::new(40, true, missing(), missing()).await;
    let Err(ErrorKind::Misconfigured(message)) = fixture.sessions.current().await else {
        panic!("a session in a missing namespace");
    };
    assert!(message.contains("is not found in the Vault. Correct `namespace`"), "{message}");
    assert_eq!(fixture.requests().await, (1, 1));
}
