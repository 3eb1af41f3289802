//! A scripted API server: the seam for tests is the service under the client.
//!
//! A script is a list of requests and their responses, in order. A request that is not in it, or arrives
//! after its end, fails the test.

use std::convert::Infallible;
use std::future::ready;

use axum::body::Body as ResponseBody;
use futures::{StreamExt as _, stream};
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
    /// The connection stays open and silent after the response, as a watch does, or a dead connection.
    pub(crate) stays_open: bool,
}

pub(crate) fn exchange(request_line: &'static str, status: u16, response: Value) -> Exchange {
    Exchange { request_line, status, response, stays_open: false }
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
    let (service, handle) = mock::pair::<Request<Body>, Response<ResponseBody>>();
    let server = tokio::spawn(serve(handle, script));
    let result = act(Client::new(service, "default")).await;
    (result, server.await.expect("the script is played to its end"))
}

async fn serve(
    mut handle: Handle<Request<Body>, Response<ResponseBody>>,
    script: Vec<Exchange>,
) -> Vec<Value> {
    let mut bodies = Vec::new();
    for Exchange { request_line, status, response, stays_open } in script {
        let (request, send) =
            handle.next_request().await.unwrap_or_else(|| panic!("missing request: {request_line}"));
        assert_eq!(format!("{} {}", request.method(), request.uri()), request_line);
        let bytes = request.into_body().collect_bytes().await.expect("a body in memory");
        bodies.push(serde_json::from_slice(&bytes).unwrap_or_default());
        let status = StatusCode::from_u16(status).expect("a status code");
        let body = if stays_open {
            let line = Ok::<_, Infallible>(format!("{response}\n"));
            let silence = stream::once(ready(line)).chain(stream::pending());
            ResponseBody::from_stream(silence)
        } else {
            ResponseBody::from(serde_json::to_vec(&response).expect("JSON"))
        };
        send.send_response(Response::builder().status(status).body(body).expect("a response"));
    }
    // The client is gone by now, so this ends; a further request would get no response.
    if let Some((request, _)) = handle.next_request().await {
        panic!("request after the end of the script: {} {}", request.method(), request.uri());
    }
    bodies
}
