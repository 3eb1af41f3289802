#!/usr/bin/env bash
# oci-client 0.18.0 (crate): every call takes a credential, and a Client uses that of the first call for good.
#
# Behaviour: list_tags, pull, fetch_manifest_digest and the others take `auth: &RegistryAuth`. The Client stores it for
# the registry at the first call, and ignores the argument of every later call to that registry: a new password, and
# the password of another repository. Client::auth alone uses its argument, for one repository; on a registry with Basic
# authentication it returns Ok without sending the password.
#
# Why it surprises: an argument that is required at each call reads as the credential of that call, and a Client is
# meant to be kept. Its own cache of tokens is separate by repository and operation, so two teams seem to be kept
# apart. The cause is store_auth_if_needed, which writes only where the registry has no entry yet; no 401 removes it.
#
# What it means for users of regcred: a controller or policy server in Rust that pulls with one long-lived Client reads
# the new pull secret, hands it over, and still sends the old password: it fails from the revocation until its restart.
# Where each team has a pull secret of its own for one registry host, the first team's password is used for all. Build
# a Client for each credential, or restart such a pod after a rotation.
#
# Output seen:
#   before the rotation: called with old, sent old, ok
#   after the rotation: called with new, sent old, failed
#   after the rotation, again: called with new, sent old, failed
#   after auth() with new, which sent nothing: called with new, sent new, ok
#   another repository after auth(): called with new, sent old, failed
#   a new Client: called with new, sent new, ok
#
# Run: findings/oci-client-first-password-kept.sh (needs cargo and its registry; about a minute of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src

cat > Cargo.toml <<'EOF'
[package]
name = "oci-client-finding"
version = "0.0.0"
edition = "2021"

[dependencies]
oci-client = { version = "=0.18.0", default-features = false, features = ["rustls-tls-no-provider"] }
rustls = { version = "=0.23.46", default-features = false, features = ["ring"] }
tokio = { version = "=1.54.1", features = ["rt", "time"] }

[profile.dev]
debug = false
EOF

cat > src/main.rs <<'EOF'
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};

/// The Authorization headers of `ci:old` and `ci:new`.
const OLD: &str = "Basic Y2k6b2xk";
const NEW: &str = "Basic Y2k6bmV3";

/// A registry with Basic authentication: the header that it accepts, and the credential that was sent last.
struct Registry {
    accepted: &'static str,
    sent: &'static str,
}

fn serve(registry: Arc<Mutex<Registry>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut authorization = String::new();
            for line in BufReader::new(connection.try_clone().unwrap()).lines() {
                let line = line.unwrap();
                if line.is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(": ") {
                    if name.eq_ignore_ascii_case("authorization") {
                        authorization = value.to_string();
                    }
                }
            }
            let mut registry = registry.lock().unwrap();
            match authorization.as_str() {
                OLD => registry.sent = "old",
                NEW => registry.sent = "new",
                _ => {}
            }
            let (status, body) = if authorization == registry.accepted {
                ("200 OK", r#"{"name": "team/app", "tags": ["1"]}"#)
            } else {
                ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"registry\"", "")
            };
            let length = body.len();
            write!(connection, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
    port
}

fn main() {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let registry = Arc::new(Mutex::new(Registry { accepted: OLD, sent: "nothing" }));
    let port = serve(registry.clone());
    let image = |repository: &str| -> Reference { format!("127.0.0.1:{port}/{repository}:1").parse().unwrap() };
    let basic = |password: &str| RegistryAuth::Basic("ci".into(), password.into());
    let client = || Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let list = |what: &str, client: &Client, repository: &str, password: &str| {
        registry.lock().unwrap().sent = "nothing";
        let ok = runtime.block_on(client.list_tags(&image(repository), &basic(password), None, None)).is_ok();
        let sent = registry.lock().unwrap().sent;
        println!("{what}: called with {password}, sent {sent}, {}", if ok { "ok" } else { "failed" });
    };

    let held = client();
    list("before the rotation", &held, "team/app", "old");
    registry.lock().unwrap().accepted = NEW;
    list("after the rotation", &held, "team/app", "new");
    list("after the rotation, again", &held, "team/app", "new");
    registry.lock().unwrap().sent = "nothing";
    runtime.block_on(held.auth(&image("team/app"), &basic("new"), RegistryOperation::Pull)).unwrap();
    let sent = registry.lock().unwrap().sent;
    list(&format!("after auth() with new, which sent {sent}"), &held, "team/app", "new");
    list("another repository after auth()", &held, "other/app", "new");
    list("a new Client", &client(), "other/app", "new");
}
EOF

seen=$(cargo run -q 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='before the rotation: called with old, sent old, ok
after the rotation: called with new, sent old, failed
after the rotation, again: called with new, sent old, failed
after auth() with new, which sent nothing: called with new, sent new, ok
another repository after auth(): called with new, sent old, failed
a new Client: called with new, sent new, ok'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
