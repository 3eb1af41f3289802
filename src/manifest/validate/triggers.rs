//! The `triggers` of a Config.

use std::net::SocketAddr;

use super::super::config::triggers::{DEFAULT_LISTEN, Triggers, TriggersDocument, Webhook, WebhookDocument};
use url::Url;

use super::super::field::{FieldErrors, FieldPath};
use super::super::{interval, schema};
use super::store::{check_path, check_region, check_url};

/// What a URL of a queue and of an endpoint may look like, for those who wrote none.
const QUEUE_URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/regcred";
const ENDPOINT_URL: &str = "https://sqs.eu-west-1.amazonaws.com";

/// What wakes the controller, or nothing where a mistake leaves no choice; every mistake is noted either way.
pub(super) fn check(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Option<Triggers> {
    let poll_interval = spot.field("pollInterval");
    let poll_interval = match poll_interval.text().map(interval::parse_poll) {
        Some(Err(rule)) => {
            mistakes.push(poll_interval.mistake(rule));
            None
        }
        Some(Ok(interval)) => interval,
        None => Triggers::default().poll_interval,
    };
    for queue in spot.field("sqs").items() {
        let url = check_url(&queue.field("queueUrl"), QUEUE_URL, mistakes);
        check_region_of(&queue, url.as_ref(), mistakes);
        check_region(&queue.field("region"), mistakes);
        check_url(&queue.field("endpointUrl"), ENDPOINT_URL, mistakes);
    }
    check_queues_differ(spot, mistakes);
    let listen = check_webhook(&spot.field("webhook"), mistakes);

    let TriggersDocument { poll_interval: _, sqs, webhook } = schema::part(spot)?;
    let webhook = match webhook {
        None => None,
        Some(webhook) => Some(settings(webhook, listen?)),
    };
    Some(Triggers { poll_interval, sqs, webhook })
}

fn settings(written: WebhookDocument, listen: SocketAddr) -> Webhook {
    let WebhookDocument { listen: _, token_file, hmac_key_file, tls, requests_per_second } = written;
    Webhook { listen, token_file, hmac_key_file, tls, requests_per_second }
}

/// A queue of another region is not there in this one.
fn check_region_of(queue: &FieldPath<'_>, url: Option<&Url>, mistakes: &mut FieldErrors) {
    let (spot, host) = (queue.field("region"), url.and_then(Url::host_str));
    let told = host.and_then(|host| host.strip_prefix("sqs.")?.split_once(".amazonaws."));
    if let (Some((told, _)), Some(region)) = (told, spot.text())
        && told != region
    {
        mistakes.push(spot.mistake(format!("is not the region of the queue, which is in {told}")));
    }
}

/// Two readers of one queue would each get a part of its messages.
fn check_queues_differ(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let sqs = spot.field("sqs");
    let mut urls = Vec::new();
    for queue in sqs.items() {
        let url = queue.field("queueUrl");
        let Some(text) = url.text() else { continue };
        if urls.contains(&text.to_owned()) {
            mistakes.push(url.mistake("this queue is there already: remove it"));
        }
        urls.push(text.to_owned());
    }
}

/// Notes queues where no store is of AWS: what they tell of is never a key of another one.
pub(super) fn check_queues_concern_a_store(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) {
    let sqs = spot.field("sqs");
    if sqs.items().next().is_some() {
        mistakes.push(sqs.mistake(
            "tells of AWS Secrets Manager alone, and no store is one: give a store with awsSecretsManager, or remove the queues",
        ));
    }
}

/// The address to listen at, where it is one.
fn check_webhook(spot: &FieldPath<'_>, mistakes: &mut FieldErrors) -> Option<SocketAddr> {
    let node = spot.node()?;
    for file in ["tokenFile", "hmacKeyFile"] {
        check_path(&spot.field(file), mistakes);
    }
    for file in ["certificateFile", "keyFile"] {
        check_path(&spot.field("tls").field(file), mistakes);
    }
    if ["tokenFile", "hmacKeyFile"].iter().all(|name| node.field(name).is_none()) {
        mistakes.push(
            spot.mistake(
                "has neither tokenFile nor hmacKeyFile: anyone could wake regcred; give one of them",
            ),
        );
    }
    let listen = spot.field("listen");
    let address = listen.text().unwrap_or(DEFAULT_LISTEN).parse().ok();
    if address.is_none() {
        mistakes.push(listen.mistake("must be an address and a port, such as 0.0.0.0:8081"));
    }
    address
}
