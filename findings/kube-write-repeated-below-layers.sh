#!/usr/bin/env bash
# kube 5.0.0 (crate): the default client repeats writes by itself, after a 504 too, and below every layer of the
# program.
#
# Behaviour: a client of Client::try_from(config) or ClientBuilder::try_from(config) repeats each request that is
# answered with 429, 503 or 504, up to 15 times, with or without Retry-After, POST and PATCH included. A create whose
# answer was a 504, although the API server had carried it out, returns 409 AlreadyExists: a conflict with itself.
# A layer that is added with ClientBuilder::with_layer sees the request once, however often it is sent.
#
# Why it surprises: client-go repeats a request that was answered only where the answer has Retry-After, and a 504 of
# the API server says that the outcome of a write is unknown. A layer is the place where a program checks that it may
# write, counts, or limits, and it looks like the outermost and the only gate. The retries are on by default
# (Config::default_retry) and are put into the stack below that place.
#
# What it means for users of regcred: regcred switches these retries off for writes, so that none is sent after the
# Lease is lost; a write that an overloaded API server rejects is retried by regcred, with the check before each try.
# Another controller that uses this crate may write for minutes after its Lease has passed to the other replica, also
# if it checks the Lease before each call: 15 pauses, doubled from 5 ms, are 164 s or more.
#
# Output seen:
#   create, answered 504 after it was carried out: 409 AlreadyExists, sent 2 times, the layer saw 1
#   patch, answered 503 nine times: ok, sent 10 times, the layer saw 1
#   patch, default_retry off, answered 503: 503 ServiceUnavailable, sent 1 times, the layer saw 1
#
# Run: findings/kube-write-repeated-below-layers.sh (needs cargo and its registry; about two minutes of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src

cat > Cargo.toml <<'EOF'
[package]
name = "kube-write-finding"
version = "0.0.0"
edition = "2021"

[dependencies]
http = "=1.5.0"
k8s-openapi = { version = "=0.29.0", features = ["v1_36"] }
kube = { version = "=5.0.0", default-features = false, features = ["client"] }
serde_json = "=1.0.154"
tokio = { version = "=1.54.1", features = ["rt", "time"] }
tower = { version = "=0.5.3", features = ["util"] }

[profile.dev]
debug = false
EOF

cat > src/main.rs <<'EOF'
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use serde_json::json;
use tower::util::MapRequestLayer;

/// An API server that fails as a busy one does, and what it saw.
#[derive(Default)]
struct Server {
    exists: AtomicBool,
    failures: AtomicUsize,
    requests: AtomicUsize,
}

fn error(code: u16, reason: &str) -> (u16, String) {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "", "reason": reason, "code": code});
    (code, status.to_string())
}

impl Server {
    fn answer(&self, method: &str) -> (u16, String) {
        self.requests.fetch_add(1, SeqCst);
        let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "regcred"}}).to_string();
        if method == "POST" {
            // Carried out at the first request, and answered too late.
            if self.exists.swap(true, SeqCst) {
                return error(409, "AlreadyExists");
            }
            return error(504, "Timeout");
        }
        if self.failures.load(SeqCst) > 0 {
            self.failures.fetch_sub(1, SeqCst);
            return error(503, "ServiceUnavailable");
        }
        (200, secret)
    }
}

fn serve(server: Arc<Server>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let (mut method, mut length, mut line) = (String::new(), 0, String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                if method.is_empty() {
                    method = line.split(' ').next().unwrap().to_string();
                }
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let (code, body) = server.answer(&method);
            let length = body.len();
            write!(
                connection,
                "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    url
}

fn outcome(result: Result<Secret, kube::Error>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(kube::Error::Api(status)) => format!("{} {}", status.code, status.reason),
        Err(error) => error.to_string(),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Arc::new(Server::default());
    let mut config = Config::new(serve(server.clone()).parse().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let client = |config: &Config| -> Client {
        let seen = seen.clone();
        let layer = MapRequestLayer::new(move |request: http::Request<Body>| {
            seen.fetch_add(1, SeqCst);
            request
        });
        ClientBuilder::try_from(config.clone()).unwrap().with_layer(&layer).build()
    };
    let call = |config: &Config, failures: usize, create: bool| {
        server.requests.store(0, SeqCst);
        seen.store(0, SeqCst);
        server.failures.store(failures, SeqCst);
        runtime.block_on(async {
            let secrets: Api<Secret> = Api::namespaced(client(config), "team-a");
            outcome(if create {
                let mut secret = Secret::default();
                secret.metadata.name = Some("regcred".into());
                secrets.create(&PostParams::default(), &secret).await
            } else {
                let patch = json!({"data": {".dockerconfigjson": "e30="}});
                secrets.patch("regcred", &PatchParams::default(), &Patch::Merge(patch)).await
            })
        })
    };
    let counts = || {
        let (sent, seen) = (server.requests.load(SeqCst), seen.load(SeqCst));
        format!("sent {sent} times, the layer saw {seen}")
    };

    let created = call(&config, 0, true);
    println!("create, answered 504 after it was carried out: {created}, {}", counts());
    let patched = call(&config, 9, false);
    println!("patch, answered 503 nine times: {patched}, {}", counts());
    config.default_retry = false;
    let refused = call(&config, 9, false);
    println!("patch, default_retry off, answered 503: {refused}, {}", counts());
}
EOF

seen=$(cargo run -q 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='create, answered 504 after it was carried out: 409 AlreadyExists, sent 2 times, the layer saw 1
patch, answered 503 nine times: ok, sent 10 times, the layer saw 1
patch, default_retry off, answered 503: 503 ServiceUnavailable, sent 1 times, the layer saw 1'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
