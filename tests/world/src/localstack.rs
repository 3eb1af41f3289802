//! LocalStack in host mode: Secrets Manager, and the services that deliver events about its changes.

mod bus;
mod queue;
mod stack;

use std::ops::Deref;

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

pub use queue::Queue;

use crate::aws_endpoint::{AwsEndpoint, authorization, text};
use crate::process::Process;
use crate::reaper::Reaper;
use crate::{http, port, programs};

/// The enabled services; each is loaded by its first request.
const SERVICES: &str = "secretsmanager,sqs,events,sns,cloudformation,cloudwatch,iam,sts";

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
    aws: AwsEndpoint,
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
        let aws = AwsEndpoint { endpoint, client };
        let localstack = Self { aws, _process: process, _reaper: reaper.clone() };
        // A service is loaded by its first request; this one saves the tests the wait.
        localstack.request("secretsmanager", "ListSecrets", &json!({})).await?;
        Ok(localstack)
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
}

impl Deref for LocalStack {
    type Target = AwsEndpoint;

    fn deref(&self) -> &AwsEndpoint {
        &self.aws
    }
}
