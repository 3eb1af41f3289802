//! What many reads do at once about a token that is due.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::manifest::config::{KvVersion, VaultSettings};

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

/// An answer that does not come.
fn silence() -> ResponseTemplate {
    granted(60).set_delay(Duration::from_mins(1))
}

/// A Vault and a session there, whose token lives for 60 s.
struct Scene {
    server: MockServer,
    sessions: Sessions,
    _ids: TempDir,
}

impl Scene {
    /// `age` in seconds; `renewal` and `login` are what the Vault answers.
    async fn new(age: u64, is_renewable: bool, renewal: ResponseTemplate, login: ResponseTemplate) -> Self {
        let ids = TempDir::new().unwrap();
        let file = ids.path().join("id");
        std::fs::write(&file, "id").unwrap();
        let server = MockServer::start().await;
        Mock::given(path(RENEW)).respond_with(renewal).mount(&server).await;
        Mock::given(path(LOG_IN)).respond_with(login).mount(&server).await;
        let settings = VaultSettings {
            address: server.uri().parse().unwrap(),
            mount: "secret".to_owned(),
            kv: KvVersion::V2,
            namespace: None,
            ca_file: None,
            auth: VaultAuth::AppRole(AppRoleAuth {
                role_id_file: file.clone(),
                secret_id_file: file,
                mount: "approle".to_owned(),
            }),
        };
        let connection = Connection::open(&settings, Duration::from_secs(1)).unwrap();
        let environment = Environment::default();
        let sessions = Sessions::open("vault".into(), connection, &settings.auth, &environment).unwrap();
        let since = Instant::now() - Duration::from_secs(age);
        *sessions.current.lock().await = Some(Arc::new(Session {
            client: Arc::new(sessions.connection.client(Token::parse("hvs.token").as_ref())),
            logged_in: since,
            is_proven: true,
            lease: Lease::new(since, 60, is_renewable),
        }));
        Self { server, sessions, _ids: ids }
    }

    /// Whether each of 16 reads at once gets a session.
    async fn are_served(&self) -> bool {
        let reads = futures::future::join_all((0..16).map(|_| self.sessions.current())).await;
        reads.iter().all(Result::is_ok)
    }

    /// How many renewals and how many logins the Vault was asked for.
    async fn asked(&self) -> (usize, usize) {
        let requests = self.server.received_requests().await.unwrap();
        let count = |at: &str| requests.iter().filter(|request| request.url.path() == at).count();
        (count(RENEW), count(LOG_IN))
    }
}

/// What 16 reads do at once with a renewable token that is 40 s old, where a renewal brings `answer`.
async fn check_due(answer: ResponseTemplate, asked: (usize, usize)) {
    let scene = Scene::new(40, true, answer, granted(60)).await;
    assert!(scene.are_served().await);
    assert_eq!(scene.asked().await, asked);
}

#[tokio::test]
async fn a_due_token_is_renewed_once_for_all_reads() {
    check_due(granted(60), (1, 0)).await;
}

#[tokio::test]
async fn a_refused_renewal_is_a_login() {
    check_due(refused(), (1, 1)).await;
}

#[tokio::test]
async fn a_renewal_near_the_end_is_a_login() {
    check_due(granted(20), (1, 1)).await;
}

#[tokio::test]
async fn a_renewal_that_may_yet_succeed_leaves_the_token_in_use_and_is_tried_once() {
    check_due(down(), (1, 0)).await;
}

#[tokio::test]
async fn a_renewal_without_an_answer_is_one_wait_for_all_reads() {
    check_due(silence(), (1, 0)).await;
}

#[tokio::test]
async fn a_renewal_that_a_read_gave_up_waiting_for_is_not_repeated_by_the_next() {
    let scene = Scene::new(40, true, silence(), granted(60)).await;
    let impatient = tokio::time::timeout(Duration::from_millis(300), scene.sessions.current()).await;
    assert!(impatient.is_err());
    assert!(scene.are_served().await);
    assert_eq!(scene.asked().await, (1, 0));
}

#[tokio::test]
async fn a_login_that_may_yet_succeed_leaves_the_token_in_use_while_it_lives() {
    let scene = Scene::new(40, false, refused(), down()).await;
    assert!(scene.are_served().await);
    assert_eq!(scene.asked().await, (0, 1));
    let scene = Scene::new(40, true, refused(), down()).await;
    assert!(scene.are_served().await);
    assert_eq!(scene.asked().await, (1, 1));
}

#[tokio::test]
async fn a_dead_token_is_not_used() {
    let scene = Scene::new(60, true, granted(60), down()).await;
    assert!(matches!(scene.sessions.current().await, Err(Failure::Unavailable(_))));
    assert_eq!(scene.asked().await, (0, 1));
}
