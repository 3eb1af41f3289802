#!/usr/bin/env bash
# kube 5.0.0 (crate): NO_PROXY is compared with the address of the proxy, not with that of the API server.
#
# Behaviour: with a kubeconfig and HTTPS_PROXY, requests to an API server that NO_PROXY lists still go through the
# proxy. They bypass it where NO_PROXY lists the proxy itself, or everything (`*`). Built without the feature
# `http-proxy`, which is not on by default, the crate does not read NO_PROXY at all, and HTTPS_PROXY alone makes every
# client fail. The ServiceAccount of a pod (Config::incluster) reads neither variable.
#
# Why it surprises: in kubectl and everywhere else NO_PROXY lists destinations that are reached directly. The parser
# and the matcher are there and have tests; ConfigLoader::proxy_url calls the matcher with the URL of the proxy. A
# network such as 127.0.0.0/8 or 10.0.0.0/8 that holds both seems to work, and hides it.
#
# What it means for regcred: it picks the proxy itself, by the rules of client-go, and gives it to kube
# (src/cli/connection/proxy.rs). It builds the configuration without kube's loader, which also fails at an entry of
# NO_PROXY that it cannot parse.
#
# Output seen:
#   with http-proxy, NO_PROXY empty: proxy
#   with http-proxy, NO_PROXY is the API server: proxy
#   with http-proxy, NO_PROXY is the proxy: API server
#   with http-proxy, NO_PROXY is *: API server
#   without http-proxy, NO_PROXY empty: no client
#   without http-proxy, NO_PROXY is the API server: no client
#   without http-proxy, NO_PROXY is the proxy: no client
#   without http-proxy, NO_PROXY is *: no client
# where "no client" is: configured proxy http://127.0.0.1:PORT/ requires the disabled feature "kube/http-proxy"
#
# Run: findings/kube-no-proxy-compared-with-proxy.sh (needs cargo and its registry; about two minutes of CPU time)
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

[features]
http-proxy = ["kube/http-proxy"]

[dependencies]
k8s-openapi = { version = "=0.29.0", features = ["v1_36"] }
kube = { version = "=5.0.0", default-features = false, features = ["client", "rustls-tls", "ring"] }
tokio = { version = "=1.54.1", features = ["rt", "time"] }

[profile.dev]
debug = false
EOF

cat > src/main.rs <<'EOF'
use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::{channel, Sender};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Accepts connections, says to whom one was made, and closes it. Returns the port.
fn listen(address: &str, name: &'static str, connected: Sender<&'static str>) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            if connection.unwrap().read_exact(&mut [0; 1]).is_ok() {
                connected.send(name).unwrap();
            }
        }
    });
    port
}

async fn client(server: &str) -> Result<Client, kube::Error> {
    let kubeconfig = Kubeconfig::from_yaml(&format!(
        "{{clusters: [{{name: c, cluster: {{server: '{server}', insecure-skip-tls-verify: true}}}}], \
         users: [{{name: u, user: {{}}}}], contexts: [{{name: x, context: {{cluster: c, user: u}}}}], \
         current-context: x}}"
    ));
    let options = KubeConfigOptions::default();
    Client::try_from(Config::from_custom_kubeconfig(kubeconfig.unwrap(), &options).await.unwrap())
}

fn main() {
    let built = if cfg!(feature = "http-proxy") { "with" } else { "without" };
    let (sender, connected) = channel();
    let proxy = listen("127.0.0.1", "proxy", sender.clone());
    let server = listen("127.0.0.2", "API server", sender);
    std::env::set_var("HTTPS_PROXY", format!("http://127.0.0.1:{proxy}"));
    std::env::remove_var("no_proxy");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (what, list) in
        [("empty", ""), ("is the API server", "127.0.0.2"), ("is the proxy", "127.0.0.1"), ("is *", "*")]
    {
        std::env::set_var("NO_PROXY", list);
        let outcome = runtime.block_on(async {
            match client(&format!("https://127.0.0.2:{server}")).await {
                // The request fails, since nobody answers; who was connected to is what counts.
                Ok(client) => {
                    let _ = tokio::time::timeout(Duration::from_secs(5), client.apiserver_version()).await;
                    connected.recv_timeout(Duration::from_secs(5)).unwrap_or("nobody")
                }
                Err(kube::Error::ProxyProtocolDisabled { .. }) => "no client",
                Err(_) => "another error",
            }
        });
        println!("{built} http-proxy, NO_PROXY {what}: {outcome}");
        while connected.recv_timeout(Duration::from_millis(200)).is_ok() {}
    }
}
EOF

seen=$(cargo run -q --features http-proxy 2> run.log && cargo run -q 2>> run.log) || { cat run.log >&2; exit 1; }
printf '%s\n' "$seen"
expected='with http-proxy, NO_PROXY empty: proxy
with http-proxy, NO_PROXY is the API server: proxy
with http-proxy, NO_PROXY is the proxy: API server
with http-proxy, NO_PROXY is *: API server
without http-proxy, NO_PROXY empty: no client
without http-proxy, NO_PROXY is the API server: no client
without http-proxy, NO_PROXY is the proxy: no client
without http-proxy, NO_PROXY is *: no client'
if [ "$seen" != "$expected" ]; then
  echo "changed: expected" >&2
  printf '%s\n' "$expected" >&2
  exit 1
fi
echo "as described"
