#!/usr/bin/env bash
# AWS SDK for Rust, aws-sdk-secretsmanager 1.125.0: two clients with nothing in common share one quota of retries.
#
# Behaviour: retries of the standard mode are paid from a bucket of 500 tokens. The bucket belongs to the service and
# the region, in the whole process, and not to a client or its configuration. With another endpoint, other credentials,
# another HTTP client and another configuration, a second client is still refused its retries once the calls of the
# first have emptied the bucket. 25 failed calls of three attempts do so, since a retry after a 500 costs ten tokens.
# Time does not refill it, and neither does a new client: only successful calls do.
#
# Why it surprises: the quota protects a service that is overloaded, so one expects it for each client, as in the SDKs
# for Python and Go, or for each endpoint. RetryConfig is set on a client and says `max_attempts(3)`; what a client
# gets is one attempt, and its error says nothing of a quota. The cause is a static map by partition name, and the
# default name is the service and the region (`secretsmanager-eu-west-1`).
#
# What it means for users of regcred: two stores for Secrets Manager in one region, such as two accounts, or a VPC
# endpoint and the public one, are not independent. While reads of the first fail, 25 keys are enough, a passing 500 or
# timeout of the second is no longer retried within the read: it is reported as a failed read, and read again by the
# back-off of the key. The last good credential stays. Stores in different regions do not influence each other. A
# partition of its own for each client removes the coupling.
#
# Output seen:
#   account 2, at first: ok in 2 attempts
#   account 1, which is down, call 1: failed in 3 attempts
#   account 1, call 26: failed in 1 attempts
#   account 2: failed in 1 attempts
#   account 2, five seconds later, new client: failed in 1 attempts
#   account 2, another region: ok in 2 attempts
#   account 2, a partition of its own: ok in 2 attempts
#
# Run: findings/aws-sdk-rust-accounts-share-retries.sh (needs cargo and its registry; about a minute of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src

cat > Cargo.toml <<'EOF'
[package]
name = "aws-sdk-finding"
version = "0.0.0"
edition = "2021"

[dependencies]
aws-sdk-secretsmanager = { version = "=1.125.0", default-features = false, features = ["rt-tokio"] }
aws-smithy-http-client = { version = "=1.5.2", features = ["default-client"] }
aws-smithy-runtime = "=1.16.2"
tokio = { version = "=1.54.1", features = ["rt", "time"] }

[profile.dev]
debug = false
EOF

cat > src/main.rs <<'EOF'
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_secretsmanager::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_secretsmanager::config::{BehaviorVersion, Builder, Config, Credentials, Region};
use aws_sdk_secretsmanager::Client;

/// An endpoint of Secrets Manager, and the number of requests it got.
#[derive(Clone)]
struct Endpoint {
    url: String,
    requests: Arc<AtomicUsize>,
}

/// Serves an endpoint that answers 500: to every request (`down`), or to the first attempt of each call.
fn serve(down: bool) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let endpoint = Endpoint { url, requests: requests.clone() };
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut length, mut first_attempt, mut line) = (0, false, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                let header = line.to_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                first_attempt |= header.starts_with("amz-sdk-request:") && header.contains("attempt=1;");
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            requests.fetch_add(1, Ordering::SeqCst);
            let (status, body) = if down || first_attempt {
                ("500 Internal Server Error", r#"{"__type": "InternalServiceError", "Message": "try again"}"#)
            } else {
                ("200 OK", r#"{"Name": "ghcr", "SecretString": "value", "VersionId": "1"}"#)
            };
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    endpoint
}

/// Returns the configuration of an account. Nothing in it is shared with another one.
fn account(endpoint: &Endpoint, id: &str, region: &'static str) -> Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(&endpoint.url)
        .region(Region::new(region))
        .credentials_provider(Credentials::new(id, "key", None, None, "finding"))
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1)))
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, two) = (serve(true), serve(false));
    let read = |client: &Client, endpoint: &Endpoint| {
        endpoint.requests.store(0, Ordering::SeqCst);
        let ok = runtime.block_on(client.get_secret_value().secret_id("ghcr").send()).is_ok();
        let attempts = endpoint.requests.load(Ordering::SeqCst);
        format!("{} in {attempts} attempts", if ok { "ok" } else { "failed" })
    };

    let first = Client::from_conf(account(&one, "ACCOUNT1", "eu-west-1").build());
    let second = Client::from_conf(account(&two, "ACCOUNT2", "eu-west-1").build());
    println!("account 2, at first: {}", read(&second, &two));
    let mut call = 1;
    let mut outcome = read(&first, &one);
    println!("account 1, which is down, call 1: {outcome}");
    while outcome == "failed in 3 attempts" {
        call += 1;
        outcome = read(&first, &one);
    }
    println!("account 1, call {call}: {outcome}");
    println!("account 2: {}", read(&second, &two));
    std::thread::sleep(Duration::from_secs(5));
    let new = Client::from_conf(account(&two, "ACCOUNT2", "eu-west-1").build());
    println!("account 2, five seconds later, new client: {}", read(&new, &two));
    let elsewhere = Client::from_conf(account(&two, "ACCOUNT2", "us-east-1").build());
    println!("account 2, another region: {}", read(&elsewhere, &two));
    let own = RetryPartition::custom("account-2").token_bucket(TokenBucket::default()).build();
    let apart = Client::from_conf(account(&two, "ACCOUNT2", "eu-west-1").retry_partition(own).build());
    println!("account 2, a partition of its own: {}", read(&apart, &two));
}
EOF

seen=$(cargo run -q 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='account 2, at first: ok in 2 attempts
account 1, which is down, call 1: failed in 3 attempts
account 1, call 26: failed in 1 attempts
account 2: failed in 1 attempts
account 2, five seconds later, new client: failed in 1 attempts
account 2, another region: ok in 2 attempts
account 2, a partition of its own: ok in 2 attempts'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
