//! A candidate on a stage: the API server and the watch are played by the test.

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
use crate::leader_election::elector::Elector;
use crate::leader_election::record::Record;
use crate::leader_election::{Leadership, Lost, Settings};

/// A candidate, and the world as far as it sees it.
pub(super) struct Stage {
    pub(super) start: Instant,
    pub(super) server: Handle<Request<Body>, Response<Body>>,
    /// The Lease, as the last write that was granted left it.
    pub(super) lease: Value,
    watch: UnboundedSender<Option<Record>>,
    pub(super) term: Leadership,
    pub(super) leading: watch::Receiver<bool>,
    pub(super) retire: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Lost>>,
}

/// A request that waits for its answer.
pub(super) struct Asked {
    /// Milliseconds after the start.
    pub(super) at: u64,
    pub(super) body: Value,
    send: SendResponse<Response<Body>>,
}

impl Asked {
    pub(super) fn answer(self, code: u16, body: &Value) {
        let status = StatusCode::from_u16(code).expect("a status code");
        let body = Body::from(serde_json::to_vec(body).expect("JSON"));
        self.send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }

    pub(super) fn refuse(self, code: u16, reason: &str) {
        self.answer(code, &json!({"status": "Failure", "code": code, "reason": reason, "message": reason}));
    }

    /// The version under which it writes.
    pub(super) fn version(&self) -> &str {
        self.body["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let settings = Settings::example();
        let term = Leadership::new(&settings);
        let (service, server) = mock::pair::<Request<Body>, Response<Body>>();
        let (watch, sightings) = mpsc::unbounded();
        let (leading, is_leading) = tokio::sync::watch::channel(false);
        let (retire, retired) = oneshot::channel();
        let seat = LeaseClient::new(Client::new(service, "default"), settings);
        let candidate = Elector::new(seat, term.clone(), leading);
        let task = tokio::spawn(candidate.run(sightings, retired));
        Self {
            start: Instant::now(),
            server,
            lease: Value::Null,
            watch,
            term,
            leading: is_leading,
            retire: Some(retire),
            task,
        }
    }

    /// A stage on which the candidate has created the lease, at second 0.
    pub(super) async fn leading() -> Self {
        let mut stage = Self::new();
        stage.asked(READ).await.refuse(404, "NotFound");
        let asked = stage.asked(CREATE).await;
        stage.grant(asked, 1);
        stage.leading.wait_for(|leads| *leads).await.expect("a campaign");
        stage
    }

    /// A stage on which another replica leads, seen at second 0.
    pub(super) async fn following() -> Self {
        let mut stage = Self::new();
        let asked = stage.asked(READ).await;
        stage.lease = lease("other", 1);
        asked.answer(200, &stage.lease);
        stage
    }

    /// The next request, which has to be this one.
    pub(super) async fn asked(&mut self, expect: &str) -> Asked {
        self.asked_at_all(expect).await.expect("a request")
    }

    /// The same; `None` where there is none and the candidate has ended.
    pub(super) async fn asked_at_all(&mut self, expect: &str) -> Option<Asked> {
        let (request, send) = self.server.next_request().await?;
        assert_eq!(format!("{} {}", request.method(), request.uri()), expect);
        let bytes = request.into_body().collect_bytes().await.expect("a body in memory");
        let body = serde_json::from_slice(&bytes).unwrap_or_default();
        Some(Asked { at: self.milliseconds(), body, send })
    }

    /// Answers a write as the API server does which has done it.
    pub(super) fn grant(&mut self, asked: Asked, version: u32) {
        for (field, value) in asked.body["spec"].as_object().expect("a spec") {
            self.lease["spec"][field] = value.clone();
        }
        self.lease["metadata"] = json!({"name": "regcred", "resourceVersion": version.to_string()});
        asked.answer(200, &self.lease);
    }

    pub(super) fn tell(&self, lease: &Value) {
        let record: k8s_openapi::api::coordination::v1::Lease =
            serde_json::from_value(lease.clone()).expect("a Lease");
        self.watch.unbounded_send(Some(record.into())).expect("the candidate watches");
    }

    pub(super) fn retire(&mut self) {
        self.retire.take().expect("it did not retire before").send(()).expect("a campaign");
    }

    /// How the task ended, at which millisecond, and that it asked nothing more.
    pub(super) async fn end(mut self) -> (Result<(), Lost>, u64) {
        let outcome = (&mut self.task).await.expect("no panic");
        let at = self.milliseconds();
        assert!(!self.term.is_current());
        assert!(!*self.leading.borrow());
        if let Some((request, _)) = self.server.next_request().await {
            panic!("asked beyond the end: {} {}", request.method(), request.uri());
        }
        (outcome, at)
    }

    pub(super) fn milliseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).expect("a short test")
    }

    /// Advances the clock to so many milliseconds after the start; nothing may be asked meanwhile.
    pub(super) async fn silence_until(&mut self, milliseconds: u64) {
        let until = self.start + Duration::from_millis(milliseconds);
        tokio::select! {
            biased;
            request = self.server.next_request() => panic!("asked: {:?}", request.map(|(request, _)| request)),
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
