//! The `triggers` of a Config.

use std::net::SocketAddr;

use url::Url;

use super::super::config::triggers::{Triggers, Webhook};
use super::super::field::{FieldErrors, FieldPath};
use super::super::wire::{DEFAULT_LISTEN, TriggersSpec, WebhookSpec};
use super::super::{interval, schema};
use super::text::{validate_file, validate_region, validate_url};

/// Examples of a queue URL and of an endpoint, for error messages.
const QUEUE_URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/regcred";
const ENDPOINT_URL: &str = "https://sqs.eu-west-1.amazonaws.com";

/// Returns the triggers, or `None` if they cannot be built; all errors are added either way.
pub(super) fn validate(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Option<Triggers> {
    let poll_interval = path.field("pollInterval");
    let poll_interval = match poll_interval.text().map(interval::parse_poll) {
        Some(Err(rule)) => {
            errors.push(poll_interval.error(rule));
            None
        }
        Some(Ok(interval)) => interval,
        None => Triggers::default().poll_interval,
    };
    for queue in path.field("sqs").items() {
        let url = validate_url(&queue.field("queueUrl"), QUEUE_URL, errors);
        validate_queue_region(&queue, url.as_ref(), errors);
        validate_region(&queue.field("region"), errors);
        validate_url(&queue.field("endpointUrl"), ENDPOINT_URL, errors);
    }
    validate_unique_queues(path, errors);
    let listen = validate_webhook(&path.field("webhook"), errors);

    let TriggersSpec { poll_interval: _, sqs, webhook } = schema::deserialize(path)?;
    let webhook = match webhook {
        None => None,
        Some(webhook) => Some(settings(webhook, listen?)),
    };
    Some(Triggers { poll_interval, sqs, webhook })
}

fn settings(written: WebhookSpec, listen: SocketAddr) -> Webhook {
    let WebhookSpec { listen: _, token_file, hmac_key_file, tls, requests_per_second } = written;
    Webhook { listen, token_file, hmac_key_file, tls, requests_per_second }
}

/// Rejects a region other than that in the URL of the queue: no other region has the queue.
fn validate_queue_region(queue: &FieldPath<'_>, url: Option<&Url>, errors: &mut FieldErrors) {
    let (path, host) = (queue.field("region"), url.and_then(Url::host_str));
    let url_region = host.and_then(|host| host.strip_prefix("sqs.")?.split_once(".amazonaws."));
    if let (Some((url_region, _)), Some(region)) = (url_region, path.text())
        && url_region != region
    {
        errors.push(path.error(format!("is not the region of the queue, which is in {url_region}")));
    }
}

/// Rejects a second queue with the same URL: each of its readers would get a part of the messages.
fn validate_unique_queues(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let sqs = path.field("sqs");
    let mut urls = Vec::new();
    for queue in sqs.items() {
        let url = queue.field("queueUrl");
        let Some(text) = url.text() else { continue };
        if urls.contains(&text.to_owned()) {
            errors.push(url.error("is a duplicate of an earlier queue: remove it"));
        }
        urls.push(text.to_owned());
    }
}

/// Rejects queues if no store is AWS Secrets Manager: their events never name a key of another store.
pub(super) fn require_aws_store(path: &FieldPath<'_>, errors: &mut FieldErrors) {
    let sqs = path.field("sqs");
    if sqs.items().next().is_some() {
        errors.push(sqs.error(
            "only receives events of AWS Secrets Manager, and no store is one: add a store with awsSecretsManager, or remove the queues",
        ));
    }
}

/// Validates the webhook and returns the address to listen on, if that is valid.
fn validate_webhook(path: &FieldPath<'_>, errors: &mut FieldErrors) -> Option<SocketAddr> {
    let node = path.node()?;
    for file in ["tokenFile", "hmacKeyFile"] {
        validate_file(&path.field(file), errors);
    }
    for file in ["certificateFile", "keyFile"] {
        validate_file(&path.field("tls").field(file), errors);
    }
    if ["tokenFile", "hmacKeyFile"].iter().all(|name| node.field(name).is_none()) {
        errors.push(
            path.error(
                "has neither tokenFile nor hmacKeyFile: anyone could trigger regcred; set one of them",
            ),
        );
    }
    let listen = path.field("listen");
    let address = listen.text().unwrap_or(DEFAULT_LISTEN).parse().ok();
    if address.is_none() {
        errors.push(listen.error("must be an address and a port, such as 0.0.0.0:8081"));
    }
    address
}
