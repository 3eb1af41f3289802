//! Fault injection: restarts of the API server, and a proxy that rejects, delays and cuts off requests.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Fault, Kube, Proxy, Reaper, Rule, StopSignal, service_account_user};

/// Returns the control plane that all tests share; each test has its own namespaces.
async fn kube() -> &'static Kube {
    static KUBE: OnceCell<(Kube, Reaper)> = OnceCell::const_new();
    let kube = KUBE.get_or_init(|| async {
        let reaper = Reaper::new().unwrap();
        (Kube::start(&reaper).await.unwrap(), reaper)
    });
    &kube.await.0
}

/// A client of the proxy that acts as the `default` ServiceAccount of a namespace, with all rights.
struct ProxyClient {
    client: Client,
    url: String,
    token: String,
}

impl ProxyClient {
    async fn new(proxy: &Proxy, namespace: &str) -> Self {
        let kube = kube().await;
        kube.create_namespaces([namespace], &[]).await.unwrap();
        let binding = ["create", "clusterrolebinding", namespace, "--clusterrole=cluster-admin"];
        let subject = format!("--serviceaccount={namespace}:default");
        kube.kubectl(&[&binding[..], &[&subject]].concat()).await.unwrap();
        let config = kube.kubeconfig_through(proxy, namespace, "default").await.unwrap();
        let config: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], proxy.url());
        let token = config["users"][0]["user"]["token"].as_str().unwrap().to_owned();
        // The world does the same: reqwest needs a crypto provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { client: Client::builder().no_proxy().build().unwrap(), url: proxy.url(), token }
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.token).send().await
    }

    async fn create(&self, namespace: &str, name: &str) -> reqwest::Result<Response> {
        let path = format!("{}/api/v1/namespaces/{namespace}/configmaps", self.url);
        let object = json!({ "metadata": { "name": name } });
        self.client.post(path).bearer_auth(&self.token).json(&object).send().await
    }

    /// Starts a watch on the `ConfigMaps` of a namespace.
    async fn watch(&self, namespace: &str) -> Watch {
        let answer =
            self.get(&format!("/api/v1/namespaces/{namespace}/configmaps?watch=true")).await.unwrap();
        Watch { answer, buffer: Vec::new() }
    }
}

/// A watch with a buffer of received bytes.
struct Watch {
    answer: Response,
    buffer: Vec<u8>,
}

impl Watch {
    /// Returns the type of the next event and the name of its object.
    async fn event(&mut self) -> Option<(String, String)> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let chunk = self.chunk().await.unwrap()?;
            self.buffer.extend(chunk);
        };
        let event: Value = serde_json::from_slice(&self.buffer.drain(..=end).collect::<Vec<_>>()).unwrap();
        let [kind, name] = [&event["type"], &event["object"]["metadata"]["name"]]
            .map(|value| value.as_str().unwrap_or_default().to_owned());
        Some((kind, name))
    }

    async fn chunk(&mut self) -> reqwest::Result<Option<Vec<u8>>> {
        let chunk = tokio::time::timeout(Duration::from_mins(1), self.answer.chunk());
        Ok(chunk.await.expect("a chunk within a minute")?.map(Into::into))
    }

    /// Reads the remaining chunks and expects the stream to be cut off.
    async fn expect_cut(mut self) {
        while let Ok(chunk) = self.chunk().await {
            assert!(chunk.is_some(), "the stream ends instead of being cut off");
        }
    }
}

fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

fn rule_for_creation(every: usize, fault: Fault) -> Rule {
    Rule { verb: Some("create"), resource: Some("configmaps"), every, fault }
}

#[tokio::test]
async fn restarted_api_server_keeps_keys_and_state() {
    let reaper = Reaper::new().unwrap();
    let kube = Kube::start(&reaper).await.unwrap();
    kube.create_namespaces(["kept"], &[]).await.unwrap();
    let token = kube.token("kept", "default", 600).await.unwrap();
    let certificate = std::fs::read(&kube.ca_file).unwrap();
    let mark = kube.audit_mark().unwrap();
    for signal in [StopSignal::Kill, StopSignal::Terminate] {
        kube.restart_apiserver(signal).await.unwrap();
        kube.get("/api/v1/namespaces/kept").await.unwrap();
        assert_eq!(std::fs::read(&kube.ca_file).unwrap(), certificate, "{signal:?}");
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
        });
        let review = kube.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.unwrap();
        assert_eq!(review["status"]["authenticated"], true, "{signal:?}: {review}");
    }
    // The controllers reconnect, and the audit log continues.
    kube.create_namespaces(["later"], &[]).await.unwrap();
    kube.settle_audit_log().await.unwrap();
    let reviews = kube.audit_events_by("admin", mark).unwrap();
    assert_eq!(reviews.iter().filter(|event| event.resource == "tokenreviews").count(), 2);
}

#[tokio::test]
async fn proxy_without_rules_changes_nothing() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let client = ProxyClient::new(&proxy, "through").await;
    let mark = kube.audit_mark().unwrap();
    assert_eq!(client.create("through", "a").await.unwrap().status(), 201);
    let through: Value = client.get("/api/v1/namespaces/through").await.unwrap().json().await.unwrap();
    assert_eq!(through, kube.get("/api/v1/namespaces/through").await.unwrap());
    assert_eq!(client.get("/api/v1/namespaces/nowhere").await.unwrap().status(), 404);
    kube.settle_audit_log().await.unwrap();
    let events = kube.audit_events_by(&service_account_user("through", "default"), mark).unwrap();
    assert_eq!(events.iter().map(|event| event.code).collect::<Vec<_>>(), [201, 200, 404]);
    let requests = proxy.take_requests();
    let counts: Vec<_> =
        requests.iter().map(|(kind, count)| (kind.verb, kind.resource.as_str(), *count)).collect();
    assert_eq!(counts, [("create", "configmaps", 1), ("get", "namespaces", 2)]);
    assert!(proxy.take_requests().is_empty());
}

#[tokio::test]
async fn proxied_watch_delivers_each_event_until_it_is_ended() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let client = ProxyClient::new(&proxy, "watched").await;

    let mut watch = client.watch("watched").await;
    assert_eq!(watch.event().await, Some(event("ADDED", "kube-root-ca.crt")));
    for name in ["a", "b"] {
        let started = Instant::now();
        client.create("watched", name).await.unwrap();
        assert_eq!(watch.event().await, Some(event("ADDED", name)));
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
    proxy.expire_watches();
    assert_eq!(watch.event().await, Some(event("ERROR", "")));
    assert_eq!(watch.event().await, None, "the end of the stream");

    let mut watch = client.watch("watched").await;
    watch.event().await.unwrap();
    proxy.cut_watches();
    watch.expect_cut().await;
}

#[tokio::test]
async fn proxy_injects_faults_by_its_rules_only() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let client = ProxyClient::new(&proxy, "ruled").await;

    for (code, reason) in
        [(409, "Conflict"), (410, "Expired"), (429, "TooManyRequests"), (500, "InternalError")]
    {
        proxy.set_rules([rule_for_creation(2, Fault::Respond(code))]);
        let name = format!("answer-{code}");
        assert_eq!(client.create("ruled", &name).await.unwrap().status(), 201);
        let refused = client.create("ruled", "refused").await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), refused.headers().contains_key("retry-after")),
            (code, code == 429)
        );
        assert_eq!(refused.json::<Value>().await.unwrap()["reason"], reason);
        assert_eq!(client.get("/api/v1/namespaces/ruled/configmaps/refused").await.unwrap().status(), 404);
    }

    proxy.set_rules([rule_for_creation(1, Fault::Delay(Duration::from_millis(300)))]);
    let started = Instant::now();
    assert_eq!(client.create("ruled", "late").await.unwrap().status(), 201);
    assert!(started.elapsed() >= Duration::from_millis(300));

    proxy.set_rules([rule_for_creation(1, Fault::DropResponse)]);
    let lost = client.create("ruled", "lost").await;
    assert!(match lost {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    });
    proxy.set_rules([]);
    assert_eq!(client.get("/api/v1/namespaces/ruled/configmaps/lost").await.unwrap().status(), 200);
}

#[tokio::test]
async fn proxy_accepts_connections_again_after_refusing_them() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let client = ProxyClient::new(&proxy, "refused").await;
    let mut watch = client.watch("refused").await;
    watch.event().await.unwrap();
    for _ in 0..3 {
        proxy.refuse();
        assert!(client.get("/api/v1/namespaces/refused").await.is_err());
        proxy.accept().unwrap();
        assert_eq!(client.get("/api/v1/namespaces/refused").await.unwrap().status(), 200);
    }
    watch.expect_cut().await;
}
