//! LocalStack in host mode: Secrets Manager, and what tells of its changes.

mod bus;
mod queue;
mod stack;

use anyhow::{Context as _, ensure};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

pub use queue::Queue;

use crate::guardian::Guardian;
use crate::kube::credentials::random_token;
use crate::process::Process;
use crate::{http, port, programs};

/// The region that everything is made in.
pub const REGION: &str = "us-east-1";
/// What may be asked for; each is loaded by its first request.
const SERVICES: &str = "secretsmanager,sqs,events,sns,cloudformation,cloudwatch,iam,sts";
/// What LocalStack takes for an access key and its secret.
const KEY: &str = "test";

/// Starts LocalStack listening on loopback only: it ignores the address it is told and would listen on every one.
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
    _guardian: Guardian,
}

impl LocalStack {
    /// Starts a LocalStack that lives as long as the returned value and `guardian`.
    pub async fn start(guardian: &Guardian) -> anyhow::Result<Self> {
        let python = programs::localstack_python().await?;
        let directory = guardian.new_directory("localstack")?;
        let listen = format!("127.0.0.1:{}", port::free()?);
        let process = guardian.spawn("localstack", &directory, &python, |command| {
            command
                .args(["-c", LAUNCHER])
                .env("SERVICES", SERVICES)
                .env("GATEWAY_LISTEN", &listen)
                .env("LOCALSTACK_HOST", &listen)
                // The host of a queue's URL would be a name that nobody knows.
                .env("SQS_ENDPOINT_STRATEGY", "path")
                // Nothing leaves the machine, and nothing listens but the gateway.
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
            .until("being healthy", || async { http::answers(&client, &health).await.then_some(()) })
            .await?;
        let localstack = Self { endpoint, client, _process: process, _guardian: guardian.clone() };
        // A service is loaded by its first request; here, so that no test waits for it.
        localstack.request("secretsmanager", "ListSecrets", &json!({})).await?;
        Ok(localstack)
    }

    /// The environment that points the AWS SDK and command line here.
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

    /// Any request of a service that speaks JSON 1.1 under its own name, as `secretsmanager` does.
    pub async fn request(&self, service: &str, action: &str, body: &Value) -> anyhow::Result<Value> {
        http::json(self.ask(&self.client, service, action, body)).await
    }

    /// The same by a client of one's own.
    fn ask(&self, client: &Client, service: &str, action: &str, body: &Value) -> RequestBuilder {
        client
            .post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{service}.{action}"))
            .header("authorization", signed_for(service))
            .body(body.to_string())
    }

    /// Any request of a service that speaks in forms and, when asked to, answers in JSON.
    async fn form(
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
            .header("authorization", signed_for(service))
            .body(body.finish());
        http::json(request).await
    }

    /// Creates a secret and returns its ARN.
    pub async fn create_secret(&self, name: &str, value: &str) -> anyhow::Result<String> {
        // The SDKs make this token up for their callers; it becomes the version's id.
        let body = json!({ "Name": name, "SecretString": value, "ClientRequestToken": random_token()? });
        text(&self.request("secretsmanager", "CreateSecret", &body).await?, "ARN")
    }

    /// Puts a new current value and returns its version id; `secret` is a name or an ARN.
    pub async fn put_secret(&self, secret: &str, value: &str) -> anyhow::Result<String> {
        let version = random_token()?;
        self.put_secret_version(secret, value, &version).await?;
        Ok(version)
    }

    /// Puts a new current value of which the version id was known before.
    pub async fn put_secret_version(&self, secret: &str, value: &str, version: &str) -> anyhow::Result<()> {
        let body = json!({ "SecretId": secret, "SecretString": value, "ClientRequestToken": version });
        let answer = self.request("secretsmanager", "PutSecretValue", &body).await?;
        ensure!(answer["VersionId"] == version, "LocalStack made up another version: {answer}");
        Ok(())
    }
}

/// LocalStack reads service and region from here and checks no signature.
fn signed_for(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let found = answer[field].as_str().with_context(|| format!("LocalStack answered without {field}"))?;
    Ok(found.to_owned())
}
