//! Lookup of the versions of a key, without its value.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

/// The response for a key with the third version as the current one.
fn metadata(third: serde_json::Value) -> ResponseTemplate {
    let gone = json!({"deletion_time": "2020-01-01T00:00:00Z", "destroyed": true});
    let versions = json!({"1": gone, "2": gone, "3": third});
    let date =
        rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&NOW.parse::<Timestamp>().unwrap());
    ResponseTemplate::new(200)
        .insert_header("Date", date.unwrap().as_str())
        .set_body_json(json!({"data": {"current_version": 3, "oldest_version": 1, "versions": versions}}))
}

async fn version(kv: KvVersion, response: ResponseTemplate) -> (Result<Version, Error>, Vec<String>) {
    let server = server(response).await;
    let vault = open(&VaultSettings { kv, ..settings(&server.uri(), VaultAuth::Environment) });
    let version = vault.versions(&["ci/ghcr".into()]).await.remove(0);
    let requests = server.received_requests().await.unwrap();
    let paths = requests.iter().map(|request| request.url.path().to_owned());
    (version, paths.filter(|path| !path.ends_with("lookup-self")).collect())
}

async fn check(response: ResponseTemplate, expect: Result<&str, &str>) {
    let (version, paths) = version(KvVersion::V2, response).await;
    let version = version.as_ref().map(ToString::to_string);
    assert_eq!(version.as_deref().map_err(|error| error.reason().into()), expect);
    assert!(paths.iter().all(|path| path == "/v1/secret/metadata/ci/ghcr"), "{paths:?}");
}

fn third_version(deletion_time: &str, destroyed: bool) -> ResponseTemplate {
    metadata(json!({"deletion_time": deletion_time, "destroyed": destroyed}))
}

#[tokio::test]
async fn version_is_the_one_a_read_would_return() {
    check(third_version("", false), Ok("3")).await;
    check(third_version("", true), Err("Deleted")).await;
    check(third_version("2026-01-01T11:59:59.9Z", false), Err("Deleted")).await;
    check(third_version("2026-01-01T12:00:01.5Z", false), Ok("3")).await;
    let unwritten = json!({"data": {"current_version": 0, "versions": {}}});
    check(ResponseTemplate::new(200).set_body_json(unwritten), Err("NotFound")).await;
    let other = json!({"data": {"password": PASSWORD}});
    check(ResponseTemplate::new(200).set_body_json(other), Err("Misconfigured")).await;
    check(refused(404), Err("NotFound")).await;
    check(refused(429), Err("Throttled")).await;
    check(refused(500), Err("Unavailable")).await;
}

#[tokio::test]
async fn access_denied_names_the_missing_policy() {
    let (version, paths) = version(KvVersion::V2, refused(403)).await;
    assert_eq!(
        version.unwrap_err().to_string(),
        "store vault, key ci/ghcr: access denied: no policy grants `read` on secret/metadata/ci/ghcr"
    );
    assert_eq!(paths.len(), 1);
}

#[tokio::test]
async fn version_1_has_no_versions_and_sends_no_request() {
    let (version, paths) = version(KvVersion::V1, refused(500)).await;
    assert_eq!(version.unwrap(), Version::unversioned());
    assert!(paths.is_empty(), "{paths:?}");
}

#[tokio::test]
async fn failed_login_is_the_error_of_every_key() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(refused(500)).mount(&server).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    for version in vault.versions(&keys(3)).await {
        assert!(matches!(version.unwrap_err().kind, ErrorKind::Unavailable(_)));
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 3);
}

#[tokio::test]
async fn response_is_never_logged() {
    let (log, _guard) = Log::capture();
    let secret_metadata = json!({"deletion_time": "", "destroyed": false, "created_time": PASSWORD});
    for response in [metadata(secret_metadata), refused(403), refused(500)] {
        let shown = format!("{:?} {}", version(KvVersion::V2, response).await, log.text());
        assert!(!shown.contains(PASSWORD) && !shown.contains("hvs.token"), "{shown}");
    }
    let text = log.text();
    assert!(text.contains("version looked up store=vault key=ci/ghcr version=3 elapsed="), "{text}");
    assert!(text.contains("version lookup failed store=vault key=ci/ghcr reason=Denied elapsed="), "{text}");
}

#[tokio::test]
async fn version_has_the_time_of_its_creation() {
    for (created_time, expect) in [
        (json!("2026-11-27T10:00:00.123456789Z"), "3@2026-11-27T10:00:00.123456789Z"),
        (json!("yesterday"), "3"),
        (json!(""), "3"),
    ] {
        let third = json!({"deletion_time": "", "destroyed": false, "created_time": created_time});
        let (looked_up, _) = version(KvVersion::V2, metadata(third)).await;
        assert_eq!(looked_up.unwrap().serialized(), expect);
        let data =
            json!({"data": {"password": PASSWORD}, "metadata": {"version": 3, "created_time": created_time}});
        let server = server(ResponseTemplate::new(200).set_body_json(json!({"data": data}))).await;
        let vault = open(&settings(&server.uri(), VaultAuth::Environment));
        assert_eq!(vault.read(&keys(1)).await.remove(0).unwrap().version.serialized(), expect);
    }
}
