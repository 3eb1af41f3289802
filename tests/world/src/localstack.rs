//! LocalStack in host mode: Secrets Manager, and the services that deliver events about its changes.

mod bus;
mod queue;
mod stack;

use anyhow::{Context as _, ensure};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

pub use queue::Queue;

use crate::kube::credentials::random_token;
use crate::process::Process;
use crate::reaper::Reaper;
use crate::{http, port, programs};

/// The region of all resources.
pub const REGION: &str = "us-east-1";
/// The enabled services; each is loaded by its first request.
const SERVICES: &str = "secretsmanager,sqs,events,sns,cloudformation,cloudwatch,iam,sts";
/// The access key, and its secret.
const KEY: &str = "test";

/// Starts LocalStack on loopback only: its gateway ignores the configured address and would listen on all of them.
const LAUNCHER: &str = r#"
import functools
from twisted.internet import endpoints
endpoints.TCP4ServerEndpoint = functools.partial(endpoints.TCP4ServerEndpoint, interface="127.0.0.1")
from localstack.runtime.main import main
main()
"#;

/// A running LocalStack; dropping it ends it.
#[derive(Debug)]
pub struct LocalStack {
    /// Its endpoint, `http://127.0.0.1:PORT`.
    pub endpoint: String,
    client: Client,
    _process: Process,
    _reaper: Reaper,
}

impl LocalStack {
    /// Starts a LocalStack that runs until the returned value or `reaper` is dropped.
    pub async fn start(reaper: &Reaper) -> anyhow::Result<Self> {
        let python = programs::localstack_python().await?;
        let directory = reaper.new_directory("localstack")?;
        let listen = format!("127.0.0.1:{}", port::free()?);
        let process = reaper.spawn("localstack", &directory, &python, |command| {
            command
                .args(["-c", LAUNCHER])
                .env("SERVICES", SERVICES)
                .env("GATEWAY_LISTEN", &listen)
                .env("LOCALSTACK_HOST", &listen)
                // By default the host of a queue's URL is a name that cannot be resolved.
                .env("SQS_ENDPOINT_STRATEGY", "path")
                // No request leaves the machine, and only the gateway listens.
                .env("DISABLE_EVENTS", "1")
                .env("SKIP_SSL_CERT_DOWNLOAD", "1")
                .env("DNS_ADDRESS", "0")
                .env("LOCALSTACK_VOLUME_DIR", &directory)
                .env("PYTHONUTF8", "1")
                .env("PYTHONDONTWRITEBYTECODE", "1");
        })?;
        let endpoint = format!("http://{listen}");
        let client = http::client(None)?;
        let health = format!("{endpoint}/_localstack/health");
        process
            .wait_until("a successful health check", || async {
                http::is_healthy(&client, &health).await.then_some(())
            })
            .await?;
        let localstack = Self { endpoint, client, _process: process, _reaper: reaper.clone() };
        // A service is loaded by its first request; this one saves the tests the wait.
        localstack.request("secretsmanager", "ListSecrets", &json!({})).await?;
        Ok(localstack)
    }

    /// Returns the environment that points the AWS SDK and command line to this endpoint.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
        ]
    }

    /// Sends a request to a service with the JSON 1.1 protocol and its own name as target, such as `secretsmanager`.
    pub async fn request(&self, service: &str, action: &str, body: &Value) -> anyhow::Result<Value> {
        http::json(self.build_request(&self.client, service, action, body)).await
    }

    /// Builds the same request for any client.
    fn build_request(&self, client: &Client, service: &str, action: &str, body: &Value) -> RequestBuilder {
        client
            .post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{service}.{action}"))
            .header("authorization", authorization(service))
            .body(body.to_string())
    }

    /// Sends a request to a service with the query protocol, which can respond in JSON.
    async fn query_request(
        &self,
        service: &str,
        version: &str,
        action: &str,
        form: &[(String, &str)],
    ) -> anyhow::Result<Value> {
        let mut body = Serializer::new(String::new());
        body.append_pair("Action", action).append_pair("Version", version).extend_pairs(form);
        let request = self
            .client
            .post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .header("authorization", authorization(service))
            .body(body.finish());
        http::json(request).await
    }

    /// Creates a secret and returns its ARN.
    pub async fn create_secret(&self, name: &str, value: &str) -> anyhow::Result<String> {
        // The SDKs generate this token for their callers; it becomes the id of the version.
        let body = json!({ "Name": name, "SecretString": value, "ClientRequestToken": random_token()? });
        text(&self.request("secretsmanager", "CreateSecret", &body).await?, "ARN")
    }

    /// Puts a new current value and returns its version id; `secret` is a name or an ARN.
    pub async fn put_secret(&self, secret: &str, value: &str) -> anyhow::Result<String> {
        let version = random_token()?;
        self.put_secret_version(secret, value, &version).await?;
        Ok(version)
    }

    /// Puts a new current value with the given version id.
    pub async fn put_secret_version(&self, secret: &str, value: &str, version: &str) -> anyhow::Result<()> {
        let body = json!({ "SecretId": secret, "SecretString": value, "ClientRequestToken": version });
        let answer = self.request("secretsmanager", "PutSecretValue", &body).await?;
        ensure!(answer["VersionId"] == version, "LocalStack generated another version id: {answer}");
        Ok(())
    }
}

/// Returns an `Authorization` header: LocalStack reads service and region from it and checks no signature.
fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let found =
        answer[field].as_str().with_context(|| format!("the response of LocalStack has no {field}"))?;
    Ok(found.to_owned())
}
