//! Which version of a secret is current, without its value.

use super::*;

const DESCRIBE: &str = "secretsmanager.DescribeSecret";

async fn version(answer: ResponseTemplate) -> Result<Version, Error> {
    let server = server(DESCRIBE, answer).await;
    let version = open(&server.uri(), credentials()).versions(&keys(&["ci/ghcr"])).await.remove(0);
    let requests = server.received_requests().await.unwrap().len();
    assert_eq!(count(&server, DESCRIBE).await, requests, "nothing else is asked for");
    version
}

fn described(more: Value) -> ResponseTemplate {
    let mut body = json!({"ARN": format!("{ARN}ci/ghcr-a1B2c3"), "Name": "ci/ghcr"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ResponseTemplate::new(200).set_body_json(body)
}

async fn check(answer: ResponseTemplate, expect: Result<&str, &str>) {
    let version = version(answer).await;
    assert_eq!(version.as_ref().map_err(Error::reason).map(|version| version.0.as_str()), expect);
}

#[tokio::test]
async fn the_version_is_the_one_that_a_read_would_find() {
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
async fn a_refusal_names_the_right_that_is_missing() {
    assert_eq!(
        version(error(400, "AccessDeniedException", PASSWORD)).await.unwrap_err().to_string(),
        "store aws, key ci/ghcr: access denied: no policy grants `secretsmanager:DescribeSecret` on the secret"
    );
}

#[tokio::test]
async fn answers_stand_in_the_order_of_the_keys_and_odd_keys_are_not_asked_for() {
    let server = MockServer::start().await;
    let answer = |request: &Request| {
        let body = serde_json::from_slice::<Value>(&request.body).unwrap();
        let version = format!("v-{}", body["SecretId"].as_str().unwrap());
        described(json!({"VersionIdsToStages": {version: ["AWSCURRENT"]}}))
    };
    Mock::given(header("X-Amz-Target", DESCRIBE)).respond_with(answer).mount(&server).await;
    let keys: Vec<Key> = (0..40).map(|i| Key(if i == 7 { String::new() } else { i.to_string() })).collect();
    let versions = open(&server.uri(), credentials()).versions(&keys).await;
    for (i, version) in versions.iter().enumerate() {
        match version {
            Ok(version) => assert_eq!(version.0, format!("v-{i}")),
            Err(error) => assert_eq!((i, error.reason()), (7, "Misconfigured")),
        }
    }
    assert_eq!(count(&server, DESCRIBE).await, 39);
}

#[tokio::test]
async fn no_answer_in_time_is_timed_out() {
    let late = described(json!({})).set_delay(Duration::from_mins(1));
    let server = server(DESCRIBE, late).await;
    let aws = open_with(&server.uri(), credentials(), RetryPolicy::SHORT);
    assert_eq!(aws.versions(&keys(&["ci/ghcr"])).await.remove(0).unwrap_err().reason(), "TimedOut");
}

#[tokio::test]
async fn nothing_of_an_answer_is_logged() {
    let (log, _guard) = Log::listen();
    let versions = json!({"Description": PASSWORD, "VersionIdsToStages": {"v2": ["AWSCURRENT"]}});
    for answer in [described(versions), error(400, "Hunter2", PASSWORD)] {
        let shown = format!("{:?} {}", version(answer).await, log.text());
        assert!(!shown.contains(PASSWORD) && !shown.contains(SESSION_TOKEN), "{shown}");
    }
    assert!(log.text().contains("version asked for store=aws key=ci/ghcr version=v2"), "{}", log.text());
}
