//! A harness for an elector: the test plays the API server and the watch.

use std::time::Duration;

use futures::channel::mpsc::{self, UnboundedSender};
use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower_test::mock::{self, Handle, SendResponse};

use super::{CREATE, READ};
use crate::leader_election::api::LeaseClient;
use crate::leader_election::clock::Clock;
use crate::leader_election::elector::Elector;
use crate::leader_election::record::Record;
use crate::leader_election::{LeaderElectionConfig, Leadership, Lost};

/// An elector, and everything it talks to.
pub(super) struct Harness {
    pub(super) start: Instant,
    pub(super) server: Handle<Request<Body>, Response<Body>>,
    /// The Lease after the last write that was granted.
    pub(super) lease: Value,
    watch: UnboundedSender<Option<Record>>,
    pub(super) leadership: Leadership,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) release: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Lost>>,
}

/// A request that waits for its response.
pub(super) struct ReceivedRequest {
    /// Milliseconds after the start.
    pub(super) at: u64,
    pub(super) body: Value,
    send: SendResponse<Response<Body>>,
}

impl ReceivedRequest {
    pub(super) fn answer(self, code: u16, body: &Value) {
        let status = StatusCode::from_u16(code).expect("a status code");
        let body = Body::from(serde_json::to_vec(body).expect("JSON"));
        self.send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }

    pub(super) fn reject(self, code: u16, reason: &str) {
        self.answer(code, &json!({"status": "Failure", "code": code, "reason": reason, "message": reason}));
    }

    /// The `resourceVersion` that the write requires.
    pub(super) fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

impl Harness {
    pub(super) fn new() -> Self {
        let config = LeaderElectionConfig::example();
        let leadership = Leadership::new(&config, Clock::tokio());
        let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
        let (watch, records) = mpsc::unbounded();
        let (leading, is_leading) = tokio::sync::watch::channel(false);
        let (release, released) = oneshot::channel();
        let lease_client = LeaseClient::new(Client::new(service, "default"), config);
        let elector = Elector::new(lease_client, leadership.clone(), leading);
        let task = tokio::spawn(elector.run(records, released));
        Self {
            start: Instant::now(),
            server,
            lease: Value::Null,
            watch,
            leadership,
            leading: is_leading,
            release: Some(release),
            task,
        }
    }

    /// A harness with an elector that has created the lease, at second 0.
    pub(super) async fn leading() -> Self {
        let mut harness = Self::new();
        harness.next_request(READ).await.reject(404, "NotFound");
        let request = harness.next_request(CREATE).await;
        harness.grant(request, 1);
        harness.leading.wait_for(|leads| *leads).await.expect("a running election");
        harness
    }

    /// A harness in which another replica leads, observed at second 0.
    pub(super) async fn following() -> Self {
        let mut harness = Self::new();
        let request = harness.next_request(READ).await;
        harness.lease = lease("other", 1);
        request.answer(200, &harness.lease);
        harness
    }

    /// Returns the next request, which must be this one.
    pub(super) async fn next_request(&mut self, expect: &str) -> ReceivedRequest {
        self.try_next_request(expect).await.expect("a request")
    }

    /// Returns the next request; `None` if the elector has ended without one.
    pub(super) async fn try_next_request(&mut self, expect: &str) -> Option<ReceivedRequest> {
        let (request, send) = self.server.next_request().await?;
        assert_eq!(format!("{} {}", request.method(), request.uri()), expect);
        let bytes = request.into_body().collect_bytes().await.expect("a body in memory");
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(ReceivedRequest { at: self.milliseconds(), body, send })
    }

    /// Applies a write to the lease and answers it.
    pub(super) fn grant(&mut self, request: ReceivedRequest, version: u32) {
        for (field, value) in request.body["spec"].as_object().expect("a spec") {
            self.lease["spec"][field] = value.clone();
        }
        self.lease["metadata"] = json!({"name": "regcred", "resourceVersion": version.to_string()});
        request.answer(200, &self.lease);
    }

    pub(super) fn send_watch_event(&self, lease: &Value) {
        let record: k8s_openapi::api::coordination::v1::Lease =
            serde_json::from_value(lease.clone()).expect("a Lease");
        self.watch.unbounded_send(Some(record.into())).expect("the elector watches");
    }

    pub(super) fn release(&mut self) {
        self.release.take().expect("not released before").send(()).expect("a running election");
    }

    /// Returns the outcome of the task and the millisecond of its end, and checks that no request followed.
    pub(super) async fn end(mut self) -> (Result<(), Lost>, u64) {
        let outcome = (&mut self.task).await.expect("no panic");
        let at = self.milliseconds();
        assert!(!self.leadership.is_current());
        assert!(!*self.leading.borrow());
        if let Some((request, _)) = self.server.next_request().await {
            panic!("request after the end: {} {}", request.method(), request.uri());
        }
        (outcome, at)
    }

    pub(super) fn milliseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a short test")
    }

    /// Advances the clock to `milliseconds` after the start; no request may arrive before.
    pub(super) async fn expect_silence_until(&mut self, milliseconds: u64) {
        let until = self.start + Duration::from_millis(milliseconds);
        tokio::select! {
            biased;
            request = self.server.next_request() => panic!("request: {:?}", request.map(|(request, _)| request)),
            () = tokio::time::sleep_until(until) => {}
        }
    }
}

pub(super) fn lease(holder: &str, version: u32) -> Value {
    let time = format!("2026-11-24T06:00:00.{version:06}Z");
    json!({
        "metadata": {"name": "regcred", "resourceVersion": version.to_string()},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 20, "leaseTransitions": 1,
            "acquireTime": "2026-11-24T06:00:00.000000Z", "renewTime": time,
        },
    })
}
