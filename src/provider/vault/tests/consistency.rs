//! The headers with which a read sees earlier writes, sent to mock servers that count them or refuse them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wiremock::Request;
use wiremock::matchers::header_exists;

use super::*;

const INDEX: &str = "x-vault-index";
const INCONSISTENT: &str = "x-vault-inconsistent";

fn index(cluster: &str, number: u64) -> String {
    BASE64_STANDARD.encode(json!({"cluster": cluster, "value": number.to_string()}).to_string())
}

/// A server that sends these indexes with its values, one after the other.
async fn server_at(indexes: &[String]) -> MockServer {
    let server = MockServer::start().await;
    let lookup = ResponseTemplate::new(200).set_body_json(json!({"data": {"ttl": 0}}));
    Mock::given(path("/v1/auth/token/lookup-self")).respond_with(lookup).mount(&server).await;
    for index in indexes {
        let response = secret(7).insert_header(INDEX, index.as_str());
        Mock::given(path("/v1/secret/data/ci/0"))
            .respond_with(response)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    Mock::given(path("/v1/secret/data/ci/0")).respond_with(secret(7)).mount(&server).await;
    server
}

/// Returns the index that each read of the key carried, if it had both headers or none of them.
async fn sent(server: &MockServer) -> Vec<Option<String>> {
    let requests = server.received_requests().await.unwrap();
    let reads = requests.iter().filter(|request| request.url.path().ends_with("ci/0"));
    let text = |request: &Request, name: &str| {
        request.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    let sent = reads.map(|request| {
        let index = text(request, INDEX);
        let forward = index.as_ref().map(|_| "forward-active-node".to_owned());
        assert_eq!(text(request, INCONSISTENT), forward);
        index
    });
    sent.collect()
}

async fn read(vault: &Vault, times: usize) {
    for _ in 0..times {
        vault.read(&keys(1)).await.remove(0).expect("a value");
    }
}

#[tokio::test]
async fn server_without_index_gets_no_header() {
    let server = server_at(&[]).await;
    read(&open(&settings(&server.uri(), VaultAuth::Environment)), 3).await;
    assert_eq!(sent(&server).await, [None, None, None]);
}

#[tokio::test]
async fn greatest_index_is_sent_with_the_next_reads() {
    let indexes = [index("a", 9), index("a", 12), index("a", 10), index("b", 3)];
    let server = server_at(&indexes).await;
    read(&open(&settings(&server.uri(), VaultAuth::Environment)), 5).await;
    let [first, greatest, _, other] = indexes.map(Some);
    assert_eq!(sent(&server).await, [None, first, greatest.clone(), greatest, other]);
}

#[tokio::test]
async fn metadata_requests_carry_the_index_of_reads() {
    let index = index("a", 9);
    let server = server_at(std::slice::from_ref(&index)).await;
    let versions = json!({"data": {"current_version": 7, "versions": {"7": {}}}});
    Mock::given(path("/v1/secret/metadata/ci/0"))
        .respond_with(ResponseTemplate::new(200).set_body_json(versions))
        .mount(&server)
        .await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    read(&vault, 1).await;
    vault.versions(&keys(1)).await.remove(0).expect("a version");
    assert_eq!(sent(&server).await, [None, Some(index)]);
}

#[tokio::test]
async fn refused_headers_are_dropped_for_good() {
    let index = index("a", 9);
    let server = server_at(std::slice::from_ref(&index)).await;
    Mock::given(header_exists(INCONSISTENT)).respond_with(refused(400)).with_priority(1).mount(&server).await;
    let (log, _guard) = Log::capture();
    read(&open(&settings(&server.uri(), VaultAuth::Environment)), 4).await;
    assert_eq!(sent(&server).await, [None, Some(index), None, None, None], "the refused read is repeated");
    assert_eq!(log.text().matches("refuses the headers").count(), 1, "{}", log.text());
}

/// Checks that the headers stay where the first answer to a read with them is `first`, and the next is `second`.
async fn check_headers_stay(first: ResponseTemplate, second: ResponseTemplate) {
    let index = index("a", 9);
    let server = server_at(std::slice::from_ref(&index)).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    read(&vault, 1).await;
    for (response, priority) in [(first, 1), (second, 2)] {
        Mock::given(path("/v1/secret/data/ci/0"))
            .respond_with(response)
            .up_to_n_times(1)
            .with_priority(priority)
            .mount(&server)
            .await;
    }
    let _ = vault.read(&keys(1)).await;
    read(&vault, 1).await;
    let sent = sent(&server).await;
    assert_eq!(sent[..3], [None, Some(index.clone()), None]);
    assert_eq!(sent.last(), Some(&Some(index)), "{sent:?}");
}

#[tokio::test]
async fn repeat_that_fails_leaves_the_headers() {
    for status in [403, 429, 503] {
        check_headers_stay(refused(400), refused(status)).await;
    }
}

#[tokio::test]
async fn upgrade_that_ends_meanwhile_leaves_the_headers() {
    let upgrading = "Upgrading from non-versioned to versioned data.";
    check_headers_stay(error_body(400, upgrading), secret(7)).await;
}

#[tokio::test]
async fn other_bad_request_leaves_the_headers() {
    let index = index("a", 9);
    let server = server_at(std::slice::from_ref(&index)).await;
    let vault = open(&settings(&server.uri(), VaultAuth::Environment));
    read(&vault, 1).await;
    Mock::given(path("/v1/secret/data/ci/0"))
        .respond_with(refused(400))
        .up_to_n_times(2)
        .with_priority(1)
        .mount(&server)
        .await;
    vault.read(&keys(1)).await.remove(0).expect_err("a bad request");
    read(&vault, 1).await;
    let index = Some(index);
    assert_eq!(sent(&server).await, [None, index.clone(), None, index]);
}

#[tokio::test]
async fn server_that_is_behind_is_unavailable() {
    let behind = ResponseTemplate::new(429).set_body_json(json!({"errors": []}));
    let message = "{store} is unavailable: status 429; the server lags behind the active one of its cluster";
    check(behind, "Unavailable", message, 3).await;
}
