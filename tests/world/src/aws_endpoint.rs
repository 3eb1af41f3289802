//! The endpoint of a server that answers as AWS does.

use anyhow::{Context as _, ensure};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::http;
use crate::kube::credentials::random_token;

/// The region of all resources.
pub const REGION: &str = "us-east-1";
/// The access key, and its secret.
const KEY: &str = "test";

/// The endpoint of all services of one server.
#[derive(Debug)]
pub struct AwsEndpoint {
    /// Its URL, `http://127.0.0.1:PORT`.
    pub endpoint: String,
    pub(crate) client: Client,
}

impl AwsEndpoint {
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
    pub(crate) fn build_request(
        &self,
        client: &Client,
        service: &str,
        action: &str,
        body: &Value,
    ) -> RequestBuilder {
        client
            .post(format!("{}/", self.endpoint))
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{service}.{action}"))
            .header("authorization", authorization(service))
            .body(body.to_string())
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
        ensure!(answer["VersionId"] == version, "the server generated another version id: {answer}");
        Ok(())
    }
}

/// Returns an `Authorization` header: LocalStack and moto read service and region from it, and check no signature.
pub(crate) fn authorization(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// Returns a text of a response.
pub(crate) fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    let found = answer[field].as_str().with_context(|| format!("the response of AWS has no {field}"))?;
    Ok(found.to_owned())
}
