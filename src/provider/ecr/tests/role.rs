//! A role that the credentials assume, at a mock STS.

use aws_config::Region;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use wiremock::matchers::body_string_contains;

use super::*;

const ROLE: &str = "arn:aws:iam::999999999999:role/puller";
const ROLE_TOKEN: &str = "FwoGZXIvYXdzEJr";

/// A mock of STS and ECR.
async fn servers(sts: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(body_string_contains("Action=AssumeRole")).respond_with(sts).mount(&server).await;
    Mock::given(header("X-Amz-Target", TARGET)).respond_with(issued(data())).mount(&server).await;
    server
}

/// A store with an STS at this address.
async fn open_with_role(server: &MockServer, sts: &str, credentials: Option<Credentials>) -> Ecr {
    let mut chain = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(sts);
    chain = match credentials {
        Some(credentials) => chain.credentials_provider(credentials),
        None => chain.credentials_provider(NoCredentials),
    };
    let shared = aws::with_role(chain.load().await, Some(ROLE)).await;
    let settings = EcrStore {
        region: "eu-west-1".to_owned(),
        registry_ids: vec![ID.to_owned()],
        endpoint_url: Some(server.uri()),
        role_arn: Some(ROLE.to_owned()),
    };
    Ecr::with_config("ecr".into(), &settings, &shared, WallClock(now))
}

/// A chain without credentials.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(PASSWORD)))
    }
}

fn assumed() -> ResponseTemplate {
    let body = format!(
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
         <AssumedRoleUser><AssumedRoleId>AROA:regcred</AssumedRoleId><Arn>{ROLE}/regcred</Arn></AssumedRoleUser>\
         <Credentials><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role-key</SecretAccessKey>\
         <SessionToken>{ROLE_TOKEN}</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
         </AssumeRoleResult></AssumeRoleResponse>"
    );
    ResponseTemplate::new(200).set_body_string(body)
}

fn refused(code: &str) -> ResponseTemplate {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{PASSWORD}</Message></Error></ErrorResponse>"
    );
    ResponseTemplate::new(403).set_body_string(body)
}

#[tokio::test]
async fn token_is_requested_as_the_role() {
    let (log, _guard) = Log::capture();
    let server = servers(assumed()).await;
    let ecr = open_with_role(&server, &server.uri(), Some(credentials())).await;
    for _ in 0..2 {
        assert!(ecr.read(&keys(&[ID])).await.remove(0).is_ok());
    }
    let requests = server.received_requests().await.unwrap();
    let [assume, first, second] = &requests[..] else { panic!("{requests:?}") };
    let body = String::from_utf8(assume.body.clone()).unwrap();
    assert!(body.contains("RoleSessionName=regcred") && body.contains("role%2Fpuller"), "{body}");
    assert!(assume.headers["authorization"].to_str().unwrap().contains("AKIDEXAMPLE"));
    for request in [first, second] {
        assert_eq!(request.headers["x-amz-security-token"], ROLE_TOKEN, "the session is used again");
    }
    for secret in [ROLE_TOKEN, SESSION_TOKEN, "role-key", PASSWORD] {
        assert!(!log.text().contains(secret), "{}", log.text());
    }
}

async fn check_role(server: &MockServer, sts: &str, credentials: Option<Credentials>, expect: &str) {
    let ecr = open_with_role(server, sts, credentials).await;
    let error = ecr.read(&keys(&[ID])).await.remove(0).unwrap_err();
    assert_eq!(error.to_string(), format!("store ecr, key {ID}: {expect}"));
}

#[tokio::test]
async fn role_that_cannot_be_assumed_is_named() {
    let role = format!(
        "access denied: the role {ROLE} cannot be assumed: its trust policy must admit the credentials of this \
         process, and their policy must grant `sts:AssumeRole` on it"
    );
    let key = "access denied: AWS does not accept the credentials: check the key and this machine's clock";
    for (code, expect) in [
        ("AccessDenied", role.as_str()),
        ("Hunter2", role.as_str()),
        ("InvalidClientTokenId", key),
        ("Throttling", "the store is throttling requests"),
    ] {
        let server = servers(refused(code)).await;
        check_role(&server, &server.uri(), Some(credentials()), expect).await;
    }
}

#[tokio::test]
async fn missing_credentials_for_a_role_are_named() {
    let server = servers(assumed()).await;
    let expect = "access denied: no AWS credentials: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the \
                  environment, the default profile, a web identity (IRSA), container credentials (EKS Pod Identity) \
                  and an instance role (IMDS)";
    check_role(&server, &server.uri(), None, expect).await;
}

#[tokio::test]
async fn sts_out_of_reach_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = servers(assumed()).await;
    let expect = format!(
        "the store at {} is unavailable: no connection to STS, which issues its credentials: connection refused",
        server.uri()
    );
    check_role(&server, &closed, Some(credentials()), &expect).await;
}
