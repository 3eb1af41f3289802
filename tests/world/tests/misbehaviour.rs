//! The parts of the world that make trouble on purpose: an API server that is started again, a proxy that misbehaves.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::{Duration, Instant};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use world::{Ending, Fault, Guardian, Kube, Proxy, Rule, service_account_user};

/// One control plane for all of them: each test has namespaces of its own.
async fn kube() -> &'static Kube {
    static KUBE: OnceCell<(Kube, Guardian)> = OnceCell::const_new();
    let start = || async {
        let guardian = Guardian::new()?;
        anyhow::Ok((Kube::start(&guardian).await?, guardian))
    };
    &KUBE.get_or_try_init(start).await.unwrap().0
}

/// A client of the proxy that acts as the `default` ServiceAccount of a namespace, which may do everything.
struct Talker {
    client: Client,
    url: String,
    token: String,
}

impl Talker {
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
        // As the world does, so that one provider of cryptography is there for reqwest.
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

    /// A watch over the `ConfigMaps` of a namespace.
    async fn watch(&self, namespace: &str) -> Watch {
        let answer =
            self.get(&format!("/api/v1/namespaces/{namespace}/configmaps?watch=true")).await.unwrap();
        Watch { answer, buffer: Vec::new() }
    }
}

/// A watch, and what has come of it that was not asked for yet.
struct Watch {
    answer: Response,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event: its type, and the name of its object.
    async fn event(&mut self) -> Option<(String, String)> {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let chunk = self.chunk().await.unwrap()?;
            self.buffer.extend(chunk);
        };
        let event: Value = serde_json::from_slice(&self.buffer.drain(..=end).collect::<Vec<_>>()).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some((text(&event["type"]), text(&event["object"]["metadata"]["name"])))
    }

    async fn chunk(&mut self) -> reqwest::Result<Option<Vec<u8>>> {
        let chunk = tokio::time::timeout(Duration::from_mins(1), self.answer.chunk());
        Ok(chunk.await.expect("something comes in a minute")?.map(Into::into))
    }

    /// Reads on until it breaks off; what had arrived before may still be read.
    async fn expect_cut(mut self) {
        while let Ok(chunk) = self.chunk().await {
            assert!(chunk.is_some(), "it ends instead of being cut off");
        }
    }
}

#[tokio::test]
async fn an_api_server_that_is_started_again_is_the_same_one() {
    let guardian = Guardian::new().unwrap();
    let kube = Kube::start(&guardian).await.unwrap();
    kube.create_namespaces(["kept"], &[]).await.unwrap();
    let token = kube.token("kept", "default", 600).await.unwrap();
    let certificate = std::fs::read(&kube.ca_file).unwrap();
    let mark = kube.audit_mark().unwrap();
    for ending in [Ending::Killed, Ending::Terminated] {
        kube.restart_apiserver(ending).await.unwrap();
        kube.get("/api/v1/namespaces/kept").await.unwrap();
        assert_eq!(std::fs::read(&kube.ca_file).unwrap(), certificate, "{ending:?}");
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
        });
        let review = kube.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.unwrap();
        assert_eq!(review["status"]["authenticated"], true, "{ending:?}: {review}");
    }
    // The controllers find it again, and the audit log goes on.
    kube.create_namespaces(["later"], &[]).await.unwrap();
    kube.settle_audit_log().await.unwrap();
    let reviews = kube.audit_events_by("admin", mark).unwrap();
    assert_eq!(reviews.iter().filter(|event| event.resource == "tokenreviews").count(), 2);
}

#[tokio::test]
async fn what_passes_the_proxy_is_what_the_api_server_says() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let talker = Talker::new(&proxy, "through").await;
    let mark = kube.audit_mark().unwrap();
    assert_eq!(talker.create("through", "a").await.unwrap().status(), 201);
    let through: Value = talker.get("/api/v1/namespaces/through").await.unwrap().json().await.unwrap();
    assert_eq!(through, kube.get("/api/v1/namespaces/through").await.unwrap());
    assert_eq!(talker.get("/api/v1/namespaces/nowhere").await.unwrap().status(), 404);
    kube.settle_audit_log().await.unwrap();
    let ours = kube.audit_events_by(&service_account_user("through", "default"), mark).unwrap();
    assert_eq!(ours.iter().map(|event| event.code).collect::<Vec<_>>(), [201, 200, 404]);
    let requests = proxy.take_requests();
    let counts: Vec<_> =
        requests.iter().map(|(kind, count)| (kind.verb, kind.resource.as_str(), *count)).collect();
    assert_eq!(counts, [("create", "configmaps", 1), ("get", "namespaces", 2)]);
    assert!(proxy.take_requests().is_empty());
}

#[tokio::test]
async fn a_watch_passes_the_proxy_event_by_event_until_it_is_ended() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let talker = Talker::new(&proxy, "watched").await;
    let named = |kind: &str, name: &str| Some((kind.to_owned(), name.to_owned()));

    let mut watch = talker.watch("watched").await;
    assert_eq!(watch.event().await, named("ADDED", "kube-root-ca.crt"));
    for name in ["a", "b"] {
        let begun = Instant::now();
        talker.create("watched", name).await.unwrap();
        assert_eq!(watch.event().await, named("ADDED", name));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
    proxy.expire_watches();
    assert_eq!(watch.event().await, named("ERROR", ""));
    assert_eq!(watch.event().await, None, "the end of the stream");

    let mut watch = talker.watch("watched").await;
    watch.event().await.unwrap();
    proxy.cut_watches();
    watch.expect_cut().await;
}

#[tokio::test]
async fn the_proxy_misbehaves_by_its_rules_and_only_by_them() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let talker = Talker::new(&proxy, "ruled").await;
    let rule = |every, fault| Rule { verb: Some("create"), resource: Some("configmaps"), every, fault };

    for (code, reason) in
        [(409, "Conflict"), (410, "Expired"), (429, "TooManyRequests"), (500, "InternalError")]
    {
        proxy.follow([rule(2, Fault::Answer(code))]);
        let name = format!("answer-{code}");
        assert_eq!(talker.create("ruled", &name).await.unwrap().status(), 201);
        let refused = talker.create("ruled", "refused").await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), refused.headers().contains_key("retry-after")),
            (code, code == 429)
        );
        assert_eq!(refused.json::<Value>().await.unwrap()["reason"], reason);
        assert_eq!(talker.get("/api/v1/namespaces/ruled/configmaps/refused").await.unwrap().status(), 404);
    }

    proxy.follow([rule(1, Fault::Delay(Duration::from_millis(300)))]);
    let begun = Instant::now();
    assert_eq!(talker.create("ruled", "late").await.unwrap().status(), 201);
    assert!(begun.elapsed() >= Duration::from_millis(300));

    proxy.follow([rule(1, Fault::Lose)]);
    let lost = talker.create("ruled", "lost").await;
    assert!(match lost {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    });
    proxy.follow([]);
    assert_eq!(talker.get("/api/v1/namespaces/ruled/configmaps/lost").await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_proxy_that_refuses_connections_can_accept_them_again() {
    let kube = kube().await;
    let proxy = Proxy::start(kube).unwrap();
    let talker = Talker::new(&proxy, "refused").await;
    let mut watch = talker.watch("refused").await;
    watch.event().await.unwrap();
    for _ in 0..3 {
        proxy.refuse();
        assert!(talker.get("/api/v1/namespaces/refused").await.is_err());
        proxy.accept().unwrap();
        assert_eq!(talker.get("/api/v1/namespaces/refused").await.unwrap().status(), 200);
    }
    watch.expect_cut().await;
}
