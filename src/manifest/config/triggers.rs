//! The `triggers` of a Config: what wakes the controller.
//!
//! [`TriggersDocument`] is the part as written, [`Triggers`] the same after every check.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

/// What makes `regcred run` look again. `rotate` looks by itself, and passes it over.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TriggersDocument {
    /// How often every store is asked for the versions of the keys, up to a tenth sooner: hours, minutes
    /// and seconds, as in `30s`; at least `1s`, and `0s` for never. No value is read for it.
    pub poll_interval: String,
    /// Queues of Amazon SQS that tell of changes in AWS Secrets Manager.
    pub sqs: Vec<SqsQueue>,
    /// Where others may tell of changes: `POST /v1/rotate`.
    pub webhook: Option<WebhookDocument>,
}

impl Default for TriggersDocument {
    fn default() -> Self {
        Self {
            poll_interval: format!("{}s", DEFAULT_POLL_INTERVAL.as_secs()),
            sqs: Vec::new(),
            webhook: None,
        }
    }
}

/// A queue of Amazon SQS, read with credentials from the SDK's default chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SqsQueue {
    /// URL of the queue, as `aws sqs get-queue-url` tells it. Where to ask is told by the region, or by
    /// `endpointUrl`; the host here is not.
    pub queue_url: String,
    /// The region it is in, such as `eu-west-1`.
    pub region: String,
    /// Another endpoint than the region's own: a VPC endpoint, LocalStack.
    pub endpoint_url: Option<String>,
}

/// Where others may tell of changes. At least one of `tokenFile` and `hmacKeyFile`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookDocument {
    /// The address to listen at.
    #[serde(default = "default_listen")]
    pub listen: String,
    /// File with a bearer token of 16 bytes and more on each line, any of which is taken; read anew when it
    /// changes.
    pub token_file: Option<PathBuf>,
    /// File with a key of 16 bytes and more on each line, any of which may have signed a request; read anew
    /// when it changes.
    pub hmac_key_file: Option<PathBuf>,
    /// The server's certificate. Absent: plain HTTP, for a proxy in front that speaks TLS.
    pub tls: Option<Tls>,
    /// How many requests a second are taken of each token or key.
    #[serde(default = "default_requests_per_second")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: u32,
}

/// A certificate and its key, each read anew when it changes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate, and of those between it and its authority.
    pub certificate_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
}

/// What wakes the controller, after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// How often versions are asked for; `None` for never.
    pub poll_interval: Option<Duration>,
    /// The queues.
    pub sqs: Vec<SqsQueue>,
    /// The webhook, where there is one.
    pub webhook: Option<Webhook>,
}

impl Default for Triggers {
    /// What there is where no Config has any.
    fn default() -> Self {
        Self { poll_interval: Some(DEFAULT_POLL_INTERVAL), sqs: Vec::new(), webhook: None }
    }
}

/// The webhook, after every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address to listen at.
    pub listen: SocketAddr,
    /// File with bearer tokens.
    pub token_file: Option<PathBuf>,
    /// File with keys of signatures.
    pub hmac_key_file: Option<PathBuf>,
    /// The server's certificate.
    pub tls: Option<Tls>,
    /// Requests a second of each token or key.
    pub requests_per_second: u32,
}

/// How often versions are asked for where nobody says how often.
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Where the webhook listens that does not say where.
pub const DEFAULT_LISTEN: &str = "0.0.0.0:8081";

fn default_listen() -> String {
    DEFAULT_LISTEN.to_owned()
}

fn default_requests_per_second() -> u32 {
    10
}
