//! Lookup of the current version of a secret, without its value.

use super::*;
use crate::manifest::status::reason::FetchedReason;

const DESCRIBE: &str = "secretsmanager.DescribeSecret";

async fn version(response: ResponseTemplate) -> Result<Version, Error> {
    let server = server(DESCRIBE, response).await;
    let version = open(&server.uri(), credentials()).versions(&keys(&["ci/ghcr"])).await.remove(0);
    let requests = server.received_requests().await.unwrap().len();
    assert_eq!(count(&server, DESCRIBE).await, requests, "no other request is sent");
    version
}

fn described(more: Value) -> ResponseTemplate {
    let mut body = json!({"ARN": format!("{ARN}ci/ghcr-a1B2c3"), "Name": "ci/ghcr"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ResponseTemplate::new(200).set_body_json(body)
}

async fn check(response: ResponseTemplate, expect: Result<&str, &str>) {
    let version = version(response).await;
    let version = version.as_ref().map(ToString::to_string);
    assert_eq!(version.as_deref().map_err(|error| error.reason().into()), expect);
}

#[tokio::test]
async fn version_is_the_one_a_read_would_return() {
    let labels = json!({"v1": ["AWSPREVIOUS"], "v2": ["AWSCURRENT"], "v3": ["AWSPENDING"]});
    check(described(json!({"VersionIdsToStages": labels})), Ok("v2")).await;
    let deleted = json!({"VersionIdsToStages": labels, "DeletedDate": 1_700_000_000});
    check(described(deleted), Err("Deleted")).await;
    check(described(json!({"VersionIdsToStages": {"v3": ["AWSPENDING"]}})), Err("NotFound")).await;
    check(described(json!({})), Err("NotFound")).await;
    check(error(400, "ResourceNotFoundException", PASSWORD), Err("NotFound")).await;
    check(error(400, "ThrottlingException", PASSWORD), Err("Throttled")).await;
    check(ResponseTemplate::new(503), Err("Unavailable")).await;
}

#[tokio::test]
async fn access_denied_names_the_missing_permission() {
    assert_eq!(
        version(error(400, "AccessDeniedException", PASSWORD)).await.unwrap_err().to_string(),
        "store aws, key ci/ghcr: access denied: no policy grants `secretsmanager:DescribeSecret` on the secret"
    );
}

#[tokio::test]
async fn versions_keep_key_order_and_skip_invalid_keys() {
    let server = MockServer::start().await;
    Mock::given(header("X-Amz-Target", DESCRIBE))
        .respond_with(|request: &Request| {
            let body = serde_json::from_slice::<Value>(&request.body).unwrap();
            let version = format!("v-{}", body["SecretId"].as_str().unwrap());
            described(json!({"VersionIdsToStages": {version: ["AWSCURRENT"]}}))
        })
        .mount(&server)
        .await;
    let keys: Vec<Key> = (0..40).map(|i| Key(if i == 7 { String::new() } else { i.to_string() })).collect();
    let versions = open(&server.uri(), credentials()).versions(&keys).await;
    for (i, version) in versions.iter().enumerate() {
        match version {
            Ok(version) => assert_eq!(version.to_string(), format!("v-{i}")),
            Err(error) => assert_eq!((i, error.reason()), (7, FetchedReason::Misconfigured)),
        }
    }
    assert_eq!(count(&server, DESCRIBE).await, 39);
}

#[tokio::test]
async fn missing_response_times_out() {
    let late = described(json!({})).set_delay(Duration::from_mins(1));
    let server = server(DESCRIBE, late).await;
    let aws = open_with(&server.uri(), credentials(), RetryPolicy::SHORT_TIMEOUT);
    assert_eq!(
        aws.versions(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err().reason(),
        FetchedReason::TimedOut
    );
}

#[tokio::test]
async fn response_is_never_logged() {
    let (log, _guard) = Log::capture();
    let versions = json!({"Description": PASSWORD, "VersionIdsToStages": {"v2": ["AWSCURRENT"]}});
    for response in [described(versions), error(400, "Hunter2", PASSWORD)] {
        let shown = format!("{:?} {}", version(response).await, log.text());
        assert!(!shown.contains(PASSWORD) && !shown.contains(SESSION_TOKEN), "{shown}");
    }
    assert!(log.text().contains("version looked up store=aws key=ci/ghcr version=v2"), "{}", log.text());
}
