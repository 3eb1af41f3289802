//! The `triggers` of a Config.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// The default interval of polls.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The default address of the webhook.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8081";

/// The triggers of `regcred run`; `regcred rotate` ignores them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TriggersSpec {
    /// Interval at which regcred polls every store for the versions of its keys, minus up to 10 % of jitter:
    /// hours, minutes and seconds, as in `30s`; at least `1s` and at most `720h`, or `0s` for never. A poll
    /// reads no values.
    pub poll_interval: String,
    /// Amazon SQS queues that receive events of AWS Secrets Manager.
    pub sqs: Vec<SqsQueue>,
    /// Webhook for notifications of changes: `POST /v1/rotate`. Default: no webhook.
    pub webhook: Option<WebhookSpec>,
}

impl Default for TriggersSpec {
    fn default() -> Self {
        Self {
            poll_interval: format!("{}s", DEFAULT_POLL_INTERVAL.as_secs()),
            sqs: Vec::new(),
            webhook: None,
        }
    }
}

/// An Amazon SQS queue, read with credentials from the SDK's default chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqsQueue {
    /// URL of the queue, as printed by `aws sqs get-queue-url`. Requests go to the endpoint of the region, or
    /// to `endpointUrl`, and not to the host of this URL.
    pub queue_url: String,
    /// Region of the queue, such as `eu-west-1`.
    pub region: String,
    /// URL of a VPC endpoint or of LocalStack. Default: the endpoint of the region.
    pub endpoint_url: Option<String>,
}

/// The webhook. At least one of `tokenFile` and `hmacKeyFile` is required.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSpec {
    /// Address and port to listen on.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// File with one bearer token per line, each at least 16 bytes long and all of them accepted. The file is
    /// reloaded when it changes.
    pub token_file: Option<PathBuf>,
    /// File with one HMAC key per line, each at least 16 bytes long and all of them accepted. The file is
    /// reloaded when it changes.
    pub hmac_key_file: Option<PathBuf>,
    /// Server certificate. Default: plain HTTP, for a proxy in front that terminates TLS.
    pub tls: Option<Tls>,
    /// Rate limit for each token or key, in requests per second: from 1 to 1000.
    #[serde(default = "default_requests_per_second")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: u32,
}

/// A certificate and its private key, each reloaded when its file changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate, followed by its intermediate certificates.
    pub certificate_file: PathBuf,
    /// PEM file of the private key.
    pub key_file: PathBuf,
}

fn default_listen() -> String {
    DEFAULT_LISTEN.to_owned()
}

fn default_requests_per_second() -> u32 {
    10
}
