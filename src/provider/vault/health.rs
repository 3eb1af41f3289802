//! The health of a Vault, asked for when a namespace is set: a Vault without namespaces ignores the header that
//! names one, and answers with the value of the root namespace.

use std::time::Duration;

use serde::Deserialize;

use crate::provider::ErrorKind;
use crate::provider::without_tracing::without_tracing;

/// Timeout of the request, which must leave time for the login.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The part of the response that tells whether there are namespaces.
#[derive(Deserialize)]
struct HealthResponse {
    /// False for a Vault without an Enterprise licence; `OpenBao`, which has namespaces, sends no such field.
    enterprise: Option<bool>,
}

/// Refuses a Vault that says that it has no namespaces. The health may be absent or unreadable, as behind a gateway
/// that does not forward it.
pub(super) async fn require_namespaces(
    http: &reqwest::Client,
    url: url::Url,
    namespace: &str,
) -> Result<(), ErrorKind> {
    // The status is about the node: standbys and sealed nodes send the same fields.
    let request = http.get(url).timeout(TIMEOUT).send();
    let body = without_tracing(async { request.await.ok()?.bytes().await.ok() }).await;
    match body.and_then(|body| serde_json::from_slice::<HealthResponse>(&body).ok()) {
        Some(HealthResponse { enterprise: Some(false) }) => Err(ErrorKind::Misconfigured(format!(
            "this Vault has no namespaces and would answer from its root, because it is not Vault Enterprise. \
             Remove `namespace: {namespace}`, or correct `address`"
        ))),
        _ => Ok(()),
    }
}
