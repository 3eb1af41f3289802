//! Paths at which an engine issues credentials, and their leases.

use std::path::Path;

use tempfile::TempDir;
use wiremock::MockBuilder;
use wiremock::matchers::{body_json, method};

use super::*;
use crate::credential::dynamic_path::Method;
use crate::credential::{Expiry, Life};
use crate::manifest::config::KubernetesAuth;

const PATH: &str = "artifactory/token/puller";

fn key(method: Method) -> Key {
    Key::from_path(method, PATH)
}

/// A Vault with a path that answers `response`.
async fn vault(response: ResponseTemplate) -> (MockServer, Vault) {
    let server = server(response).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    (server, vault)
}

async fn requests(server: &MockServer, path: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    requests.iter().filter(|it| it.url.path() == format!("/v1/{path}")).count()
}

fn leased(id: &str, seconds: u64) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({
        "lease_id": id, "lease_duration": seconds, "renewable": true,
        "data": {"username": "u", "access_token": PASSWORD},
    }))
}

fn seconds(Life { issued, expires }: Life) -> i64 {
    expires.duration_since(issued).as_secs()
}

/// The life of a value, in seconds.
fn life_of(value: &StoredValue) -> Option<i64> {
    value.expiry.as_ref().and_then(Expiry::life).copied().map(seconds)
}

async fn answer_renewals(server: &MockServer, id: &str, granted: u64) {
    Mock::given(path("/v1/sys/leases/renew"))
        .and(body_json(json!({"lease_id": id})))
        .respond_with(leased(id, granted))
        .with_priority(1)
        .mount(server)
        .await;
}

#[tokio::test]
async fn path_is_requested_by_its_method() {
    for (which, name) in [(Method::Read, "GET"), (Method::Write, "POST")] {
        let (server, vault) = vault(refused(404)).await;
        Mock::given(method(name))
            .and(path(format!("/v1/{PATH}")))
            .respond_with(leased("a/1", 60))
            .with_priority(1)
            .mount(&server)
            .await;
        let value = vault.read(&[key(which)]).await.remove(0).unwrap();
        assert_eq!(life_of(&value), Some(60));
        assert_eq!(value.version, Version::unversioned());
    }
}

#[tokio::test]
async fn version_of_a_path_issues_nothing() {
    let (server, vault) = vault(leased("a/1", 60)).await;
    let versions = vault.versions(&[key(Method::Read)]).await;
    assert_eq!(*versions[0].as_ref().unwrap(), Version::unversioned());
    let mixed = vault.versions(&["ci/ghcr".into(), key(Method::Read)]).await;
    assert_eq!(mixed.len(), 2);
    assert_eq!(requests(&server, PATH).await, 0);
}

#[tokio::test]
async fn failed_request_of_a_path_is_not_repeated() {
    for (status, reason, expect) in [
        (500, "Unavailable", 1),
        (503, "Unavailable", 1),
        (403, "Denied", 1),
        (404, "NotFound", 1),
        (405, "Misconfigured", 1),
        (429, "Throttled", 3),
    ] {
        let (server, vault) = vault(refused(status)).await;
        let error = vault.read(&[key(Method::Write)]).await.remove(0).unwrap_err();
        assert_eq!((error.reason().to_string().as_str(), requests(&server, PATH).await), (reason, expect));
        assert!(!error.to_string().contains(PASSWORD), "{error}");
    }
}

#[tokio::test]
async fn lease_is_renewed_without_another_request() {
    let (server, vault) = vault(leased("a/1", 60)).await;
    answer_renewals(&server, "a/1", 60).await;
    assert_eq!(vault.renew(&key(Method::Read)).await, None, "there is no lease yet");
    vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    assert_eq!(vault.renew(&key(Method::Read)).await.map(seconds), Some(60));
    assert_eq!(requests(&server, PATH).await, 1);
}

#[tokio::test]
async fn lease_near_its_maximum_is_not_renewed() {
    let (server, vault) = vault(leased("a/1", 60)).await;
    answer_renewals(&server, "a/1", 20).await;
    vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    assert_eq!(vault.renew(&key(Method::Read)).await, None);
}

#[tokio::test]
async fn replaced_lease_is_revoked_by_its_id() {
    let (server, vault) = vault(leased("a/1", 60)).await;
    vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    assert!(vault.take_replaced_leases(&key(Method::Read)).is_empty());
    vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    Mock::given(path("/v1/sys/leases/revoke"))
        .and(body_json(json!({"lease_id": "a/1"})))
        .respond_with(ResponseTemplate::new(204))
        .with_priority(1)
        .expect(1)
        .mount(&server)
        .await;
    let replaced = vault.take_replaced_leases(&key(Method::Read));
    Provider::revoke_leases(&vault, replaced).await;
}

#[tokio::test]
async fn life_of_a_lease_ends_with_that_of_the_token() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/auth/token/lookup-self"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!({"data": {"ttl": 30, "renewable": true}})),
        )
        .mount(&server)
        .await;
    Mock::given(path(format!("/v1/{PATH}"))).respond_with(leased("a/1", 3600)).mount(&server).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    let value = vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    let life = life_of(&value).expect("a life");
    assert!((25..=30).contains(&life), "{life}");
}

/// The words of a refusal by the policies.
const NO_POLICY: &str = "1 error occurred:\n\t* permission denied\n\n";

/// A Vault that grants the tokens `hvs.1`, `hvs.2` and so on. None of them reads `ci/denied`.
struct LoginVault {
    server: MockServer,
    vault: Vault,
    _jwt: TempDir,
}

impl LoginVault {
    async fn new() -> Self {
        let jwt = TempDir::new().unwrap();
        let server = MockServer::start().await;
        for n in 1..10 {
            Mock::given(path("/v1/auth/kubernetes/login"))
                .respond_with(login_response(&format!("hvs.{n}")))
                .up_to_n_times(1)
                .mount(&server)
                .await;
        }
        Mock::given(path("/v1/secret/data/ci/denied"))
            .respond_with(error_body(403, NO_POLICY))
            .mount(&server)
            .await;
        Mock::given(path("/v1/auth/token/revoke-self"))
            .respond_with(ResponseTemplate::new(204))
            .mount(&server)
            .await;
        let vault = open(&settings(&server.uri(), kubernetes(jwt.path())));
        Self { server, vault, _jwt: jwt }
    }

    /// Answers the path with this token.
    fn path_with(token: &str) -> MockBuilder {
        Mock::given(path(format!("/v1/{PATH}"))).and(header("X-Vault-Token", token))
    }

    async fn read(&self, key: Key) -> Result<StoredValue, Error> {
        self.vault.read(&[key]).await.remove(0)
    }

    /// Has reads of a denied key replace the first token: one of the two finds it from before.
    async fn log_in_again(&self) {
        for _ in 0..2 {
            self.read("ci/denied".into()).await.unwrap_err();
        }
        assert_eq!(self.logins().await, 2);
    }

    async fn logins(&self) -> usize {
        requests(&self.server, "auth/kubernetes/login").await
    }

    /// Answers renewals of a lease, and of the token, that are made with this token.
    async fn answer_renewals_with(&self, token: &str, id: &str, granted: u64) {
        Mock::given(path("/v1/sys/leases/renew"))
            .and(header("X-Vault-Token", token))
            .and(body_json(json!({"lease_id": id})))
            .respond_with(leased(id, granted))
            .mount(&self.server)
            .await;
        Mock::given(path("/v1/auth/token/renew-self"))
            .and(header("X-Vault-Token", token))
            .respond_with(login_response(token))
            .mount(&self.server)
            .await;
    }

    /// The tokens that were revoked.
    async fn revoked(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let revocations = requests.iter().filter(|it| it.url.path() == "/v1/auth/token/revoke-self");
        revocations.map(|it| it.headers["X-Vault-Token"].to_str().unwrap().to_owned()).collect()
    }
}

/// A token for twenty minutes.
fn login_response(token: &str) -> ResponseTemplate {
    let auth = json!({"client_token": token, "lease_duration": 1200, "renewable": true});
    ResponseTemplate::new(200).set_body_json(json!({"auth": auth}))
}

/// Lets time pass for this process, without a wait.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

fn kubernetes(directory: &Path) -> VaultAuth {
    let token_file = directory.join("token");
    std::fs::write(&token_file, "jwt").unwrap();
    let (role, mount) = ("regcred".to_owned(), "kubernetes".to_owned());
    VaultAuth::Kubernetes(KubernetesAuth { role, mount, token_file })
}

#[tokio::test]
async fn token_is_not_revoked_during_a_request_of_a_path() {
    let it = LoginVault::new().await;
    it.read("ci/denied".into()).await.unwrap_err();
    let late = leased("a/1", 60).set_delay(Duration::from_millis(300));
    LoginVault::path_with("hvs.1").respond_with(late).mount(&it.server).await;
    let both = it.vault.read(&["ci/denied".into(), key(Method::Read)]).await;
    assert!(both[0].is_err() && both[1].is_ok(), "{both:?}");
    assert_eq!(it.logins().await, 2, "the denial led to a login");
    assert_eq!(it.revoked().await, [""; 0], "the credential would be revoked with its token");
}

#[tokio::test]
async fn lease_is_renewed_with_the_token_that_obtained_it() {
    let it = LoginVault::new().await;
    LoginVault::path_with("hvs.1").respond_with(leased("a/1", 3600)).mount(&it.server).await;
    let life = life_of(&it.read(key(Method::Read)).await.unwrap()).expect("a life");
    assert!((1190..=1200).contains(&life), "{life}: that of the token");
    it.log_in_again().await;
    it.answer_renewals_with("hvs.1", "a/1", 3600).await;
    for _ in 0..3 {
        pass(Duration::from_secs(801)).await;
        let life = it.vault.renew(&key(Method::Read)).await.map(seconds).expect("a renewal");
        assert!((1190..=1200).contains(&life), "{life}: the token is renewed, too");
    }
    assert_eq!(it.revoked().await, [""; 0]);
}

#[tokio::test]
async fn short_rest_of_a_token_does_not_end_the_lease() {
    let it = LoginVault::new().await;
    LoginVault::path_with("hvs.1").respond_with(leased("a/1", 1140)).mount(&it.server).await;
    it.read(key(Method::Read)).await.unwrap();
    it.answer_renewals_with("hvs.1", "a/1", 1140).await;
    pass(Duration::from_mins(13)).await;
    let life = it.vault.renew(&key(Method::Read)).await.map(seconds).expect("a renewal");
    assert!((410..=420).contains(&life), "{life}");
    pass(Duration::from_mins(5)).await;
    let life = it.vault.renew(&key(Method::Read)).await.map(seconds).expect("a renewal");
    assert!((1130..=1140).contains(&life), "{life}");
}

#[tokio::test]
async fn token_is_revoked_once_no_lease_needs_it() {
    let it = LoginVault::new().await;
    LoginVault::path_with("hvs.1").respond_with(leased("a/1", 3600)).mount(&it.server).await;
    LoginVault::path_with("hvs.2").respond_with(leased("a/2", 3600)).mount(&it.server).await;
    Mock::given(path("/v1/sys/leases/revoke"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&it.server)
        .await;
    it.read(key(Method::Read)).await.unwrap();
    it.log_in_again().await;
    it.read(key(Method::Read)).await.unwrap();
    assert_eq!(it.revoked().await, [""; 0], "a namespace may hold the first credential");
    let replaced = it.vault.take_replaced_leases(&key(Method::Read));
    assert_eq!(replaced, ["a/1"]);
    it.vault.revoke_leases(replaced).await;
    assert_eq!(it.revoked().await, ["hvs.1"]);
}

#[tokio::test]
async fn token_of_a_forgotten_lease_is_not_revoked() {
    let it = LoginVault::new().await;
    LoginVault::path_with("hvs.1").respond_with(leased("a/1", 3600)).mount(&it.server).await;
    it.read(key(Method::Read)).await.unwrap();
    it.log_in_again().await;
    it.vault.forget_leases(&key(Method::Read));
    it.read("ci/denied".into()).await.unwrap_err();
    assert_eq!(it.revoked().await, [""; 0]);
}

#[tokio::test]
async fn denied_key_leads_to_one_login_in_five_minutes() {
    let it = LoginVault::new().await;
    it.log_in_again().await;
    for _ in 0..3 {
        it.read("ci/denied".into()).await.unwrap_err();
    }
    assert_eq!((it.logins().await, it.revoked().await), (2, vec!["hvs.1".to_owned()]));
    pass(Duration::from_secs(299)).await;
    it.read("ci/denied".into()).await.unwrap_err();
    assert_eq!(it.logins().await, 2);
    pass(Duration::from_secs(2)).await;
    it.read("ci/denied".into()).await.unwrap_err();
    assert_eq!((it.logins().await, it.revoked().await.len()), (3, 2));
}

/// A Vault with a lease that another one replaced.
async fn with_replaced_lease() -> (MockServer, Vault) {
    let (server, vault) = vault(leased("a/1", 3600)).await;
    for _ in 0..2 {
        vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    }
    (server, vault)
}

/// Answers the next revocations of leases.
async fn answer_revocations(server: &MockServer, response: ResponseTemplate, times: u64) {
    Mock::given(path("/v1/sys/leases/revoke"))
        .respond_with(response)
        .up_to_n_times(times)
        .with_priority(1)
        .mount(server)
        .await;
}

/// Takes the replaced leases and revokes them; returns the number of requests.
async fn revoke_replaced(server: &MockServer, vault: &Vault) -> usize {
    let before = requests(server, "sys/leases/revoke").await;
    let replaced = vault.take_replaced_leases(&key(Method::Read));
    Provider::revoke_leases(vault, replaced).await;
    requests(server, "sys/leases/revoke").await - before
}

#[tokio::test]
async fn lease_is_revoked_after_an_outage_that_is_logged_once() {
    let (log, _guard) = Log::capture();
    let (server, vault) = with_replaced_lease().await;
    answer_revocations(&server, refused(503), 6).await;
    for _ in 0..2 {
        assert_eq!(revoke_replaced(&server, &vault).await, 3);
    }
    answer_revocations(&server, ResponseTemplate::new(204), 10).await;
    assert_eq!(revoke_replaced(&server, &vault).await, 1);
    assert_eq!(revoke_replaced(&server, &vault).await, 0, "it is revoked");
    let warning =
        "failed to revoke a replaced lease: the store is unavailable: status 503. It is tried again";
    assert_eq!(log.text().matches(warning).count(), 1, "{}", log.text());
    assert!(log.text().contains("replaced leases are revoked again"), "{}", log.text());
}

#[tokio::test]
async fn forbidden_revocation_is_logged_once_and_not_repeated() {
    let (log, _guard) = Log::capture();
    let (server, vault) = with_replaced_lease().await;
    answer_revocations(&server, error_body(403, NO_POLICY), 10).await;
    assert_eq!(revoke_replaced(&server, &vault).await, 1);
    assert_eq!(revoke_replaced(&server, &vault).await, 0, "it runs out");
    vault.read(&[key(Method::Read)]).await.remove(0).unwrap();
    assert_eq!(revoke_replaced(&server, &vault).await, 1);
    let warning = "which runs out by itself: access denied: no policy grants `update` on sys/leases/revoke";
    assert_eq!(log.text().matches(warning).count(), 1, "{}", log.text());
}
