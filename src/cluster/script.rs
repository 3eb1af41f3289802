//! A scripted API server: the seam for tests is the service under the client.
//!
//! A script is what is asked and what is answered, in order. A request that is not in it, or comes
//! after its end, fails the test.

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle};

/// One exchange: `VERB /path?query` as asked, the status and the body that are answered.
pub(crate) struct Exchange {
    pub(crate) asked: &'static str,
    pub(crate) status: u16,
    pub(crate) answered: Value,
}

pub(crate) fn exchange(asked: &'static str, status: u16, answered: Value) -> Exchange {
    Exchange { asked, status, answered }
}

/// The answer of the API server to a write under an old `resourceVersion`.
pub(crate) fn conflict(asked: &'static str) -> Exchange {
    refused(asked, 409, "Conflict")
}

pub(crate) fn refused(asked: &'static str, code: u16, reason: &str) -> Exchange {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
    exchange(asked, code, status)
}

/// Plays `script` to `act`; gives back what `act` made of it and the bodies it sent, `null` where none.
pub(crate) async fn play<T>(script: Vec<Exchange>, act: impl AsyncFnOnce(Client) -> T) -> (T, Vec<Value>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(serve(handle, script));
    let result = act(Client::new(service, "default")).await;
    (result, server.await.expect("the script is played to its end"))
}

async fn serve(mut handle: Handle<Request<Body>, Response<Body>>, script: Vec<Exchange>) -> Vec<Value> {
    let mut bodies = Vec::new();
    for Exchange { asked, status, answered } in script {
        let (request, send) = handle.next_request().await.unwrap_or_else(|| panic!("nobody asked: {asked}"));
        assert_eq!(format!("{} {}", request.method(), request.uri()), asked);
        let bytes = request.into_body().collect_bytes().await.expect("a body in memory");
        bodies.push(serde_json::from_slice(&bytes).unwrap_or_default());
        let status = StatusCode::from_u16(status).expect("a status code");
        let body = Body::from(serde_json::to_vec(&answered).expect("JSON"));
        send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }
    // The client is gone by now, so this ends; a further request would be answered by nobody.
    if let Some((request, _)) = handle.next_request().await {
        panic!("asked after the end of the script: {} {}", request.method(), request.uri());
    }
    bodies
}
