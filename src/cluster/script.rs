//! A scripted API server: the seam for tests is the service under the client.
//!
//! A script is a list of requests and their responses, in order. A request that is not in it, or arrives
//! after its end, fails the test.

use http::{Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock::{self, Handle};

/// One exchange: the request as `VERB /path?query`, the status and the body of the response.
pub(crate) struct Exchange {
    pub(crate) request_line: &'static str,
    pub(crate) status: u16,
    pub(crate) response: Value,
}

pub(crate) fn exchange(request_line: &'static str, status: u16, response: Value) -> Exchange {
    Exchange { request_line, status, response }
}

/// The response to a write that requires an outdated `resourceVersion`.
pub(crate) fn conflict(request_line: &'static str) -> Exchange {
    refused(request_line, 409, "Conflict")
}

pub(crate) fn refused(request_line: &'static str, code: u16, reason: &str) -> Exchange {
    let status =
        json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
    exchange(request_line, code, status)
}

/// Plays `script` to `act`; returns the result of `act` and the bodies it sent, `null` for none.
pub(crate) async fn play<T>(script: Vec<Exchange>, act: impl AsyncFnOnce(Client) -> T) -> (T, Vec<Value>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let server = tokio::spawn(serve(handle, script));
    let result = act(Client::new(service, "default")).await;
    (result, server.await.expect("the script is played to its end"))
}

async fn serve(mut handle: Handle<Request<Body>, Response<Body>>, script: Vec<Exchange>) -> Vec<Value> {
    let mut bodies = Vec::new();
    for Exchange { request_line, status, response } in script {
        let (request, send) =
            handle.next_request().await.unwrap_or_else(|| panic!("missing request: {request_line}"));
        assert_eq!(format!("{} {}", request.method(), request.uri()), request_line);
        let bytes = request.into_body().collect_bytes().await.expect("a body in memory");
        bodies.push(serde_json::from_slice(&bytes).unwrap_or_default());
        let status = StatusCode::from_u16(status).expect("a status code");
        let body = Body::from(serde_json::to_vec(&response).expect("JSON"));
        send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }
    // The client is gone by now, so this ends; a further request would get no response.
    if let Some((request, _)) = handle.next_request().await {
        panic!("request after the end of the script: {} {}", request.method(), request.uri());
    }
    bodies
}
