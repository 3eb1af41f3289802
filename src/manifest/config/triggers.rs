//! The triggers of the controller after validation.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::super::wire::DEFAULT_POLL_INTERVAL;

pub use super::super::wire::{SqsQueue, Tls};

/// The triggers of the controller after validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// The interval at which versions are polled; `None` for never.
    pub poll_interval: Option<Duration>,
    /// The queues.
    pub sqs: Vec<SqsQueue>,
    /// The webhook, if there is one.
    pub webhook: Option<Webhook>,
}

impl Default for Triggers {
    /// The triggers if no Config has any.
    fn default() -> Self {
        Self { poll_interval: Some(DEFAULT_POLL_INTERVAL), sqs: Vec::new(), webhook: None }
    }
}

/// The webhook after validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// File with bearer tokens.
    pub token_file: Option<PathBuf>,
    /// File with HMAC keys.
    pub hmac_key_file: Option<PathBuf>,
    /// The server certificate.
    pub tls: Option<Tls>,
    /// Requests per second for each token or key.
    pub requests_per_second: u32,
}
