#!/usr/bin/env bash
# kube 5.0.0 (crate): a credential plugin of the kubeconfig runs more than once for each client.
#
# Behaviour: to build one client from a kubeconfig with a user of kind `exec`, the crate runs the plugin three times,
# before any request, whether it answers with a token or with a certificate, and although its answer says that it is
# valid for another hour. The runs are one after the other, and block the thread that builds the client.
#
# Why it surprises: kubectl (client-go) runs the plugin once, with the first request, and keeps its answer until
# `expirationTimestamp`. Plugins of clouds take one to two seconds, some ask a person for a second factor, and some
# are limited in their rate by their server.
#
# What it means for regcred: it reads the kubeconfig itself and runs the plugin once (src/cli/connection/token.rs).
#
# Output seen:
#   token: 3 runs for one client, before any request
#   certificate: 3 runs for one client, before any request
#
# Run: findings/kube-exec-plugin-runs-per-client.sh (needs cargo and its registry; about a minute of CPU time)
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir src

cat > Cargo.toml <<'EOF'
[package]
name = "kube-finding"
version = "0.0.0"
edition = "2021"

[dependencies]
k8s-openapi = { version = "=0.29.0", features = ["v1_36"] }
kube = { version = "=5.0.0", default-features = false, features = ["client", "rustls-tls", "ring"] }
rcgen = { version = "=0.14.5", default-features = false, features = ["ring", "pem"] }
serde_json = "1"
tokio = { version = "=1.54.1", features = ["rt", "time"] }

[profile.dev]
debug = false
EOF

cat > plugin.sh <<'EOF'
#!/bin/sh
echo run >> "$PLUGIN_DIRECTORY/runs"
cat "$PLUGIN_DIRECTORY/answer"
EOF
chmod +x plugin.sh

cat > src/main.rs <<'EOF'
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{json, Value};

/// Builds one client with a plugin that answers this, and returns the number of its runs.
async fn runs(directory: &str, status: Value) -> usize {
    let answer = json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status});
    std::fs::write(format!("{directory}/answer"), answer.to_string()).unwrap();
    std::fs::write(format!("{directory}/runs"), "").unwrap();
    let kubeconfig = json!({
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": true}}],
        "users": [{"name": "u", "user": {"exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
            "command": format!("{directory}/plugin.sh"),
            "env": [{"name": "PLUGIN_DIRECTORY", "value": directory}],
        }}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    let kubeconfig = Kubeconfig::from_yaml(&kubeconfig.to_string()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    let client = Client::try_from(config);
    let runs = std::fs::read_to_string(format!("{directory}/runs")).unwrap().lines().count();
    drop(client.unwrap());
    runs
}

fn main() {
    let directory = std::env::args().nth(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = rcgen::generate_simple_self_signed(["user".to_owned()]).unwrap();
    let expiry = "2099-01-01T00:00:00Z";
    let token = json!({"token": "t", "expirationTimestamp": expiry});
    let certificate = json!({
        "clientCertificateData": key.cert.pem(), "clientKeyData": key.signing_key.serialize_pem(),
        "expirationTimestamp": expiry,
    });
    for (what, status) in [("token", token), ("certificate", certificate)] {
        println!("{what}: {} runs for one client, before any request", runtime.block_on(runs(&directory, status)));
    }
}
EOF

seen=$(cargo run -q -- "$work" 2> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='token: 3 runs for one client, before any request
certificate: 3 runs for one client, before any request'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
